"""The heartbeat of a worker: as long as it comes, the tasks that the worker claimed are its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from flowerapp import conf
from flowerapp.core import logs
from flowerapp.models import Worker
from flowerapp.watcher.loop import Loop

logger = logs.logger(__name__)


class Heartbeat(Loop):
    """Sends the worker's heartbeat, and does nothing that can block."""

    def __init__(self, describe: Callable[[], dict[str, Any]]) -> None:
        super().__init__("heartbeat")
        self.describe = describe
        """The columns of the worker's row as they are now."""
        self.description = describe()

    def look(self) -> None:
        """A heartbeat every 2 s."""
        self.do("heartbeat", 2, self.beat)

    def announce(self) -> None:
        """Write the worker's row, before it claims anything."""
        Worker.objects.update_or_create(pk=self.worker, defaults={**self.description, "stopped_ts": None})
        Worker.objects.seen(self.worker)

    def beat(self) -> None:
        """Renew the worker's row, as its queues may have changed, and touch ``HEARTBEAT_FILE``."""
        before, self.description = self.description, self.describe()
        if not Worker.objects.seen(self.worker) or before != self.description:
            self.announce()
        _touch(conf.get().HEARTBEAT_FILE)

    def on_stop(self) -> None:
        """Record that this worker has stopped."""
        Worker.objects.stopped(self.worker)


def _touch(path: str | None) -> None:
    if path is None:
        return
    try:
        Path(path).touch()
    except OSError as error:
        logger.warning("FLOWER['HEARTBEAT_FILE'] cannot be written, so the worker looks dead: %s", error)
