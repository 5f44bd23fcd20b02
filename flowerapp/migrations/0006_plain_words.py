"""Columns and models under the words of ``docs/glossary.md``, and why a task is Ignore in a column of its own."""

from django.apps import apps as installed
from django.db import migrations, models
from django.db.models import Exists, OuterRef
from django.db.models.functions import Now

import flowerapp.states
from flowerapp.states import IgnoredBy, Status


def fill_ignored_by(apps, schema_editor):
    """Before, the reason was in the error's text, in the flow's state, or in the history.

    A skip stores an output and a cancel does not: that separates a task that was skipped from one that was skipped,
    rerun and then cancelled. A failed child is suspended first, unless its failure is tolerated.
    """
    alias = schema_editor.connection.alias
    tasks = apps.get_model("flowerapp", "Task").objects.using(alias)
    flows = apps.get_model("flowerapp", "Flow").objects.using(alias)
    history = apps.get_model("flowerapp", "HistoryEntry").objects.using(alias)
    ignored = tasks.filter(exec_status=Status.IGNORE, ignored_by="")
    cancelled = Exists(flows.filter(pk=OuterRef("task_flow_id"), exec_status=Status.IGNORE))
    skips = history.filter(
        verb="skip", task_flow_id=OuterRef("task_flow_id"), task_exec_seq=OuterRef("task_exec_seq")
    )
    failed_children = ignored.filter(parent_seq__isnull=False, output__isnull=True).exclude(error="")
    failed_children.filter(error__startswith="stopped").update(ignored_by=IgnoredBy.SIBLING.value)
    failed_children.exclude(cancelled, suspended_ts__isnull=False).update(ignored_by=IgnoredBy.TOLERATED.value)
    ignored.filter(Exists(skips), output__isnull=False).update(ignored_by=IgnoredBy.SKIP.value)
    ignored.filter(attempt=0, output__isnull=False).update(ignored_by=IgnoredBy.ENTRANCE.value)
    ignored.filter(cancelled).update(ignored_by=IgnoredBy.CANCEL.value)


def rename_permissions(apps, schema_editor):
    """Users keep their rights on the history, whose model has another name now."""
    _rename_permissions(schema_editor.connection, ("event", "event"), ("historyentry", "history entry"))


def restore_permissions(apps, schema_editor):
    """The names as they were."""
    _rename_permissions(schema_editor.connection, ("historyentry", "history entry"), ("event", "event"))


def _rename_permissions(connection, before, after):
    """Rename the permissions on a model from and to its name, in code and in words."""
    if not installed.is_installed("django.contrib.auth"):
        return
    permission_model = installed.get_model("auth", "Permission")
    if permission_model._meta.db_table not in connection.introspection.table_names():
        return
    of_app = permission_model.objects.using(connection.alias).filter(content_type__app_label="flowerapp")
    for permission in of_app.filter(codename__endswith=f"_{before[0]}"):
        permission.codename = permission.codename.removesuffix(before[0]) + after[0]
        permission.name = permission.name.removesuffix(before[1]) + after[1]
        permission.save(update_fields=["codename", "name"])


