"""Pools, and the flows of a workflow that run at once: what is admitted, and when."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection

from flowerapp import engine
from flowerapp.core.identity import Process
from flowerapp.core.messages import TaskRef
from flowerapp.engine import admission, adoption, recovery
from flowerapp.exceptions import InvalidPlanError, ParkTask, StateConflictError
from flowerapp.models import Flow, Pool, Task, TaskDefinition, Workflow
from flowerapp.querysets import Claim, Success
from flowerapp.selectors.pools import PoolUse, get_pool
from flowerapp.selectors.wait_reasons import wait_reasons
from flowerapp.states import Status
from flowerapp.testing import InlineRunner
from tests.attempts import fail, succeed
from tests.engine.support import check, define, status, task

pytestmark = pytest.mark.django_db(transaction=True)

WAIT, RUNNING, SUSPEND, FINISH, IGNORE = Status


@pytest.fixture(autouse=True)
def pool(request: pytest.FixtureRequest) -> Pool:
    """A pool of two slots."""
    request.getfixturevalue("transactional_db")
    return engine.set_pool("gpu", 2)


def pooled(program: str = "Noop", **columns: Any) -> str:
    """A workflow of one step in the pool."""
    return define({1: []}, program, pool="gpu", **columns)


def claim(flow: Flow, seq: int = 1) -> Claim | None:
    """Try to start a task."""
    return Task.objects.claim(TaskRef(flow.pk, seq), Process("w", 1))


def started(flow: Flow, seq: int = 1) -> Claim:
    """Start a task that may be started."""
    row = claim(flow, seq)
    assert row
    return row


def admitted(*flows: Flow) -> list[bool]:
    """Whose first task has a slot, or had one when it ended."""
    return [task(flow, 1).admitted for flow in flows]


def sent(runner: InlineRunner) -> list[tuple[str, int]]:
    """What was sent, in order."""
    return [(message.flow_id, message.head.seq) for message in runner.sent]


def test_no_more_than_the_slots_are_admitted_and_an_end_admits_the_next(runner: InlineRunner) -> None:
    name = pooled()
    flows = [engine.register(name) for _ in range(4)]
    assert admitted(*flows) == [True, True, False, False]
    assert sent(runner) == [(flow.pk, 1) for flow in flows[:2]]
    assert claim(flows[2]) is None
    succeed(started(flows[1]), "{}")
    assert admitted(*flows) == [True, True, True, False]
    assert sent(runner)[-1] == (flows[2].pk, 1)
    runner.run()
    assert [status(flow) for flow in flows] == [FINISH] * 4


def test_the_turn_goes_by_priority_then_the_flow_furthest_ahead_then_age(runner: InlineRunner) -> None:
    engine.set_pool("gpu", 0)
    late = define({1: [], 2: [1]}, "Noop")
    TaskDefinition.objects.filter(task_id=late, task_seq=2).update(pool="gpu")
    name = pooled()
    old, young = engine.register(name), engine.register(name)
    ahead = engine.register(late)
    runner.run()
    urgent = engine.register(name, priority=-5)
    runner.sent.clear()
    for _ in range(4):
        engine.set_pool("gpu", 1)
        runner.run(1)
    assert sent(runner) == [(urgent.pk, 1), (ahead.pk, 2), (old.pk, 1), (young.pk, 1)]


def fail_first(flow: Flow) -> None:
    fail(started(flow), ValueError("broken"))


def retry(flow: Flow) -> None:
    Task.objects.filter(task_flow=flow).update(max_retries=3, retry_delay=100)
    fail(started(flow), ValueError("broken"))


def park(flow: Flow) -> None:
    fail(started(flow), ParkTask("until woken"))


def lose_for_good(flow: Flow) -> None:
    Task.objects.filter(task_flow=flow).update(rescues=3)
    started(flow)
    recovery.record_lost(TaskRef(flow.pk, 1), "gone", Process("w", None))


FREEING: dict[str, Callable[[Flow], object]] = {
    "finish": lambda flow: succeed(started(flow), "{}"),
    "fail": fail_first,
    "retry": retry,
    "park": park,
    "lost for good": lose_for_good,
    "skip": lambda flow: engine.skip(flow.pk, 1),
    "cancel": lambda flow: engine.cancel(flow.pk),
    "hold": lambda flow: engine.suspend(flow.pk),
}


@pytest.mark.parametrize("how", FREEING)
def test_whatever_frees_a_slot_admits_the_next_at_once(runner: InlineRunner, how: str) -> None:
    name = pooled()
    flows = [engine.register(name) for _ in range(3)]
    FREEING[how](flows[0])
    assert task(flows[2], 1).admitted
    assert sent(runner)[-1] == (flows[2].pk, 1)
    assert Task.objects.holding("gpu").count() == 2
    check(flows[0])


def test_a_rescued_task_keeps_its_slot(runner: InlineRunner) -> None:
    name = pooled()
    flows = [engine.register(name) for _ in range(3)]
    started(flows[0])
    outcome = recovery.record_lost(TaskRef(flows[0].pk, 1), "gone", Process("w", None))
    assert [message.flow_id for message in outcome.released] == [flows[0].pk]
    assert admitted(*flows) == [True, True, False]


def test_a_retried_task_waits_for_a_slot_again(runner: InlineRunner) -> None:
    engine.set_pool("gpu", 1)
    flow = engine.register(pooled("FailWhile", max_retries=1, retry_delay=0, parameters={"path": __file__}))
    other = engine.register(pooled())
    runner.run()
    assert [status(flow), status(other)] == [SUSPEND, FINISH]
    assert task(flow, 1).attempt == 2


def test_a_resumed_flow_waits_for_a_slot_again(runner: InlineRunner) -> None:
    name = pooled()
    flows = [engine.register(name) for _ in range(3)]
    engine.suspend(flows[0].pk)
    engine.resume(flows[0].pk)
    assert admitted(*flows) == [False, True, True]
    runner.run()
    assert [status(flow) for flow in flows] == [FINISH] * 3


def test_a_rerun_waits_for_a_slot_again(runner: InlineRunner) -> None:
    engine.set_pool("gpu", 1)
    flow = engine.register(pooled())
    runner.run()
    other = engine.register(pooled())
    engine.rerun(flow.pk, all_tasks=True)
    assert admitted(flow, other) == [False, True]
    runner.run()
    assert [status(flow), status(other)] == [FINISH, FINISH]


def test_slots_may_be_changed_while_tasks_wait(runner: InlineRunner) -> None:
    engine.set_pool("gpu", 0)
    name = pooled()
    flows = [engine.register(name) for _ in range(5)]
    assert not any(admitted(*flows))
    engine.set_pool("gpu", 3)
    assert admitted(*flows) == [True] * 3 + [False] * 2
    engine.set_pool("gpu", 1)
    succeed(started(flows[0]), "{}")
    assert admitted(*flows) == [True] * 3 + [False] * 2
    runner.run()
    assert [status(flow) for flow in flows] == [FINISH] * 5


def test_a_fork_into_a_pool_and_a_join_behind_it(runner: InlineRunner) -> None:
    name = define({1: [], **{n: [1] for n in range(2, 8)}, 8: list(range(2, 8)), 9: [8]}, "Noop")
    TaskDefinition.objects.filter(task_id=name, task_seq__in=[*range(2, 8), 9]).update(pool="gpu")
    flow = engine.register(name)
    while runner.step():
        assert Task.objects.holding("gpu").count() <= 2
        check(flow)
    assert status(flow) is FINISH
    assert len(runner.sent) == 9


def test_children_share_the_pool_of_their_step(runner: InlineRunner) -> None:
    name = pooled("Split", child_program="Sum", max_concurrency=5, parameters={"items": [[n] for n in range(6)]})
    flow = engine.register(name)
    while runner.step():
        assert Task.objects.holding("gpu").count() <= 2
        check(flow)
    assert engine.get_flow(flow.pk).output == [0, 1, 2, 3, 4, 5]


def test_the_leader_admits_what_no_process_admitted(runner: InlineRunner) -> None:
    name = pooled()
    flows = [engine.register(name) for _ in range(3)]
    assert Task.objects.finish(Success(ref=TaskRef(flows[0].pk, 1), attempt=started(flows[0]).attempt, output="{}"))
    assert not task(flows[2], 1).admitted
    assert admission.admit_all() == 1
    assert task(flows[2], 1).admitted


def test_a_pool_has_to_exist(runner: InlineRunner) -> None:
    with pytest.raises(InvalidPlanError, match="there is no pool 'disk'"):
        engine.register(define({1: []}, "Noop", pool="disk"))
    name = pooled()
    with pytest.raises(StateConflictError, match="is named by steps"):
        engine.delete_pool("gpu")
    flow = engine.register(name)
    TaskDefinition.objects.all().delete()
    with pytest.raises(StateConflictError, match="have not ended"):
        engine.delete_pool("gpu")
    runner.run()
    engine.delete_pool("gpu")
    assert status(flow) is FINISH


@pytest.mark.parametrize(("name", "slots"), [("", 1), ("a/b", 1), ("x" * 300, 1), ("x", -1), ("x", 2**31)])
def test_a_pool_needs_a_name_and_a_number(name: str, slots: int) -> None:
    with pytest.raises(InvalidPlanError):
        engine.set_pool(name, slots)


def test_why_tasks_wait(runner: InlineRunner) -> None:
    name = pooled()
    flows = [engine.register(name) for _ in range(4)]
    waiting = task(flows[2], 1)
    assert wait_reasons([task(flows[0], 1), waiting]) == {
        waiting.pk: "for a slot of pool gpu: 2 of 2 are taken; 2 waiting"
    }
    engine.suspend(flows[3].pk)
    held = task(flows[3], 1)
    assert wait_reasons([held]) == {held.pk: "its flow is held; resume it"}
    use = PoolUse(get_pool("gpu"))
    assert [row.task_flow_id for row in use.holders] == [flow.pk for flow in flows[:2]]
    assert [row.task_flow_id for row in use.waiters] == [flows[2].pk]


def failed_in(pool: str) -> Flow:
    """A flow whose only step has failed in a pool, or in none."""
    flow = engine.register(define({1: []}, "FailUnlisted", pool=pool))
    fail(started(flow), ValueError("broken"))
    return flow


def test_refresh_takes_a_step_out_of_its_pool(runner: InlineRunner) -> None:
    flow = failed_in("gpu")
    engine.set_pool("gpu", 0)
    TaskDefinition.objects.filter(task_id=flow.task_id).update(pool="", program="Noop")
    engine.rerun(flow.pk, refresh=True)
    runner.run()
    assert status(flow) is FINISH


def test_refresh_puts_a_step_into_a_pool(runner: InlineRunner) -> None:
    flow = failed_in("")
    engine.set_pool("gpu", 0)
    TaskDefinition.objects.filter(task_id=flow.task_id).update(pool="gpu", program="Noop")
    engine.rerun(flow.pk, refresh=True)
    assert claim(flow) is None
    engine.set_pool("gpu", 1)
    runner.run()
    assert status(flow) is FINISH
    TaskDefinition.objects.filter(task_id=flow.task_id).update(pool="nowhere")
    with pytest.raises(InvalidPlanError, match="there is no pool 'nowhere'"):
        engine.rerun(flow.pk, all_tasks=True, refresh=True)


def test_inserted_rows_keep_to_the_limits(runner: InlineRunner) -> None:
    engine.set_pool("gpu", 0)
    name = pooled()
    Workflow.objects.create(task_id=name, max_active_flows=1)
    flow_ids = ["inserted-1", "inserted-2"]
    for flow_id in flow_ids:
        Task.objects.create(task_flow_id=flow_id, task_exec_seq=1, task_id=name, task_seq=1)
    assert adoption.adopt() == 2
    assert [Flow.objects.get(pk=flow_id).admitted for flow_id in flow_ids] == [True, False]
    assert Task.objects.claim(TaskRef("inserted-1", 1), Process("w", 1)) is None
    engine.set_pool("gpu", 2)
    runner.run()
    assert {Flow.objects.get(pk=flow_id).status for flow_id in flow_ids} == {FINISH}


# Flows of one workflow at once.


def limited(most: int | None = 2, *, unique: bool = False, program: str = "Noop") -> str:
    """A workflow of two steps whose flows are bounded."""
    name = define({1: [], 2: [1]}, program)
    Workflow.objects.create(task_id=name, max_active_flows=most, unique=unique)
    return name


def test_only_so_many_flows_of_a_workflow_run_at_once(runner: InlineRunner) -> None:
    name = limited()
    flows = [engine.register(name, priority=-5 if number == 4 else 0) for number in range(5)]
    assert [engine.get_flow(flow.pk).admitted for flow in flows] == [True, True, False, False, False]
    assert sent(runner) == [(flow.pk, 1) for flow in flows[:2]]
    assert claim(flows[2]) is None
    waiting = task(flows[2], 1)
    sentence = f"for its flow to be admitted: 2 of at most 2 flows of {name} are active"
    assert wait_reasons([waiting])[waiting.pk] == sentence
    order: list[str] = []
    while runner.step():
        order += [flow.pk for flow in flows if status(flow) is FINISH and flow.pk not in order]
        assert Flow.objects.active(name).count() <= 2
    assert [status(flow) for flow in flows] == [FINISH] * 5
    assert order.index(flows[4].pk) < order.index(flows[2].pk)


FLOW_ENDS: dict[str, Callable[[Flow], object]] = {
    "cancel": lambda flow: engine.cancel(flow.pk),
    "hold": lambda flow: engine.suspend(flow.pk),
    "fail": fail_first,
    "skip": lambda flow: [engine.skip(flow.pk, seq) for seq in (1, 2)],
}


@pytest.mark.parametrize("how", FLOW_ENDS)
def test_a_flow_that_is_stuck_gives_its_place_to_the_next(runner: InlineRunner, how: str) -> None:
    name = limited(1)
    first, second = engine.register(name), engine.register(name)
    FLOW_ENDS[how](first)
    assert engine.get_flow(second.pk).admitted
    if how == "hold":
        engine.resume(first.pk)
    if how == "fail":
        engine.rerun(first.pk)
    if how in ("hold", "fail"):
        assert not engine.get_flow(first.pk).admitted
        assert claim(first) is None
        runner.run()
        assert [status(first), status(second)] == [FINISH, FINISH]


def test_a_limit_that_is_raised_lets_flows_in(runner: InlineRunner) -> None:
    name = limited(1)
    flows = [engine.register(name) for _ in range(3)]
    Workflow.objects.filter(pk=name).update(max_active_flows=None)
    assert admission.admit_all() == 2
    runner.run()
    assert [status(flow) for flow in flows] == [FINISH] * 3


def test_one_call_admits_a_bounded_number_of_flows(runner: InlineRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "MOST_FLOWS", 2)
    name = limited(1)
    flows = [engine.register(name) for _ in range(4)]
    Workflow.objects.filter(pk=name).update(max_active_flows=None)
    assert [admission.admit_flows(name) for _ in range(3)] == [2, 1, 0]
    runner.run()
    assert [status(flow) for flow in flows] == [FINISH] * 4


def test_a_limit_that_is_raised_by_a_definition_acts_at_once(runner: InlineRunner) -> None:
    name = limited(1)
    flows = [engine.register(name) for _ in range(3)]
    rows = [TaskDefinition(task_id=name, task_seq=1, program="Noop")]
    engine.define(name, rows, {"max_active_flows": 3})
    assert all(engine.get_flow(flow.pk).admitted for flow in flows)


def test_a_unique_workflow_answers_with_the_flow_that_runs(runner: InlineRunner) -> None:
    name = limited(None, unique=True)
    first = engine.register(name)
    assert first.created
    runner.step()
    second = engine.register(name, input={"other": 1})
    assert (second.pk, second.created, second.status) == (first.pk, False, RUNNING)
    assert second.started_ts is not None
    runner.run()
    third = engine.register(name)
    assert third.created
    assert third.pk != first.pk
    fail_first(third)
    fourth = engine.register(name)
    assert fourth.created, "a failed flow does not run"
    engine.rerun(third.pk)
    assert engine.register(name).pk == fourth.pk, "the third is not admitted yet"
    runner.run()
    assert {status(flow) for flow in (first, third, fourth)} == {FINISH}


def in_threads(number: int, work: Callable[[int], object]) -> None:
    """Call ``work`` in several threads at once; raises what one of them raised."""
    errors: list[BaseException] = []
    barrier = threading.Barrier(number)

    def run(index: int) -> None:
        try:
            barrier.wait()
            work(index)
        except BaseException as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=[index]) for index in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def test_slots_are_never_given_twice_at_once(runner: InlineRunner) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has one writer")
    name = pooled()
    flows: list[Flow] = []
    in_threads(8, lambda _: flows.extend(engine.register(name) for _ in range(5)))
    assert Task.objects.holding("gpu").count() == 2
    for _ in range(25):
        holders = list(Task.objects.holding("gpu").values_list("task_flow_id", flat=True))
        claims = [Task.objects.claim(TaskRef(flow_id, 1), Process("w", 1)) for flow_id in holders]
        ready = [claim for claim in claims if claim]
        in_threads(len(ready) or 1, lambda index, ready=ready: ready and succeed(ready[index], "{}"))  # type: ignore[misc]
        assert Task.objects.holding("gpu").count() <= 2
    assert {status(flow) for flow in flows} == {FINISH}


def test_a_unique_workflow_is_registered_once_by_many_at_once(runner: InlineRunner) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has one writer")
    name = limited(None, unique=True)
    flows: list[Flow] = []
    in_threads(8, lambda _: flows.append(engine.register(name)))
    assert len({flow.pk for flow in flows}) == 1
    assert sum(flow.created for flow in flows) == 1


def test_slots_are_counted_in_one_statement(runner: InlineRunner, django_assert_num_queries: Any) -> None:
    """A task that starts between two would be in neither, and its slot would be given twice."""
    name = pooled()
    flows = [engine.register(name) for _ in range(2)]
    started(flows[0])
    with django_assert_num_queries(1):
        assert Task.objects.slots_held("gpu") == 2
