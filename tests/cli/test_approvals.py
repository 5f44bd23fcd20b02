"""``flow approvals``, ``flow approve`` and ``flow reject``."""

from __future__ import annotations

import json

import pytest

from flowerapp import engine
from flowerapp.models import Flow
from flowerapp.testing import InlineRunner
from tests.cli.support import flow
from tests.engine.approvals import FORM, approval, asked, asking
from tests.engine.support import planned, task

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def two(runner: InlineRunner) -> Flow:
    """A flow whose two steps ask at once."""
    made = planned(approval(1, title="First"), approval(2, name="", title="Second"))
    runner.run()
    return made


def test_the_list(runner: InlineRunner, two: Flow) -> None:
    assert flow("approvals").out.count("First") == 1
    engine.decide(two.pk, 1, "approve", actor="ann")
    answer = flow("approvals", "--json")
    assert [(row["title"], row["state"], row["task_exec_seq"]) for row in answer.json] == [("Second", "open", 2)]
    answer = flow("approvals", two.pk[:20], "--all")
    assert answer.out.index("Second") < answer.out.index("First")
    assert "ann chose Approve at " in answer.out
    assert "there are more" in flow("approvals", "--all", "--limit", 1).err
    engine.cancel(two.pk)
    assert flow("approvals").out == "no approvals\n"


def test_approve_and_reject(runner: InlineRunner) -> None:
    first, second = asking(runner, form=FORM), asking(runner)
    assert "flow approve" in flow("show", first.pk).out
    answer = flow("approve", first.pk, "--data", '{"amount": 2, "password": "hunter2"}', "--comment", "ok", "--json")
    assert answer.code == 0, answer.err
    assert (answer.json["choice"], answer.json["comment"]) == ("approve", "ok")
    assert "hunter2" not in answer.out
    assert asked(first).decided_by.startswith("cli:")
    answer = flow("reject", second.pk, 2, "--comment", "no")
    assert (answer.code, "chose Reject at" in answer.out) == (0, True)
    assert task(second, 2).error.endswith(": no")
    answer = flow("approve", second.pk, 2)
    assert (answer.code, "chose Reject at" in answer.err) == (2, True)
    assert flow("approve", second.pk).code == 2


def test_wrong_usage(runner: InlineRunner, two: Flow) -> None:
    answer = flow("approve", two.pk)
    assert (answer.code, "give the SEQ of one: 1 (First), 2 (Second)" in answer.err) == (2, True)
    assert "none of approve, reject" in flow("approve", two.pk, 1, "--choice", "maybe").err
    assert "--data is not JSON" in flow("approve", two.pk, 1, "--data", "{").err
    assert flow("approve", two.pk, 9).code == 2
    assert flow("approve", "nothing-of-that-id").code == 2
    only = asking(runner, choices=["yes"])
    assert "no choice rejects; give --choice, one of yes" in flow("reject", only.pk).err
    assert flow("approve", two.pk, 1, "--choice", "approve").code == 0
    assert json.loads(flow("approve", two.pk, "--json").out)["task_exec_seq"] == 2
