"""Parameters that only a registration knows: the step names them, and each registration has to give them."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from flowerapp import engine
from flowerapp.engine import adoption
from flowerapp.exceptions import InvalidPlanError
from flowerapp.models import Flow, Task, TaskDefinition
from flowerapp.registry import Context
from flowerapp.states import Status
from flowerapp.testing import InlineRunner
from flowerapp.workflows import Workflow, classes, rows, task
from tests.cli.support import flow as command
from tests.engine.support import define, status
from tests.engine.support import task as row_of

pytestmark = pytest.mark.django_db(transaction=True)

HOST = "tests.probe.tasks."
MISSING = r"step 2: parameter start is required at register and was not given; .*\{\"2\": \{\"start\": …\}\}"


def step(seq: int, program: str, *names: str, **parameters: Any) -> dict[str, Any]:
    return {"task_seq": seq, "program": program, "parameters": parameters, "required_at_register": list(names)}


def stored(*steps: dict[str, Any], name: str = "asks") -> str:
    """A workflow, stored as the API stores it."""
    rows.store({"task_id": name, "tasks": list(steps)})
    return name


def asking() -> str:
    """Step 2 needs the number of the start that succeeds."""
    return stored(step(1, "Noop"), step(2, "FailUntil", "start"), step(3, "Echo"))


def test_without_the_name_the_step_is_refused() -> None:
    with pytest.raises(InvalidPlanError, match="step 1: parameter start: FailUntil needs it"):
        stored(step(1, "FailUntil"))


def test_registration_gives_it(runner: InlineRunner) -> None:
    name = asking()
    assert rows.document(name)["tasks"][1]["required_at_register"] == ["start"]
    flow = engine.register(name, parameters={2: {"start": "1"}})
    runner.run()
    assert status(flow) is Status.FINISH
    assert row_of(flow, 2).parameters == {"start": "1"}


@pytest.mark.parametrize("parameters", [{}, {1: {}}, {2: {}}])
def test_registration_without_it_names_step_and_parameter(
    runner: InlineRunner, parameters: dict[int, dict[str, Any]]
) -> None:
    name = asking()
    with pytest.raises(InvalidPlanError, match=MISSING) as caught:
        engine.register(name, parameters=parameters)
    assert [(problem.seq, problem.field) for problem in caught.value.problems] == [(2, "parameters.start")]
    assert not Flow.objects.exists()


def test_its_value_is_checked_at_register(runner: InlineRunner) -> None:
    with pytest.raises(InvalidPlanError, match=r"step 2: parameter start: .*valid integer.*got 'soon'"):
        engine.register(asking(), parameters={2: {"start": "soon"}})


def test_parameter_with_a_default_may_be_required_too(runner: InlineRunner) -> None:
    name = stored(step(1, "Return", "value"))
    with pytest.raises(InvalidPlanError, match="step 1: parameter value is required at register"):
        engine.register(name)
    flow = engine.register(name, parameters={1: {"value": None}})
    runner.run()
    assert (status(flow), row_of(flow, 1).parameters) == (Status.FINISH, {"value": None})


def test_all_that_are_missing_are_named(runner: InlineRunner) -> None:
    name = stored(step(1, "Split", "items", "then"), step(2, "FailUntil", "start"))
    with pytest.raises(InvalidPlanError) as caught:
        engine.register(name, parameters={1: {"then": ""}})
    assert [problem.field for problem in caught.value.problems] == ["parameters.items", "parameters.start"]


def test_other_parameters_are_still_checked_when_it_is_stored() -> None:
    with pytest.raises(InvalidPlanError, match=r"parameter seconds: .*valid number"):
        stored(step(1, "Gate", "path", seconds="long"))
    stored(step(1, "Split", "then", items="[1]"))
    with pytest.raises(InvalidPlanError, match="FailUntil has no parameter 'end'; it takes: start"):
        stored(step(1, "FailUntil", "start", "end"))
    with pytest.raises(InvalidPlanError, match="start has a value and is required at register; drop one"):
        stored(step(1, "FailUntil", "start", start=1))


def test_step_that_is_not_reached_needs_nothing(runner: InlineRunner) -> None:
    name = asking()
    flow = engine.register(name, entrance=3)
    runner.run()
    assert status(flow) is Status.FINISH
    with pytest.raises(InvalidPlanError, match="step 2: parameter start"):
        engine.register(name, entrance=2)
    with pytest.raises(InvalidPlanError, match="step 2: parameter start: FailUntil needs it"):
        engine.rerun(flow.pk, all_tasks=True)
    engine.rerun(flow.pk, all_tasks=True, parameters={2: {"start": 1}})
    runner.run()
    assert status(flow) is Status.FINISH


@pytest.mark.parametrize("refresh", [False, True])
def test_rerun_keeps_what_was_given(runner: InlineRunner, refresh: bool) -> None:
    name = asking()
    flow = engine.register(name, parameters={2: {"start": 1}})
    runner.run()
    TaskDefinition.objects.filter(task_id=name, task_seq=2).update(max_retries=7)
    engine.rerun(flow.pk, all_tasks=True, refresh=refresh)
    runner.run()
    assert status(flow) is Status.FINISH
    assert row_of(flow, 2).parameters == {"start": 1}
    assert row_of(flow, 2).max_retries == (7 if refresh else None)


def test_change_replaces_it_and_is_checked(runner: InlineRunner) -> None:
    flow = engine.register(asking(), parameters={2: {"start": 1}})
    with pytest.raises(InvalidPlanError, match=r"parameter start: .*valid integer"):
        engine.change(flow.pk, 2, parameters={"start": "soon"})
    assert engine.change(flow.pk, 2, parameters={"start": 2}).parameters == {"start": 2}


@pytest.mark.parametrize("own", [{}, {"start": 1}])
def test_inserted_row_gives_its_own(runner: InlineRunner, own: dict[str, Any]) -> None:
    name = stored(step(1, "FailUntil", "start"))
    Task.objects.create(task_flow_id="outside", task_exec_seq=1, task_id=name, task_seq=1, parameters=own)
    adoption.adopt()
    runner.run()
    row = Task.objects.get()
    assert row.status is (Status.FINISH if own else Status.SUSPEND)
    assert own or "parameter start is required at register and was not given" in row.error


@pytest.mark.parametrize("names", ["start", {"start": 1}, [1], 0])
def test_column_of_another_shape_is_refused_with_its_name(names: Any) -> None:
    name = define({1: None}, "FailUntil", required_at_register=names)
    with pytest.raises(InvalidPlanError, match="step 1: required_at_register must be a list of names"):
        engine.register(name)


def test_api_names_step_and_parameter(runner: InlineRunner) -> None:
    client = APIClient()
    client.force_login(User.objects.create_superuser("root"))
    url = f"/register/{asking()}"
    refused = client.post(url, {}, format="json")
    assert refused.status_code == 400
    assert "step 2: parameter start is required at register" in refused.json()["description"]
    assert client.post(url, {"parameters": {"2": {"start": 1}}}, format="json").status_code == 200


def test_command_line_gives_it(runner: InlineRunner) -> None:
    name = asking()
    refused = command("run", name)
    assert refused.code == 2
    assert "step 2: parameter start is required at register" in refused.err
    assert command("run", name, "--set", "2.start=1").code == 0


def test_class_asks_for_it(runner: InlineRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classes, "_classes", {})

    class Asks(Workflow):
        task_id = "asks-in-python"

        @task(required_at_register="url")
        def fetch(self, ctx: Context, url: str, times: int = 1) -> list[Any]:
            return [url, times]

    with pytest.raises(InvalidPlanError, match="step 1: parameter url is required at register"):
        Asks.register()
    flow = Asks.register(parameters={"fetch": {"url": "x"}})
    runner.run()
    flow.refresh_from_db()
    assert (flow.status, flow.output) == (Status.FINISH, ["x", 1])
    assert Asks.store() == engine.plan_of("asks-in-python")


def test_existing_celery_task_asks_for_it(runner: InlineRunner) -> None:
    with pytest.raises(InvalidPlanError, match="needs it"):
        stored(step(1, HOST + "add", x=1))
    name = stored(step(1, HOST + "add", "y", x=1), step(2, HOST + "add", "x", "y"), step(3, HOST + "mul", "y"))
    with pytest.raises(InvalidPlanError) as caught:
        engine.register(name, parameters={1: {"y": 2}})
    assert [(problem.seq, problem.field) for problem in caught.value.problems] == [
        (2, "parameters.x"),
        (2, "parameters.y"),
        (3, "parameters.y"),
    ]
    flow = engine.register(name, parameters={1: {"y": 2}, 2: {"x": 3, "y": 4}, 3: {"y": 5}})
    runner.run()
    flow.refresh_from_db()
    assert (flow.status, flow.output) == (Status.FINISH, 35)
    with pytest.raises(InvalidPlanError, match="has no parameter 'z'"):
        stored(step(1, HOST + "add", "z", x=1, y=1))
    with pytest.raises(InvalidPlanError, match="x has a value too"):
        stored(step(1, HOST + "add", "x", **{"@input": "x", "y": 1}))
