"""The app's configuration."""

import os
from pathlib import Path

from django.apps import AppConfig


class ProbeConfig(AppConfig):
    """Test programs and the table they write to."""

    name = "tests.probe"
    label = "probe"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Measure or double messages, leave out duties, or stop at a step of a task, where the tests ask for it."""
        if path := os.environ.get("FLOWER_PROBE_MESSAGES"):
            from tests.probe import measure

            measure.install(path)
        if os.environ.get("FLOWER_PROBE_TWICE"):
            from tests.probe import twice

            twice.install()
        if os.environ.get("FLOWER_PROBE_UNCOUNTED"):
            from tests.probe import uncounted

            uncounted.install()
        if names := os.environ.get("FLOWER_PROBE_WITHOUT_DUTIES"):
            from tests.probe import duties

            duties.leave_out(names.split(","))
        if path := os.environ.get("FLOWER_PROBE_CRASH"):
            from tests.probe import crash

            crash.install(Path(path))
