"""Pages of lists: every row once, forward and backward, whatever the rows have in common."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from rest_framework.test import APIClient

from flowerapp.api.flow_views import FlowListView
from flowerapp.models import Flow, HistoryEntry, Pool, Task, TaskDefinition, Worker
from flowerapp.querysets import clock
from flowerapp.selectors import pages
from flowerapp.selectors.pages import Anchor
from tests.plans import analyze, rows_read

pytestmark = pytest.mark.django_db
MANY = 2500


def _walk(api: APIClient, url: str | None, link: str, key: str) -> tuple[list[list[Any]], str]:
    """Keys of the rows of each page that ``link`` leads to, and the address of the last page."""
    walked = []
    while url:
        last, page = url, api.get(url).json()
        walked.append([row[key] for row in page["results"]])
        assert len(walked) <= 100, "the pages lead in a circle"
        url = page[link]
    return walked, last


def _flows(number: int) -> str:
    now = clock.now()
    Flow.objects.bulk_create(Flow(task_flow_id=f"{seq:05}", task_id="etl", registered_ts=now) for seq in range(number))
    return "/api/flows/"


def _tasks(number: int) -> str:
    Flow.objects.create(task_flow_id="one", task_id="etl")
    Task.objects.bulk_create(
        Task(task_flow_id="one", task_exec_seq=seq, task_id="etl", task_seq=1, program="Return")
        for seq in range(number)
    )
    return "/api/flows/one/tasks/"


def _history(number: int) -> str:
    Flow.objects.create(task_flow_id="one", task_id="etl")
    HistoryEntry.objects.bulk_create(HistoryEntry(task_flow_id="one", verb="skip") for _ in range(number))
    return "/api/flows/one/history/"


def _workers(number: int) -> str:
    Worker.objects.bulk_create(
        Worker(id=f"{seq:05}", name="same", pid=1, concurrency=1, queues=[]) for seq in range(number)
    )
    return "/api/workers/"


def _pools(number: int) -> str:
    Pool.objects.bulk_create(Pool(name=f"{seq:05}", slots=1) for seq in range(number))
    return "/api/pools/"


def _workflows(number: int) -> str:
    TaskDefinition.objects.bulk_create(
        TaskDefinition(task_id=f"{seq // 2:05}", task_seq=seq % 2, program="Return") for seq in range(2 * number)
    )
    return "/api/workflows/"


LISTS = {
    "flows": (_flows, "task_flow_id"),
    "tasks": (_tasks, "task_exec_seq"),
    "history": (_history, "id"),
    "workers": (_workers, "id"),
    "pools": (_pools, "name"),
    "workflows": (_workflows, "task_id"),
}


@pytest.mark.parametrize("name", LISTS)
def test_each_row_is_met_once_forward_and_backward(api: APIClient, name: str) -> None:
    make, key = LISTS[name]
    forward, last = _walk(api, make(MANY) + "?page_size=500", "next", key)
    assert [len(page) for page in forward] == [500] * 5
    rows = [row for page in forward for row in page]
    assert sorted(rows, reverse=name == "flows") == rows
    assert len(set(rows)) == MANY
    backward, _ = _walk(api, last, "previous", key)
    assert backward == forward[::-1]


def test_flows_of_one_time_are_all_listed_by_pages_of_50(api: APIClient) -> None:
    forward, last = _walk(api, _flows(MANY), "next", "task_flow_id")
    assert [len(page) for page in forward] == [50] * 50
    assert [row for page in forward for row in page] == [f"{seq:05}" for seq in reversed(range(MANY))]
    assert _walk(api, last, "previous", "task_flow_id")[0] == forward[::-1]


def test_times_that_the_database_wrote_itself_are_no_trap(api: APIClient) -> None:
    """SQLite's own times have fewer digits than Django's, and it compares them as text."""
    for number in range(60):
        Flow.objects.create(task_flow_id=f"{number:05}", task_id="etl")
    forward, last = _walk(api, "/api/flows/?page_size=7", "next", "task_flow_id")
    assert sorted(row for page in forward for row in page) == [f"{number:05}" for number in range(60)]
    assert _walk(api, last, "previous", "task_flow_id")[0] == forward[::-1]


def test_rows_that_come_while_the_list_is_read_move_no_page(api: APIClient) -> None:
    page = api.get(_flows(100)).json()
    Flow.objects.create(task_flow_id="new", task_id="etl")
    assert api.get(page["next"]).json()["results"][0]["task_flow_id"] == "00049"


def test_a_page_whose_rows_are_gone_leads_back(api: APIClient) -> None:
    url = api.get(_flows(100)).json()["next"]
    Flow.objects.filter(pk__lt="00050").delete()
    page = api.get(url).json()
    assert (page["results"], page["next"]) == ([], None)
    back = api.get(page["previous"]).json()
    assert [row["task_flow_id"] for row in back["results"]] == [f"{seq:05}" for seq in range(99, 49, -1)]
    assert back["previous"] is None


def _cursor(*parts: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode()


BAD = [
    *("", "x", "cD14", "bz0yMDAw", "•", "W", "A" * 100_000, "%00"),
    base64.b64encode(b"[" * 5000).decode(),
    *map(_cursor, [1, 2, 3], "abc", [None, 0, 0], [["a"], 0, 0], [["a", "b", "c"], 0, 0]),
    _cursor([], 0, 0),
    _cursor(["yesterday", "a"], 0, 0),
    _cursor(["2026-01-01T00:00:00Z", "\0"], 0, 0),
    _cursor(["2026-01-01T00:00:00Z", "\ud800"], 0, 0),
    _cursor(["2026-01-01T00:00:00Z", {}], 0, 0),
    _cursor([True, 1.5], 0, 0),
    _cursor(["2026-01-01T00:00:00Z", "a"], [], {}),
    _cursor([2**70], 0, 0),
    _cursor([1, 2], 0, 0),
]


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("cursor", BAD, ids=range(len(BAD)))
def test_what_is_no_cursor_of_the_list_is_refused(api: APIClient, name: str, cursor: str) -> None:
    make, _ = LISTS[name]
    answer = api.get(make(1), {"cursor": cursor})
    if answer.status_code != 200 or name not in ("pools", "workflows", "workers"):  # whose columns may be any text
        assert (answer.status_code, "cursor" in answer.json()) == (400, True)


def test_a_page_far_in_the_list_reads_its_own_rows_only(api: APIClient) -> None:
    _flows(MANY)
    analyze("kr_task_flow")
    ordering = FlowListView.cursor_ordering
    anchor = Anchor(pages.anchor_of(Flow.objects.get(pk="00100"), ordering))
    assert len(pages.page(Flow.objects.all(), ordering, anchor, 51)) == 51
    assert rows_read(lambda: pages.page(Flow.objects.all(), ordering, anchor, 51)) <= 52
