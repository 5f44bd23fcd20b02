"""``flowerapp.tasks.register``: flows from a schedule."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from celery import current_app
from django.db import OperationalError

from flowerapp import engine
from flowerapp.engine import define
from flowerapp.exceptions import FlowerError
from flowerapp.executors.celery.routes import REGISTER, is_internal
from flowerapp.models import Flow, TaskDefinition
from flowerapp.testing import InlineRunner, inline

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def runner(transactional_db: None) -> Iterator[InlineRunner]:
    """A workflow of two steps, and what is sent."""
    rows = [TaskDefinition(task_id="etl", task_seq=seq, program="Return") for seq in (1, 2)]
    define("etl", rows)
    with inline() as runner:
        yield runner


def fire(message: str = "m1", schedule: str = "", retries: int = 0, **kwargs: Any) -> Any:
    """Deliver a message as a worker does; the result."""
    headers = {"periodic_task_name": schedule} if schedule else {}
    task: Any = current_app.tasks[REGISTER]
    options = {"task_id": message, "retries": retries, "headers": headers, "throw": False}
    return task.apply(args=["etl"], kwargs=kwargs, **options)


def test_each_fire_registers_a_flow() -> None:
    made = [fire(message).get() for message in ("m1", "m2")]
    assert {flow.pk for flow in Flow.objects.all()} == set(made)
    assert len(made) == 2


def test_a_message_that_comes_twice_registers_once() -> None:
    assert fire("m1").get() == fire("m1").get()
    assert Flow.objects.count() == 1


def test_a_key_of_its_own() -> None:
    assert fire("m1", idempotency_key="monday").get() == fire("m2", idempotency_key="monday").get()


def test_the_history_names_the_schedule() -> None:
    fire("m1", schedule="nightly")
    fire("m2")
    assert sorted(Flow.objects.values_list("registered_by", flat=True)) == ["celery", "schedule nightly"]


def test_what_a_registration_takes() -> None:
    flow_id = fire(input={"day": 1}, priority=5, parameters={"1": {"value": 7}}, entrance=1).get()
    flow = Flow.objects.get(pk=flow_id)
    assert flow.input == {"day": 1}
    assert flow.tasks.get(task_exec_seq=1).parameters == {"value": 7}


@pytest.mark.parametrize("parameters", [{"first": {}}, [1]])
def test_bad_parameters_are_named(parameters: Any) -> None:
    result = fire(parameters=parameters)
    assert isinstance(result.result, FlowerError)
    assert "task_seq" in str(result.result)


def test_a_database_that_is_unreachable_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    register = engine.register

    def failing_once(*args: Any, **kwargs: Any) -> Any:
        calls.append(kwargs["idempotency_key"])
        if len(calls) == 1:
            raise OperationalError("unreachable")
        return register(*args, **kwargs)

    monkeypatch.setattr(engine, "register", failing_once)
    fire("m1")
    assert calls == ["m1", "m1"]
    assert Flow.objects.count() == 1


def test_what_others_can_send() -> None:
    names = {name for name in current_app.tasks if name.startswith("flowerapp.")}
    assert "flowerapp.Return" in names
    assert {name for name in names if not is_internal(name)} == {REGISTER}
    assert not is_internal("shop.tasks.flowerapp")
