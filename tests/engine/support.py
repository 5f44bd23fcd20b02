"""Workflows for the engine's tests, and what must be true of a flow after every step."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from flowerapp import engine
from flowerapp.core import graph
from flowerapp.core.plan import Node, Plan
from flowerapp.engine import children
from flowerapp.models import Flow, HistoryEntry, Task, TaskDefinition
from flowerapp.states import OPEN, SATISFIED, Status

_numbers = itertools.count(1)

Dependencies = Mapping[int, Sequence[int] | None]
"""``task_seq`` → what it depends on; None for the row before."""

DIAMOND: Dependencies = {1: [], 2: [1], 3: [1], 4: [2, 3]}
CHAIN: Dependencies = {1: None, 2: None, 3: None}


def define(steps: Dependencies, program: str = "Echo", name: str = "", **columns: Any) -> str:
    """Store a workflow and return its name; ``columns`` are those of every step."""
    name = name or f"workflow-{next(_numbers)}"
    TaskDefinition.objects.bulk_create(
        TaskDefinition(task_id=name, task_seq=seq, depends_on=depends, **{"program": program, **columns})
        for seq, depends in steps.items()
    )
    return name


def planned(*nodes: Node, **options: Any) -> Flow:
    """Register a flow of a plan that is not stored; ``options`` are those of ``engine.register_plan``."""
    return engine.register_plan(Plan(f"plan-{next(_numbers)}", nodes), **options)


def task(flow: Flow, seq: int) -> Task:
    """The task as the database has it now."""
    return engine.get_task(flow.pk, seq)


def status(flow: Flow, seq: int | None = None) -> Status:
    """State of the flow, or of one of its tasks, as the database has it now."""
    return engine.get_flow(flow.pk).status if seq is None else task(flow, seq).status


def statuses(flow: Flow) -> dict[int, Status]:
    """States of all tasks by seq."""
    return {row.task_exec_seq: row.status for row in flow.tasks.all()}


def verbs(flow: Flow) -> list[str]:
    """The flow's history as a list of verbs."""
    return list(HistoryEntry.objects.filter(task_flow=flow).values_list("verb", flat=True))


def check(flow: Flow) -> None:
    """Assert everything that must be true of a flow between any two steps."""
    flow = Flow.objects.get(pk=flow.pk)
    tasks = {row.task_exec_seq: row for row in flow.tasks.all()}
    is_open = {seq for seq, row in tasks.items() if row.status in OPEN}
    if flow.ended:
        assert not is_open, f"{flow.status.label} with open tasks {sorted(is_open)}"
        assert flow.open_sinks == 0
        assert not flow.held
        return
    edges = {seq: [*row.depends_on] for seq, row in tasks.items()}
    for seq, row in tasks.items():
        if row.parent_seq is not None:
            edges[row.parent_seq].append(seq)
    links = graph.waits(edges, is_open)
    for seq in is_open:
        waits_for_turn = tasks[seq].parent_seq is not None and tasks[seq].pending == 1
        coalesced = sum(tasks[before].coalesced for before in edges[seq] if before in is_open)
        assert tasks[seq].pending == links.pending[seq] + coalesced or waits_for_turn, f"pending of task {seq}"
        assert tasks[seq].dependents == links.dependents[seq], f"dependents of task {seq}"
        if tasks[seq].pending:
            assert tasks[seq].sent_ts is None, f"task {seq} waits, so nothing was sent for it"
    for seq, row in tasks.items():
        started = row.status is Status.RUNNING
        unsatisfied = [before for before in edges[seq] if tasks[before].status not in SATISFIED]
        assert not (started and unsatisfied), f"task {seq} runs before {unsatisfied}"
    assert is_open, f"{flow.status.label} with nothing open"
    coalesced = sum(tasks[seq].coalesced for seq in is_open if not tasks[seq].dependents)
    assert flow.open_sinks == links.sinks + coalesced
    assert flow.status is expected_status(flow, list(tasks.values()))
    for parent_seq in {row.parent_seq for row in tasks.values() if row.parent_seq is not None}:
        family = [row for row in tasks.values() if row.parent_seq == parent_seq and row.status in OPEN]
        going = [row for row in family if not row.failed and row.pending == 0]
        waiting = [row for row in family if row.pending]
        at_once = children.concurrency_of(tasks[parent_seq])
        assert len(going) <= at_once, f"{len(going)} children of task {parent_seq} at once"
        assert not waiting or len(going) == at_once, f"children of task {parent_seq} wait for no reason"
    failures = {seq for seq, row in tasks.items() if row.failed}
    assert flow.failed_seq in failures if failures else flow.failed_seq is None


def expected_status(flow: Flow, tasks: Sequence[Task]) -> Status:
    """State that an open flow should show, by its tasks."""
    going = [row for row in tasks if row.status is Status.RUNNING or (row.status is Status.WAIT and not row.pending)]
    if flow.held or not going:
        return Status.SUSPEND
    return Status.WAIT if flow.started_ts is None else Status.RUNNING
