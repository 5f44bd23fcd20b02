"""Tasks that wait for a time, an event or a person without holding a worker."""

from __future__ import annotations

import pytest

from flowerapp import engine
from flowerapp.core import executor
from flowerapp.core.executor import NoExecutor
from flowerapp.core.identity import Process
from flowerapp.core.messages import TaskRef
from flowerapp.exceptions import InvalidValueError, ParkTask, StateConflictError
from flowerapp.models import Flow, Task
from flowerapp.states import Status
from flowerapp.testing import InlineRunner
from flowerapp.watcher.duties.send import send_unsent
from flowerapp.watcher.duties.settle import Settle
from tests.attempts import fail
from tests.engine.support import check, define, status, task, verbs


def parked(runner: InlineRunner, seconds: float | None = None) -> Flow:
    """A flow whose first task has parked itself, and whose second follows it."""
    flow = engine.register(define({1: [], 2: [1]}, "Waiting", parameters={"seconds": seconds}))
    runner.run()
    assert status(flow, 1) is Status.WAIT
    assert task(flow, 1).parked
    assert status(flow) is Status.RUNNING
    return flow


def test_a_parked_task_is_not_started(runner: InlineRunner) -> None:
    flow = parked(runner)
    assert Task.objects.claim(TaskRef(flow.pk, 1), Process("w", 1)) is None
    assert send_unsent() == 0
    assert Settle()() == 0
    check(flow)


def test_wake_starts_it_again(runner: InlineRunner) -> None:
    flow = parked(runner)
    engine.wake(flow.pk, 1, actor="ann", why="approved")
    runner.run()
    assert status(flow, 1) is Status.FINISH
    assert task(flow, 1).output == {"woken": 2}
    event = flow.history.get(verb="wake")
    assert (event.actor, event.reason) == ("ann", "approved")
    check(flow)


def test_wake_with_an_output_ends_it(runner: InlineRunner) -> None:
    flow = parked(runner)
    engine.wake(flow.pk, 1, output={"approved": True})
    assert status(flow, 1) is Status.FINISH
    assert task(flow, 1).output == {"approved": True}
    assert task(flow, 1).attempt == 1
    runner.run()
    assert task(flow, 2).parked
    engine.wake(flow.pk, 2, output=[1])
    assert status(flow) is Status.FINISH
    check(flow)


def test_its_time_comes(runner: InlineRunner) -> None:
    flow = parked(runner, seconds=0)
    assert send_unsent() == 1
    runner.run()
    assert status(flow, 1) is Status.FINISH
    assert verbs(flow)[0] == "park"


def test_skip_and_cancel_take_parked_tasks(runner: InlineRunner) -> None:
    flow = parked(runner)
    engine.skip(flow.pk, 1)
    assert status(flow, 1) is Status.IGNORE
    check(flow)
    other = parked(runner)
    engine.cancel(other.pk)
    assert status(other) is Status.IGNORE
    check(other)


def test_what_is_not_parked_is_not_woken(runner: InlineRunner) -> None:
    flow = engine.register(define({1: []}))
    with pytest.raises(StateConflictError, match="not parked"):
        engine.wake(flow.pk, 1)
    with pytest.raises(StateConflictError, match="not parked"):
        engine.wake(flow.pk, 1, output={})
    waits = parked(runner)
    with pytest.raises(InvalidValueError, match="not JSON"):
        engine.wake(waits.pk, 1, output=float("nan"))
    assert task(waits, 1).parked


def test_what_a_process_without_a_broker_releases_is_sent_by_the_watcher(runner: InlineRunner) -> None:
    flow = parked(runner)
    executor.use(NoExecutor())
    engine.wake(flow.pk, 1, output=1)
    assert task(flow, 2).sent_ts is None
    executor.use(runner)
    assert send_unsent() == 1
    assert [message.head.seq for message in runner.waiting] == [2]


@pytest.mark.parametrize("seconds", [1e20, float("inf"), float("nan"), -1])
def test_no_wish_is_too_long_to_be_written(runner: InlineRunner, seconds: float) -> None:
    flow = engine.register(define({1: []}))
    claim = Task.objects.claim(TaskRef(flow.pk, 1), Process("w", 1))
    assert claim
    fail(claim, ParkTask(seconds=seconds))
    assert task(flow, 1).parked
    check(flow)


def test_rerun_of_all_begins_a_parked_task_anew(runner: InlineRunner) -> None:
    flow = engine.register(define({1: []}, "Waiting"))
    runner.run()
    assert task(flow, 1).parked
    engine.rerun(flow.pk, all_tasks=True)
    assert not task(flow, 1).parked
    runner.run()
    assert (status(flow), task(flow, 1).run) == (Status.FINISH, 2)
