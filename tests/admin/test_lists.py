"""Lists of tables that grow for years: counted so far, searched and sorted by what has an index."""

from __future__ import annotations

import re

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils.http import urlencode

from flowerapp import engine
from flowerapp.core.messages import TaskRef
from flowerapp.engine import attempts
from flowerapp.models import Flow, Task
from flowerapp.querysets import clock
from flowerapp.states import Status
from flowerapp.testing import InlineRunner
from tests.admin.conftest import Steps

pytestmark = pytest.mark.django_db

FLOWS = reverse("admin:flowerapp_flow_changelist")
TASKS = reverse("admin:flowerapp_task_changelist")


@pytest.fixture
def six(steps: Steps, runner: InlineRunner, monkeypatch: pytest.MonkeyPatch) -> list[Flow]:
    """Six flows of two workflows, where five are as many as are counted."""
    monkeypatch.setattr("flowerapp.admin.lists.MOST_COUNTED", 5)
    steps("often", {})
    steps("seldom", {})
    return [engine.register("seldom" if number == 3 else "often") for number in range(6)]


def counted(client: Client, url: str) -> str:
    """What stands below a list."""
    page = client.get(url)
    assert page.status_code == 200
    match = re.search(r'<p class="paginator">(.*?)</p>', page.text, re.DOTALL)
    assert match
    return " ".join(match[1].split())


def test_more_rows_than_are_counted(admin_client: Client, six: list[Flow]) -> None:
    assert counted(admin_client, FLOWS).startswith("over 5 flows; search or filter")
    assert counted(admin_client, TASKS).startswith("over 5 tasks; search or filter")
    assert counted(admin_client, f"{FLOWS}?task_id=seldom") == "1 flow"
    assert counted(admin_client, f"{FLOWS}?task_id=often").startswith("5 flows")


def test_search(admin_client: Client, six: list[Flow]) -> None:
    assert counted(admin_client, f"{TASKS}?q={six[0].pk}") == "1 task"
    assert counted(admin_client, f"{TASKS}?q=nothing") == "0 tasks"
    assert counted(admin_client, f"{FLOWS}?q={six[0].pk}") == "1 flow"
    assert counted(admin_client, f"{FLOWS}?q=SELD") == "1 flow"
    assert counted(admin_client, f"{FLOWS}?q=nothing") == "0 flows"


def test_search_of_any_part(admin_client: Client, six: list[Flow], runner: InlineRunner, steps: Steps) -> None:
    steps("fetch", {"program": "FailUnlisted", "name": "load the Archive"})
    flow = engine.register("fetch", idempotency_key="order-4711/B")
    runner.run()
    short = f"{flow.pk[:8]}…{flow.pk[-6:]}"
    for text in (
        flow.pk,
        flow.pk[-9:],
        flow.pk[5:20].upper(),
        short,
        "4711",
        "ORDER-4711/b",
        "ETCH",
        "not listed",
        "keyerror",
    ):
        assert counted(admin_client, f"{FLOWS}?{urlencode({'q': text})}") == "1 flow", text
    for text in (flow.pk, short, "the archive", "unlisted", "not LISTED"):
        assert counted(admin_client, f"{TASKS}?{urlencode({'q': text})}") == "1 task", text
    assert counted(admin_client, f"{FLOWS}?q=not+listed&status=3") == "0 flows"


def test_search_of_parts_looks_at_the_newest_alone(
    admin_client: Client, six: list[Flow], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowerapp.selectors.search.MOST_SEARCHED", 2)
    answers = [counted(admin_client, f"{FLOWS}?q={flow.pk[-9:]}") for flow in six]
    assert answers == ["0 flows"] * 4 + ["1 flow"] * 2
    assert counted(admin_client, f"{FLOWS}?q={six[3].pk[-9:]}&task_id=seldom") == "1 flow", "filters come first"
    assert counted(admin_client, f"{FLOWS}?q={six[0].pk}") == "1 flow"


def test_search_finds_no_masked_text(admin_client: Client, six: list[Flow]) -> None:
    Task.objects.filter(task_flow=six[0]).update(
        exec_status=Status.SUSPEND, error="refused password=sesame-4711", suspended_ts=clock.now()
    )
    Flow.objects.filter(pk=six[0].pk).update(failed_seq=1)
    for url in (FLOWS, TASKS):
        assert counted(admin_client, f"{url}?q=refused").startswith("1 ")
        assert counted(admin_client, f"{url}?q=sesame").startswith("0 ")


@pytest.mark.parametrize(("name", "number"), [("seldom", "1 task"), ("often", "5 tasks"), ("unknown", "0 tasks")])
def test_tasks_of_a_workflow(admin_client: Client, six: list[Flow], name: str, number: str) -> None:
    assert counted(admin_client, f"{TASKS}?task_id={name}").startswith(number)


def test_tasks_of_a_common_workflow(admin_client: Client, six: list[Flow]) -> None:
    engine.register("often")
    assert counted(admin_client, f"{TASKS}?task_id=often").startswith("over 5 tasks")


def test_tasks_in_a_state(admin_client: Client, six: list[Flow]) -> None:
    engine.cancel(six[0].pk)
    attempts.run(TaskRef(six[1].pk, 1), "w")
    texts = {status: counted(admin_client, f"{TASKS}?status={int(status)}") for status in Status}
    assert {status: text.split(" ", 1)[0] for status, text in texts.items()} == {
        Status.WAIT: "4",
        Status.RUNNING: "0",
        Status.SUSPEND: "0",
        Status.FINISH: "1",
        Status.IGNORE: "1",
    }


def test_all_rows_of_a_long_list_are_left_alone(admin_client: Client, six: list[Flow]) -> None:
    chosen = {"action": "suspend", "_selected_action": [six[0].pk], "select_across": "1", "index": "0"}
    answer = admin_client.post(FLOWS, chosen, follow=True)
    assert "Over 5 rows match; narrow the list" in answer.text
    assert not Flow.objects.filter(held=True).exists()
    admin_client.post(f"{FLOWS}?task_id=often", chosen, follow=True)
    assert Flow.objects.filter(held=True).count() == 5


def test_only_what_has_an_index_sorts_a_long_list(admin_client: Client, six: list[Flow]) -> None:
    assert re.findall(r"\?o=-?\d", admin_client.get(TASKS).text) == []
    for url in (FLOWS, TASKS):
        with CaptureQueriesContext(connection) as queries:
            assert admin_client.get(f"{url}?o=1").status_code == 200
        assert not [
            query["sql"] for query in queries if re.search(r'ORDER BY [^ ]*"(exec_status|task_exec_seq)"', query["sql"])
        ]
    assert re.findall(r"\?[^\"]*o=-?\d", admin_client.get(f"{TASKS}?task_flow={six[0].pk}").text)
