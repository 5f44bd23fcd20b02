"""Send again what was sent over ``RESEND_AFTER`` seconds ago and whose message is lost."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from datetime import datetime

from flowerapp import conf
from flowerapp.core import executor
from flowerapp.core.messages import Marker
from flowerapp.engine import dispatching
from flowerapp.models import HistoryEntry, Task
from flowerapp.querysets import batched
from flowerapp.watcher import lost_messages
from flowerapp.watcher.interventions import intervened
from flowerapp.watcher.lost_messages import Missing, Overtaken
from flowerapp.watcher.markers import Markers

MOST_AT_ONCE = 2000
"""Messages that are sent again at once."""
LOOKS = 4
"""Looks that are remembered. Some find a queue too busy to say what it lacks."""


class Resend:
    """Sends again what two of the last ``LOOKS`` looks suspect, so not what a worker has just taken.

    ``Missing`` and ``Overtaken`` are the signs that a message is lost. Where the numbers of messages say nothing,
    ``Markers`` find out what is.
    """

    def __init__(self) -> None:
        self.suspects: deque[set[int]] = deque(maxlen=LOOKS)
        """What the last looks suspected, the latest first."""
        self.missing, self.overtaken, self.markers = Missing(), Overtaken(), Markers()

    def __call__(self) -> int:
        """One look; the number sent again."""
        if not executor.current().connected():
            return 0
        before, suspects = set[int]().union(*self.suspects), set[int]()
        seconds = conf.get().RESEND_AFTER
        silent = Task.objects.silent(seconds / 2)  # the looks may be over when a task may be sent again
        if silent.exists():
            suspects = {*self.missing.look(silent), *self.overtaken.look(silent)}
            self.markers.send(Task.objects.silent(seconds), self.missing.uncounted)
        self.suspects.appendleft(suspects)
        return send_again(_silent(sorted(suspects & before)[:MOST_AT_ONCE]))


def _silent(pks: Sequence[int]) -> list[int]:
    """Those that were sent over ``RESEND_AFTER`` seconds ago."""
    silent = Task.objects.silent(conf.get().RESEND_AFTER)
    return [pk for batch in batched(pks) for pk in silent.filter(pk__in=batch).values_list("pk", flat=True)]


def resend_before(marker: Marker) -> int:
    """A worker has taken a marker: send again what was sent before it and was not taken; the number."""
    silent = Task.objects.silent(conf.get().RESEND_AFTER)
    until = datetime.fromisoformat(marker.until)
    return send_again(list(lost_messages.sent_until(silent, marker.queue, marker.step, until)))


def send_again(pks: Sequence[int]) -> int:
    """Send these once more, and write it to the history."""
    count = 0
    if not executor.current().connected():
        return count
    for batch in batched(pks):
        chosen = Task.objects.filter(pk__in=batch)
        messages = chosen.startable().messages(alone=True)
        chosen.mark_sent()
        taken = dispatching.send(messages)
        HistoryEntry.objects.record_all("resend", [message.ref for message in taken], "its message was lost")
        for message in taken:
            intervened("resend", message.ref)
        count += len(taken)
    return count
