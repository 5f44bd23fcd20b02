"""``flowerapp.testing`` runs flows of any shape, in tests that commit and in tests that do not."""

from __future__ import annotations

from typing import Any

import pytest

from flowerapp import engine
from flowerapp.executors.drain import MOST_STARTS, EndlessTaskError
from flowerapp.models import Flow, Pool, Task
from flowerapp.states import Status
from flowerapp.testing import FlowRunner
from flowerapp.workflows import rows
from tests.engine.support import check, define, task
from tests.testing.workflows import COMMITTED, Sums


def step(program: str, **parameters: Any) -> dict[str, Any]:
    """A step with these parameters."""
    return {"program": program, "parameters": parameters}


def test_a_class_with_children_retries_and_hooks(flower: FlowRunner) -> None:
    flow = flower.run(Sums, input={"lines": [[1, 2], ["retry", 3], [4]] * 3})
    flower.assert_finished(flow)
    assert flow.output == {"sums": [3, 3, 4] * 3, "unit": "m"}
    assert flow.state == {"unit": "m", "over": 1}
    assert flower.outputs(flow) == {"split": [3, 3, 4] * 3, "report": flow.output}
    check(flow)


def test_the_lines_that_programs_log(flower: FlowRunner) -> None:
    flow = flower.run(Sums, input={"lines": [[1, 2], [4]]})
    assert flower.logs(flow) == ["2 lines"]
    assert flower.logs(flow, "report") == flower.logs(flow, 2) == ["2 lines"]
    assert flower.logs(flow, "split") == []


GATED = [
    step("flow:gate"),
    {**step("Echo"), "when": "input.n > 1"},
    {**step("flow:value", value="two"), "depends_on": [1]},
    {**step("flow:gate"), "depends_on": [2, 3]},
    step("Echo"),
]
"""A gate, a task with a condition beside a value, and a gate that joins them."""


@pytest.mark.parametrize("number", [1, 2])
def test_conditions_and_gates(flower: FlowRunner, number: int) -> None:
    flow = flower.run(GATED, input={"n": number})
    flower.assert_finished(flow)
    assert flow.output == [{"n": number}, "two"]
    assert task(flow, 2).status is (Status.FINISH if number == 2 else Status.IGNORE)
    check(flow)


@pytest.mark.parametrize("length", [1, 11, 300])
def test_a_chain_of_any_length(flower: FlowRunner, length: int) -> None:
    flow = flower.run(define(dict.fromkeys(range(1, length + 1)), "Noop"))
    flower.assert_finished(flow)
    assert set(flow.tasks.values_list("attempt", flat=True)) == {1}
    check(flow)


def test_a_fan_out_with_a_join(flower: FlowRunner) -> None:
    width = 120
    flow = flower.run(define({1: [], **{seq: [1] for seq in range(2, width)}, width: [*range(2, width)]}, "Noop"))
    flower.assert_finished(flow)
    assert set(flow.tasks.values_list("attempt", flat=True)) == {1}
    check(flow)


def test_retries_and_parked_tasks_need_no_waiting(flower: FlowRunner) -> None:
    flow = flower.run([step("testing.Retry", until=4, delay=86_400), step("testing.Park", seconds=3600, times=2)])
    flower.assert_finished(flow)
    assert flower.outputs(flow) == {1: 4, 2: 3}


def test_delays_are_kept_in_order(flower: FlowRunner) -> None:
    steps = [
        {**step("testing.Park", seconds=7200), "depends_on": []},
        {**step("testing.Retry", until=3, delay=1800), "depends_on": []},
    ]
    flow = flower.run(steps)
    flower.assert_finished(flow)
    first, second = flow.tasks.order_by("finished_ts").values_list("task_seq", flat=True)
    assert (first, second) == (2, 1)


def test_a_delay_can_be_watched(flower: FlowRunner) -> None:
    flow = flower.run([step("testing.Retry", delay=600)], skip_delays=False)
    assert (task(flow, 1).status, task(flow, 1).error) == (Status.WAIT, "attempt 1")
    with pytest.raises(AssertionError, match="waits for its retry at"):
        flower.assert_finished(flow)
    flower.advance(590)
    assert task(flow, 1).attempt == 1
    flower.advance(20)
    flower.assert_finished(flow)


def test_a_task_that_waits_again_and_again_is_named(flower: FlowRunner) -> None:
    flow = flower.register([step("testing.Retry", until=10**6)])
    with pytest.raises(
        EndlessTaskError, match=rf"flow {flow.pk} task 1 \(testing.Retry\) .* attempt {MOST_STARTS + 1}"
    ):
        flower.run(flow)


def test_a_parked_task_is_woken_by_the_test(flower: FlowRunner) -> None:
    flow = flower.run([step("testing.Park"), step("Echo")])
    assert flow.status is Status.RUNNING
    with pytest.raises(AssertionError, match=r"task 1 .* waits until it is woken"):
        flower.assert_finished(flow)
    engine.wake(flow.pk, 1, output={"answer": 42})
    flower.assert_finished(flower.run(flow))
    assert flow.output == {"answer": 42}


def test_a_failure_is_shown_and_rerun(flower: FlowRunner) -> None:
    flow = flower.run([step("testing.Fail", message="no luck"), step("Noop")])
    assert flow.status is Status.SUSPEND
    assert flower.errors(flow) == {1: "ZeroDivisionError: no luck"}
    with pytest.raises(AssertionError, match=r"(?s)task 1 testing.Fail failed: .*Traceback.*task 2 .* waits for 1"):
        flower.assert_finished(flow)
    engine.change_state(flow.pk, lambda _: {"lucky": True})
    engine.rerun(flow.pk)
    flower.assert_finished(flower.run(flow))
    check(flow)


