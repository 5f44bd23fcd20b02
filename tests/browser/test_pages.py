"""Each page of ours, light and dark, with every state: no serious violation that axe finds, and no cut column."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.test import override_settings
from django.urls import reverse
from django.utils import timezone

from flowerapp import engine
from flowerapp.admin import html
from flowerapp.core.gates import ACQUIRE, APPROVAL, COUNTDOWN, EVENT
from flowerapp.core.messages import TaskRef
from flowerapp.engine import attempts
from flowerapp.models import Approval, Flow, Log, Pool, Task, Worker, Workflow
from flowerapp.testing import InlineRunner, inline
from tests.browser.conftest import Visit
from tests.browser.flows import define, forked, register, run, start
from tests.services import Site, until

if TYPE_CHECKING:
    from playwright.sync_api import Page

SERIOUS = {"serious", "critical"}
PICTURES = os.environ.get("FLOWER_TEST_PICTURES")
"""A directory to keep pictures of the pages in."""

Pages = dict[str, str]


@pytest.fixture(scope="module")
def pages(site: Site) -> Pages:
    """Name → path of each page, in each state that it may show."""
    stopped = timezone.now().replace(year=2020)
    long = "Fetches the master copies of the archive and measures how loud they are, part by part. " * 2
    Worker.objects.create(id="w1", name="worker@host-1", pid=1, pool="prefork", concurrency=4, queues=["default"])
    Worker.objects.create(id="w2", name="w2@host-2", pid=2, pool="threads", concurrency=2, seen_ts=stopped)
    Pool.objects.bulk_create([Pool(name="tape", slots=1, description=long), Pool(name="empty", slots=0)])
    Workflow.objects.create(task_id="nightly_archive_transcoding", description=long, max_active_flows=1)
    with inline() as runner:
        failed = forked(runner)
        run(runner, failed, 3)
        Log.objects.create(task_flow=failed, task_exec_seq=3, attempt=1, message="about to look it up")
        engine.change(failed.pk, 3, priority=5, actor="ada", why="more urgent than the others")
        attempts.run(TaskRef(failed.pk, 2), "w")
        beside = forked(runner)
        run(runner, beside, 3)
        held = engine.suspend(forked(runner).pk, actor="ada", why="stock-taking")
        cancelled = engine.cancel(forked(runner).pk, why="not needed")
        finished = register({"program": "Return", "parameters": {"value": {"loudness": -14.2}}}, {"name": "end"})
        run(runner, finished, 1, 2)
        url = "https://" + "x" * 200
        reading: dict[str, Any] = {"pool": "tape", "name": "read the tape", "queue": "tapes", "program": "Return"}
        reading["parameters"] = {"value": url}
        define(reading, *[{"depends_on": [n]} for n in range(1, 6)], name="nightly_archive_transcoding")
        pooled = engine.register("nightly_archive_transcoding", input={"reels": list(range(30))}, actor="ada")
        waiting = engine.register("nightly_archive_transcoding")
        parent = register(
            {"program": "Split", "child_program": "Sum", "parameters": {"items": list(range(6))}, "max_concurrency": 2},
            {"program": "Echo"},
        )
        runner.waiting.clear()
        runner.waiting.extend(message for message in runner.sent if message.ref.flow_id == parent.pk)
        runner.step()
        runner.step()
        runner.waiting.clear()
        asks, decided = questions(runner)
        link = link_to(asks, site)
        port = {"parameters": {"name": "port"}}
        waits = register(
            {"program": ACQUIRE, **port},
            {"program": EVENT, "depends_on": [1], "parameters": {"event": "paid", "match": {"url": url}}},
            {"program": COUNTDOWN, "depends_on": [1], **port},
        )
        event = engine.emit("shipped", {"url": url}, actor="ada")
    start(pooled, 1)

    def task(flow: Flow, seq: int) -> str:
        return html.task_url(Task.objects.get(task_flow=flow, task_exec_seq=seq).pk)

    def named(name: str, *args: Any) -> str:
        return reverse(f"admin:flowerapp_{name}", args=args)

    child = Task.objects.filter(task_flow=parent, parent_seq=1).order_by("task_exec_seq")[0]
    flows, tasks = named("flow_changelist"), named("task_changelist")
    return {
        "flows": flows,
        "flows, none": f"{flows}?q=nothing-of-that-name",
        "flows, failed": f"{flows}?status=2",
        "flow, failed": html.flow_url(failed.pk),
        "flow, failed beside a running branch": html.flow_url(beside.pk),
        "flow, held": html.flow_url(held.pk),
        "flow, cancelled": html.flow_url(cancelled.pk),
        "flow, finished": html.flow_url(finished.pk),
        "flow, no worker serves it": html.flow_url(pooled.pk),
        "flow, not admitted": html.flow_url(waiting.pk),
        "flow, children": html.flow_url(parent.pk),
        "flow, waits": html.flow_url(waits.pk),
        "flow, cancel": named("flow_verb", failed.pk, "cancel"),
        "flow, delete": named("flow_delete", finished.pk),
        "tasks": tasks,
        "tasks of a flow": html.tasks_url(failed.pk),
        "tasks, children": html.tasks_url(parent.pk, parent=1),
        "task, failed": task(failed, 3),
        "task, running": task(beside, 2),
        "task, waiting": task(waiting, 1),
        "task, finished": task(finished, 1),
        "task, cancelled": task(cancelled, 4),
        "task, parent": task(parent, 1),
        "task, child": html.task_url(child.pk),
        "task, wait": task(waits, 2),
        "task, wake": named("task_verb", Task.objects.get(task_flow=waits, task_exec_seq=2).pk, "wake"),
        "task, change": named("task_verb", Task.objects.get(task_flow=failed, task_exec_seq=3).pk, "change"),
        "task, skip": named("task_verb", Task.objects.get(task_flow=failed, task_exec_seq=3).pk, "skip"),
        "workflows": named("workflow_changelist"),
        "workflow": html.workflow_url("nightly_archive_transcoding"),
        "workflow, new": named("workflow_add"),
        "workflow, register": named("workflow_register", "nightly_archive_transcoding"),
        "workflow, delete": named("workflow_delete", "nightly_archive_transcoding"),
        "pools": named("pool_changelist"),
        "pool": html.pool_url("tape"),
        "pool, empty": html.pool_url("empty"),
        "pool, new": named("pool_add"),
        "events": named("event_changelist"),
        "event": named("event_change", event.pk),
        "event, new": named("event_add"),
        "latches": named("latch_changelist"),
        "latch": named("latch_change", "port"),
        "latch, release": named("latch_verb", "port", "release"),
        "workers": named("worker_changelist"),
        "approvals": named("approval_changelist"),
        "approval, open": named("approval_change", asks.pk),
        "approval, decided": named("approval_change", decided.pk),
        "approval, link": link,
        "task, asks for a decision": task(asks.task_flow, 1),
    }


def questions(runner: InlineRunner) -> tuple[Approval, Approval]:
    """An open approval with every kind of field, and one that was decided."""
    fields: dict[str, Any] = {
        "amount": {"type": "number", "title": "Amount", "description": "In euros."},
        "account": {"type": "string", "enum": ["first", "second"]},
        "day": {"type": "string", "format": "date"},
        "urgent": {"type": "boolean", "title": "Urgent"},
        "note": {"type": "string", "format": "textarea"},
        "items": {"type": "array", "items": {"type": "string"}},
        "password": {"type": "string"},
    }
    form = {"type": "object", "properties": fields, "required": ["amount"]}
    asking = {"title": "Refund order 7?", "message": "Two lines\nof text.", "form": form, "groups": ["finance"]}
    step = {"name": "boss", "program": APPROVAL, "parameters": asking}
    flows = [register({**step, "parameters": asking | {"timeout": "30d"}}), register({**step, "parameters": {}})]
    runner.run()
    engine.decide(flows[1].pk, 1, "reject", actor="ada", comment="too much")
    first, second = (Approval.objects.select_related("task_flow").get(task_flow=flow) for flow in flows)
    return first, second


def link_to(asks: Approval, site: Site) -> str:
    """The path of a link that the server takes."""
    base = "http://127.0.0.1"
    with override_settings(SECRET_KEY=site.environment["DJANGO_SECRET_KEY"], FLOWER={"APPROVAL_LINKS": base}):
        return engine.approval_link(asks.task_flow_id, 1, reader="Ada").removeprefix(base)


def serious(page: Page) -> list[str]:
    """Each serious violation on the page, as rule and element."""
    from axe_playwright_python.sync_playwright import Axe

    violations = Axe().run(page, options={"rules": {"target-size": {"enabled": True}}}).response["violations"]
    return [
        f"{violation['id']}: {node['html'][:200]} {node['failureSummary'][:300]}"
        for violation in violations
        if violation["impact"] in SERIOUS
        for node in violation["nodes"]
    ]


def cut(page: Page) -> list[str]:
    """What does not fit into the page: the page itself, and tables that must be scrolled to be read."""
    wide = "element => element.scrollWidth > element.clientWidth + 1"
    outside = [] if page.evaluate("document.documentElement.scrollWidth <= innerWidth") else ["the page"]
    size = "box => `${box.id || box.className} ${box.scrollWidth} > ${box.clientWidth}`"
    boxes = page.locator("#changelist .results, .flower-scroll, #main, #content").all()
    return outside + [box.evaluate(size) for box in boxes if box.evaluate(wide)]


def test_no_page_needs_inline_scripts_or_styles(pages: Pages, visit: Visit) -> None:
    for path in pages.values():
        visit(path).close()


@pytest.mark.parametrize("kind", ["flow", "task", "workflow", "pool", "event", "latch", "worker", "approval"])
def test_no_page_has_a_serious_violation_or_a_cut_column(kind: str, pages: Pages, visit: Visit) -> None:
    problems: dict[str, list[str]] = {}
    for name, path in pages.items():
        if not name.startswith(kind):
            continue
        page = visit(path, strict=False)  # axe has inline styles of its own
        problems[f"{name}, light"] = serious(page) + cut(page)
        _keep(page, f"{name}, light")
        page.emulate_media(color_scheme="dark")
        until(partial(page.evaluate, "document.getAnimations().length === 0"))  # colors change bit by bit
        problems[f"{name}, dark"] = serious(page)
        _keep(page, f"{name}, dark")
        page.close()
    assert not any(problems.values()), "\n".join(
        f"{name}: {text}" for name, texts in problems.items() for text in texts
    )


def _keep(page: Page, name: str) -> None:
    """Keep a picture of the page, where someone wants to look at it."""
    if PICTURES:
        page.screenshot(path=Path(PICTURES, f"{name}.png"), full_page=True)
