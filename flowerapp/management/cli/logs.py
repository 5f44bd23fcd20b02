"""``flow logs``: the lines that the programs of a flow or a task log, once or as they come."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder

from flowerapp.management.cli import arguments
from flowerapp.management.cli.display import Text
from flowerapp.management.cli.output import Output
from flowerapp.models import Flow, Log
from flowerapp.querysets.waiting import must_not_be_in_transaction
from flowerapp.selectors import task_logs
from flowerapp.selectors.flows import get_flow
from flowerapp.selectors.tasks import get_task
from flowerapp.states import Status

PAUSE = 1.0
"""Seconds between two looks for new lines."""
LAST_LINES_SECONDS = 3.0
"""Seconds after the end in which a process may still write its last lines."""
PAGE = 500
DONE, ENDED_OTHERWISE = 0, 1

Options = dict[str, Any]


@dataclass
class _Selection:
    """The lines that are wanted, and how they are printed."""

    flow_id: str
    seq: int | None
    filters: dict[str, Any]
    out: Output

    def lines(self, after: int | None = None) -> Any:
        """Those after the line of an id."""
        return task_logs.lines(self.flow_id, self.seq, after=after, **self.filters)

    def print(self, lines: Iterable[Log]) -> None:
        """Print lines: as text, or each as JSON on a line of its own."""
        for line in lines:
            if self.out.as_json:
                document = json.dumps(task_logs.document(line), cls=DjangoJSONEncoder, ensure_ascii=True)
                self.out.raw(f"{document}\n")
            else:
                self.out.line(Text(task_logs.text_of(line, with_task=self.seq is None)))

    def status(self) -> Status:
        """The state of the flow; that of the task, unless it waits for what the flow's state does not bring."""
        status = get_flow(self.flow_id).status
        if self.seq is None:
            return status
        own = get_task(self.flow_id, self.seq).status
        return status if own is Status.WAIT else own


def logs(out: Output, options: Options) -> int:
    """The last lines of a flow or a task; with --follow also those that come, until it has ended."""
    flow: Flow = arguments.find_flow(options["flow"])
    seq = options["seq"]
    if seq is not None:
        get_task(flow.pk, seq)
    level = options["level"]
    filters = {"level": level.upper() if level else None, "search": options["search"]}
    selection = _Selection(flow.pk, seq, filters, out)
    if options["follow"]:
        return _follow(selection, options["limit"])
    last = task_logs.latest(options["limit"], selection.lines())
    earlier = selection.lines().filter(id__lt=last[0].pk).count() if last else 0
    if out.as_json:
        out.document({"lines": [task_logs.document(line) for line in last], "left_out": earlier})
        return DONE
    if earlier:
        out.note(f"{earlier:,} earlier lines are left out; see more with --limit N", style="dim")
    selection.print(last)
    if not last:
        out.note("no lines")
    return DONE


def _follow(selection: _Selection, limit: int) -> int:
    last = task_logs.latest(limit, selection.lines())
    selection.print(last)
    follower = _Follower(selection, last[-1].pk if last else 0)
    try:
        status = follower.wait()
    except KeyboardInterrupt:
        return DONE
    return DONE if status is Status.FINISH else ENDED_OTHERWISE


class _Follower:
    def __init__(self, selection: _Selection, after: int) -> None:
        self._selection = selection
        self._after = after

    def wait(self) -> Status:
        """Print lines as they come, until the flow or task has ended or cannot continue; its state then."""
        while (status := self._selection.status()) in (Status.WAIT, Status.RUNNING):
            must_not_be_in_transaction(f"flow {self._selection.flow_id}")
            self._print_new()
            time.sleep(PAUSE)
        deadline = time.monotonic() + LAST_LINES_SECONDS
        while self._print_new() or time.monotonic() < deadline:
            time.sleep(PAUSE / 4)
        return status

    def _print_new(self) -> int:
        """Print what is new; the number of lines."""
        count = 0
        while page := list(self._selection.lines(self._after)[:PAGE]):
            self._selection.print(page)
            self._after = page[-1].pk
            count += len(page)
        return count
