"""What the pages of a flow and of a task show."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db.models import Count, QuerySet
from django.urls import reverse
from django.utils.http import urlencode
from django.utils.safestring import SafeString, mark_safe

from flowerapp import context, drawing, queues, values
from flowerapp.admin import show
from flowerapp.models import Event, Flow, Log, Task, Worker
from flowerapp.states import Status

MOST_ROWS = 200
"""Tasks, log lines and events that a page shows; the rest is behind a link."""
MOST_DRAWN = 1000
"""Tasks of a flow whose graph is still drawn."""
MOST_FAILURES = 5
"""Failed tasks that a flow's page opens with."""
ROW_COLUMNS = (
    "task_flow_id",
    "task_exec_seq",
    "task_seq",
    "program",
    "exec_status",
    "depends_on",
    "attempt",
    "retries",
    "parked",
    "due_ts",
    "started_ts",
    "finished_ts",
    "suspended_ts",
    "progress",
    "queue",
)


def flow_page(flow: Flow) -> dict[str, Any]:
    """Everything on the page of a flow; the number of statements does not grow with its tasks."""
    tasks = Task.objects.filter(task_flow_id=flow.pk).order_by("task_exec_seq")
    by_status = dict(tasks.order_by().values_list("exec_status").annotate(Count("pk")))
    total = sum(by_status.values())
    return {
        "flow": flow,
        "badge": show.flow_badge(flow),
        "workflow_url": show.workflow_url(flow.task_id),
        "facts": _flow_facts(flow),
        "failures": _failures(flow, tasks) if by_status.get(Status.SUSPEND) else [],
        "failed_count": by_status.get(Status.SUSPEND, 0),
        "counts": [(show.badge(status), by_status[status]) for status in Status if status in by_status],
        "total": total,
        "done": by_status.get(Status.FINISH, 0) + by_status.get(Status.IGNORE, 0),
        "rows": [task_row(task) for task in tasks.only(*ROW_COLUMNS)[:MOST_ROWS]],
        "more_tasks": max(0, total - MOST_ROWS),
        "tasks_url": tasks_url(flow.pk),
        "failed_url": tasks_url(flow.pk, Status.SUSPEND),
        "drawing": drawing_of(flow, total),
        "input": show.pretty(values.masked(flow.input)),
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
    rows = list(Task.objects.filter(task_flow_id=flow.pk).order_by("task_exec_seq").values_list(*columns))
    nodes = [drawing.Node(seq=seq, label=program, status=Status(status)) for seq, program, status, _ in rows]
    edges = {seq: depends_on for seq, _, _, depends_on in rows}
    return mark_safe(drawing.svg(nodes, edges, f"Flow of {flow.task_id}"))  # noqa: S308 - the drawing escapes its texts


def tasks_url(flow_id: str, status: Status | None = None) -> str:
    """The list of a flow's tasks."""
    query = {"task_flow": flow_id} | ({} if status is None else {"status": int(status)})
    return f"{reverse('admin:flowerapp_task_changelist')}?{urlencode(query)}"


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


def _failures(flow: Flow, tasks: QuerySet[Task]) -> list[Task]:
    """Failed tasks, the first that failed at the front."""
    failed = list(tasks.filter(exec_status=Status.SUSPEND).order_by("suspended_ts", "task_exec_seq")[:MOST_FAILURES])
    for task in failed:
        task.task_flow = flow
        task.traceback = show.cut(task.traceback)
    return sorted(failed, key=lambda task: task.task_exec_seq != flow.failed_seq)


def task_row(task: Task) -> dict[str, Any]:
    """One line of a table of tasks."""
    end = task.finished_ts or (task.suspended_ts if task.failed else None)
    ran = task.started_ts if task.status is not Status.WAIT else None
    return {
        "seq": task.task_exec_seq,
        "task_seq": task.task_seq,
        "program": task.program or "not adopted yet",
        "badge": show.task_badge(task),
        "duration": show.duration(ran, end),
        "attempt": task.attempt,
        "retries": task.retries,
        "depends_on": ", ".join(map(str, task.depends_on[:10])) + (" …" if len(task.depends_on) > 10 else ""),
        "queue": task.queue,
        "progress": task.progress,
        "url": show.task_url(task.pk),
        "failed": task.failed,
    }


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
    """Input of a task, or None while it is not known."""
    if task.pending:
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
    return {"rows": [task_row(each) for each in found.only(*ROW_COLUMNS)], "more": max(0, len(listed) - 50)}


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
        ("Priority", task.task_priority),
        ("Queue", queues.queue_of(task.program, task.queue) if task.program else ""),
        ("Attempts", f"{task.attempt} (retries {task.retries}, lost workers {task.rescues}, run {task.run})"),
        ("Worker", _worker(task)),
        ("Progress", f"{task.progress.get('done')} of {task.progress.get('total')}" if task.progress else ""),
        ("Input", "one object, merged" if task.merge else ""),
        ("Waits for", f"{task.pending} tasks" if task.pending else ""),
        ("Not before", show.moment(task.due_ts)),
        ("Registered", show.moment(task.registered_ts)),
        ("Started", show.moment(task.started_ts)),
        ("Suspended", show.moment(task.suspended_ts) if task.failed else ""),
        ("Finished", show.moment(task.finished_ts)),
        ("Duration", show.duration(task.started_ts, end) if task.status is not Status.WAIT else ""),
        *program_limits,
    ]
    return [(name, value) for name, value in facts if value not in ("", None)]


def _worker(task: Task) -> str:
    if not task.worker:
        return ""
    name = Worker.objects.names([task.worker])[task.worker]
    return f"{name}, process {task.pid}" if task.pid else name