class Migration(migrations.Migration):

    dependencies = [
        ('flowerapp', '0005_left_over'),
    ]

    operations = [
        migrations.RenameModel(
            old_name='Event',
            new_name='HistoryEntry',
        ),
        migrations.RemoveConstraint(
            model_name='task',
            name='kr_task_stat_owed',
        ),
        migrations.RemoveIndex(
            model_name='task',
            name='kr_task_stat_unsent',
        ),
        migrations.RemoveIndex(
            model_name='task',
            name='kr_task_stat_left_over',
        ),
        migrations.RenameField(
            model_name='task',
            old_name='owed',
            new_name='coalesced',
        ),
        migrations.RenameField(
            model_name='task',
            old_name='left_over',
            new_name='deferred',
        ),
        migrations.RenameField(
            model_name='task',
            old_name='copied',
            new_name='resent',
        ),
        migrations.AddField(
            model_name='task',
            name='ignored_by',
            field=models.CharField(blank=True, choices=[('skip', 'skip'), ('cancel', 'cancel'), ('condition', 'condition'), ('entrance', 'entrance'), ('sibling', 'sibling'), ('tolerated', 'tolerated')], db_default='', default='', help_text='Why it is Ignore.', max_length=16),
        ),
        migrations.RunPython(fill_ignored_by, migrations.RunPython.noop),
        migrations.RunPython(rename_permissions, restore_permissions),
        migrations.AlterField(
            model_name='hook',
            name='taken_ts',
            field=models.DateTimeField(blank=True, help_text='When it took this, or when a worker was asked to.', null=True),
        ),
        migrations.AlterField(
            model_name='hook',
            name='worker',
            field=models.CharField(blank=True, default='', help_text='Worker that delivers it now.', max_length=64),
        ),
        migrations.AlterField(
            model_name='flow',
            name='admitted',
            field=models.BooleanField(db_default=True, default=True, help_text='The limit of its workflow lets its tasks start.'),
        ),
        migrations.AlterField(
            model_name='flow',
            name='limited',
            field=models.BooleanField(db_default=False, default=False, help_text='Its workflow limits how many of its flows are active at once.'),
        ),
        migrations.AlterField(
            model_name='task',
            name='coalesced',
            field=models.IntegerField(db_default=0, default=0, help_text='Ends of other tasks that its own end also counts for its dependents.'),
        ),
        migrations.AlterField(
            model_name='task',
            name='deferred',
            field=models.BooleanField(db_default=False, default=False, help_text='Ready together with many of the same program and queue; sent or claimed when one of these ends.'),
        ),
        migrations.AlterField(
            model_name='task',
            name='progress',
            field=models.JSONField(blank=True, help_text='{done, total} as the program reported.', null=True),
        ),
        migrations.AlterField(
            model_name='task',
            name='resent',
            field=models.BooleanField(db_default=False, default=False, help_text='An older message may still exist, so the one that arrives may be older than sent_ts.'),
        ),
        migrations.AlterField(
            model_name='taskdefinition',
            name='exit_on_failed',
            field=models.BooleanField(db_default=True, default=True, help_text='Whether a failed child fails the step and stops its siblings, or is tolerated.'),
        ),
        migrations.AlterField(
            model_name='worker',
            name='seen_ts',
            field=models.DateTimeField(db_default=Now(), help_text='Last heartbeat.'),
        ),
        migrations.AlterField(
            model_name='workflow',
            name='max_active_flows',
            field=models.PositiveIntegerField(blank=True, help_text='Flows that may be active at once; the others wait. Empty for no limit.', null=True),
        ),
        migrations.AlterField(
            model_name='workflow',
            name='source',
            field=models.CharField(blank=True, db_default='', default='', editable=False, help_text='Python class that defines it; empty for one without a class.', max_length=256),
        ),
        migrations.AlterField(
            model_name='workflow',
            name='unique',
            field=models.BooleanField(db_default=False, default=False, help_text='One flow at a time: registering again returns the one that is active.'),
        ),
        migrations.AddIndex(
            model_name='task',
            index=models.Index(condition=models.Q(('admitted', True), ('deferred', False), ('due_ts__isnull', True), ('exec_status', flowerapp.states.Status.WAIT), ('parked', False), ('pending', 0), ('sent_ts__isnull', True)), fields=['task_priority', 'id'], name='kr_task_stat_unsent'),
        ),
        migrations.AddIndex(
            model_name='task',
            index=models.Index(condition=models.Q(('deferred', True), ('exec_status', flowerapp.states.Status.WAIT)), fields=['task_flow', 'queue', 'program', 'task_priority', 'task_exec_seq'], name='kr_task_stat_deferred'),
        ),
        migrations.AddConstraint(
            model_name='task',
            constraint=models.CheckConstraint(condition=models.Q(('ignored_by', ''), models.Q(('exec_status', flowerapp.states.Status.IGNORE), ('ignored_by__in', [flowerapp.states.IgnoredBy.CANCEL, flowerapp.states.IgnoredBy.CONDITION, flowerapp.states.IgnoredBy.ENTRANCE, flowerapp.states.IgnoredBy.SIBLING, flowerapp.states.IgnoredBy.SKIP, flowerapp.states.IgnoredBy.TOLERATED])), _connector='OR'), name='kr_task_stat_ignored_by'),
        ),
        migrations.AddConstraint(
            model_name='task',
            constraint=models.CheckConstraint(condition=models.Q(('coalesced__gte', 0)), name='kr_task_stat_coalesced'),
        ),
    ]
