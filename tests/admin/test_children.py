"""Children, limits and why tasks wait, on the pages of flows and tasks."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from flowerapp import engine
from flowerapp.core.messages import TaskRef
from flowerapp.engine import attempts
from flowerapp.models import Flow, Task, Workflow
from flowerapp.states import Status
from flowerapp.testing import InlineRunner
from tests.admin.conftest import Split, Staff, Steps
from tests.admin.test_pages import LIST, READERS, TASKS, flow_page, statements, task_page
from tests.admin.test_verbs import task_verb

pytestmark = pytest.mark.django_db


def started(runner: InlineRunner, name: str, *, messages: int = 1) -> Flow:
    """A flow of which so many messages have been worked on; the others are lost."""
    flow = engine.register(name)
    for _ in range(messages):
        runner.step()
    runner.waiting.clear()
    flow.refresh_from_db()
    return flow


@pytest.fixture
def failing(runner: InlineRunner, split: Split) -> Flow:
    """A flow whose second child of five failed."""
    split("cut", [[1], ["bad"], [2], [3], [4]])
    flow = engine.register("cut")
    runner.run()
    flow.refresh_from_db()
    return flow


def test_a_parent_shows_the_states_of_its_children(admin_client: Client, runner: InlineRunner, split: Split) -> None:
    split("cut", [[n] for n in range(10)], max_concurrency=10)
    flow = started(runner, "cut", messages=7)
    page = admin_client.get(flow_page(flow)).text
    assert "6 of 10 children done" in page
    assert '<progress max="10" value="6"' in page
    assert f"{TASKS}?task_flow={flow.pk}&amp;parent_seq=1" in page
    assert "6 of 12 tasks done" in page
    assert all(task_page(flow, seq) not in page for seq in range(3, 13))
    page = admin_client.get(task_page(flow, 1)).text
    assert "6 of 10 children done" in page
    assert "for its children" in page
    assert "6 of 12" in admin_client.get(LIST).text


def test_the_failed_child_is_shown_as_the_failure_with_its_buttons(
    staff: Staff, runner: InlineRunner, failing: Flow
) -> None:
    client = staff(*READERS, "operate_flow")
    page = client.get(flow_page(failing))
    blocks = page.context["failure_blocks"]
    assert [block["task"].task_exec_seq for block in blocks] == [4]
    assert "child 1 of task 1 Split" in page.text
    assert "1 of 5 children done, 1 failed, 3 cancelled" in page.text
    assert task_verb(failing, 4, "skip") in page.text
    assert task_verb(failing, 4, "rerun-failed") in page.text
    assert task_verb(failing, 1, "skip") not in page.text

    client.post(task_verb(failing, 4, "skip"), {"confirmed": "1"})
    runner.run()
    failing.refresh_from_db()
    assert failing.status is Status.FINISH
    page = client.get(flow_page(failing))
    assert "4 of 5 children done, 1 skipped" in page.text
    assert not page.context["failure_blocks"]


def test_a_parent_that_failed_by_itself_is_shown_as_the_failure(
    admin_client: Client, runner: InlineRunner, split: Split
) -> None:
    split("refused", [[1]], child_program="")
    flow = engine.register("refused")
    runner.run()
    page = admin_client.get(flow_page(flow))
    assert [block["task"].task_exec_seq for block in page.context["failure_blocks"]] == [1]


def test_page_of_a_child(admin_client: Client, failing: Flow) -> None:
    Task.objects.filter(task_flow=failing, task_exec_seq=5).update(
        child_id="b", item={"api_token": "to-be-hidden", "n": 7}
    )
    page = admin_client.get(task_page(failing, 5)).text
    assert task_page(failing, 1) in page
    assert "child b of task 1 Split" in page
    assert "<h2>Item</h2>" in page
    assert "&quot;n&quot;: 7" in page
    assert "to-be-hidden" not in page
    assert "stopped, because child 1" in page


def test_children_are_listed_by_parent(admin_client: Client, failing: Flow) -> None:
    def listed(**query: Any) -> list[int]:
        answer = admin_client.get(TASKS, {"task_flow": failing.pk, **query})
        assert answer.status_code == 200
        return [task.task_exec_seq for task in answer.context["cl"].result_list]

    assert listed() == [1, 2, 3, 4, 5, 6, 7]
    assert listed(parent_seq="1") == [3, 4, 5, 6, 7]
    assert listed(parent_seq="1", status="2") == [4]
    assert listed(parent_seq="2") == []
    assert listed(parent_seq="none") == [1, 2]
    assert listed(parent_seq="any") == [3, 4, 5, 6, 7]
    assert listed(parent_seq="nonsense") == [1, 2, 3, 4, 5, 6, 7]
    page = admin_client.get(TASKS, {"task_flow": failing.pk, "parent_seq": "1"}).text
    assert "children of task 1 Split" in page


def test_statements_do_not_grow_with_the_children(admin_client: Client, runner: InlineRunner, split: Split) -> None:
    flows = []
    for number in (3, 300):
        split(f"cut{number}", [[n] for n in range(number)], max_concurrency=2)
        flows.append(started(runner, f"cut{number}", messages=2))
    small, large = flows
    admin_client.get(flow_page(small))
    for pages in (
        [flow_page(flow) for flow in flows],
        [task_page(flow, 1) for flow in flows],
        [task_page(flow, 4) for flow in flows],
        [f"{TASKS}?task_flow={flow.pk}&parent_seq=1" for flow in flows],
    ):
        counts = [statements(admin_client, page) for page in pages]
        assert counts[0] == counts[1] < 24
    Task.objects.filter(task_flow=large, parent_seq=1).update(exec_status=Status.SUSPEND, finished_ts=None)
    assert statements(admin_client, flow_page(large)) < 24
    assert len(admin_client.get(flow_page(large)).context["failure_blocks"]) == 5


def test_statements_do_not_grow_with_the_parents(admin_client: Client, runner: InlineRunner, steps: Steps) -> None:
    counts = []
    for width in (2, 40):
        row = {"program": "Split", "child_program": "Sum", "parameters": {"items": [[1], [2]]}, "depends_on": []}
        steps(f"many{width}", *[row] * width)
        flow = started(runner, f"many{width}", messages=0)
        for parent in flow.tasks.all():
            attempts.run(TaskRef(flow.pk, parent.task_exec_seq), "w")
        counts.append(statements(admin_client, flow_page(flow)))
        assert admin_client.get(flow_page(flow)).text.count(">0 of 2 children done</span>") == width
    assert counts[0] == counts[1] < 24


def test_a_flow_that_is_not_admitted_says_so(admin_client: Client, runner: InlineRunner, steps: Steps) -> None:
    counts = []
    for width in (2, 50):
        name = f"narrow{width}"
        steps(name, *[{"depends_on": []}] * width)
        Workflow.objects.create(task_id=name, max_active_flows=1)
        first, second = engine.register(name), engine.register(name)
        page = admin_client.get(flow_page(second)).text
        assert "This flow waits until others end." in page
        assert page.count("for its flow to be admitted") == width + 1
        assert "not admitted yet" in admin_client.get(LIST).text
        assert "This flow waits" not in admin_client.get(flow_page(first)).text
        counts.append(statements(admin_client, flow_page(second)))
    assert counts[0] == counts[1] < 24


def test_why_a_task_waits(admin_client: Client, runner: InlineRunner, steps: Steps) -> None:
    engine.set_pool("tape", 0)
    steps("kinds", {"pool": "tape"}, {"depends_on": [1]}, {"program": "Waiting", "depends_on": []})
    flow = engine.register("kinds")
    runner.run()
    page = admin_client.get(flow_page(flow)).text
    for seq, sentence in {
        1: "for a slot of pool tape: 0 of 0 are taken",
        2: "for 1 of the tasks before it",
        3: "until it is woken",
    }.items():
        assert sentence in page
        assert sentence in admin_client.get(task_page(flow, seq)).text
    assert "pool tape" in page
    assert "/flowerapp/pool/tape/change/" in admin_client.get(task_page(flow, 1)).text


def test_output_of_a_flow_is_shown_when_it_has_ended(admin_client: Client, runner: InlineRunner, steps: Steps) -> None:
    steps("gives", {"program": "Return", "parameters": {"value": {"password": "to-be-hidden", "kept": 12}}})
    flow = engine.register("gives")
    assert "<h2>Output</h2>" not in admin_client.get(flow_page(flow)).text
    runner.run()
    page = admin_client.get(flow_page(flow)).text
    assert "<h2>Output</h2>" in page
    assert "&quot;kept&quot;: 12" in page
    assert "to-be-hidden" not in page


def test_the_graph_shows_steps_only(admin_client: Client, failing: Flow) -> None:
    drawn = admin_client.get(flow_page(failing)).context["drawing"]
    assert "Split" in drawn
    assert "Sum" not in drawn
