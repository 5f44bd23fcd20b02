"""Rows that other systems insert straight into ``kr_task_stat``, until they are adopted.

Such a row has no ``program`` until it is adopted; until then it is the other system's. A row in Wait is adopted or
refused. One in Running or Suspend is only observed: the other system runs it, and ends it by its own UPDATE.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from django.db.models import Case, F, Q, TextField, Value, When
from django.db.models.functions import Coalesce

from flowerapp.querysets.clock import Now
from flowerapp.querysets.finish_many import FinishManyQuerySet
from flowerapp.states import Status

REFUSED = Q(program="", remote="", exec_status=Status.SUSPEND, observed_status=Status.WAIT)
"""Rows that waited for their adoption and were refused."""

SUSPENDED_ELSEWHERE = "another system suspended it; rerun it to run it here, or skip it"
"""Error of a task that was inserted as Suspend, or became so, without an error of its own."""


class AdoptQuerySet(FinishManyQuerySet):
    """Tasks, as the watcher sees those that other systems inserted."""

    def inserted(self) -> Self:
        """Rows that were inserted straight into the table and are not adopted."""
        return self.filter(program="", remote="")

    def unobserved(self) -> Self:
        """Inserted rows that are new, or that changed their status since they were last looked at."""
        changed = ~Q(exec_status=F("observed_status")) & ~REFUSED
        return self.inserted().filter(Q(exec_status=Status.WAIT) | Q(observed_status=None) | changed)

    def not_adoptable(self) -> Self:
        """Inserted rows that could not be adopted. They are looked at again until they can."""
        return self.filter(REFUSED)

    def adopt(self, pk: int, columns: Mapping[str, Any]) -> int:
        """Fill in the ``columns`` of a row that another system inserted, which then waits to run."""
        row = self.inserted().filter(pk=pk)._allowed("adopt")
        times = {"started_ts": None, "finished_ts": None, "suspended_ts": None, "sent_ts": None}
        return row.update(**columns, **times, exec_status=Status.WAIT, observed_status=None, error="")

    def adopt_ended(self, pk: int, columns: Mapping[str, Any]) -> int:
        """Fill in the ``columns`` of a row that another system ended, and the time if it left that out.

        A row that was cancelled here, and that the other system finished after all, is Finish.
        """
        row = self.inserted().filter(pk=pk)._allowed("adopt_ended")
        ended = {"finished_ts": Coalesce("finished_ts", Now()), "observed_status": F("exec_status")}
        ignored_by = Case(When(exec_status=Status.IGNORE, then=F("ignored_by")), default=Value(""))
        return row.update(**columns, **ended, ignored_by=ignored_by, error="")

    def refuse_adoption(self, pk: int, columns: Mapping[str, Any], error: str) -> int:
        """Suspend an inserted row that cannot run as it is; ``error`` is the reason."""
        row = self.inserted().filter(pk=pk)._allowed("refuse_adoption")
        suspended_ts = Coalesce("suspended_ts", Now())
        own = {"observed_status": Status.WAIT, "finished_ts": None, "error": error}
        return row.update(**columns, **own, exec_status=Status.SUSPEND, suspended_ts=suspended_ts)

    def observe(self, pk: int, columns: Mapping[str, Any]) -> int:
        """Note that another system runs an inserted row, or has suspended it. No message is sent for such a row."""
        row = self.inserted().filter(pk=pk)._allowed("observe")
        is_suspended = Q(exec_status=Status.SUSPEND)
        error = Case(
            When(is_suspended & Q(error=""), then=Value(SUSPENDED_ELSEWHERE)),
            When(is_suspended, then=F("error")),
            default=Value(""),
            output_field=TextField(),
        )
        return row.update(
            **columns,
            observed_status=F("exec_status"),
            admitted=False,
            suspended_ts=Case(When(is_suspended, then=Coalesce("suspended_ts", Now()))),
            error=error,
        )
