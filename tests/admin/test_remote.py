"""Remote tasks, gates, conditions, and flows of texts in the admin."""

from __future__ import annotations

import pytest
from django.urls import reverse

from flowerapp import engine
from flowerapp.core.gates import GATE
from flowerapp.core.plan import Node, Plan
from flowerapp.models import Flow
from flowerapp.states import Status
from flowerapp.testing import InlineRunner
from tests.admin.conftest import Staff
from tests.admin.test_pages import READERS
from tests.admin.test_verbs import OPERATORS, task_verb

pytestmark = pytest.mark.django_db


@pytest.fixture
def remote(runner: InlineRunner) -> Flow:
    """A gate, and two remote tasks after it, the second with a condition."""
    nodes = (
        Node(seq=0, program=GATE),
        Node(seq=1, program="", remote="docs:print", alias="print", depends_on=(0,)),
        Node(seq=2, program="", remote="docs:bind", depends_on=(1,), when="input.pages > 1"),
    )
    return engine.register_plan(Plan("text", nodes), source="print → docs:bind")


def page(client: object, flow: Flow) -> str:
    return str(client.get(reverse("admin:flowerapp_flow_change", args=[flow.pk])).text)  # type: ignore[attr-defined]


def test_the_page_of_a_task_ends_it(staff: Staff, remote: Flow) -> None:
    client = staff(*OPERATORS)
    shown = page(client, remote)
    assert "no worker has answered for docs:print" in shown
    assert "print → docs:bind" in shown
    task = remote.tasks.get(task_exec_seq=2)
    of_task = client.get(reverse("admin:flowerapp_task_change", args=[task.pk])).text
    assert task_verb(remote, 2, "end") in of_task
    assert task_verb(remote, 2, "fail") in of_task
    assert "remote: docs:print" in of_task
    form = client.get(task_verb(remote, 2, "end")).text
    assert 'name="output"' in form
    client.post(task_verb(remote, 2, "end"), {"confirmed": "1", "output": '{"pages": 2}', "why": "by hand"})
    entry = remote.history.get(verb="end")
    assert (entry.actor, entry.reason) == ("clerk", "by hand")
    client.post(task_verb(remote, 3, "fail"), {"confirmed": "1", "reason": "no glue"})
    remote.refresh_from_db()
    assert (remote.status, remote.failed_seq) == (Status.SUSPEND, 3)
    assert "no glue" in page(client, remote)


def test_a_claimed_task_is_shown_with_its_worker_and_can_be_failed_by_hand(staff: Staff, runner: InlineRunner) -> None:
    node = Node(seq=1, program="", remote="docs:print", max_retries=3)
    flow = engine.register_plan(Plan("text", (node,)))
    engine.claim_remote("printer-1")
    client = staff(*OPERATORS)
    assert "by another system" in page(client, flow)
    task = flow.tasks.get()
    of_task = client.get(reverse("admin:flowerapp_task_change", args=[task.pk])).text
    assert "remote:printer-1" in of_task
    assert task_verb(flow, 1, "end") in of_task
    assert task_verb(flow, 1, "skip") not in of_task
    client.post(task_verb(flow, 1, "fail"), {"confirmed": "1", "reason": "no glue"})
    flow.refresh_from_db()
    assert flow.status is Status.SUSPEND
    entry = flow.history.get(verb="fail")
    assert (entry.worker, entry.attempt) == ("remote:printer-1", 1)
    assert "remote:printer-1" in page(client, flow)


def test_a_refusal_is_a_message(staff: Staff, remote: Flow) -> None:
    client = staff(*OPERATORS)
    answer = client.post(task_verb(remote, 3, "end"), {"confirmed": "1", "output": ""}, follow=True)
    assert "is not ready" in answer.text
    assert client.post(task_verb(remote, 2, "fail"), {"confirmed": "1", "reason": ""}).status_code == 200
    assert remote.tasks.get(task_exec_seq=2).status is Status.WAIT


def test_readers_may_not(staff: Staff, remote: Flow) -> None:
    client = staff(*READERS)
    assert client.post(task_verb(remote, 2, "end"), {"confirmed": "1"}).status_code == 403
    assert client.post(task_verb(remote, 2, "fail"), {"confirmed": "1", "reason": "no"}).status_code == 403


def test_why_a_task_was_skipped(staff: Staff, remote: Flow) -> None:
    engine.end_task(remote.pk, 2, output={"pages": 1})
    assert "its condition input.pages &gt; 1 is false" in page(staff(*READERS), remote)


def test_links_of_a_workflow_that_is_not_stored_lead_to_its_flows(staff: Staff, remote: Flow) -> None:
    client = staff("view_flow", "view_taskdefinition", "view_workflow")
    for url in ("admin:flowerapp_flow_changelist", "admin:flowerapp_task_changelist"):
        assert client.get(reverse(url)).status_code == 200
    answer = client.get(reverse("admin:flowerapp_workflow_change", args=["text"]), follow=True)
    assert answer.status_code == 200
    assert answer.redirect_chain[-1][0].startswith(reverse("admin:flowerapp_flow_changelist"))
    assert "No workflow text is stored" in answer.text
