"""Remote tasks, as the stream carries them: which are to be put into it, and which are in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from django.db.models import Case, CharField, Exists, OuterRef, Value, When

from flowerapp.querysets.clock import Now, ago
from flowerapp.querysets.ready import ReadyQuerySet
from flowerapp.states import Status

UNPUBLISHABLE = "0-0"
"""``stream_entry`` of a task that is too large for the stream; no entry of Redis has this id."""


class StreamQuerySet(ReadyQuerySet):
    """Tasks, as those see them that put them into the stream."""

    def publishable(self) -> Self:
        """Remote tasks that another system may claim now, and that are not in the stream; the most urgent first."""
        return self.offered().filter(stream_entry="").order_by("task_priority", "pk")

    def published(self) -> Self:
        """Tasks that have an entry in the stream, or are too large for one."""
        return self.exclude(stream_entry="")

    def withdrawable(self) -> Self:
        """Published tasks that are no longer to be taken from the stream: others have them, or they changed."""
        waiting = self.model.objects.using(self.db).offered().filter(pk=OuterRef("pk"), sent_ts__isnull=False)
        return self.published().exclude(Exists(waiting))

    def leased(self) -> Self:
        """Remote tasks that another system runs."""
        return self.filter(exec_status=Status.RUNNING, lease_ts__isnull=False)

    def published_before(self, seconds: float) -> Self:
        """Tasks that were put into the stream over ``seconds`` ago."""
        return self.published().exclude(stream_entry=UNPUBLISHABLE).filter(sent_ts__lt=ago(seconds))

    def mark_published(self, entries: Mapping[int, str]) -> int:
        """Remember the entries of tasks, ``{primary key: id of the entry}``."""
        if not entries:
            return 0
        cases = [When(pk=pk, then=Value(entry)) for pk, entry in entries.items()]
        chosen = Case(*cases, default=Value(""), output_field=CharField())
        return self.filter(pk__in=list(entries)).update(stream_entry=chosen, sent_ts=Now())

    def mark_withdrawn(self, entries: Mapping[int, str]) -> int:
        """Forget the entries of tasks, unless they have got others meanwhile."""
        own = self.filter(pk__in=list(entries), stream_entry__in=sorted(set(entries.values())))
        return own.update(stream_entry="")

    def publish_anew(self) -> int:
        """Let published tasks be withdrawn and put into the stream again, as what was in it is lost."""
        return self.published().update(sent_ts=None)
