"""What the pages of a flow and of a task show."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db.models import Count, QuerySet
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from flowerapp import context, drawing, engine, queues, values
from flowerapp.admin import show
from flowerapp.admin.rows import COLUMNS, children_of, task_rows
from flowerapp.models import Event, Flow, Log, Task, Worker
from flowerapp.states import ACTIVE, Status

MOST_ROWS = 200
"""Tasks, log lines and events that a page shows; the rest is behind a link."""
MOST_DRAWN = 1000
"""Tasks of a flow whose graph is still drawn."""
MOST_FAILURES = 5
"""Failed tasks that a flow's page opens with."""


def flow_page(flow: Flow) -> dict[str, Any]:
    """Everything on the page of a flow; the number of statements does not grow with its tasks."""
    steps = Task.objects.filter(task_flow_id=flow.pk, parent_seq=None).order_by("task_exec_seq")
    by_status = dict(steps.order_by().values_list("exec_status").annotate(Count("pk")))
    total = sum(by_status.values())
    failed = at_fault(flow)
    failed_count = 0 if flow.ended else failed.count()
    return {
        "flow": flow,
        "badge": show.flow_badge(flow),
        "workflow_url": show.workflow_url(flow.task_id),
        "facts": _flow_facts(flow),
        "turn": _turn(flow, steps),
        "flows_url": show.flows_url(flow.task_id),
        "failures": _failures(flow, failed) if failed_count else [],
        "failed_count": failed_count,
        "counts": [(show.badge(status), by_status[status]) for status in Status if status in by_status],
        "total": total,
        "done": by_status.get(Status.FINISH, 0) + by_status.get(Status.IGNORE, 0),
        "rows": task_rows(steps[:MOST_ROWS]),
        "more_tasks": max(0, total - MOST_ROWS),
        "tasks_url": show.tasks_url(flow.pk, parent="none"),
        "failed_url": show.tasks_url(flow.pk, Status.SUSPEND),
        "drawing": drawing_of(flow, total),
        "input": show.pretty(values.masked(flow.input)),
        "output": show.pretty(values.masked(flow.output)) if flow.ended else None,
        "state": show.pretty(values.masked(flow.state)) if flow.state else "",
        "history": history(Event.objects.filter(task_flow_id=flow.pk)),
        "unserved": [] if flow.ended or flow.held else queues.unserved(flow.pk),
        "live": flow.status in (Status.WAIT, Status.RUNNING),
    }


def drawing_of(flow: Flow, total: int) -> SafeString | str:
    """The graph as SVG; empty where it would be too large to draw while somebody waits."""
    if not 0 < total <= MOST_DRAWN:
        return ""
    columns = ("task_exec_seq", "program", "exec_status", "depends_on")
    steps = Task.objects.filter(task_flow_id=flow.pk, parent_seq=None)
    rows = list(steps.order_by("task_exec_seq").values_list(*columns))
    nodes = [drawing.Node(seq=seq, label=program, status=Status(status)) for seq, program, status, _ in rows]
    edges = {seq: depends_on for seq, _, _, depends_on in rows}
    return mark_safe(drawing.svg(nodes, edges, f"Flow of {flow.task_id}"))  # noqa: S308 - the drawing escapes its texts


def _flow_facts(flow: Flow) -> list[tuple[str, Any]]:
    facts = [
        ("Flow", flow.pk),
        ("Priority", flow.task_priority),
        ("Registered", show.moment(flow.registered_ts)),
        ("By", flow.registered_by),
        ("Started", show.moment(flow.started_ts)),
        ("Suspended", show.moment(flow.suspended_ts)),
        ("Finished", show.moment(flow.finished_ts)),
        ("Duration", show.duration(flow.started_ts, flow.finished_ts)),
    ]
    return [(name, value) for name, value in facts if value not in ("", None)]


def at_fault(flow: Flow) -> QuerySet[Task]:
    """Failed tasks, without those that failed because a child of theirs did: the child is there to be mended."""
    failed = Task.objects.filter(task_flow_id=flow.pk, exec_status=Status.SUSPEND)
    parents = failed.filter(parent_seq__isnull=False).values("parent_seq")
    return failed.exclude(task_exec_seq__in=parents)


def _failures(flow: Flow, tasks: QuerySet[Task]) -> list[Task]:
    """The first of the failed tasks, the very first at the front."""
    failed = list(tasks.order_by("suspended_ts", "task_exec_seq")[:MOST_FAILURES])
    for task in failed:
        task.task_flow = flow
        task.traceback = show.cut(task.traceback)
    return sorted(failed, key=lambda task: task.task_exec_seq != flow.failed_seq)


def _turn(flow: Flow, steps: QuerySet[Task]) -> str:
    """What the tasks of a flow wait for that is not let in yet; empty for any other."""
    if flow.admitted or flow.held or flow.status not in ACTIVE:
        return ""
    ready = steps.filter(exec_status=Status.WAIT, pending=0, children=0).only(*COLUMNS)[:1]
    return next(iter(engine.why_wait(list(ready)).values()), "for its flow's turn")


def history(events: QuerySet[Any]) -> list[dict[str, Any]]:
    """Events, the latest first."""
    latest = list(events.order_by("-id")[:MOST_ROWS])
    workers = Worker.objects.names(event.worker for event in latest)
    return [
        {
            "ts": show.moment(event.ts),
            "verb": event.verb,
            "seq": event.task_exec_seq,
            "attempt": event.attempt,
            "worker": workers.get(event.worker, ""),
            "actor": event.actor,
            "reason": event.reason,
            "details": ", ".join(f"{key}: {values.dumps(value)}" for key, value in event.details.items())[:300],
        }
        for event in latest
    ]


