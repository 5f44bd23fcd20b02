"""Since when the executor or a worker refuses a task, and who does."""

from django.db import migrations, models

import flowerapp.states


class Migration(migrations.Migration):

    dependencies = [
        ("flowerapp", "0008_given_at_register"),
    ]

    operations = [
        migrations.AddField(
            model_name="task",
            name="refused_by",
            field=models.CharField(blank=True, choices=[("executor", "executor"), ("worker", "worker")], db_default="", default="", help_text="Who refuses it.", max_length=16),
        ),
        migrations.AddField(
            model_name="task",
            name="refused_ts",
            field=models.DateTimeField(blank=True, help_text="Since when its message cannot be published, or workers do not know its program.", null=True),
        ),
        migrations.AddIndex(
            model_name="task",
            index=models.Index(condition=models.Q(("exec_status", flowerapp.states.Status.WAIT), ("refused_ts__isnull", False)), fields=["id"], name="kr_task_stat_refused"),
        ),
        migrations.AddConstraint(
            model_name="task",
            constraint=models.CheckConstraint(condition=models.Q(models.Q(("refused_by", ""), ("refused_ts__isnull", True)), models.Q(("refused_by__in", [flowerapp.states.RefusedBy.EXECUTOR, flowerapp.states.RefusedBy.WORKER]), ("refused_ts__isnull", False)), _connector="OR"), name="kr_task_stat_refused_by"),
        ),
    ]
