"""When markers are sent to a queue whose numbers of messages say nothing about what is lost."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from flowerapp import conf
from flowerapp.core import executor, logs
from flowerapp.core.messages import Marker
from flowerapp.querysets import TaskQuerySet
from flowerapp.watcher.lost_messages import groups

logger = logs.logger(__name__)

LONGEST_PAUSE = 600.0
"""Most seconds between two markers of a queue and step while its oldest silent task is the same."""


@dataclass(slots=True)
class _Wait:
    """What was last done for a queue and step."""

    oldest: datetime
    pause: float
    sent: float = float("-inf")


class Markers:
    """Sends a marker to each such queue and step, and again after pauses that double as long as nothing moves there.

    A marker may be lost too, and an endless backlog must not fill with them.
    """

    def __init__(self) -> None:
        self._waits: dict[tuple[str, int], _Wait] = {}

    def send(self, silent: TaskQuerySet, places: Collection[tuple[str, int]]) -> int:
        """Send those that are due to ``places``, queues and steps with silent tasks; their number."""
        self._waits = {place: wait for place, wait in self._waits.items() if place in places}
        times: dict[tuple[str, int], list[datetime]] = {}
        for group in groups(silent) if places else ():
            if group.place in places:
                times.setdefault(group.place, []).extend((group.oldest, group.youngest))
        return sum(self._send(place, min(sent), max(sent)) for place, sent in times.items())

    def _send(self, place: tuple[str, int], oldest: datetime, youngest: datetime) -> int:
        now, pause = time.monotonic(), float(conf.get().RESEND_AFTER)
        wait = self._waits.setdefault(place, _Wait(oldest, pause))
        if wait.oldest != oldest:
            wait.oldest, wait.pause = oldest, pause
        if now - wait.sent < wait.pause:
            return 0
        wait.pause = wait.pause if wait.sent < 0 else min(2 * wait.pause, LONGEST_PAUSE)
        wait.sent = now
        return self._publish(Marker(*place, youngest.isoformat()))

    def _publish(self, marker: Marker) -> int:
        try:
            executor.current().send_marker(marker)
        except Exception as error:  # a queue that refuses its messages does not concern the others
            logger.debug("no marker could be sent to queue %s: %r", marker.queue, error)
            return 0
        return 1