def task_page(task: Task) -> dict[str, Any]:
    """Everything on the page of a task."""
    flow = task.task_flow
    of_task = {"task_flow_id": flow.pk, "task_exec_seq": task.task_exec_seq}
    logs = list(Log.objects.filter(**of_task).order_by("-id")[:MOST_ROWS])
    return {
        "task": task,
        "flow": flow,
        "flow_url": show.flow_url(flow.pk),
        "flow_badge": show.flow_badge(flow),
        "badge": show.task_badge(task),
        "facts": _task_facts(task),
        "child": show.child(task),
        "children": children_of([task]).get(task.task_exec_seq),
        "error": task.error,
        "traceback": show.cut(task.traceback),
        "input": _input(task),
        "output": None if task.output is None else show.pretty(values.masked(task.output)),
        "parameters": show.pretty(values.masked(task.parameters)),
        "before": _neighbours(task, task.depends_on),
        "after": _neighbours(task, _followers(task)),
        "logs": [(show.moment(log.ts), log.attempt, log.message) for log in reversed(logs)],
        "history": history(Event.objects.filter(**of_task)),
    }


def _input(task: Task) -> str | None:
    """Input of a task, or None while it is not known; that of a child is its item."""
    if task.parent_seq is not None:
        return show.pretty(values.masked(task.item))
    if task.pending and not task.children:
        return None
    return show.pretty(values.masked(context.input_of(task.task_flow_id, task.task_exec_seq)))


def _followers(task: Task) -> list[int]:
    """Seqs of tasks that depend on this one; ``dependents`` of the row holds the open ones only."""
    later = Task.objects.filter(task_flow_id=task.task_flow_id, depends_task_exec_seq__gte=task.task_exec_seq)
    pairs = later.order_by("task_exec_seq").values_list("task_exec_seq", "depends_on")
    return [seq for seq, depends_on in pairs if task.task_exec_seq in depends_on]


def _neighbours(task: Task, seqs: Iterable[int]) -> dict[str, Any]:
    """Rows for a table of the tasks beside this one, and how many there are in all."""
    listed = sorted(seqs)
    found = Task.objects.filter(task_flow_id=task.task_flow_id, task_exec_seq__in=listed[:50]).order_by("task_exec_seq")
    return {"rows": task_rows(found), "more": max(0, len(listed) - 50)}


def _task_facts(task: Task) -> list[tuple[str, Any]]:
    end = task.finished_ts or (task.suspended_ts if task.failed else None)
    program_limits = [
        ("Max retries", task.max_retries),
        ("Retry delay", None if task.retry_delay is None else f"{task.retry_delay} s"),
        ("Time limit", None if task.time_limit is None else f"{task.time_limit} s"),
    ]
    facts = [
        ("Program", task.program or "none yet: the watcher adopts the row"),
        ("Step", task.task_seq),
        ("Name", task.name),
        *_family_facts(task),
        ("Priority", task.task_priority),
        ("Queue", queues.queue_of(task.program, task.queue) if task.program else ""),
        ("Pool", show.link(show.pool_url(task.pool), task.pool) if task.pool else ""),
        ("Attempts", f"{task.attempt} (retries {task.retries}, lost workers {task.rescues}, run {task.run})"),
        ("Worker", _worker(task)),
        ("Progress", f"{task.progress.get('done')} of {task.progress.get('total')}" if task.progress else ""),
        ("Input", "one object, merged" if task.merge else ""),
        ("Waits", engine.why_wait([task]).get(task.pk, "")),
        ("Not before", show.moment(task.due_ts)),
        ("Registered", show.moment(task.registered_ts)),
        ("Started", show.moment(task.started_ts)),
        ("Suspended", show.moment(task.suspended_ts) if task.failed else ""),
        ("Finished", show.moment(task.finished_ts)),
        ("Duration", show.duration(task.started_ts, end) if task.status is not Status.WAIT else ""),
        *program_limits,
    ]
    return [(name, value) for name, value in facts if value not in ("", None)]


def _family_facts(task: Task) -> list[tuple[str, Any]]:
    """What a child is among its siblings, or what a step does with its children."""
    if task.parent_seq is not None:
        parent = Task.objects.one(task.task_flow_id, task.parent_seq).values_list("pk", "program").first()
        text = f"task {task.parent_seq}: {parent[1]}" if parent else ""
        siblings = show.link(show.tasks_url(task.task_flow_id, parent=task.parent_seq), "all of them")
        return [
            ("Child of", show.link(show.task_url(parent[0]), text) if parent else f"task {task.parent_seq}"),
            ("Its id", values.dumps(task.child_id)),
            ("Its place", format_html("{} ({})", task.child_index, siblings)),
        ]
    if not task.child_program:
        return []
    return [
        ("Runs for each child", task.child_program),
        ("Children at once", task.max_concurrency or "as many as there are worker processes"),
        ("A failed child", "fails the task and stops its siblings" if task.exit_on_failed else "is passed over"),
    ]


def _worker(task: Task) -> str:
    if not task.worker:
        return ""
    name = Worker.objects.names([task.worker])[task.worker]
    return f"{name}, process {task.pid}" if task.pid else name
