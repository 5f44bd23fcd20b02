"""The logs of flows and tasks over REST: pages, filters, following, download."""

from __future__ import annotations

import logging
import time
from typing import Any

import pytest
from rest_framework.test import APIClient

from flowerapp import engine
from flowerapp.models import Flow, Log
from flowerapp.querysets import LogRow
from flowerapp.testing import InlineRunner
from tests.engine.support import define

pytestmark = pytest.mark.django_db(transaction=True)

LEVELS = [logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR]


@pytest.fixture
def flow(runner: InlineRunner) -> Flow:
    """A flow of two tasks, with a line of each level of the first, and one of the second."""
    made = engine.register(define({1: [], 2: [1]}, "Noop"))
    rows = [LogRow(made.pk, 1, 1, time.time(), level, "shop", f"Line {level} 50%_done") for level in LEVELS]
    Log.objects.write([*rows, LogRow(made.pk, 2, 3, time.time(), logging.INFO, "stdout", "second\nhas \x1b[31m")])
    return made


def read(client: APIClient, url: str, expected: int = 200) -> Any:
    answer = client.get(url)
    assert answer.status_code == expected, answer.text
    return answer.json()


def texts(body: Any) -> list[str]:
    return [line["message"] for line in body["results"]]


def test_lines_of_a_flow_and_of_a_task(api: APIClient, flow: Flow) -> None:
    body = read(api, f"/api/flows/{flow.pk}/logs/")
    assert [line["level"] for line in body["results"]] == ["DEBUG", "INFO", "WARNING", "ERROR", "INFO"]
    last = body["results"][-1]
    assert (last["task_exec_seq"], last["attempt"], last["source"]) == (2, 3, "stdout")
    assert set(last) == {"id", "ts", "task_exec_seq", "attempt", "level", "source", "message"}
    assert texts(read(api, f"/api/flows/{flow.pk}/tasks/2/logs/")) == ["second\nhas \x1b[31m"]
    assert read(api, f"/api/flows/{flow.pk}/tasks/2/")["log"] == [last]


def test_pages(api: APIClient, flow: Flow) -> None:
    seen, url = [], f"/api/flows/{flow.pk}/logs/?page_size=2"
    while url:
        body = read(api, url)
        assert len(body["results"]) <= 2
        seen += texts(body)
        url = body["next"]
    assert len(seen) == 5


@pytest.mark.parametrize(
    ("query", "number"),
    [
        ("level=WARNING", 2),
        ("level=ERROR&search=line", 1),
        ("search=LINE", 4),
        ("search=0%25_", 4),
        ("search=x%25y", 0),
        ("search=second", 1),
        ("after=0", 5),
    ],
)
def test_filters(api: APIClient, flow: Flow, query: str, number: int) -> None:
    assert len(read(api, f"/api/flows/{flow.pk}/logs/?{query}")["results"]) == number


def test_following_by_the_id_of_the_last_line(api: APIClient, flow: Flow) -> None:
    url = f"/api/flows/{flow.pk}/logs/"
    last = read(api, url)["results"][-1]["id"]
    assert read(api, f"{url}?after={last}") == {"next": None, "previous": None, "results": []}
    Log.objects.write([LogRow(flow.pk, 1, 1, time.time(), logging.INFO, "shop", "new")])
    assert texts(read(api, f"{url}?after={last}")) == ["new"]


@pytest.mark.parametrize(
    "query", ["level=LOUD", "after=-1", "after=x", "after=9223372036854775808", "search=a%00b", "as=html", "what=1"]
)
def test_bad_filters_are_refused(api: APIClient, flow: Flow, query: str) -> None:
    read(api, f"/api/flows/{flow.pk}/logs/?{query}", 400)
    read(api, f"/api/flows/{flow.pk}/tasks/1/logs/?{query}", 400)


def test_what_there_is_none_of(api: APIClient, flow: Flow) -> None:
    read(api, "/api/flows/nothing/logs/", 404)
    read(api, f"/api/flows/{flow.pk}/tasks/9/logs/", 404)
    read(api, f"/api/flows/{flow.pk}/tasks/x/logs/", 404)


def test_download_as_text(api: APIClient, flow: Flow) -> None:
    answer = api.get(f"/api/flows/{flow.pk}/logs/?as=text&level=INFO")
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="flow.log"'
    lines = answer.text.splitlines()
    assert len(lines) == 5
    assert lines[0].endswith("INFO     task 1 attempt 1  shop: Line 20 50%_done")
    assert lines[-1] == "    has \\x1b[31m"
    of_task = api.get(f"/api/flows/{flow.pk}/tasks/1/logs/?as=text")
    assert of_task.headers["Content-Disposition"] == 'attachment; filename="task-1.log"'
    assert len(of_task.text.splitlines()) == 4


def test_a_download_is_bounded_and_says_how_to_continue(api: APIClient, flow: Flow) -> None:
    rows = [LogRow(flow.pk, 1, 1, time.time(), 20, "shop", f"{number} " + "é" * 9000) for number in range(200)]
    Log.objects.write(rows)
    url, numbers = f"/api/flows/{flow.pk}/tasks/1/logs/?as=text&search=é", []
    after = 0
    for _ in range(5):
        text = api.get(f"{url}&after={after}").text
        assert len(text.encode()) <= 2 * 1024 * 1024
        *lines, last = text.splitlines()
        numbers += [int(line.split("shop: ")[1].split()[0]) for line in [*lines, last] if "shop: " in line]
        if not last.startswith("… further lines follow"):
            break
        after = int(last.rpartition(" ")[2])
    assert numbers == list(range(200))
    body = read(api, f"/api/flows/{flow.pk}/logs/?page_size=500")
    assert body["next"]
