"""What the pages of a flow and of a task show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from django.db.models import QuerySet
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from flowerapp import drawing
from flowerapp.admin import html
from flowerapp.admin.rows import children_of, task_rows
from flowerapp.core import values
from flowerapp.engine import context
from flowerapp.models import Flow, Task
from flowerapp.selectors import counts, flows, graphs, history, queues, task_logs, tasks, workers
from flowerapp.selectors.counts import Counts
from flowerapp.selectors.durations import duration
from flowerapp.selectors.naming import child_label
from flowerapp.selectors.wait_reasons import wait_reasons
from flowerapp.states import ACTIVE, Status

MOST_ROWS = 200
"""Tasks, log lines and history entries that a page shows; the rest is behind a link."""
MOST_TASKS = 200
"""Tasks on a flow's page; of more, the failed and the running ones come first."""
MOST_FOLLOWERS = 50
"""Tasks before and after another that its page lists."""
MOST_DRAWN, MOST_EDGES = 150, 300
"""Boxes and lines of a flow's graph on its page, which is read anew while the flow runs."""
MOST_FAILURES = 5
"""Failed tasks that a flow's page opens with."""


def flow_page(flow: Flow) -> dict[str, Any]:
    """Everything on the page of a flow; the number of statements does not grow with its tasks."""
    return {
        **_state(flow),
        "facts": _flow_facts(flow),
        "source": html.cut(flow.source),
        "input": html.pretty(flow.input),
        "output": flows.output_text(flow, html.pretty) if flow.ended else None,
        "state": html.pretty(flow.state) if flow.state else "",
        "history": history_rows(task_flow_id=flow.pk),
        **_failures(flow),
    }


def _state(flow: Flow) -> dict[str, Any]:
    """State of a flow and of its tasks."""
    numbers = counts.of_flow(flow)
    steps = tasks.shown_tasks(flow.pk).filter(parent_seq=None).order_by("task_exec_seq")
    return {
        "flow": flow,
        "badge": html.flow_badge(flow, numbers),
        "workflow_url": html.workflow_url(flow.task_id),
        "flows_url": html.flows_url(flow.task_id),
        "admission": _admission(flow, steps),
        "unserved": _unserved(flow),
        "progress": numbers.tasks_text,
        "counts": [(html.badge(style), number) for style, number in numbers.listed()],
        "rows": task_rows((tasks.by_urgency(steps) if numbers.steps > MOST_TASKS else steps)[:MOST_TASKS]),
        "total": numbers.steps,
        "more_tasks": max(0, numbers.steps - MOST_TASKS),
        "tasks_url": html.tasks_url(flow.pk, parent="none"),
        "drawing": drawing_of(flow, numbers),
        "live": not flow.ended,
    }


def drawing_of(flow: Flow, numbers: Counts) -> SafeString | str:
    """The graph as SVG, or a part of it; empty without steps."""
    if not numbers.steps:
        return ""
    steps, view = graphs.graph_of(flow.pk)
    view = replace(view, most_nodes=MOST_DRAWN, most_edges=MOST_EDGES)
    image = drawing.svg(*drawing.of_steps(steps), f"Flow of {flow.task_id}", view, styled=False)
    return mark_safe(image)  # noqa: S308 - the drawing escapes its texts


def _flow_facts(flow: Flow) -> list[tuple[str, Any]]:
    facts = [
        ("Flow", flow.pk),
        ("Priority", flow.task_priority),
        ("Registered", html.moment(flow.registered_ts)),
        ("By", flow.registered_by),
        ("Started", html.moment(flow.started_ts)),
        ("Stopped", html.moment(flow.suspended_ts) if flow.status is Status.SUSPEND else ""),
        ("Ended", html.moment(flow.finished_ts)),
        ("Duration", html.elapsed(flow, duration(flow))),
    ]
    return [(name, value) for name, value in facts if value not in ("", None)]


def _failures(flow: Flow) -> dict[str, Any]:
    """The first of the failed tasks, the very first at the front, and the number of all."""
    failures = flows.failures(flow)
    count = 0 if flow.ended else failures.count()
    failed = flows.first_in_front(flow, failures[:MOST_FAILURES]) if count else []
    for task in failed:
        task.task_flow = flow
        task.traceback = html.cut(task.traceback)
    return {"failures": failed, "failed_count": count, "failed_url": html.tasks_url(flow.pk, Status.SUSPEND)}


def _admission(flow: Flow, steps: QuerySet[Task]) -> str:
    """What the tasks of a flow wait for that is not admitted yet; empty for any other."""
    if flow.admitted or flow.held or flow.status not in ACTIVE:
        return ""
    ready = steps.filter(exec_status=Status.WAIT, pending=0, children=0).only(*tasks.ROW_COLUMNS)[:1]
    return next(iter(wait_reasons(list(ready)).values()), "for its flow to be admitted")


def _unserved(flow: Flow) -> list[tuple[str, str]]:
    """Queues that tasks of a flow wait in and no worker serves, each with the command that serves it."""
    names = [] if flow.held else flows.unserved_queues(flow)
    return [(name, workers.start_command(name)) for name in names]


def history_rows(**of: Any) -> list[dict[str, Any]]:
    """Lines of the history of a flow or a task, the latest first."""
    listed = history.latest_entries(MOST_ROWS, **of)
    titles = history.task_titles(entry for entry, _ in listed)
    return [
        {
            "id": entry.pk,
            "ts": html.moment(entry.ts),
            "verb": entry.verb,
            "seq": titles[entry.task_exec_seq],
            "attempt": entry.attempt,
            "worker": worker,
            "actor": entry.actor,
            "reason": entry.reason,
            "details": ", ".join(f"{key}: {values.dumps(value)}" for key, value in entry.details.items())[:300],
        }
        for entry, worker in listed
    ]


