"""Masks in the steps of a workflow that is written back: each keeps the value of its own step."""

from __future__ import annotations

from typing import Any

import pytest

from flowerapp import engine
from flowerapp.core.masking import MASKED, masked
from flowerapp.exceptions import InvalidPlanError, UnknownWorkflowError
from flowerapp.models import TaskDefinition
from flowerapp.registry import Context
from flowerapp.workflows import Workflow, classes, rows, task

pytestmark = pytest.mark.django_db(transaction=True)


def step(seq: int, secret: str, url: str = "", **columns: Any) -> dict[str, Any]:
    parameters = {"URL": f"https://{url or 'example.com'}/", "HEADERS": {"Authorization": secret}}
    return {"task_seq": seq, "program": "HTTPPostRequest", "parameters": parameters, "depends_on": [], **columns}


def store(*steps: dict[str, Any], name: str = "pays") -> None:
    rows.store({"task_id": name, "tasks": list(steps)})


def secrets(name: str = "pays") -> dict[int, str]:
    """``{task_seq: secret}``."""
    stored = TaskDefinition.objects.filter(task_id=name)
    return {row.task_seq: row.all_parameters["HEADERS"]["Authorization"] for row in stored}


def columns(name: str = "pays") -> list[dict[str, Any]]:
    """The rows as they are, but for the surrogate key."""
    stored = TaskDefinition.objects.filter(task_id=name).order_by("task_seq").values()
    return [{key: value for key, value in row.items() if key != "id"} for row in stored]


REFUSED = f"parameter HEADERS holds {MASKED}, which keeps what the same step has stored in that place"


def is_refused(*steps: dict[str, Any], at: list[int], name: str = "pays") -> None:
    """The steps are refused because of the masks of those at ``at``, and nothing changes."""
    before = columns(name)
    with pytest.raises(InvalidPlanError, match=REFUSED) as caught:
        store(*steps, name=name)
    assert [(it.seq, it.field) for it in caught.value.problems] == [(seq, "parameters.HEADERS") for seq in at]
    assert columns(name) == before


def test_each_step_keeps_its_own() -> None:
    store(step(1, "one"), step(2, "two"))
    store(step(1, MASKED), step(2, MASKED))
    assert secrets() == {1: "one", 2: "two"}
    store(step(2, "new"), step(1, MASKED))
    assert secrets() == {1: "one", 2: "new"}


def test_everything_else_of_a_step_may_change() -> None:
    store(step(1, "one", name="first"))
    store(step(1, MASKED, "elsewhere.example", name="renamed", queue="far", task_priority=3))
    assert secrets() == {1: "one"}
    assert columns()[0]["param1_value"] == "https://elsewhere.example/"


def test_program_may_change() -> None:
    parameters = {"value": {"token": "s3cret"}}
    store({"task_seq": 1, "program": "Return", "parameters": parameters})
    store({"task_seq": 1, "program": "Record", "parameters": {"output": 1}})
    store({"task_seq": 1, "program": "Return", "parameters": parameters})
    kept = {"task_seq": 1, "program": "tests.probe.tasks.mul", "parameters": {"x": 1, "y": {"token": MASKED}}}
    with pytest.raises(InvalidPlanError, match="parameter y holds"):
        store(kept)
    assert TaskDefinition.objects.get().all_parameters == parameters


def test_new_number_keeps_nothing() -> None:
    store(step(1, "one"))
    is_refused(step(2, MASKED), at=[2])
    is_refused(step(1, MASKED), step(2, MASKED), at=[2])


def test_steps_that_change_places_do_not_change_secrets() -> None:
    store(step(1, "one", "a"), step(2, "two", "b"))
    is_refused(step(1, MASKED, "b"), step(2, MASKED, "a"), at=[1, 2])


def test_step_that_is_pushed_back_does_not_take_the_secret_of_the_next() -> None:
    store(step(1, "one", "a"), step(2, "two", "b"))
    is_refused({"task_seq": 1, "program": "Noop"}, step(2, MASKED, "a"), step(3, MASKED, "b"), at=[2, 3])


def test_names_tell_steps_apart() -> None:
    store(step(1, "one", name="a"), step(2, "two", name="b"))
    is_refused(step(1, MASKED, name="b"), step(2, MASKED, name="a"), at=[1, 2])
    is_refused(step(1, MASKED, "changed", name="b"), step(2, "new", name="a"), at=[1])


def test_copy_under_another_name_gets_no_secret() -> None:
    store(step(1, "one"))
    with pytest.raises(InvalidPlanError, match=REFUSED):
        store(step(1, MASKED), name="copy")
    with pytest.raises(UnknownWorkflowError):
        rows.document("copy")
    store(step(1, "other"), name="copy")
    store(step(1, MASKED), name="copy")
    assert secrets("copy") == {1: "other"}


def test_deleted_secret_is_gone() -> None:
    store(step(1, "one"))
    engine.undefine("pays")
    with pytest.raises(InvalidPlanError, match=REFUSED):
        store(step(1, MASKED))


def test_class_gives_its_values_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classes, "_classes", {})

    class Pays(Workflow):
        """Pay."""

        task_id = "pays"

        @task(parameters={"token": MASKED})
        def pay(self, ctx: Context, token: str) -> None:
            """Pay."""

    with pytest.raises(InvalidPlanError, match=f"step 1: parameter token holds {MASKED}"):
        Pays.store()
    assert not TaskDefinition.objects.exists()


def test_mask_that_sql_wrote_is_refused_at_register() -> None:
    store(step(1, "one"))
    TaskDefinition.objects.update(parameters={"HEADERS": {"Authorization": MASKED}})
    with pytest.raises(InvalidPlanError, match=REFUSED):
        engine.register("pays")


ODD = [
    {"parameters": {"URL": "https://a/", "HEADERS": {"token": "s3cret"}}},
    {"param2_key": "URL", "param2_value": "https://a/", "param5_key": "BODY", "param5_value": None},
    {"param1_key": "URL", "param1_value": "https://a/", "parameters": {"URL": "https://b/", "TIMEOUT": 3}},
    {"param3_key": "URL", "param3_value": "https://a/", "param4_key": "", "param4_value": "no name"},
]
"""Rows of other systems, whose parameters stand where we would not write them."""


@pytest.mark.parametrize("odd", ODD)
def test_unchanged_step_keeps_its_columns(odd: dict[str, Any]) -> None:
    TaskDefinition.objects.create(task_id="pays", task_seq=1, program="HTTPPostRequest", **odd)
    before = columns()
    document = rows.document("pays")
    for one in document["tasks"]:
        one["parameters"] = masked(one["parameters"])
    rows.store(document)
    assert columns() == before
    document["tasks"][0]["parameters"]["TIMEOUT"] = 7
    rows.store(document)
    stored = TaskDefinition.objects.get()
    assert stored.all_parameters["TIMEOUT"] == 7
    assert MASKED not in str(columns())


def test_name_that_no_database_can_store_is_refused() -> None:
    with pytest.raises(InvalidPlanError, match="control character"):
        store(step(1, MASKED), name="a\0b")
