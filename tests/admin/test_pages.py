"""Every page shows every state, without a statement per row, and never changes anything."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from flowerapp import engine
from flowerapp.core.identity import Process
from flowerapp.core.messages import TaskRef
from flowerapp.engine import recovery
from flowerapp.models import Flow, HistoryEntry, Log, Task, Worker
from flowerapp.states import Status
from flowerapp.testing import InlineRunner
from tests.admin.conftest import Staff, Steps

pytestmark = pytest.mark.django_db

LIST = reverse("admin:flowerapp_flow_changelist")
TASKS = reverse("admin:flowerapp_task_changelist")
READERS = ("view_flow", "view_taskdefinition", "view_pool")


def flow_page(flow: Flow) -> str:
    return reverse("admin:flowerapp_flow_change", args=[flow.pk])


def task_page(flow: Flow, seq: int) -> str:
    return reverse("admin:flowerapp_task_change", args=[flow.tasks.get(task_exec_seq=seq).pk])


def state_of(flow: Flow) -> Any:
    return list(flow.tasks.order_by("task_exec_seq").values()), Flow.objects.filter(pk=flow.pk).values().get()


@pytest.mark.parametrize("name", ["failed", "waiting", "running", "finished", "held", "cancelled"])
def test_pages_of_every_state(admin_client: Client, flows: dict[str, Flow], name: str) -> None:
    flow = flows[name]
    before = state_of(flow)

    page = admin_client.get(flow_page(flow))
    assert page.status_code == 200
    assert flow.status.label in page.text
    for task in flow.tasks.all():
        answer = admin_client.get(reverse("admin:flowerapp_task_change", args=[task.pk]))
        assert answer.status_code == 200
        assert task.status.label in answer.text

    assert state_of(flow) == before


def test_list_shows_each_flow_with_progress_and_failed_task(admin_client: Client, flows: dict[str, Flow]) -> None:
    page = admin_client.get(LIST).text
    for flow in flows.values():
        assert flow_page(flow) in page
    assert "2 of 4" in page
    assert task_page(flows["failed"], 2) in page
    assert "not listed" in page
    assert "Failed<small>, task 2 FailUnlisted</small>" in page
    assert "Held" in page


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ({"status": "2"}, {"failed", "held"}),
        ({"status": "3"}, {"finished"}),
        ({"status": "nonsense"}, {"failed", "waiting", "running", "finished", "held", "cancelled"}),
        ({"task_id": "broken"}, {"failed"}),
        ({"q": "brok"}, {"failed"}),
        ({"q": "no such thing"}, set()),
    ],
)
def test_list_is_filtered_and_searched(
    admin_client: Client, flows: dict[str, Flow], query: dict[str, str], names: set[str]
) -> None:
    page = admin_client.get(LIST, query).text
    assert {name for name, flow in flows.items() if flow_page(flow) in page} == names


def test_search_by_id(admin_client: Client, flows: dict[str, Flow]) -> None:
    page = admin_client.get(LIST, {"q": flows["held"].pk}).text
    assert flow_page(flows["held"]) in page
    assert flow_page(flows["failed"]) not in page


def test_failed_flow_opens_with_the_error_and_its_buttons(admin_client: Client, failed: Flow) -> None:
    page = admin_client.get(flow_page(failed)).text
    error, traceback, button, table = (
        page.index(text) for text in ("KeyError", "Traceback (most recent", "Rerun failed", "<h2>Tasks</h2>")
    )
    assert error < traceback < button < table
    assert "Change parameters" in page
    assert "Skip" in page


def test_failed_task_opens_with_the_error(admin_client: Client, failed: Flow) -> None:
    page = admin_client.get(task_page(failed, 2)).text
    assert page.index("KeyError") < page.index("Rerun failed") < page.index("<h2>Task</h2>")


def test_task_page_shows_input_output_and_log(admin_client: Client, failed: Flow) -> None:
    Log.objects.create(task_flow=failed, task_exec_seq=3, attempt=1, message="a line <b>")
    page = admin_client.get(task_page(failed, 3)).text
    assert "a line &lt;b&gt;" in page
    assert "hidden-value" not in page
    assert "api_token" in page
    assert task_page(failed, 1) in page
    assert task_page(failed, 4) in page


def test_what_programs_and_users_write_is_escaped(admin_client: Client, runner: InlineRunner, steps: Steps) -> None:
    steps("bad", {"program": "Return", "parameters": {"value": "<script>1</script>"}}, {"program": "FailUnlisted"})
    flow = engine.register("bad", input={"x": "<script>2</script>"})
    runner.run()
    Task.objects.filter(task_flow=flow, task_exec_seq=2).update(
        error="<script>3</script>", traceback="<script>4</script>"
    )
    urls = [LIST, TASKS, flow_page(flow), task_page(flow, 1), task_page(flow, 2)]
    for page in (admin_client.get(url).text for url in urls):
        assert not any(f"<script>{number}</script>" in page for number in range(1, 5))


def test_history_names_who_and_why(admin_client: Client, flows: dict[str, Flow]) -> None:
    engine.resume(flows["held"].pk, actor="ada", why="all counted")
    page = admin_client.get(flow_page(flows["held"])).text
    assert "ada" in page
    assert "all counted" in page
    assert "stock-taking" in page


def test_history_names_attempt_and_worker(admin_client: Client, runner: InlineRunner, steps: Steps) -> None:
    steps("frail", {"program": "Noop"})
    flow = engine.register("frail")
    Worker.objects.create(id="7", name="w7@here", pid=1, pool="prefork", concurrency=1)
    assert Task.objects.claim(TaskRef(flow.pk, 1), Process("7", 1))
    recovery.record_lost(TaskRef(flow.pk, 1), "its worker is dead", Process("7", None))
    for url in (flow_page(flow), task_page(flow, 1)):
        page = admin_client.get(url).text
        assert "w7@here" in page
        assert "attempt 1" in page
        assert "its worker is dead" in page


def test_queue_that_no_worker_serves_is_shown(admin_client: Client, runner: InlineRunner, steps: Steps) -> None:
    steps("remote", {"queue": "far-away"})
    flow = engine.register("remote")
    assert "No worker serves queue “far-away”" in admin_client.get(flow_page(flow)).text
    Worker.objects.create(id="1", name="w@h", pid=1, pool="prefork", concurrency=1, queues=["far-away"])
    assert "No worker serves" not in admin_client.get(flow_page(flow)).text
    assert "far-away" in admin_client.get(reverse("admin:flowerapp_worker_changelist")).text


def test_row_that_is_not_adopted_yet_is_shown(admin_client: Client) -> None:
    flow = Flow.objects.create(task_flow_id="by/hand", task_id="odd")
    task = Task.objects.create(task_flow=flow, task_exec_seq=1, task_id="odd", task_seq=1)
    assert "not adopted yet" in admin_client.get(reverse("admin:flowerapp_flow_change", args=["by_2Fhand"])).text
    assert admin_client.get(reverse("admin:flowerapp_task_change", args=[task.pk])).status_code == 200


def wide(runner: InlineRunner, steps: Steps, width: int) -> Flow:
    rows = [{}, *[{"depends_on": [1]}] * width, {"depends_on": list(range(2, width + 2))}]
    steps(f"wide{width}", *rows)
    flow = engine.register(f"wide{width}")
    runner.waiting.clear()
    return flow


def statements(client: Client, url: str) -> int:
    with CaptureQueriesContext(
        connection,
    ) as captured:
        assert client.get(url).status_code == 200
    return len(captured)


def test_statements_do_not_grow_with_the_flow(admin_client: Client, runner: InlineRunner, steps: Steps) -> None:
    small, large = wide(runner, steps, 3), wide(runner, steps, 500)
    admin_client.get(flow_page(small))
    assert statements(admin_client, flow_page(large)) == statements(admin_client, flow_page(small)) < 20
    assert statements(admin_client, task_page(large, 502)) == statements(admin_client, task_page(small, 5)) < 20
    page = admin_client.get(flow_page(large)).text
    assert "302 more" in page
    assert f"{TASKS}?task_flow={large.pk}&amp;parent_seq=none" in page


def test_statements_do_not_grow_with_the_lists(admin_client: Client, runner: InlineRunner, steps: Steps) -> None:
    steps("plain", {}, {"program": "FailUnlisted"})
    counts = []
    for _ in range(2):
        for _ in range(4):
            engine.register("plain")
        runner.run()
        counts.append([statements(admin_client, url) for url in (LIST, TASKS)])
    assert counts[0] == counts[1]


def test_tasks_of_one_flow_are_listed_in_order(admin_client: Client, flows: dict[str, Flow]) -> None:
    page = admin_client.get(TASKS, {"task_flow": flows["failed"].pk}).text
    places = [page.index(task_page(flows["failed"], seq)) for seq in range(1, 5)]
    assert places == sorted(places)
    assert task_page(flows["held"], 1) not in page


@pytest.mark.parametrize("path", ["nothing", "a_00b", "_2F", "x/verb/suspend", "x/verb/none"])
def test_unknown_rows_are_not_found(admin_client: Client, path: str) -> None:
    for model in ("flow", "task"):
        assert admin_client.get(f"/admin/flowerapp/{model}/{path}/").status_code in (302, 404)
    assert admin_client.get(f"/admin/flowerapp/flow/{path}/change/").status_code == 404
    assert admin_client.get(f"/admin/flowerapp/task/{path}/change/").status_code == 404


def test_reader_sees_every_page_and_no_verb(staff: Staff, flows: dict[str, Flow]) -> None:
    client = staff(*READERS)
    for flow in flows.values():
        page = client.get(flow_page(flow))
        assert page.status_code == 200
        assert "/verb/" not in page.text
    page = client.get(task_page(flows["failed"], 2))
    assert "/verb/" not in page.text


def test_nothing_is_edited_by_hand(admin_client: Client, flows: dict[str, Flow]) -> None:
    flow = flows["failed"]
    before = state_of(flow)
    assert admin_client.post(flow_page(flow), {"exec_status": Status.FINISH}).status_code == 405
    assert admin_client.post(task_page(flow, 2), {"exec_status": Status.FINISH}).status_code == 405
    assert admin_client.get(reverse("admin:flowerapp_flow_add")).status_code == 403
    assert admin_client.get(reverse("admin:flowerapp_task_add")).status_code == 403
    assert state_of(flow) == before


def test_only_ended_flows_are_deleted(admin_client: Client, flows: dict[str, Flow]) -> None:
    ended, going = flows["finished"], flows["running"]
    assert (
        admin_client.post(reverse("admin:flowerapp_flow_delete", args=[going.pk]), {"post": "yes"}).status_code == 403
    )
    assert "2" in admin_client.get(reverse("admin:flowerapp_flow_delete", args=[ended.pk])).text
    admin_client.post(reverse("admin:flowerapp_flow_delete", args=[ended.pk]), {"post": "yes"})
    assert not Flow.objects.filter(pk=ended.pk).exists()
    assert not Task.objects.filter(task_flow_id=ended.pk).exists()

    chosen = {"action": "delete_selected", "_selected_action": [going.pk, flows["cancelled"].pk], "post": "yes"}
    admin_client.post(LIST, chosen)
    assert Flow.objects.filter(pk=going.pk).exists()


def test_leases_history_and_logs_have_no_admin(admin_client: Client) -> None:
    index = admin_client.get(reverse("admin:index")).text
    assert "/flowerapp/lease/" not in index
    assert "/flowerapp/historyentry/" not in index


def test_long_values_are_cut(admin_client: Client, runner: InlineRunner, steps: Steps) -> None:
    steps("big", {"program": "Return", "parameters": {"value": "x" * 100_000}})
    flow = engine.register("big")
    runner.run()
    page = admin_client.get(task_page(flow, 1))
    assert len(page.content) < 120_000
    assert "more characters" in page.text
    assert json.dumps("x" * 30_000) not in page.text
    assert HistoryEntry.objects.filter(task_flow=flow).count() == 0
