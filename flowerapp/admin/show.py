"""Pieces of HTML that several admin pages share."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

from django.contrib.admin.utils import quote
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString

from flowerapp.models import Flow, Task
from flowerapp.states import ACTIVE, Status

SYMBOLS = {
    Status.WAIT: "○",
    Status.RUNNING: "▶\N{VARIATION SELECTOR-15}",
    Status.SUSPEND: "✖\N{VARIATION SELECTOR-15}",
    Status.FINISH: "✔\N{VARIATION SELECTOR-15}",
    Status.IGNORE: "⊘",
}
"""A status is told by word, symbol and colour, so that no one needs all three."""
HELD_SYMBOL = "❚❚"
LONGEST_TEXT = 20_000
"""Characters of a value that a page shows."""


def badge(status: Status, *, note: str = "", symbol: str = "", kind: str = "") -> SafeString:
    """A status as word, symbol and colour; ``note`` says more in a word or two."""
    return format_html(
        '<span class="flower-badge flower-{}"><span aria-hidden="true">{}</span> {}{}</span>',
        kind or status.name.lower(),
        symbol or SYMBOLS[status],
        status.label,
        format_html(" <small>{}</small>", note) if note else "",
    )


def flow_badge(flow: Flow) -> SafeString:
    """Status of a flow; a suspended one says whether a task failed or a person holds it."""
    if flow.status is Status.SUSPEND and flow.failed_seq is None:
        return badge(flow.status, note="held" if flow.held else "", symbol=HELD_SYMBOL, kind="held")
    if flow.failed_seq is not None and not flow.ended:
        return badge(flow.status, note=f"task {flow.failed_seq} failed{', held' if flow.held else ''}", kind="suspend")
    if flow.status in ACTIVE and not flow.admitted:
        return badge(flow.status, note="for its turn" if flow.status is Status.WAIT else "waits for its turn")
    return badge(flow.status)


def task_badge(task: Task) -> SafeString:
    """Status of a task; a waiting one says for what."""
    notes = {Status.SUSPEND: "failed"}
    if task.parked:
        notes[Status.WAIT] = "for its children" if task.children else "parked"
    elif task.retries and task.due_ts:
        notes[Status.WAIT] = "retry"
    return badge(task.status, note=notes.get(task.status, ""))


def duration(start: datetime | None, end: datetime | None) -> str:
    """Time from ``start`` to ``end``, or until now; empty before the start."""
    return spell((end or timezone.now()) - start) if start else ""


def spell(span: timedelta) -> str:
    """A span of time for people: ``0.42 s``, ``3 m 04 s``, ``2 h 05 m``."""
    seconds = max(0.0, span.total_seconds())
    if seconds < 60:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} m" if hours else f"{minutes} m {rest:02} s"


def moment(value: datetime | None) -> SafeString | str:
    """A time, readable, and exact for machines."""
    if value is None:
        return ""
    text = clock(value)
    return format_html('<time datetime="{}" title="{}">{}</time>', value.isoformat(), value.isoformat(), text)


def clock(value: datetime) -> str:
    """A time as plain text."""
    return date_format(timezone.localtime(value), "Y-m-d H:i:s")


def bar(done: int, total: int, text: str) -> SafeString:
    """How much of something is done or taken, as a bar and in words."""
    html = '<progress max="{}" value="{}" aria-hidden="true"></progress> <span class="flower-nowrap">{}</span>'
    return format_html(html, total or 1, done, text)


def child(task: Task) -> str:
    """What a child is to its parent: ``child 3 of task 1``; empty for a step."""
    if task.parent_seq is None:
        return ""
    name = str(task.child_id)
    return f"child {name if len(name) <= 40 else f'{name[:39]}…'} of task {task.parent_seq}"


def pretty(value: Any) -> str:
    """JSON, indented, cut after ``LONGEST_TEXT`` characters."""
    return cut(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def cut(text: str) -> str:
    """``text``, or its start and how much is left out."""
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
    """The list of a flow's tasks, or of the children of ``parent``, or of its steps where that is "none"."""
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
