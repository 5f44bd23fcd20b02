"""Rows as people may see them."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import models

from flowerapp.core.masking import MASKED
from flowerapp.models import Flow, HistoryEntry, Hook, Log, Task, TaskDefinition
from flowerapp.selectors import flows, shown

pytestmark = pytest.mark.django_db

S = "open-sesame-1"


@pytest.fixture
def task() -> Task:
    """A task whose columns quote what its parameters and its flow's input hide."""
    flow = Flow.objects.create(task_flow_id="f", task_id="w", input={"password": f"{S}-in"}, state={"a": f"{S}-in"})
    return Task.objects.create(
        task_flow=flow,
        task_exec_seq=1,
        task_id="w",
        task_seq=1,
        program="P",
        parameters={"token": S, "n": [1]},
        item={"cookie": f"{S}-item"},
        output={"api_key": "other", "echo": f"<{S}> <{S}-item> <{S}-in>"},
        error=f"cannot use {S}",
        traceback=f"Traceback {S}",
        progress={"state": f"at {S}"},
        child_id=f"https://u:{S}@h",
    )


def columns(row: Any) -> dict[str, Any]:
    return {field.name: getattr(row, field.name) for field in Task._meta.concrete_fields if field.name != "task_flow"}


LOADED: list[tuple[str, ...]] = [("task_id",), ("parameters", "item"), ("output",)]


@pytest.mark.parametrize("only", LOADED)
def test_columns_are_masked_that_are_loaded_later(task: Task, only: tuple[str, ...]) -> None:
    seen = columns(shown.rows(Task.objects.only(*only)).get())
    assert seen["parameters"] == {"token": MASKED, "n": [1]}
    assert seen["output"]["api_key"] == MASKED


def test_every_column_is_masked_by_what_is_loaded(task: Task) -> None:
    row = shown.rows(Task.objects.select_related("task_flow")).get()
    assert isinstance(row, Task)
    seen = columns(row)
    assert S not in str(seen)
    assert seen["output"]["echo"] == f"<{MASKED}> <{MASKED}> <{MASKED}>"


def test_what_belongs_to_a_row_is_masked_too(task: Task) -> None:
    flow = shown.shown(task.task_flow)
    assert flow.input == {"password": MASKED}
    assert flow.state == {"a": MASKED}
    assert shown.rows(Task.objects.select_related("task_flow")).get().task_flow.input == flow.input
    assert S not in str([columns(row) for row in flow.tasks.order_by("pk")])
    assert shown.shown_value({"x": f"a {S}"}, task) == {"x": f"a {MASKED}"}
    assert S not in str(flows.output_of(shown.shown(Flow(task_flow_id="f", exec_status=3))))


def test_a_shown_row_reads_as_the_row_and_is_not_saved(task: Task) -> None:
    row = shown.shown(task)
    assert shown.shown(row) is row
    assert row == task
    assert {row} == {task}
    assert (row.pk, row.ref, row.failed) == (task.pk, task.ref, task.failed)
    with pytest.raises(TypeError, match="cannot be saved"):
        row.save()
    row.note = "mine"  # type: ignore[attr-defined]
    assert not hasattr(task, "note")
    assert task.parameters["token"] == S


def test_pairs_and_parameters_of_a_step_are_masked(task: Task) -> None:
    step = TaskDefinition(param1_key="URL", param1_value=f"https://u:{S}@h", param2_key="pwd", param2_value=S)
    step.parameters = {"body": f'{{"token": "{S}"}}'}
    row = shown.shown(step)
    assert (row.param1_value, row.param2_value) == (f"https://u:{MASKED}@h", MASKED)
    assert S not in str(row.all_parameters)
    assert S not in str(row.parameters)


@pytest.mark.parametrize("row", [Log(message=f"token={S}"), HistoryEntry(reason=f"token={S}", details={"token": S})])
def test_logs_and_history_are_masked(row: Any) -> None:
    masked = shown.shown(row)
    assert S not in str([str(masked), *(getattr(masked, field.attname) for field in row._meta.concrete_fields)])


def test_new_columns_are_masked_unless_they_are_named() -> None:
    for model, as_it_is in shown.AS_IT_IS.items():
        names = {
            field.name
            for field in model._meta.concrete_fields
            if isinstance(field, (models.JSONField, models.TextField))
        }
        assert shown._masked_names(model) >= names - as_it_is
    assert "error" in shown._masked_names(Hook)


def test_other_models_have_no_values_of_users() -> None:
    """Columns of JSON or text of the models that are shown as they are: names, texts for people, and what events must
    contain, which each surface masks."""
    from django.apps import apps

    plain = {
        f"{model.__name__}.{field.name}"
        for model in apps.get_app_config("flowerapp").get_models()
        if model not in shown.AS_IT_IS
        for field in model._meta.concrete_fields
        if isinstance(field, (models.JSONField, models.TextField))
    }
    assert plain == {
        *("Workflow.description", "Pool.description", "Worker.queues"),
        *("Wait.match", "Workflow.start_match"),
    }
