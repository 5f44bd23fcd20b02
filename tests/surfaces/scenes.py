"""Flows of every kind, made by the engine, with what a person is to read of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from flowerapp import engine
from flowerapp.core.gates import ACQUIRE, COUNTDOWN, DELAY, EVENT
from flowerapp.core.identity import Process
from flowerapp.core.messages import TaskRef
from flowerapp.engine import adoption
from flowerapp.models import Flow, Task, TaskDefinition, Workflow
from flowerapp.testing import InlineRunner
from tests.cli.support import define

START = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
STOP = START + timedelta(seconds=11)
NOW = START + timedelta(minutes=3, seconds=5)
"""Times of every scene: 11 s from the start to its end or failure, 3 min 05 s up to now."""
SO_FAR, WHOLE = "3 min 05 s", "11.0 s"
NAMES = ("extract", "load the data", "publish")

Build = Callable[[InlineRunner], Flow]


@dataclass(frozen=True)
class Expected:
    """What a person is to read of a flow; symbols go with the words."""

    word: str
    note: str
    counts: str
    duration: str


def step(seq: int, program: str = "Noop", **columns: Any) -> dict[str, Any]:
    """A step with a name."""
    return {"program": program, "name": NAMES[seq - 1], **columns}


def register(runner: InlineRunner, *steps: dict[str, Any], messages: int | None = None) -> Flow:
    """Register a flow of these steps and run so many messages, all by default."""
    define("etl", *steps)
    begun = engine.register("etl")
    for _ in range(messages or 0):
        runner.step()
    if messages is None:
        runner.run()
    runner.waiting.clear()
    return begun


def claim(flow: Flow, seq: int) -> None:
    """Let a worker that does nothing more begin a task."""
    assert Task.objects.claim(TaskRef(flow.pk, seq), Process("elsewhere", 1)) is not None


def waiting(runner: InlineRunner) -> Flow:
    return register(runner, step(1), step(2), messages=0)


def running(runner: InlineRunner) -> Flow:
    begun = register(runner, step(1), step(2), messages=1)
    claim(begun, 2)
    return begun


def ended_well(runner: InlineRunner) -> Flow:
    return register(runner, step(1), step(2))


def held(runner: InlineRunner) -> Flow:
    return engine.suspend(register(runner, step(1), step(2), messages=1).pk)


def held_while_a_task_runs(runner: InlineRunner) -> Flow:
    return engine.suspend(running(runner).pk)


def cancelled(runner: InlineRunner) -> Flow:
    return engine.cancel(running(runner).pk)


def failed(runner: InlineRunner) -> Flow:
    return register(runner, step(1), step(2, "FailUnlisted"), step(3))


def failed_without_a_name(runner: InlineRunner) -> Flow:
    return register(runner, {"program": "FailUnlisted"})


def failed_and_held(runner: InlineRunner) -> Flow:
    return engine.suspend(failed(runner).pk)


def two_failed(runner: InlineRunner) -> Flow:
    return register(runner, step(1, "FailUnlisted", depends_on=[]), step(2, "FailUnlisted", depends_on=[]))


def skipped_step(runner: InlineRunner) -> Flow:
    begun = failed(runner)
    engine.skip(begun.pk, 2)
    runner.run()
    return begun


def skipped_before_the_entrance(runner: InlineRunner) -> Flow:
    define("etl", step(1), step(2), step(3))
    begun = engine.register("etl", entrance="load the data")
    runner.run()
    return begun


def finished_after_a_rerun(runner: InlineRunner) -> Flow:
    begun = failed(runner)
    Task.objects.filter(task_flow=begun, task_exec_seq=2).update(program="Noop")
    engine.rerun(begun.pk)
    runner.run()
    return begun


def rerun_after_a_cancel_in_a_hold(runner: InlineRunner) -> Flow:
    begun = held(runner)
    engine.cancel(begun.pk)
    engine.rerun(begun.pk, all_tasks=True)
    claim(begun, 1)
    return begun


def split(items: Any, **columns: Any) -> dict[str, Any]:
    row = {"program": "Split", "child_program": "Sum", "parameters": {"items": items}, "max_concurrency": 20}
    return row | {"name": "cut"} | columns


def running_children(runner: InlineRunner) -> Flow:
    return register(runner, split([[number] for number in range(1000)]), step(2), messages=13)


def children_behind_each_other(runner: InlineRunner) -> Flow:
    return register(runner, split([[1], [2], [3]], max_concurrency=1), step(2), messages=2)


def failed_child(runner: InlineRunner) -> Flow:
    return register(runner, split([[1], ["bad"], [2]], max_concurrency=1), step(2))


def tolerated_failures(runner: InlineRunner) -> Flow:
    return register(runner, split([[1], ["bad"], ["bad"], [2]], exit_on_failed=False), step(2))


def tolerated_failure_while_it_runs(runner: InlineRunner) -> Flow:
    begun = register(runner, split([["bad"], [1]], exit_on_failed=False, max_concurrency=1), step(2), messages=2)
    claim(begun, 4)
    return begun


def failed_branch_beside_a_running_one(runner: InlineRunner) -> Flow:
    branches = (step(1, "FailUnlisted", depends_on=[]), step(2, depends_on=[]))
    begun = register(runner, *branches, step(3, depends_on=[1, 2]), messages=1)
    claim(begun, 2)
    return begun


def failed_branch_beside_a_running_one_held(runner: InlineRunner) -> Flow:
    return engine.suspend(failed_branch_beside_a_running_one(runner).pk)


def waiting_for_a_pool(runner: InlineRunner) -> Flow:
    engine.set_pool("gpu", 0)
    return register(runner, step(1), step(2, pool="gpu"))


def waiting_until_due(runner: InlineRunner) -> Flow:
    return register(runner, step(1, "Waiting", parameters={"seconds": 600}), step(2))


def waiting_to_be_woken(runner: InlineRunner) -> Flow:
    return register(runner, step(1, "Waiting"), step(2))


def waiting_for_a_time(runner: InlineRunner) -> Flow:
    return register(runner, step(1), step(2, DELAY, parameters={"duration": 600}))


def waiting_for_an_event(runner: InlineRunner) -> Flow:
    return register(runner, step(1, EVENT, parameters={"event": "paid", "match": {"order": 7}}), step(2))


def waiting_for_an_event_at_most(runner: InlineRunner) -> Flow:
    return register(runner, step(1, EVENT, parameters={"event": "paid", "timeout": "1h"}), step(2))


def waiting_for_a_latch(runner: InlineRunner) -> Flow:
    register(runner, step(1, ACQUIRE, parameters={"name": "port"}))
    TaskDefinition.objects.all().delete()
    return register(runner, step(1, COUNTDOWN, parameters={"name": "port"}), step(2))


def a_wait_that_has_not_begun(runner: InlineRunner) -> Flow:
    return register(runner, step(1), step(2, EVENT, parameters={"event": "paid"}), messages=0)


def a_wait_that_has_ended(runner: InlineRunner) -> Flow:
    begun = waiting_for_an_event(runner)
    engine.emit("paid", {"order": 7})
    runner.run()
    return begun


def retrying(runner: InlineRunner) -> Flow:
    return register(runner, step(1, "FailUntil", parameters={"start": 3}), step(2), messages=1)


def limited(runner: InlineRunner) -> Flow:
    define("etl", step(1), step(2))
    Workflow.objects.update_or_create(pk="etl", defaults={"max_active_flows": 1})
    engine.register("etl")
    return engine.register("etl")


def unique(runner: InlineRunner) -> Flow:
    define("etl", step(1), step(2))
    Workflow.objects.update_or_create(pk="etl", defaults={"unique": True})
    first = engine.register("etl")
    again = engine.register("etl")
    assert again.pk == first.pk
    return again


def inserted(*statuses: int) -> Flow:
    """Rows as another system inserts them, looked at by the watcher."""
    for seq, status in enumerate(statuses, start=1):
        times = {"started_ts": START if status else None, "finished_ts": STOP if status == 3 else None}
        columns = {"depends_task_exec_seq": seq - 1 or -1, "task_id": "etl", "task_seq": seq, "task_priority": 0}
        Task.objects.create(task_flow_id="outside", task_exec_seq=seq, exec_status=status, **columns, **times)
    adoption.adopt()
    return engine.get_flow("outside")


def adopted(runner: InlineRunner) -> Flow:
    define("etl", step(1), step(2))
    return inserted(3, 0)


def running_elsewhere(runner: InlineRunner) -> Flow:
    define("etl", step(1), step(2))
    return inserted(1, 0)


def suspended_elsewhere(runner: InlineRunner) -> Flow:
    define("etl", step(1), step(2))
    return inserted(2, 0)


SCENES: dict[Build, Expected] = {
    waiting: Expected("Waiting", "", "0 of 2 done", ""),
    running: Expected("Running", "", "1 of 2 done", SO_FAR),
    ended_well: Expected("Finished", "", "2 of 2 done", WHOLE),
    held: Expected("Held", "", "1 of 2 done", SO_FAR),
    held_while_a_task_runs: Expected("Held", "", "1 of 2 done", SO_FAR),
    cancelled: Expected("Cancelled", "", "1 of 2 done, 1 cancelled", WHOLE),
    failed: Expected("Failed", 'task 2 "load the data"', "1 of 3 done, 1 failed", WHOLE),
    failed_without_a_name: Expected("Failed", "task 1 FailUnlisted", "0 of 1 done, 1 failed", WHOLE),
    failed_and_held: Expected("Failed", 'task 2 "load the data", held', "1 of 3 done, 1 failed", SO_FAR),
    two_failed: Expected("Failed", 'task 1 "extract"', "0 of 2 done, 2 failed", WHOLE),
    skipped_step: Expected("Finished", "", "2 of 3 done, 1 skipped", WHOLE),
    skipped_before_the_entrance: Expected("Finished", "", "2 of 3 done, 1 skipped", WHOLE),
    finished_after_a_rerun: Expected("Finished", "", "3 of 3 done", WHOLE),
    rerun_after_a_cancel_in_a_hold: Expected("Running", "", "0 of 2 done", SO_FAR),
    running_children: Expected("Running", "", "12 of 1,002 done", SO_FAR),
    children_behind_each_other: Expected("Running", "", "1 of 5 done", SO_FAR),
    failed_child: Expected("Failed", "task 4 Sum", "1 of 5 done, 1 failed, 1 cancelled", WHOLE),
    tolerated_failures: Expected("Finished", "2 children failed", "4 of 6 done, 2 failed", WHOLE),
    tolerated_failure_while_it_runs: Expected("Running", "1 child failed", "0 of 4 done, 1 failed", SO_FAR),
    failed_branch_beside_a_running_one: Expected("Running", "1 failed", "0 of 3 done, 1 failed", SO_FAR),
    failed_branch_beside_a_running_one_held: Expected(
        "Failed", 'task 1 "extract", held', "0 of 3 done, 1 failed", SO_FAR
    ),
    waiting_for_a_pool: Expected("Running", "", "1 of 2 done", SO_FAR),
    waiting_until_due: Expected("Running", "", "0 of 2 done", SO_FAR),
    waiting_to_be_woken: Expected("Running", "", "0 of 2 done", SO_FAR),
    waiting_for_a_time: Expected("Running", "", "1 of 2 done", SO_FAR),
    waiting_for_an_event: Expected("Running", "", "0 of 2 done", SO_FAR),
    waiting_for_an_event_at_most: Expected("Running", "", "0 of 2 done", SO_FAR),
    waiting_for_a_latch: Expected("Running", "", "0 of 2 done", SO_FAR),
    a_wait_that_has_not_begun: Expected("Waiting", "", "0 of 2 done", ""),
    a_wait_that_has_ended: Expected("Finished", "", "2 of 2 done", WHOLE),
    retrying: Expected("Running", "", "0 of 2 done", SO_FAR),
    limited: Expected("Waiting", "not admitted yet", "0 of 2 done", ""),
    unique: Expected("Waiting", "", "0 of 2 done", ""),
    adopted: Expected("Waiting", "", "1 of 2 done", ""),
    running_elsewhere: Expected("Running", "", "0 of 2 done", SO_FAR),
    suspended_elsewhere: Expected("Failed", "task 1", "0 of 2 done, 1 failed", ""),
}
"""Every kind of flow, and what is read of it."""

TASKS: dict[Build, dict[int, tuple[str, str]]] = {
    cancelled: {2: ("Cancelled", "")},
    failed: {2: ("Failed", ""), 3: ("Waiting", "")},
    skipped_step: {2: ("Skipped", "")},
    skipped_before_the_entrance: {1: ("Skipped", "before the entrance")},
    running_children: {1: ("Waiting", "12 of 1,000 children done")},
    failed_child: {
        1: ("Failed", "1 of 3 children done, 1 failed, 1 cancelled"),
        5: ("Cancelled", "stopped with its siblings"),
    },
    tolerated_failures: {1: ("Finished", "2 of 4 children done, 2 failed"), 4: ("Skipped", "failed, tolerated")},
    waiting_until_due: {1: ("Waiting", "in 30.0 s")},
    waiting_to_be_woken: {1: ("Waiting", "parked")},
    waiting_for_a_time: {2: ("Waiting", "30.0 s left")},
    waiting_for_an_event: {1: ("Waiting", "for an event"), 2: ("Waiting", "")},
    waiting_for_an_event_at_most: {1: ("Waiting", "for an event, 30.0 s left")},
    waiting_for_a_latch: {1: ("Waiting", "for a latch")},
    a_wait_that_has_not_begun: {2: ("Waiting", "")},
    a_wait_that_has_ended: {1: ("Finished", "")},
    retrying: {1: ("Waiting", "retry 1 in 30.0 s")},
    running_elsewhere: {1: ("Running", "by another system")},
}
"""Word and note of some of their tasks, by seq."""
BEGUN: dict[Build, int] = {
    waiting_for_a_time: 2,
    waiting_for_an_event: 1,
    waiting_for_an_event_at_most: 1,
    waiting_for_a_latch: 1,
}
"""Seqs of the waits that have begun, which have a symbol of their own."""


def at_known_times(scene: Flow) -> Flow:
    """Give the flow and its tasks ``START`` and ``STOP`` for the times that they have, and 30 s to what is due."""
    times = {"started_ts": START, "finished_ts": STOP, "suspended_ts": STOP, "due_ts": NOW + timedelta(seconds=30)}
    for name, ts in times.items():
        Task.objects.filter(task_flow=scene).exclude(**{name: None}).update(**{name: ts})
        if name != "due_ts":
            Flow.objects.filter(pk=scene.pk).exclude(**{name: None}).update(**{name: ts})
    return engine.get_flow(scene.pk)
