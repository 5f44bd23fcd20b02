"""What nobody has sent yet, and what was cancelled, is found by an index, however long the history."""

from django.db import migrations, models

import flowerapp.states


class Migration(migrations.Migration):
    atomic = False
    """Each index is locked for by itself: together they would meet a registration, which locks both tables."""

    dependencies = [("flowerapp", "0003_flow_control")]

    operations = [
        migrations.AddIndex(
            model_name="task",
            index=models.Index(
                name="kr_task_stat_unsent",
                fields=["task_priority", "id"],
                condition=models.Q(
                    ("admitted", True),
                    ("due_ts__isnull", True),
                    ("exec_status", flowerapp.states.Status.WAIT),
                    ("parked", False),
                    ("pending", 0),
                    ("sent_ts__isnull", True),
                ),
            ),
        ),
        migrations.AddIndex(
            model_name="flow",
            index=models.Index(
                name="kr_task_flow_ignored",
                fields=["-registered_ts", "-task_flow_id"],
                condition=models.Q(("exec_status", flowerapp.states.Status.IGNORE)),
            ),
        ),
        migrations.AddIndex(
            model_name="task",
            index=models.Index(
                name="kr_task_stat_ignored",
                fields=["id"],
                condition=models.Q(("exec_status", flowerapp.states.Status.IGNORE)),
            ),
        ),
    ]