def test_verbs_between_runs(flower: FlowRunner) -> None:
    flow = flower.register(define({1: [], 2: [1], 3: [2]}, "Noop"))
    engine.suspend(flow.pk)
    assert flower.run(flow).status is Status.SUSPEND
    engine.resume(flow.pk)
    engine.skip(flow.pk, 1)
    flower.assert_finished(flower.run(flow))
    engine.rerun(flow.pk, from_seq=2)
    flower.assert_finished(flower.run(flow))
    assert [row.attempt for row in flow.tasks.order_by("task_exec_seq")] == [0, 2, 2]
    cancelled = flower.register(define({1: []}, "Noop"))
    engine.cancel(cancelled.pk)
    assert flower.run(cancelled).status is Status.IGNORE


def test_a_hard_time_limit_ends_the_program(flower: FlowRunner) -> None:
    flow = flower.run([{**step("testing.Hang", until=2), "max_retries": 1}])
    flower.assert_finished(flow)
    assert flower.outputs(flow) == {1: 2}
    failed = flower.run([step("testing.Hang", until=9)])
    assert flower.errors(failed) == {1: "timed out after 1 s"}


def test_a_program_that_swallows_its_time_limit_has_failed(flower: FlowRunner) -> None:
    assert flower.errors(flower.run([step("testing.Swallow")])) == {1: "timed out after 1 s"}


def test_a_soft_time_limit_raises_what_workers_raise(flower: FlowRunner) -> None:
    assert flower.outputs(flower.run([step("testing.HangSoftly")])) == {1: "SoftTimeLimitExceeded"}


def test_a_program_that_is_gone_fails_its_task(flower: FlowRunner) -> None:
    flow = flower.register(define({1: []}, "Noop"))
    flow.tasks.update(program="Gone")
    assert "program 'Gone' is not registered" in flower.errors(flower.run(flow))[1]


def test_pools_and_limits_of_flows_admit_what_follows(flower: FlowRunner) -> None:
    Pool.objects.create(name="one", slots=1)
    name = define({1: [], 2: [], 3: []}, "testing.Retry", pool="one")
    flows = [flower.register(name) for _ in range(3)]
    flower.run_all()
    assert {engine.get_flow(flow.pk).status for flow in flows} == {Status.FINISH}
    for flow in flows:
        check(flow)


def test_a_limit_of_active_flows_admits_the_next(flower: FlowRunner) -> None:
    rows.store({"task_id": "limited", "tasks": [{"task_seq": 1, "program": "Noop"}], "max_active_flows": 1})
    flows = [flower.register("limited") for _ in range(3)]
    flower.run_all()
    assert {engine.get_flow(flow.pk).status for flow in flows} == {Status.FINISH}


def test_rows_of_other_systems_are_adopted(flower: FlowRunner) -> None:
    name = define({1: []}, "Noop")
    Task.objects.create(task_flow_id="outside", task_exec_seq=1, task_id=name, task_seq=1)
    flower.run_all()
    assert engine.get_flow("outside").status is Status.FINISH


def test_a_failed_statement_fails_its_task_alone(flower: FlowRunner) -> None:
    flow = flower.run([{**step("testing.Break"), "depends_on": []}, {**step("testing.Caught"), "depends_on": []}])
    assert "IntegrityError" in flower.errors(flow)[1]
    assert flower.outputs(flow) == {2: "caught"}


def test_what_a_program_asks_for_on_commit_is_done_when_it_has_ended(flower: FlowRunner) -> None:
    COMMITTED.clear()
    flow = flower.run([step("testing.Commit"), step("testing.Commit")])
    assert flower.outputs(flow)[2] == ["1"]
    assert COMMITTED == ["1", "2"]


def test_flows_that_programs_register_run_too(flower: FlowRunner) -> None:
    name = define({1: []}, "Noop")
    flow = flower.run([step("testing.Register", name=name)])
    flower.assert_finished(flow)
    assert Flow.objects.get(task_id=name).status is Status.FINISH


def test_the_hosts_celery_tasks_run_as_programs(flower: FlowRunner) -> None:
    flow = flower.run([step("tests.probe.tasks.add", x=1, y=2), step("tests.probe.tasks.mul", y=5)])
    flower.assert_finished(flow)
    assert flow.output == 15


def test_most_urgent_tasks_run_first(flower: FlowRunner) -> None:
    steps = [{**step("Noop"), "depends_on": [], "task_priority": nice} for nice in (5, -5, 0)]
    flow = flower.run(steps)
    order = flow.tasks.order_by("started_ts", "pk").values_list("task_priority", flat=True)
    assert list(order) == [-5, 0, 5]


def test_code_that_waits_for_a_flow_gets_it(flower: FlowRunner) -> None:
    flow = flower.register(Sums, input={"lines": [[1], ["retry", 2]]})
    assert flow.wait(timeout=60).output == {"sums": [1, 2], "unit": "m"}
    waiting = flower.run([step("testing.Wait", name=define({1: None, 2: None}, "testing.Retry"))])
    assert flower.outputs(waiting) == {1: "Finish"}


def test_waiting_for_what_nothing_continues_ends_at_once(flower: FlowRunner) -> None:
    flow = flower.register([step("testing.Park")])
    with pytest.raises(TimeoutError, match=f"flow {flow.pk} is waited for, and nothing in this test can continue it"):
        flow.wait()
