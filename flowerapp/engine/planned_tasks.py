"""The tasks of a plan: what each of its flows gets alike, computed once for all that are registered the same way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from operator import is_not
from typing import Any

from flowerapp import conf, registry
from flowerapp.conf import Settings
from flowerapp.core import graph, programs
from flowerapp.core.cached_steps import caching_of_step
from flowerapp.core.gates import UNSENT
from flowerapp.core.messages import Message, first_sent
from flowerapp.core.plan import Node, Plan
from flowerapp.core.programs import Program
from flowerapp.engine.readiness import by_seq, recompute
from flowerapp.models import Task
from flowerapp.models.tasks import NO_DEPENDENCY
from flowerapp.querysets.insert import TaskRows
from flowerapp.states import IgnoredBy, Status, clamp_priority


@dataclass(frozen=True, kw_only=True)
class PlannedTasks:
    """The tasks of one flow, or of many that have the same plan, priority and entrance."""

    rows: TaskRows
    """Their rows, numbered 1… so that each comes after all it depends on."""
    open_sinks: int
    """Last tasks that are not satisfied yet."""
    first: tuple[Message, ...]
    """Messages to send as soon as a flow is written, without its id."""
    has_deferred: bool
    """Whether there are tasks that are ready with those and sent later."""
    has_gates: bool
    """Whether there are gates that are ready, or remote tasks whose conditions are to be tested."""
    pools: frozenset[str]
    """Pools whose slots the ready tasks wait for."""

    def messages(self, flow_id: str) -> Iterator[Message]:
        """The messages to send for a flow."""
        for message in self.first:
            yield Message(flow_id=flow_id, head=message.head, then=message.then, join=message.join)


@dataclass(frozen=True)
class Kept:
    """What a checked plan has led to, with all that it depends on beside the plan."""

    settings: Settings
    programs: tuple[Program | None, ...]
    tasks: dict[tuple[int, int | None], PlannedTasks] = field(default_factory=dict)
    """By priority and entrance, the last few."""

    def tasks_of(self, plan: Plan, priority: int, entrance: int | None) -> PlannedTasks:
        """The tasks of the plan for flows of that priority that start at that step."""
        key = priority, entrance
        if (tasks := self.tasks.get(key)) is None:
            if len(self.tasks) >= MOST_KEPT:
                self.tasks.clear()
            tasks = self.tasks[key] = planned_tasks(plan, priority, entrance)
        return tasks


MOST_KEPT = 4
"""Priorities and entrances for which the tasks of a plan are kept."""


def kept(plan: Plan) -> Kept:
    """The check of a plan and its tasks, done again only if a setting or a program of it has changed.

    Raises InvalidPlanError.
    """
    settings, entries = conf.get(), tuple(programs.find(name) for name in plan.programs)
    last: Kept | None = plan.derived.get("tasks")
    if last is None or last.settings is not settings or any(map(is_not, last.programs, entries)):
        plan.check()
        last = plan.derived["tasks"] = Kept(settings, entries)
    return last


def planned_tasks(plan: Plan, priority: int, entrance: int | None) -> PlannedTasks:
    """The tasks of a checked plan, for flows of that priority that start at that step."""
    tasks = _tasks_of(plan, priority, entrance)
    open_sinks = recompute(by_seq(tasks))
    wanted = [task for task in tasks if task.status is Status.WAIT and task.pending == 0]
    ready = [task for task in wanted if task.admitted and not task.parked and plan.most_flows is None]
    first = first_sent(task.call for task in ready)
    deferred = {task.task_exec_seq for task in ready} - first
    return PlannedTasks(
        rows=TaskRows.of(tasks, sent=first, deferred=deferred),
        open_sinks=open_sinks,
        first=tuple(Message.of("", task.call, task.canvas) for task in ready if task.task_exec_seq in first),
        has_deferred=bool(deferred),
        has_gates=any(task.parked for task in wanted),
        pools=frozenset(task.pool for task in wanted if task.pool),
    )


def _tasks_of(plan: Plan, priority: int, entrance: int | None) -> list[Task]:
    exec_seqs = {task_seq: number for number, task_seq in enumerate(graph.order(plan.edges), start=1)}
    nodes = {exec_seqs[node.seq]: node for node in plan.nodes}
    edges = {seq: sorted(exec_seqs[before] for before in nodes[seq].depends_on) for seq in sorted(nodes)}
    tasks = [_task_of(seq, node, edges[seq], priority) for seq, node in sorted(nodes.items())]
    for task in tasks:
        if (end := nodes[task.task_exec_seq].end) is not None:
            task.end_seq = exec_seqs[end]
    if entrance is not None:
        _skip_unreached(tasks, edges, exec_seqs[entrance])
    return tasks


def _task_of(seq: int, node: Node, depends_on: list[int], priority: int) -> Task:
    return Task(
        task_exec_seq=seq,
        depends_task_exec_seq=max(depends_on, default=NO_DEPENDENCY),
        depends_on=depends_on,
        task_seq=node.seq,
        **task_columns(node, priority),
    )


def task_columns(node: Node, flow_priority: int) -> dict[str, Any]:
    """Columns of a task that come from its definition."""
    caching = caching_of_step(node)
    return {
        "program": node.program,
        "parameters": dict(node.parameters),
        "task_priority": clamp_priority(node.priority + flow_priority),
        "queue": node.queue or (registry.get(node.program).queue if node.program else ""),
        "max_retries": node.max_retries,
        "retry_delay": node.retry_delay,
        "time_limit": node.time_limit,
        "name": node.name,
        "merge": node.merge,
        "when": node.when,
        "cache_key": caching.key,
        "cache_seconds": caching.seconds or None,
        "cache_scope": str(node.cache_scope),
        "pool": node.pool,
        "admitted": bool(node.program) and not node.pool,
        "parked": node.program in UNSENT or bool(node.is_remote and node.when),
        "remote": node.remote,
        "alias": node.alias,
        "child_program": node.child_program,
        "max_concurrency": node.max_concurrency,
        "exit_on_failed": node.exit_on_failed,
        "overridable": list(node.open_parameters) or None,
    }


def _skip_unreached(tasks: Sequence[Task], edges: graph.Edges, entrance: int) -> None:
    """Ignore what a flow from the entrance does not reach.

    What lies before the entrance passes the flow's input on, so it gets no output of its own.
    """
    run = graph.reach([entrance], graph.followers(edges))
    before = graph.reach([entrance], edges)
    for task in tasks:
        if task.task_exec_seq not in run:
            task.exec_status = Status.IGNORE
            task.ignored_by = IgnoredBy.ENTRANCE.value
            task.output = None if task.task_exec_seq in before else {}
