"""The output cache: its entries, each with the attempt that fills it or has filled it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from django.db import models
from django.db.models import Exists, OuterRef, Sum

from flowerapp.querysets.clock import Now, ago
from flowerapp.states import Status

if TYPE_CHECKING:
    from flowerapp.models import CachedOutput


class Attempt(NamedTuple):
    """The attempt that fills an entry, or has filled it."""

    flow_id: str
    seq: int
    number: int

    @property
    def columns(self) -> dict[str, Any]:
        """As columns of an entry."""
        return {"task_flow_id": self.flow_id, "task_exec_seq": self.seq, "attempt": self.number}


class CacheQuerySet(models.QuerySet[Any]):
    """Entries. One without an output is being filled while the attempt that it names runs."""

    def by_attempt(self, attempt: Attempt) -> Self:
        """What an attempt fills or has filled."""
        return self.filter(**attempt.columns)

    def filled(self) -> Self:
        """Those with an output."""
        return self.filter(filled_ts__isnull=False)

    def fresh(self, seconds: float) -> Self:
        """Those whose output is not too old, for itself and for a taker that wants none older than ``seconds``."""
        return self.filled().filter(expires_ts__gt=Now(), filled_ts__gt=ago(seconds))

    def expired(self) -> Self:
        """Those that no task takes any more."""
        return self.filter(expires_ts__lte=Now())

    def being_filled(self, longest: float) -> Self:
        """Those whose attempt runs, and has had them for less than ``longest`` seconds."""
        return self.filter(self._runs(), filled_ts__isnull=True, taken_ts__gt=ago(longest))

    def abandoned(self, longest: float) -> Self:
        """Those without an output that no attempt is about to fill."""
        empty = self.filter(filled_ts__isnull=True)
        return empty.exclude(pk__in=empty.being_filled(longest).values("pk"))

    def _runs(self) -> Exists:
        tasks: Any = self.model._meta.apps.get_model("flowerapp", "Task").objects.using(self.db)
        own = {name: OuterRef(name) for name in ("task_flow_id", "task_exec_seq", "attempt")}
        return Exists(tasks.filter(exec_status=Status.RUNNING, **own))

    def locked(self, digest: str) -> CachedOutput | None:
        """The entry of that digest, locked; None if there is none. In a transaction."""
        entry: CachedOutput | None = self.select_for_update().filter(digest=digest).first()
        return entry

    def add(self, digest: str, attempt: Attempt, **facts: Any) -> None:
        """Make an entry for an attempt to fill, unless another process has just made it."""
        entry = self.model(digest=digest, taken_ts=Now(), **attempt.columns, **facts)
        self.bulk_create([entry], ignore_conflicts=True)

    def take(self, digest: str, attempt: Attempt) -> int:
        """Let an attempt fill an entry anew; its output is gone. The caller holds the lock."""
        emptied = {"output": None, "size": 0, "filled_ts": None, "expires_ts": None}
        return self.filter(digest=digest).update(**attempt.columns, **emptied, taken_ts=Now())

    def fill(self, attempt: Attempt, output: str, seconds: int) -> int:
        """Store the output of an attempt, JSON text, for ``seconds``; 0 if it no longer has an entry to fill."""
        own = self.by_attempt(attempt).filter(filled_ts__isnull=True)
        expires = Now() + timedelta(seconds=seconds)
        return own.update(output=output, size=len(output.encode()), filled_ts=Now(), expires_ts=expires)

    def give_up(self, attempt: Attempt) -> int:
        """Delete what an attempt was to fill and did not."""
        return self.by_attempt(attempt).filter(filled_ts__isnull=True).delete()[0]

    def delete_oldest(self, most: int, most_bytes: int, page: int) -> int:
        """Delete the oldest outputs, at most ``page``, until no more than ``most`` are left and ``most_bytes``."""
        filled = self.filled().order_by("filled_ts", "pk")
        number, size = filled.count(), filled.aggregate(size=Sum("size"))["size"] or 0
        chosen: list[int] = []
        for key, own in filled.values_list("pk", "size")[:page] if number > most or size > most_bytes else ():
            if number <= most and size <= most_bytes:
                break
            chosen.append(key)
            number, size = number - 1, size - own
        return self.delete_keys(chosen)

    def delete_keys(self, keys: Sequence[int]) -> int:
        """Delete these entries; their number."""
        return self.filter(pk__in=keys).delete()[0] if keys else 0