def task_page(task: Task) -> dict[str, Any]:
    """Everything on the page of a task."""
    flow = task.task_flow
    of_task = {"task_flow_id": flow.pk, "task_exec_seq": task.task_exec_seq}
    return {
        "task": task,
        "flow": flow,
        "flow_url": html.flow_url(flow.pk),
        "flow_badge": html.flow_badge(flow, counts.of_flow(flow)),
        "badge": html.task_badge(task),
        "facts": _task_facts(task),
        "child": child_label(task),
        "children": children_of([task]).get(task.task_exec_seq),
        "error": task.error,
        "traceback": html.cut(task.traceback),
        "input": _input(task),
        "output": None if task.output is None else html.pretty(task.output),
        "parameters": html.pretty(task.parameters),
        "before": _neighbors(task, sorted(task.depends_on), len(task.depends_on)),
        "after": _neighbors(task, _followers(task)),
        "logs": [
            task_logs.text_of(line, with_task=False)
            for line in task_logs.latest(MOST_ROWS, task_logs.lines(flow.pk, task.task_exec_seq))
        ],
        "history": history_rows(**of_task),
    }


def _input(task: Task) -> str | None:
    """Input of a task, or None before its dependencies have ended; that of a child is its item."""
    task_input = context.shown_input(task)
    if task_input.size:
        return f"{task_input.size:,} bytes, too large to be shown; the tasks before it have their outputs"
    return html.pretty(task_input.value) if task_input.is_known else None


def _followers(task: Task) -> list[int]:
    """Seqs of the first tasks that depend on this one, and one more than are listed.

    ``dependents`` of the row holds the open ones only.
    """
    later = tasks.shown_tasks(task.task_flow_id).filter(depends_task_exec_seq__gte=task.task_exec_seq)
    pairs = later.order_by("task_exec_seq").values_list("task_exec_seq", "depends_on").iterator(chunk_size=200)
    return list(islice((seq for seq, depends_on in pairs if task.task_exec_seq in depends_on), MOST_FOLLOWERS + 1))


def _neighbors(task: Task, seqs: Sequence[int], number: int | None = None) -> dict[str, Any]:
    """Rows for a table of the tasks before or after this one, and how many more there are, where that is known."""
    listed = seqs[:MOST_FOLLOWERS]
    nearest = tasks.shown_tasks(task.task_flow_id).filter(task_exec_seq__in=listed)
    more = "" if len(listed) == len(seqs) else "Some" if number is None else f"{number - len(listed):,}"
    return {"rows": task_rows(nearest.order_by("task_exec_seq")), "more": more}


def _task_facts(task: Task) -> list[tuple[str, Any]]:
    facts = [
        ("Program", tasks.program_text(task)),
        ("Step", task.task_seq),
        ("Name", task.name),
        *_family_facts(task),
        ("Priority", task.task_priority),
        ("Queue", queues.queue_of(task.program, task.queue) if task.program else ""),
        ("Pool", html.link(html.pool_url(task.pool), task.pool) if task.pool else ""),
        ("Attempts", f"{task.attempt} (retries {task.retries}, lost workers {task.rescues}, run {task.run})"),
        ("Worker", workers.name_and_process(task)),
        ("Progress", tasks.progress_text(task.progress)),
        ("Input", "one object, merged" if task.merge else ""),
        ("Condition", task.when),
        ("Cache", tasks.cache_text(task)),
        ("Output taken from", _source_link(task)),
        ("Waits", wait_reasons([task]).get(task.pk, "")),
        *_time_facts(task),
        *_limit_facts(task),
    ]
    return [(name, value) for name, value in facts if value not in ("", None)]


def _source_link(task: Task) -> SafeString | str:
    """The task whose stored output it took."""
    source = task.cached_from
    return html.link(html.flow_url(source["flow_id"]), tasks.source_text(task)) if source else ""


def _time_facts(task: Task) -> list[tuple[str, Any]]:
    return [
        (tasks.due_name(task), html.moment(task.due_ts)),
        ("Registered", html.moment(task.registered_ts)),
        ("Started", html.moment(task.started_ts)),
        ("Failed", html.moment(task.suspended_ts) if task.failed else ""),
        ("Ended", html.moment(task.finished_ts)),
        ("Duration", html.elapsed(task, tasks.duration_of(task))),
    ]


def _limit_facts(task: Task) -> list[tuple[str, Any]]:
    return [
        ("Max retries", task.max_retries),
        ("Retry delay", None if task.retry_delay is None else f"{task.retry_delay} s"),
        ("Time limit", None if task.time_limit is None else f"{task.time_limit} s"),
    ]


def _family_facts(task: Task) -> list[tuple[str, Any]]:
    """What a child is among its siblings, or what a step does with its children."""
    if task.parent_seq is not None:
        return _child_facts(task, task.parent_seq)
    if not task.child_program:
        return []
    return [
        ("Runs for each child", task.child_program),
        ("Children at once", task.max_concurrency or "as many as there are worker processes"),
        ("A failed child", "fails the task and stops its siblings" if task.exit_on_failed else "is tolerated"),
    ]


def _child_facts(task: Task, parent_seq: int) -> list[tuple[str, Any]]:
    parent = tasks.shown_tasks(task.task_flow_id).filter(task_exec_seq=parent_seq).only(*tasks.ROW_COLUMNS).first()
    siblings = html.link(html.tasks_url(task.task_flow_id, parent=parent_seq), "all of them")
    return [
        ("Child of", html.link(html.task_url(parent.pk), parent.mention) if parent else f"task {parent_seq}"),
        ("Its id", values.dumps(task.child_id)),
        ("Its place", format_html("{} ({})", task.child_index, siblings)),
    ]
