"""Flows of plans that are not stored as workflows."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext, override_settings

from flowerapp import engine
from flowerapp.core.plan import Node, Plan
from flowerapp.engine import admission
from flowerapp.exceptions import IdempotencyConflictError, InvalidPlanError, InvalidValueError, UnknownWorkflowError
from flowerapp.models import Flow, Workflow
from flowerapp.states import Status
from flowerapp.testing import InlineRunner
from tests.engine.support import check, define, status

pytestmark = pytest.mark.django_db(transaction=True)

PLAN = Plan("text", (Node(seq=0, program="Echo"), Node(seq=5, program="Echo", depends_on=(0,))))


def test_a_plan_is_run(runner: InlineRunner) -> None:
    flow = engine.register_plan(PLAN, input={"in": 1}, priority=-2, source="A → B", actor="ann")
    check(flow)
    runner.run()
    flow.refresh_from_db()
    assert (flow.status, flow.output, flow.source, flow.registered_by) == (Status.FINISH, {"in": 1}, "A → B", "ann")
    assert (flow.created, flow.task_id, flow.task_priority) == (True, "text", -2)
    assert list(flow.tasks.values_list("task_exec_seq", "task_seq", "task_priority")) == [(1, 0, -2), (2, 5, -2)]
    assert not Workflow.objects.filter(pk="text").exists()
    with pytest.raises(UnknownWorkflowError):
        engine.register("text")


def test_a_key_returns_the_same_flow_for_the_same_text(runner: InlineRunner) -> None:
    first = engine.register_plan(PLAN, source="A → B", idempotency_key="k")
    again = engine.register_plan(PLAN, source="A → B", idempotency_key="k")
    assert (again.pk, again.created) == (first.pk, False)
    with pytest.raises(IdempotencyConflictError):
        engine.register_plan(PLAN, source="A → C", idempotency_key="k")
    with pytest.raises(IdempotencyConflictError):
        engine.register_plan(PLAN, source="A → B", input=1, idempotency_key="k")
    other = Plan("text", PLAN.nodes[:1])
    engine.register_plan(other, idempotency_key="by nodes")
    with pytest.raises(IdempotencyConflictError):
        engine.register_plan(PLAN, idempotency_key="by nodes")


def test_it_is_checked_as_any_other(runner: InlineRunner) -> None:
    for plan in (Plan("a/b", PLAN.nodes), Plan("w", ()), Plan("w", (Node(seq=1, program="NoSuch"),))):
        with pytest.raises(InvalidPlanError):
            engine.register_plan(plan)
    with pytest.raises(InvalidPlanError):
        engine.register_plan(PLAN, priority=99)
    with pytest.raises(InvalidValueError):
        engine.register_plan(PLAN, input=float("nan"))
    for source in ("a\0b", "x" * 1_100_000):
        with pytest.raises(InvalidPlanError, match="or holds what is no text"):
            engine.register_plan(PLAN, source=source)
    with override_settings(FLOWER={"MAX_TASKS": 1}), pytest.raises(InvalidPlanError, match="the limit is 1"):
        engine.register_plan(Plan("new", PLAN.nodes))
    assert not Flow.objects.exists()


def test_limits_of_a_stored_workflow_of_its_name_do_not_hold(runner: InlineRunner) -> None:
    define({1: []}, "Echo", name="text")
    Workflow.objects.create(task_id="text", max_active_flows=1)
    first, second = (engine.register_plan(Plan("text", PLAN.nodes, unique=True)) for _ in range(2))
    assert first.pk != second.pk
    stored = engine.register("text")
    assert not Flow.objects.get(pk=stored.pk).admitted, "those of the text count"
    runner.run()
    admission.admit_all()
    runner.run()
    assert [status(flow) for flow in (first, second, stored)] == [Status.FINISH] * 3


def test_a_refresh_says_that_nothing_is_stored(runner: InlineRunner) -> None:
    flow = engine.register_plan(PLAN)
    runner.run()
    with pytest.raises(UnknownWorkflowError, match="'text' has no rows"):
        engine.rerun(flow.pk, all_tasks=True, refresh=True)
    engine.rerun(flow.pk, all_tasks=True)
    runner.run()
    assert status(flow) is Status.FINISH


def test_it_costs_one_statement_on_postgresql(runner: InlineRunner) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite writes the rows by several statements")
    with CaptureQueriesContext(connection) as queries:
        engine.register_plan(PLAN, source="A → B")
    assert len(queries) == 1
