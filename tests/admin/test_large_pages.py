"""Pages of large flows and tasks: small, read as far as they show, and read anew only where something changed."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from flowerapp.admin import html
from flowerapp.admin.steps import MOST_STEPS
from flowerapp.models import Flow, Task, TaskDefinition
from flowerapp.querysets import clock
from flowerapp.states import IgnoredBy, Status

pytestmark = pytest.mark.django_db
MIB = 1024 * 1024
LARGE = ("output", "parameters", "item", "traceback", "input", "state", "dependents")


@pytest.fixture
def flow(db: None) -> Flow:
    """A flow that runs, with large values of its own."""
    large = "x" * (MIB - 100)
    return Flow.objects.create(
        task_flow_id="large", task_id="etl", exec_status=Status.RUNNING, input=large, state={"a": large}
    )


def add(flow: Flow, number: int, first: int = 1, **columns: Any) -> None:
    """Tasks of a flow."""
    row = {"task_id": "etl", "program": "Return", "registered_ts": clock.now(), "parameters": {"a": "x" * 100_000}}
    ended = {"exec_status": Status.FINISH, "finished_ts": clock.now()} if "output" in columns else {}
    Task.objects.bulk_create(
        (
            Task(task_flow=flow, task_exec_seq=seq, task_seq=seq, **row | ended | columns)
            for seq in range(first, first + number)
        ),
        batch_size=10,
    )


def page_of(flow: Flow, seq: int) -> str:
    """Address of the page of a task."""
    return html.task_url(Task.objects.get(task_flow=flow, task_exec_seq=seq).pk)


def test_lists_do_not_read_large_values(admin_client: Client, flow: Flow) -> None:
    add(flow, 30, output="x" * MIB, traceback="x" * 100_000)
    for name in ("flow", "task"):
        with CaptureQueriesContext(connection) as queries:
            answer = admin_client.get(reverse(f"admin:flowerapp_{name}_changelist"))
        assert answer.status_code == 200
        assert len(answer.content) < 200_000
        selected = [query["sql"].partition(" FROM ")[0] for query in queries]
        assert not [column for column in LARGE for sql in selected if f'."{column}"' in sql]
        assert len(queries) < 12


def test_the_page_of_a_task(admin_client: Client, flow: Flow) -> None:
    add(flow, 60, output="x" * (MIB - 100))
    add(flow, 1, first=61, depends_on=list(range(1, 61)), depends_task_exec_seq=60, error="e" * 20_000, item="x" * MIB)
    add(flow, 300, first=62, depends_on=[1, 61], depends_task_exec_seq=61)
    answer = admin_client.get(page_of(flow, 61))
    assert len(answer.content) < 300_000
    text = answer.content.decode()
    assert "bytes, too large to be shown; the tasks before it have their outputs" in text
    assert (answer.context["before"]["more"], answer.context["after"]["more"]) == ("10", "Some")
    assert len(admin_client.get(page_of(flow, 1)).content) < 300_000


def test_the_page_of_a_skipped_task(admin_client: Client, flow: Flow) -> None:
    add(flow, 2, exec_status=Status.IGNORE, ignored_by=IgnoredBy.SKIP, finished_ts=clock.now())
    answer = admin_client.get(page_of(flow, 1))
    assert len(answer.content) < 200_000
    assert answer.context["output"].startswith('"xxx')
    assert answer.context["input"] == answer.context["output"]


def test_the_page_of_a_flow_with_many_last_steps(admin_client: Client, flow: Flow) -> None:
    add(flow, 30, output="x" * MIB)
    Flow.objects.update(exec_status=Status.FINISH, finished_ts=clock.now())
    answer = admin_client.get(html.flow_url(flow.pk))
    assert len(answer.content) < 400_000
    assert "bytes, too large to be shown; each of the last tasks has its own" in answer.content.decode()


def test_failed_and_running_tasks_of_many_are_listed_first(admin_client: Client, flow: Flow) -> None:
    add(flow, 400, pending=1)
    now = clock.now()
    Task.objects.filter(task_exec_seq=350).update(exec_status=Status.SUSPEND, suspended_ts=now)
    Task.objects.filter(task_exec_seq=380).update(exec_status=Status.RUNNING)
    Task.objects.filter(task_exec_seq=390).update(pending=0)
    context = admin_client.get(html.flow_url(flow.pk)).context
    assert [row["seq"] for row in context["rows"]][:4] == [350, 380, 390, 1]
    assert (len(context["rows"]), context["more_tasks"]) == (200, 200)
    Task.objects.filter(task_exec_seq__gt=200).delete()
    Task.objects.filter(task_exec_seq=150).update(exec_status=Status.SUSPEND, suspended_ts=now)
    context = admin_client.get(html.flow_url(flow.pk)).context
    assert [row["seq"] for row in context["rows"]] == list(range(1, 201))


def _live(client: Client, flow: Flow, version: str = "") -> Any:
    headers = {"If-None-Match": version} if version else {}
    return client.get(html.flow_url(flow.pk), {"part": "live"}, headers=headers)


def test_a_refresh_reads_the_page_without_its_frame(admin_client: Client, flow: Flow) -> None:
    add(flow, 1000, depends_on=[], pending=1)
    whole, part = admin_client.get(html.flow_url(flow.pk)), _live(admin_client, flow)
    assert part.status_code == 200
    text = part.content.decode()
    assert re.search(r'id="flower-live" data-version="[^"]+" data-live>', text)
    assert "flower-head" in text
    assert "<html" not in text
    assert "csrfmiddlewaretoken" in text, "the buttons"
    assert "Shared state" in text
    assert "History" in text
    assert len(part.content) < len(whole.content)
    assert len(part.content) < 250_000


CHANGES: dict[str, Callable[[], object]] = {
    "a start": lambda: Task.objects.filter(task_exec_seq=1).update(exec_status=Status.RUNNING, attempt=1),
    "an end": lambda: Task.objects.filter(task_exec_seq=2).update(exec_status=Status.FINISH, finished_ts=clock.now()),
    "a hold": lambda: Flow.objects.update(held=True),
    "the end": lambda: Flow.objects.update(exec_status=Status.FINISH, finished_ts=clock.now()),
    "a failure": lambda: Flow.objects.update(failed_seq=1),
}


def test_an_open_page_reads_nothing_where_nothing_changed(
    admin_client: Client, flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowerapp.selectors.flows.VERSION_SECONDS", 10**9)
    add(flow, 3)
    version = _live(admin_client, flow)["ETag"]
    with CaptureQueriesContext(connection) as queries:
        answer = _live(admin_client, flow, version)
    assert (answer.status_code, answer.content) == (304, b"")
    assert len(queries) <= 4, "session, user, flow, and the sums of its tasks"
    for change in CHANGES.values():
        change()
        answer = _live(admin_client, flow, version)
        assert (answer.status_code, answer["ETag"] != version) == (200, True)
        version = answer["ETag"]
    assert "data-live" not in answer.content.decode()


def test_what_changes_is_for_those_who_may_see_the_flow(client: Client, flow: Flow) -> None:
    assert _live(client, flow).status_code == 302


def test_the_largest_editor_of_a_workflow_is_bounded(admin_client: Client) -> None:
    """However many programs the project has: they are listed once."""
    pairs = {f"param{number}_{part}": part * 20 for number in range(1, 6) for part in ("key", "value")}
    rows = (TaskDefinition(task_id="w", task_seq=seq, program="Noop", **pairs) for seq in range(1, MOST_STEPS + 1))
    TaskDefinition.objects.bulk_create(rows)
    page = admin_client.get(html.workflow_url("w"))
    assert f'name="steps-{MOST_STEPS - 1}-program"' in page.text
    assert page.text.count('<option value="Noop">') == 1
    assert len(page.content) < 2 * MIB
