"""``flow approvals``, ``flow approve`` and ``flow reject``: what people are asked to decide, and their decisions."""

from __future__ import annotations

from typing import Any

from flowerapp import engine
from flowerapp.exceptions import InvalidError, StateConflictError
from flowerapp.management.cli import arguments, tables
from flowerapp.management.cli.display import Text
from flowerapp.management.cli.output import Output, plain
from flowerapp.models import Approval
from flowerapp.selectors import approvals as reads

Options = dict[str, Any]
DONE = 0
MOST_LISTED = 50
"""Approvals in a list for which no number is wanted."""


def approvals(out: Output, options: Options) -> int:
    """The open approvals, the newest first; with --all those that have ended, too."""
    listed = reads.shown_approvals()
    listed = listed.order_by(*reads.OPEN_FIRST) if options["all"] else listed.open().order_by("-id")
    if options["flow"] is not None:
        listed = listed.filter(task_flow_id=arguments.find_flow(options["flow"]).pk)
    limit = options["limit"] or MOST_LISTED
    page = list(listed[: limit + 1])
    out.document([document(approval) for approval in page[:limit]])
    out.result(_table(page[:limit]) if page else "no approvals")
    if len(page) > limit:
        out.note("… there are more; --limit N lists more of them")
    return DONE


def _table(page: list[Approval]) -> Any:
    listing = tables.table("Flow", "Task", "Workflow", "Title", "State", "Since", "Until", "Decision")
    listing.columns[0].no_wrap = True
    for approval in page:
        decision = "" if approval.is_open else reads.outcome(approval)
        columns = (approval.task_flow.task_id, approval.title, approval.state)
        times = (tables.moment(approval.opened_ts), tables.moment(approval.due_ts))
        who = reads.deciders(approval) if approval.is_open else decision
        listing.add_row(approval.task_flow_id, str(approval.task_exec_seq), *map(plain, columns), *times, plain(who))
    return listing


def document(approval: Approval) -> dict[str, Any]:
    """An approval as JSON, with the keys of the API."""
    columns = {name: getattr(approval, name) for name in reads.COLUMNS}
    return {"id": approval.pk, "task_flow_id": approval.task_flow_id, "task_id": approval.task_flow.task_id, **columns}


def approve(out: Output, options: Options) -> int:
    """Decide with the first choice that counts as approved, or with --choice."""
    return _decide(out, options, approved=True)


def reject(out: Output, options: Options) -> int:
    """Decide with the first choice that does not count as approved, or with --choice."""
    return _decide(out, options, approved=False)


def _decide(out: Output, options: Options, *, approved: bool) -> int:
    flow_id = str(arguments.find_flow(options["flow"]).pk)
    approval = _asked(flow_id, options["seq"])
    decided = engine.decide(
        flow_id,
        approval.task_exec_seq,
        options["choice"] or _first(approval, approved=approved),
        actor=arguments.actor(),
        comment=options["comment"],
        data=arguments.read_input(options["data"], "--data"),
    )
    out.document(document(decided))
    out.result(Text(f"{flow_id}  task {decided.task_exec_seq}: {plain(reads.outcome(decided))}"))
    return DONE


def _asked(flow_id: str, seq: int | None) -> Approval:
    """The one approval that is meant; raises StateConflictError if there is none, and InvalidError for several."""
    asked = reads.open_of_flow(flow_id, seq)
    if len(asked) > 1:
        listed = ", ".join(f"{approval.task_exec_seq} ({plain(approval.title)})" for approval in asked[:20])
        raise InvalidError(f"several tasks of flow {flow_id} ask for a decision; give the SEQ of one: {listed}")
    if not asked:
        raise StateConflictError(_nothing_asked(flow_id, seq))
    return asked[0]


def _nothing_asked(flow_id: str, seq: int | None) -> str:
    if seq is None:
        return f"no task of flow {flow_id} asks for a decision; see `flow approvals --all`"
    task = engine.get_task(flow_id, seq)
    latest = reads.of_task(task.ref)
    if latest is None:
        return f"task {seq} of flow {flow_id} asks for no decision"
    return f"task {seq} of flow {flow_id} asks for no decision any more: {reads.outcome(latest)}"


def _first(approval: Approval, *, approved: bool) -> str:
    """Name of the first choice that counts so; raises InvalidError if none does."""
    names = [way.name for way in approval.ways if way.approved == approved]
    if not names:
        listed = ", ".join(way.name for way in approval.ways)
        raise InvalidError(f"no choice {'approves' if approved else 'rejects'}; give --choice, one of {listed}")
    return names[0]
