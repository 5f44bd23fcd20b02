"""``flow end`` and ``flow fail``, and what the command line shows of remote tasks, gates and conditions."""

from __future__ import annotations

import json

import pytest

from flowerapp import engine
from flowerapp.core.gates import GATE
from flowerapp.core.messages import TaskRef
from flowerapp.core.plan import Node, Plan
from flowerapp.models import Flow
from flowerapp.states import Status
from flowerapp.testing import InlineRunner
from tests.cli.support import flow

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def remote(runner: InlineRunner) -> Flow:
    """A gate, and two remote tasks after it, the second with a condition."""
    nodes = (
        Node(seq=0, program=GATE),
        Node(seq=1, program="", remote="docs:print", depends_on=(0,)),
        Node(seq=2, program="", remote="docs:bind", depends_on=(1,), when="input.pages > 1"),
    )
    return engine.register_plan(Plan("text", nodes), source="docs:print → docs:bind")


def test_end_and_fail(remote: Flow) -> None:
    assert "no worker has answered for docs:print" in flow("show", remote.pk).out
    answer = flow("end", remote.pk, 2, "--output", '{"pages": 2}', "--why", "by hand", "--json")
    assert (answer.code, json.loads(answer.out)["status"]) == (0, "Running")
    assert flow("end", remote.pk, 2).code == 2
    assert flow("fail", remote.pk, 3, "--reason", "no glue").code == 0
    remote.refresh_from_db()
    assert (remote.status, remote.failed_seq) == (Status.SUSPEND, 3)
    shown = flow("show", remote.pk)
    assert "Task 3 docs:bind failed" in shown.out
    assert "no glue" in shown.out
    assert flow("rerun", remote.pk).code == 0
    assert flow("end", remote.pk, 3).code == 0
    remote.refresh_from_db()
    assert remote.status is Status.FINISH


def test_a_claimed_task(remote: Flow) -> None:
    engine.claim_remote("printer-1")
    engine.beat_remote(TaskRef(remote.pk, 2), 1, progress={"done": 3, "total": 10})
    shown = flow("task", remote.pk, 2).out
    assert "Running" in shown
    assert "remote:printer-1" in shown
    assert "3 of 10" in flow("show", remote.pk).out
    assert json.loads(flow("task", remote.pk, 2, "--json").out)["worker"] == "remote:printer-1"
    assert flow("skip", remote.pk, 2).code == 2
    assert flow("end", remote.pk, 2, "--output", '{"pages": 2}').code == 0
    assert "remote:printer-1" in flow("show", remote.pk).out


def test_a_task_says_why_it_was_skipped(remote: Flow) -> None:
    assert flow("end", remote.pk, 2, "--output", '{"pages": 1}').code == 0
    assert "its condition input.pages > 1 is false" in flow("task", remote.pk, 3).out
    assert "its condition input.pages > 1 is false" in flow("show", remote.pk).out


def test_wrong_usage(remote: Flow) -> None:
    answer = flow("end", remote.pk, 2, "--output", "{")
    assert (answer.code, "--output is not JSON" in answer.err) == (2, True)
    assert flow("fail", remote.pk, 2, "--reason", "").code == 2
    assert flow("end", remote.pk, 1).code == 2
    assert "is no remote task" in flow("end", remote.pk, 1).err


def test_a_flow_of_a_text_is_drawn_and_listed(remote: Flow) -> None:
    assert "docs:print" in flow("graph", remote.pk).out
    assert remote.pk[:8] in flow("list").out
    assert flow("task", remote.pk, 1).code == 0
