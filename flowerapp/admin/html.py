"""Pieces of HTML that several admin pages share."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from django.contrib.admin.utils import quote
from django.urls import reverse
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString

from flowerapp.models import Flow, Task
from flowerapp.selectors import tasks, times
from flowerapp.selectors.counts import Counts
from flowerapp.selectors.durations import is_growing, seconds_of
from flowerapp.selectors.status_style import Style, flow_note, flow_style
from flowerapp.selectors.waiters import NamedTask
from flowerapp.states import Status

LONGEST_TEXT = 20_000
"""Characters of a value that a page shows."""
_TEXT_STYLE = "\N{VARIATION SELECTOR-15}"
"""Keeps browsers from drawing a symbol as an emoji."""


def badge(style: Style, *, note: str = "", value: str = "") -> SafeString:
    """A state as symbol, word and color, with a ``note`` beside it and the column's ``value`` as tooltip."""
    return format_html(
        '<span class="flower-badge flower-{}"{}><span aria-hidden="true">{}</span> {}{}</span>',
        style.color,
        format_html(' title="{}"', value) if value else "",
        style.symbol.replace("▶", f"▶{_TEXT_STYLE}"),
        style.word,
        format_html("<small>, {}</small>", note) if note else "",
    )


def flow_badge(flow: Flow, counts: Counts) -> SafeString:
    """State of a flow, with the number of failures beside it."""
    return badge(flow_style(flow), note=flow_note(flow, counts), value=flow.status.label)


def task_badge(task: Task) -> SafeString:
    """State of a task, with a retry's delay, progress, or why it was skipped; its children have a bar of their own."""
    return badge(tasks.style_of(task), note=tasks.note(task), value=task.status.label)


def moment(value: datetime | None) -> SafeString | str:
    """A time, readable, and exact for machines."""
    if value is None:
        return ""
    exact = value.isoformat()
    return format_html('<time datetime="{}" title="{}">{}</time>', exact, exact, times.plain(value))


def elapsed(row: Flow | Task, text: str) -> SafeString | str:
    """How long a flow or a task has run; of one that runs, the page of a flow counts on."""
    seconds = seconds_of(row)
    if not is_growing(row) or not text or seconds is None:
        return text
    return format_html('<span data-elapsed="{}">{}</span>', f"{seconds:.1f}", text)


def bar(done: int, total: int, text: str) -> SafeString:
    """A share that is done or taken, as a bar and in words."""
    html = '<progress max="{}" value="{}" aria-hidden="true"></progress> <span class="flower-nowrap">{}</span>'
    return format_html(html, total or 1, done, text)


def pretty(value: Any) -> str:
    """JSON, indented, cut after ``LONGEST_TEXT`` characters."""
    return cut(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def cut(text: str) -> str:
    """``text``, or its start and the number of characters left out."""
    if len(text) <= LONGEST_TEXT:
        return text
    return f"{text[:LONGEST_TEXT]}\n… {len(text) - LONGEST_TEXT:,} more characters; the API has them all"


def flow_url(flow_id: str) -> str:
    """Page of a flow."""
    return reverse("admin:flowerapp_flow_change", args=[quote(flow_id)])


def flow_link(flow_id: str) -> SafeString:
    """Link to a flow by its id, shortened in the middle."""
    short = flow_id if len(flow_id) <= 20 else f"{flow_id[:8]}…{flow_id[-6:]}"
    return format_html('<a href="{}" class="flower-id" title="{}">{}</a>', flow_url(flow_id), flow_id, short)


def task_url(pk: int) -> str:
    """Page of a task."""
    return reverse("admin:flowerapp_task_change", args=[pk])


def workflow_url(task_id: str) -> str:
    """Page of a workflow."""
    return reverse("admin:flowerapp_workflow_change", args=[quote(task_id)])


def pool_url(name: str) -> str:
    """Page of a pool."""
    return reverse("admin:flowerapp_pool_change", args=[quote(name)])


def tasks_url(flow_id: str, status: Status | None = None, parent: int | str | None = None) -> str:
    """The list of a flow's tasks, or of the children of ``parent``, or of its steps where that is ``none``."""
    query: dict[str, Any] = {"task_flow": flow_id}
    query |= {} if parent is None else {"parent_seq": parent}
    query |= {} if status is None else {"status": int(status)}
    return f"{reverse('admin:flowerapp_task_changelist')}?{urlencode(query)}"


def flows_url(task_id: str, status: Status | None = None) -> str:
    """The list of a workflow's flows."""
    query = {"task_id": task_id} | ({} if status is None else {"status": str(int(status))})
    return f"{reverse('admin:flowerapp_flow_changelist')}?{urlencode(query)}"


def link(url: str, text: Any) -> SafeString:
    """A link."""
    return format_html('<a href="{}">{}</a>', url, text)


def named_task(named: NamedTask) -> dict[str, Any]:
    """A line of a table of tasks that hold or wait."""
    task = named.task
    return {
        "flow": flow_link(named.ref.flow_id) if task else named.ref.flow_id,
        "task": link(task_url(task.pk), task.own_title) if task else named.ref.seq,
        "workflow": link(workflow_url(task.task_id), task.task_id) if task else "deleted",
        "since": moment(named.since),
    }
