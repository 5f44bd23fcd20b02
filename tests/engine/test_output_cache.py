"""The output cache: a task takes the output that another has stored, waits for it, or stores its own."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext

from flowerapp import engine, registry
from flowerapp.core.caching import caching_of
from flowerapp.core.identity import Process
from flowerapp.core.messages import TaskRef
from flowerapp.engine import attempts, output_cache, recovery
from flowerapp.engine.context import Context
from flowerapp.engine.results import Succeeded
from flowerapp.exceptions import InvalidPlanError
from flowerapp.models import CachedOutput, Flow, Task, TaskDefinition
from flowerapp.querysets import clock
from flowerapp.registry import Program
from flowerapp.selectors import tasks
from flowerapp.selectors.wait_reasons import wait_reasons
from flowerapp.states import Status
from flowerapp.testing import InlineRunner
from flowerapp.watcher.duties.cached import wake_cached
from flowerapp.watcher.duties.prune import prune
from flowerapp.workflows import rows
from tests.engine.support import task
from tests.probe.models import Start

pytestmark = pytest.mark.django_db(transaction=True)

_numbers = itertools.count(1)


@pytest.fixture(autouse=True)
def _clock() -> Iterator[None]:
    yield
    clock.reset()


def cached(program: str = "Record", *, name: str = "", **options: Any) -> str:
    """A workflow with one step whose output is kept for an hour."""
    name = name or f"cached-{next(_numbers)}"
    step = {"task_seq": 1, "program": program, "depends_on": [], "cache_seconds": 3600, **options}
    rows.store({"task_id": name, "tasks": [step]})
    return name


def ended(runner: InlineRunner, name: str, **options: Any) -> Flow:
    flow = engine.register(name, **options)
    runner.run()
    return engine.get_flow(flow.pk)


def starts(*flows: Flow) -> int:
    """How often the programs of these flows were called."""
    return Start.objects.filter(flow_id__in=[flow.pk for flow in flows]).count()


def source(flow: Flow) -> Any:
    return task(flow, 1).cached_from


def test_a_second_flow_takes_the_stored_output_and_says_so(runner: InlineRunner) -> None:
    name = cached()
    first = ended(runner, name, input={"n": 1})
    second = ended(runner, name, input={"n": 1})
    assert (first.status, second.status, starts(first), starts(second)) == (Status.FINISH, Status.FINISH, 1, 0)
    assert task(second, 1).output == task(first, 1).output
    assert source(first) is None
    assert source(second) == {"flow_id": first.pk, "seq": 1}
    (entry,) = second.history.all()
    assert (entry.verb, entry.details) == ("cached", {"flow_id": first.pk, "seq": 1})
    assert tasks.note(task(second, 1)) == "cached"


def test_another_input_or_parameter_or_program_finds_nothing(runner: InlineRunner) -> None:
    name = cached()
    flows = [ended(runner, name, input={"n": number}) for number in (1, 2)]
    flows.append(ended(runner, name, input={"n": 1}, parameters={1: {"output": 3}}))
    TaskDefinition.objects.filter(task_id=name).update(program="Echo")
    flows.append(ended(runner, name, input={"n": 1}))
    assert [source(flow) for flow in flows] == [None] * 4
    assert starts(*flows) == 3


def test_the_key_says_what_of_the_input_counts(runner: InlineRunner) -> None:
    name = cached(cache_key="input.order.id")
    first = ended(runner, name, input={"order": {"id": 7}, "trace": "a"})
    second = ended(runner, name, input={"order": {"id": 7}, "trace": "b"})
    third = ended(runner, name, input={"order": {"id": 8}, "trace": "a"})
    assert [source(flow) is None for flow in (first, second, third)] == [True, False, True]
    assert set(CachedOutput.objects.values_list("key", flat=True)) == {"7", "8"}


def test_a_parameter_that_the_key_names_counts_as_far_as_the_key_reads_it(runner: InlineRunner) -> None:
    name = cached(cache_key="output.id")
    flows = [
        ended(runner, name, parameters={1: {"output": output}})
        for output in ({"id": 1, "x": 1}, {"id": 1, "x": 2}, {"id": 2, "x": 1})
    ]
    assert [source(flow) is None for flow in flows] == [True, False, True]


@pytest.mark.parametrize("key", ["input.missing", "input.n.deeper", "len(input.n)"])
def test_a_key_without_a_value_keeps_nothing_and_the_log_says_why(runner: InlineRunner, key: str) -> None:
    name = cached(cache_key=key)
    flows = [ended(runner, name, input={"n": 1}) for _ in range(2)]
    assert starts(*flows) == 2
    assert not CachedOutput.objects.exists()
    assert flows[0].logs.filter(message__startswith="no cache: its key").exists()


def test_outputs_of_a_workflow_are_its_own_unless_they_are_global(runner: InlineRunner) -> None:
    one, other = (cached(cache_scope="workflow") for _ in range(2))
    assert starts(ended(runner, one), ended(runner, other)) == 2
    one, other = (cached(cache_scope="global") for _ in range(2))
    assert starts(ended(runner, one), ended(runner, other)) == 1


def test_a_stored_output_expires_by_the_clock_of_the_database(runner: InlineRunner) -> None:
    name = cached()
    first = ended(runner, name)
    clock.advance(3590)
    assert starts(ended(runner, name)) == 0
    clock.advance(20)
    again = ended(runner, name)
    assert (starts(again), source(again)) == (1, None)
    assert source(ended(runner, name)) == {"flow_id": again.pk, "seq": 1} != {"flow_id": first.pk, "seq": 1}


def test_a_taker_with_a_shorter_lifetime_takes_no_older_output(runner: InlineRunner) -> None:
    name = cached()
    ended(runner, name)
    TaskDefinition.objects.filter(task_id=name).update(cache_seconds=60)
    clock.advance(100)
    assert starts(ended(runner, name)) == 1


def test_a_failure_is_not_kept(runner: InlineRunner) -> None:
    name = cached("FailUnlisted")
    first, second = (ended(runner, name) for _ in range(2))
    assert (first.status, second.status) == (Status.SUSPEND, Status.SUSPEND)
    assert not CachedOutput.objects.exists()


def test_a_rerun_runs_anew_and_replaces_the_output(runner: InlineRunner) -> None:
    name = cached()
    first, second = (ended(runner, name) for _ in range(2))
    engine.rerun(second.pk, all_tasks=True)
    runner.run()
    assert (starts(second), source(second)) == (1, None)
    assert source(ended(runner, name)) == {"flow_id": second.pk, "seq": 1}
    engine.rerun(first.pk, all_tasks=True)
    runner.run()
    assert source(ended(runner, name)) == {"flow_id": first.pk, "seq": 1}


def test_a_condition_that_is_false_looks_into_no_cache(runner: InlineRunner) -> None:
    name = cached(when="input.n > 1")
    flows = [ended(runner, name, input={"n": number}) for number in (1, 1, 2, 2)]
    assert [task(flow, 1).status for flow in flows] == [Status.IGNORE, Status.IGNORE, Status.FINISH, Status.FINISH]
    assert starts(*flows) == 1


def test_an_output_that_holds_or_quotes_a_secret_is_not_kept(runner: InlineRunner) -> None:
    name = cached("Echo")
    flows = [ended(runner, name, input={"password": "hunter2-hunter2"}) for _ in range(2)]
    assert [source(flow) for flow in flows] == [None, None]
    assert not CachedOutput.objects.exists()
    assert flows[0].logs.filter(message="no cache: the output holds a secret").exists()


def test_a_secret_of_the_input_counts_and_is_stored_nowhere_in_the_cache(runner: InlineRunner) -> None:
    name = cached(cache_key="input")
    first, second, other = (
        ended(runner, name, input={"password": secret})
        for secret in ("hunter2-hunter2", "hunter2-hunter2", "other-one")
    )
    assert [source(flow) is None for flow in (first, second, other)] == [True, False, True]
    assert "hunter2" not in json.dumps(list(CachedOutput.objects.values()), default=str)


def test_the_next_step_gets_the_stored_output(runner: InlineRunner) -> None:
    name = f"cached-{next(_numbers)}"
    steps = [
        {"task_seq": 1, "program": "Echo", "depends_on": [], "cache_seconds": 60},
        {"task_seq": 2, "program": "Echo", "depends_on": [1]},
    ]
    rows.store({"task_id": name, "tasks": steps})
    first, second = (ended(runner, name, input={"n": 5}) for _ in range(2))
    assert source(second) == {"flow_id": first.pk, "seq": 1}
    assert task(second, 2).output == task(first, 2).output


def test_a_program_says_how_its_outputs_are_kept_unless_the_step_does(runner: InlineRunner) -> None:
    registry.register(Program(name="Kept", function=lambda ctx: {"n": 1}, cache=caching_of(timedelta(minutes=1))))
    name = cached("Kept", cache_seconds=None)
    assert [source(ended(runner, name)) is None for _ in range(2)] == [True, False]
    name = cached("Kept", cache_seconds=0)
    assert [source(ended(runner, name)) is None for _ in range(2)] == [True, True]


@pytest.mark.parametrize("lifetime", [-1, "1", True, ("a", "b"), (1, 2), None])
def test_a_lifetime_that_cannot_be_is_refused(lifetime: Any) -> None:
    with pytest.raises(ValueError, match="cache is a lifetime"):
        caching_of(lifetime)


@pytest.mark.parametrize(
    ("options", "field", "sentence"),
    [
        ({"cache_key": "input."}, "cache_key", "line 1"),
        ({"cache_key": "order.id", "program": "Noop"}, "cache_key", "there are: "),
        ({"cache_key": "input.n", "cache_seconds": None}, "cache_key", "needs a lifetime"),
        ({"cache_seconds": -1}, "cache_seconds", "out of range"),
        ({"cache_scope": "world"}, "cache_scope", "use workflow or global"),
        ({"child_program": "Noop"}, "cache_seconds", "has children"),
        ({"program": "flow:gate"}, "cache_seconds", "no worker runs this step"),
    ],
)
def test_a_cache_that_cannot_be_is_a_problem_of_its_step(options: dict[str, Any], field: str, sentence: str) -> None:
    with pytest.raises(InvalidPlanError) as refusal:
        cached(**{"program": "Record", **options})
    (problem,) = refusal.value.problems
    assert (problem.seq, problem.field) == (1, field)
    assert sentence in problem.message


# Two at once


def claimed(flow: Flow) -> Any:
    claim = Task.objects.claim(TaskRef(flow.pk, 1), Process("other", 1))
    assert claim is not None
    return claim


def begun(name: str, **options: Any) -> tuple[Flow, Any]:
    """A flow whose task fills the entry of its key, in a process that has not ended yet."""
    flow = engine.register(name, **options)
    claim = claimed(flow)
    assert output_cache.look_up(claim, Context(claim)) is None
    return flow, claim


def ends(claim: Any) -> None:
    """The process of that task ends it with success."""
    attempts.conclude(claim, Succeeded('{"n": 1}', keep=True))


def test_the_second_waits_without_a_worker_and_then_takes_the_output_of_the_first(runner: InlineRunner) -> None:
    name = cached()
    first, claim = begun(name)
    runner.waiting.clear()
    second = engine.register(name)
    runner.run()
    waiting = task(second, 1)
    assert (waiting.status, waiting.parked, waiting.attempt, starts(second)) == (Status.WAIT, True, 1, 0)
    assert wait_reasons([waiting])[waiting.pk].startswith("for the output that another task")
    assert wake_cached() == 0
    ends(claim)
    runner.run()
    assert (starts(second), source(second), task(second, 1).output) == (0, {"flow_id": first.pk, "seq": 1}, {"n": 1})
    assert engine.get_flow(second.pk).status is Status.FINISH


def test_if_the_first_fails_the_second_runs_itself(runner: InlineRunner) -> None:
    name = cached()
    first, claim = begun(name)
    runner.waiting.clear()
    others = [engine.register(name) for _ in range(3)]
    runner.run()
    assert [task(flow, 1).parked for flow in others] == [True] * 3
    outcome = recovery.record_error(claim, ValueError("no"))
    assert outcome.ending is not None
    assert wake_cached() == 1, "the first of them"
    while runner.run() or wake_cached():
        pass
    assert [starts(flow) for flow in others] == [1, 0, 0]
    assert source(others[2]) == {"flow_id": others[0].pk, "seq": 1}
    assert engine.get_flow(first.pk).status is Status.SUSPEND


def test_if_the_first_is_cancelled_the_second_runs_itself(runner: InlineRunner) -> None:
    name = cached()
    first, claim = begun(name)
    runner.waiting.clear()
    second = engine.register(name)
    runner.run()
    engine.cancel(first.pk)
    assert wake_cached() == 1
    runner.run()
    assert (starts(second), source(second)) == (1, None)
    ends(claim)
    assert source(ended(runner, name)) == {"flow_id": second.pk, "seq": 1}, "the late result of the first is refused"


def test_if_the_process_of_the_first_is_lost_the_next_one_runs_and_the_first_takes_its_output(
    runner: InlineRunner,
) -> None:
    name = cached()
    first, claim = begun(name)
    runner.waiting.clear()
    second = engine.register(name)
    runner.run()
    recovery.conclude(recovery.record_lost(claim.ref, "gone", Process("other", 1)))
    runner.waiting.clear()
    assert wake_cached() == 1
    runner.run()
    assert engine.get_flow(second.pk).status is Status.FINISH
    Task.objects.filter(task_flow=first).mark_unsent()
    attempts.run(TaskRef(first.pk, 1), "inline")
    assert (starts(first), starts(second)) == (0, 1)
    assert source(first) == {"flow_id": second.pk, "seq": 1}


def test_a_task_waits_no_longer_than_the_setting_says(runner: InlineRunner, settings: Any) -> None:
    settings.FLOWER = {**settings.FLOWER, "CACHE_WAIT_SECONDS": 100}
    name = cached()
    first, claim = begun(name)
    runner.waiting.clear()
    second = engine.register(name)
    runner.run()
    assert wake_cached() == 0
    clock.advance(101)
    assert wake_cached() == 1
    runner.run()
    assert starts(second) == 1
    ends(claim)
    assert source(ended(runner, name)) == {"flow_id": second.pk, "seq": 1}, "the first stores nothing any more"
    assert engine.get_flow(first.pk).status is Status.FINISH


def test_what_is_forgotten_while_a_task_fills_it_is_not_stored(runner: InlineRunner) -> None:
    name = cached()
    _, claim = begun(name)
    runner.waiting.clear()
    assert engine.forget_cache(workflow=name) == 1
    ends(claim)
    assert not CachedOutput.objects.exists()


def test_children_that_a_program_adds_are_not_kept(runner: InlineRunner) -> None:
    name = cached("Split", child_program="Echo", parameters={"items": [1, 2]}, cache_seconds=None)
    flow = engine.register(name)
    Task.objects.filter(task_flow=flow, task_exec_seq=1).update(cache_seconds=60)
    runner.run()
    assert engine.get_flow(flow.pk).status is Status.FINISH
    assert not CachedOutput.objects.exists()


# Forgetting


def test_outputs_are_forgotten_by_program_workflow_and_key(runner: InlineRunner) -> None:
    name = cached(cache_key="input.n")
    for number in (1, "a", [1, 2]):
        ended(runner, name, input={"n": number})
    assert engine.forget_cache(program="Other") == 0
    assert engine.forget_cache(key="a", workflow="other") == 0
    assert engine.forget_cache(key="a") == 1
    assert engine.forget_cache(key=[1, 2], program="Record") == 1
    assert engine.forget_cache(workflow=name) == 1
    assert starts(ended(runner, name, input={"n": 1})) == 1


def test_a_text_that_cannot_be_stored_finds_nothing_to_forget() -> None:
    assert engine.forget_cache(program="a\0b") == 0


def test_the_watcher_deletes_what_has_expired_and_what_no_task_fills(runner: InlineRunner) -> None:
    name = cached(cache_key="input.n")
    ended(runner, name, input={"n": 1})
    first, _ = begun(name, input={"n": 2})
    begun(name, input={"n": 3})
    engine.cancel(first.pk)
    clock.advance(3590)
    assert prune() == 1, "the cancelled one"
    clock.advance(20)
    assert prune() == 2, "one that has expired, and one that is filled for too long"
    assert prune() == 0
    assert not CachedOutput.objects.exists()


def test_the_cache_is_bounded_in_entries_and_bytes(runner: InlineRunner, settings: Any) -> None:
    name = cached("Echo", cache_key="input.n")
    for number in range(5):
        ended(runner, name, input={"n": number, "text": "x" * 100})
    settings.FLOWER = {**settings.FLOWER, "CACHE_ENTRIES": 3}
    assert prune() == 2
    assert set(CachedOutput.objects.values_list("key", flat=True)) == {"2", "3", "4"}, "the oldest are gone"
    settings.FLOWER = {**settings.FLOWER, "CACHE_BYTES": 150}
    assert prune() == 2


def test_a_step_without_a_cache_costs_no_statement_more(runner: InlineRunner) -> None:
    kept, other = cached("Noop"), cached("Noop", cache_seconds=None)
    counts = []
    for name in (other, kept, kept):
        engine.register(name)
        with CaptureQueriesContext(
            connection,
        ) as statements:
            runner.run()
        counts.append(len([query for query in statements if "kr_output_cache" in query["sql"]]))
    assert counts[0] == 0
    assert counts[2] == 1, "who takes an output reads it once"


def test_two_at_once_run_once(runner: InlineRunner) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has one writer at a time")
    name = cached("Record")
    for _ in range(5):
        CachedOutput.objects.all().delete()
        flows = [engine.register(name) for _ in range(8)]
        barrier = threading.Barrier(len(flows))

        def run(flow: Flow, barrier: threading.Barrier = barrier) -> None:
            try:
                barrier.wait()
                attempts.run(TaskRef(flow.pk, 1), "inline")
            finally:
                connections.close_all()

        runner.waiting.clear()
        threads = [threading.Thread(target=run, args=(flow,)) for flow in flows]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        while runner.run() or wake_cached():
            pass
        assert starts(*flows) == 1
        assert {engine.get_flow(flow.pk).status for flow in flows} == {Status.FINISH}
