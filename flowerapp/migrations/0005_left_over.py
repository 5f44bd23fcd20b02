"""Of many tasks that become ready together, those that are not sent at once."""

from django.db import migrations, models

import flowerapp.states


class Migration(migrations.Migration):
    atomic = False
    """Each index is locked for by itself, as in the one before."""

    dependencies = [
        ('flowerapp', '0004_speed'),
    ]

    operations = [
        migrations.RemoveIndex(
            model_name='task',
            name='kr_task_stat_unsent',
        ),
        migrations.AddField(
            model_name='task',
            name='left_over',
            field=models.BooleanField(db_default=False, default=False, help_text='Ready with many others of its kind: the next of these that ends goes on with it, or sends it.'),
        ),
        migrations.AddField(
            model_name='task',
            name='owed',
            field=models.IntegerField(db_default=0, default=0, help_text='Ends of others with the same followers that are told to these with its own.'),
        ),
        migrations.AddIndex(
            model_name='task',
            index=models.Index(condition=models.Q(('admitted', True), ('due_ts__isnull', True), ('exec_status', flowerapp.states.Status.WAIT), ('left_over', False), ('parked', False), ('pending', 0), ('sent_ts__isnull', True)), fields=['task_priority', 'id'], name='kr_task_stat_unsent'),
        ),
        migrations.AddIndex(
            model_name='task',
            index=models.Index(condition=models.Q(('exec_status', flowerapp.states.Status.WAIT), ('left_over', True)), fields=['task_flow', 'queue', 'program', 'task_priority', 'task_exec_seq'], name='kr_task_stat_left_over'),
        ),
        migrations.AddConstraint(
            model_name='task',
            constraint=models.CheckConstraint(condition=models.Q(('owed__gte', 0)), name='kr_task_stat_owed'),
        ),
    ]
