"""Two callers at once, on PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models.functions import Now

from flowerapp import engine
from flowerapp.core.gates import GATE, VALUE
from flowerapp.core.identity import Process
from flowerapp.core.masking import MASKED
from flowerapp.core.messages import TaskRef
from flowerapp.core.plan import Node
from flowerapp.engine import attempts, propagation, recovery, remote_leases
from flowerapp.exceptions import StateConflictError
from flowerapp.models import Flow, HistoryEntry, Task, TaskDefinition, Workflow
from flowerapp.querysets import Claim, Success
from flowerapp.states import Status
from flowerapp.testing import InlineRunner
from tests.attempts import fail, succeed
from tests.engine.support import check, define, planned, status, statuses
from tests.services import until

ROUNDS = 12

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _postgresql(transactional_db: None) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has one writer at a time")


def together(*calls: Callable[[], Any]) -> list[Any]:
    """Results of calls that start at the same moment; a refusal counts as a result, any other error is raised."""
    barrier = threading.Barrier(len(calls))

    def start(call: Callable[[], Any]) -> Any:
        try:
            barrier.wait(10)
            return call()
        except StateConflictError as refusal:
            return refusal
        finally:
            connection.close()

    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result(30) for future in [pool.submit(start, call) for call in calls]]


def claim(flow: Flow, seq: int) -> Claim:
    row = Task.objects.claim(TaskRef(flow.pk, seq), Process("w", 1))
    assert row
    return row


def diamonds(runner: InlineRunner) -> Iterator[Flow]:
    """Flows whose two branches, 2 and 3, were claimed."""
    name = define({1: [], 2: [1], 3: [1], 4: [2, 3]})
    for _ in range(ROUNDS):
        runner.waiting.clear()
        flow = engine.register(name)
        runner.step()
        yield flow


def test_two_branches_release_their_join_once(runner: InlineRunner) -> None:
    for flow in diamonds(runner):
        claims = [claim(flow, 2), claim(flow, 3)]
        outcomes = together(*(lambda taken=taken: succeed(taken, "{}") for taken in claims))
        released = [message.head.seq for outcome in outcomes for message in outcome.released]
        assert released == [4]
        check(flow)


def test_many_branches_release_their_join_once(runner: InlineRunner) -> None:
    flow = engine.register(define({1: [], **{seq: [1] for seq in range(2, 26)}, 26: list(range(2, 26))}))
    runner.step()
    claims = [claim(flow, seq) for seq in range(2, 26)]
    outcomes = together(*(lambda taken=taken: succeed(taken, "{}") for taken in claims))
    assert [message.head.seq for outcome in outcomes for message in outcome.released] == [26]
    check(flow)


def test_one_task_is_claimed_once(runner: InlineRunner) -> None:
    flow = engine.register(define({1: []}))
    claims = together(*[lambda: Task.objects.claim(TaskRef(flow.pk, 1), Process("w", 1))] * 12)
    assert sum(taken is not None for taken in claims) == 1


def test_two_last_sinks_end_the_flow(runner: InlineRunner) -> None:
    name = define({1: [], 2: []})
    for _ in range(ROUNDS):
        flow = engine.register(name)
        claims = [claim(flow, 1), claim(flow, 2)]
        together(*(lambda taken=taken: succeed(taken, "{}") for taken in claims))
        assert status(flow) is Status.FINISH
        check(flow)


@pytest.mark.parametrize("verb", ["cancel", "skip join", "rerun", "suspend", "fail"])
def test_finish_against_another_verb(runner: InlineRunner, verb: str) -> None:
    for flow in diamonds(runner):
        first, second = claim(flow, 2), claim(flow, 3)
        others: dict[str, Callable[[], Any]] = {
            "cancel": lambda flow=flow: engine.cancel(flow.pk),  # type: ignore[misc]
            "skip join": lambda flow=flow: engine.skip(flow.pk, 4),  # type: ignore[misc]
            "rerun": lambda flow=flow: engine.rerun(flow.pk, from_seq=2),  # type: ignore[misc]
            "suspend": lambda flow=flow: engine.suspend(flow.pk),  # type: ignore[misc]
            "fail": lambda second=second: fail(second, ValueError("no")),  # type: ignore[misc]
        }
        outcome, other = together(lambda first=first: succeed(first, "{}"), others[verb])  # type: ignore[misc]
        propagation.settle(flow.pk)
        check(flow)
        seen = statuses(flow)[2]
        assert outcome.finished is (seen is not Status.IGNORE) or verb == "rerun"
        if verb == "rerun" and not isinstance(other, StateConflictError):
            assert seen is Status.WAIT
        assert seen in (Status.FINISH, Status.IGNORE, Status.WAIT)


def finish_and_continue(taken: Claim) -> Any:
    """Finish as a process that continues with what becomes ready."""
    success = Success(ref=taken.ref, attempt=taken.attempt, output="{}")
    return Task.objects.finish(success.by(Process("w", 1), ["Echo"]))


def test_of_two_processes_that_continue_one_claims_the_join(runner: InlineRunner) -> None:
    for flow in diamonds(runner):
        claims = [claim(flow, 2), claim(flow, 3)]
        ends = together(*(lambda taken=taken: finish_and_continue(taken) for taken in claims))
        assert sorted(end.claimed.seq for end in ends if end.claimed) == [4]
        assert [message for end in ends for message in end.released] == []
        check(flow)


@pytest.mark.parametrize("verb", ["cancel", "skip", "rerun", "queue", "priority", "suspend"])
def test_continuing_against_another_verb(runner: InlineRunner, verb: str) -> None:
    """What is claimed is as the verb left it, or the verb is refused, for it runs."""
    name = define({1: [], 2: [1], 3: [2]})
    for _ in range(2 * ROUNDS):
        runner.waiting.clear()
        flow = engine.register(name)
        first = claim(flow, 1)
        verbs: dict[str, Callable[[], Any]] = {
            "cancel": lambda flow=flow: engine.cancel(flow.pk),  # type: ignore[misc]
            "skip": lambda flow=flow: engine.skip(flow.pk, 2),  # type: ignore[misc]
            "rerun": lambda flow=flow: engine.rerun(flow.pk, from_seq=1),  # type: ignore[misc]
            "queue": lambda flow=flow: engine.change(flow.pk, 2, queue="other"),  # type: ignore[misc]
            "priority": lambda flow=flow: engine.change(flow.pk, 2, priority=9),  # type: ignore[misc]
            "suspend": lambda flow=flow: engine.suspend(flow.pk),  # type: ignore[misc]
        }
        done, answer = together(lambda first=first: finish_and_continue(first), verbs[verb])  # type: ignore[misc]
        second = Task.objects.at(TaskRef(flow.pk, 2)).get()
        if done is not None and done.claimed is not None and verb != "cancel":
            assert isinstance(answer, StateConflictError) or verb == "suspend"
            assert (second.status, second.attempt, second.queue, second.task_priority) == (Status.RUNNING, 1, "", 0)
        elif done is not None and verb in ("queue", "priority"):
            assert [message.head.seq for message in done.released] == [2]
            assert (second.queue, second.task_priority) == (("other", 0) if verb == "queue" else ("", 9))
        propagation.settle(flow.pk)
        check(flow)


def test_resume_against_finish_leaves_nothing_unsent(runner: InlineRunner) -> None:
    """Whatever the finish released is sent by the one or by the other."""
    name = define({1: [], 2: [1]})
    for _ in range(ROUNDS):
        flow = engine.register(name)
        first = claim(flow, 1)
        engine.suspend(flow.pk)
        runner.waiting.clear()
        outcome, _resumed = together(
            lambda first=first: succeed(first, "{}"),  # type: ignore[misc]
            lambda flow=flow: engine.resume(flow.pk),  # type: ignore[misc]
        )
        sent = [message.head.seq for message in [*outcome.released, *runner.waiting]]
        assert 2 in sent
        check(flow)


def test_operators_among_themselves_do_not_deadlock(runner: InlineRunner) -> None:
    name = define({1: [], **{seq: [1] for seq in range(2, 20)}, 20: list(range(2, 20))})
    for _ in range(ROUNDS):
        runner.waiting.clear()
        flow = engine.register(name)
        runner.step()
        claims = [claim(flow, seq) for seq in range(2, 8)]
        engine.suspend(flow.pk)
        together(
            lambda flow=flow: engine.resume(flow.pk),  # type: ignore[misc]
            lambda flow=flow: engine.skip(flow.pk, 20),  # type: ignore[misc]
            lambda flow=flow: engine.change(flow.pk, 10, priority=3),  # type: ignore[misc]
            lambda flow=flow: engine.cancel(flow.pk),  # type: ignore[misc]
            *(lambda taken=taken: succeed(taken, "{}") for taken in claims),
        )
        check(flow)


def test_the_watcher_and_an_operator_do_not_deadlock(runner: InlineRunner) -> None:
    flow = engine.register(define({seq: [] for seq in range(1, 201)}))
    tasks = Task.objects.filter(task_flow=flow)
    for seq in range(200, 0, -1):  # the rows lie in another order than their seqs
        tasks.at(TaskRef(flow.pk, seq)).update(sent_ts=Now())

    def operate() -> None:
        for _ in range(ROUNDS):
            engine.suspend(flow.pk)
            engine.resume(flow.pk)

    together(lambda: [tasks.mark_sent() for _ in range(4 * ROUNDS)], operate)
    check(flow)


def test_four_who_send_take_each_task_once(runner: InlineRunner) -> None:
    engine.register(define({seq: [] for seq in range(1, 201)}))
    for _ in range(ROUNDS):
        Task.objects.update(sent_ts=None, deferred=False)

        def take() -> list[int]:
            taken: list[int] = []
            while messages := Task.objects.all().take_unsent(7):
                taken += [message.head.seq for message in messages]
            return taken

        taken = [seq for batch in together(*[take] * 4) for seq in batch]
        left = [message.head.seq for message in Task.objects.all().take_unsent(200)]  # locked by another, so not taken
        assert sorted(taken + left) == list(range(1, 201))


def test_four_processes_that_finish_take_each_deferred_task_once(runner: InlineRunner) -> None:
    """Each continues with the next, while a watcher takes some for idle processes."""
    for _ in range(ROUNDS):
        flow = engine.register(define({seq: [] for seq in range(1, 201)}, "Noop"))
        first = [message.head.seq for message in runner.waiting]
        runner.waiting.clear()

        def run_on(*seqs: int, flow: Flow = flow) -> list[int]:
            done, waiting = [], list(seqs)
            while waiting:
                done.append(seq := waiting.pop())
                waiting += [message.head.seq for message in attempts.run(TaskRef(flow.pk, seq), "w").released]
            return done

        def take_up_deferred(flow: Flow = flow) -> list[int]:
            return run_on(*[message.head.seq for _ in range(9) for message in Task.objects.all().take_deferred(3)])

        runs = [lambda seqs=first[part::4]: run_on(*seqs) for part in range(4)]
        done = [seq for batch in together(*runs, take_up_deferred) for seq in batch]
        assert not Task.objects.filter(task_flow=flow).exclude(attempt=1).exists()
        assert sorted(done) == list(range(1, 201))
        assert engine.get_flow(flow.pk).status is Status.FINISH


def test_fifty_registers_with_one_key_make_one_flow(runner: InlineRunner) -> None:
    name = define({1: []})
    flows = together(*[lambda: engine.register(name, idempotency_key="k")] * 50)
    assert len({flow.pk for flow in flows}) == 1
    assert Flow.objects.count() == 1
    assert len(runner.sent) == 1


# Children


def families(runner: InlineRunner, at_once: int, number: int = 8) -> Iterator[tuple[Flow, list[Claim]]]:
    """Flows whose first step has children, of which so many run."""
    name = define({1: [], 2: [1]})
    TaskDefinition.objects.filter(task_id=name, task_seq=1).update(
        program="Split",
        child_program="Item",
        max_concurrency=at_once,
        parameters={"items": [[n] for n in range(number)]},
    )
    for _ in range(ROUNDS):
        runner.waiting.clear()
        flow = engine.register(name)
        runner.step()
        yield flow, [claim(flow, seq) for seq in range(3, 3 + at_once)]


def success_of(taken: Claim) -> Callable[[], Any]:
    return lambda: succeed(taken, "{}")


def test_children_that_end_together_give_each_turn_once(runner: InlineRunner) -> None:
    for flow, claims in families(runner, 4):
        outcomes = together(*map(success_of, claims))
        released = sorted(message.head.seq for outcome in outcomes for message in outcome.released)
        assert released == [7, 8, 9, 10]
        check(flow)


def test_the_last_children_finish_their_parent_once(runner: InlineRunner) -> None:
    for flow, claims in families(runner, 8):
        outcomes = together(*map(success_of, claims))
        assert [message.head.seq for outcome in outcomes for message in outcome.released] == [2]
        assert status(flow, 1) is Status.FINISH
        check(flow)


@pytest.mark.parametrize("verb", ["cancel", "skip child", "skip parent", "rerun child", "rerun all", "fail", "gather"])
def test_children_end_against_another_verb(runner: InlineRunner, verb: str) -> None:
    for flow, claims in families(runner, 4):
        others: dict[str, Callable[[], Any]] = {
            "cancel": lambda flow=flow: engine.cancel(flow.pk),  # type: ignore[misc]
            "skip child": lambda flow=flow: engine.skip(flow.pk, 9),  # type: ignore[misc]
            "skip parent": lambda flow=flow: engine.skip(flow.pk, 1),  # type: ignore[misc]
            "rerun child": lambda flow=flow: engine.rerun(flow.pk, from_seq=3),  # type: ignore[misc]
            "rerun all": lambda flow=flow: engine.rerun(flow.pk, all_tasks=True),  # type: ignore[misc]
            "fail": lambda claims=claims: fail(claims[3], ValueError("no")),  # type: ignore[misc]
            "gather": lambda flow=flow: propagation.complete_all_parked(flow.pk),  # type: ignore[misc]
        }
        together(*map(success_of, claims[:3]), others[verb])
        propagation.settle(flow.pk)
        check(flow)
        if verb == "fail":
            assert status(flow) is Status.SUSPEND
            engine.rerun(flow.pk)
            check(flow)


def test_children_that_fail_together_fail_their_parent_once(runner: InlineRunner) -> None:
    for flow, claims in families(runner, 4):
        together(*[lambda taken=taken: fail(taken, ValueError("no")) for taken in claims])
        assert list(statuses(flow).values()).count(Status.SUSPEND) == 2
        check(flow)
        assert HistoryEntry.objects.filter(task_flow=flow, verb="fail").count() == 2


@pytest.mark.parametrize("verb", ["change", "skip", "rerun"])
def test_children_are_added_against_another_verb(runner: InlineRunner, verb: str) -> None:
    """The children that come while a verb waits for its locks count too."""
    name = define({1: [], 2: [1], 3: [], 4: [3]})
    first = TaskDefinition.objects.filter(task_id=name, task_seq=1)
    items = [[n] for n in range(300)]
    first.update(program="Split", child_program="Item", max_concurrency=2, parameters={"items": items})
    for _ in range(ROUNDS):
        runner.waiting.clear()
        flow = engine.register(name)
        parent = claim(flow, 1)
        if verb == "rerun":
            succeed(claim(flow, 3), "{}")
        verbs: dict[str, Callable[[], Any]] = {
            "change": lambda flow=flow: engine.change(flow.pk, 4, priority=3),  # type: ignore[misc]
            "skip": lambda flow=flow: engine.skip(flow.pk, 4),  # type: ignore[misc]
            "rerun": lambda flow=flow: engine.rerun(flow.pk, from_seq=3),  # type: ignore[misc]
        }
        together(lambda parent=parent: attempts.perform(parent), verbs[verb])  # type: ignore[misc]
        propagation.settle(flow.pk)
        check(flow)
        assert status(flow, 1) is Status.WAIT
        assert flow.tasks.filter(parent_seq=1).count() == 300


def test_children_that_are_lost_for_good_together(runner: InlineRunner) -> None:
    for flow, claims in families(runner, 4):
        Task.objects.filter(task_flow=flow, parent_seq=1).update(rescues=3)
        calls = [
            lambda seq=taken.seq, flow=flow: recovery.record_lost(TaskRef(flow.pk, seq), "gone", Process("w", None))
            for taken in reversed(claims)
        ]
        together(*calls)
        propagation.settle(flow.pk)
        check(flow)
        assert status(flow, 1) is Status.SUSPEND
    with connection.cursor() as cursor:
        cursor.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        assert cursor.fetchone()[0] == 0


def _is_waited_for() -> bool:
    """Whether a connection waits for a lock of this one."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_locks WHERE pg_backend_pid() = ANY (pg_blocking_pids(pid))")
        return cursor.fetchone() is not None


def test_a_mask_keeps_the_secret_that_another_stores_meanwhile() -> None:
    """The second ``define`` waits for the first, and reads what that has stored."""

    def step(token: str) -> TaskDefinition:
        return TaskDefinition(task_id="w", task_seq=1, program="Return", parameters={"value": {"api_token": token}})

    engine.define("w", [step("old")])
    with ThreadPoolExecutor(1) as pool, transaction.atomic():
        Workflow.objects.limit("w")
        second = pool.submit(together, lambda: engine.define("w", [step(MASKED)]))
        until(_is_waited_for)
        TaskDefinition.objects.update(parameters={"value": {"api_token": "new"}})
    second.result()
    assert TaskDefinition.objects.get().parameters == {"value": {"api_token": "new"}}


def after_two(*gates: Node) -> Iterator[Flow]:
    """Flows whose first two tasks were claimed, and are followed by these gates from step 3 on, and by a task."""
    for _ in range(ROUNDS):
        last = Node(seq=9, program="Noop", depends_on=(gates[-1].seq,))
        yield planned(Node(seq=1, program="Noop"), Node(seq=2, program="Noop"), *gates, last)


JOIN = Node(seq=3, program=GATE, depends_on=(1, 2))
SUBFLOW = (
    replace(JOIN, end=6, when="false"),
    Node(seq=4, program="Noop", depends_on=(3,)),
    Node(seq=5, program=VALUE, parameters={"value": 1}, depends_on=(3,)),
    Node(seq=6, program=GATE, depends_on=(4, 5)),
)


@pytest.mark.parametrize("gates", [(JOIN,), SUBFLOW], ids=["gate", "subflow"])
def test_two_tasks_complete_the_gate_after_them_once(runner: InlineRunner, gates: tuple[Node, ...]) -> None:
    for flow in after_two(*gates):
        claims = [claim(flow, 1), claim(flow, 2)]
        outcomes = together(*map(success_of, claims), lambda: propagation.complete_all_parked())
        sent = [message.head.seq for outcome in outcomes[:2] for message in outcome.released]
        sent += [message.head.seq for message in runner.waiting if message.flow_id == flow.pk]
        assert [seq for seq in sent if seq > 2] == [len(gates) + 3]
        check(flow)


@pytest.mark.parametrize("gates", [(JOIN,), SUBFLOW], ids=["gate", "subflow"])
@pytest.mark.parametrize("verb", ["cancel", "skip gate", "rerun", "suspend", "skip last"])
def test_a_gate_against_another_verb(runner: InlineRunner, gates: tuple[Node, ...], verb: str) -> None:
    for flow in after_two(*gates):
        succeed(claim(flow, 1), "{}")
        taken = claim(flow, 2)
        last = len(gates) + 3
        others: dict[str, Callable[[], Any]] = {
            "cancel": lambda flow=flow: engine.cancel(flow.pk),  # type: ignore[misc]
            "skip gate": lambda flow=flow: engine.skip(flow.pk, 3),  # type: ignore[misc]
            "rerun": lambda flow=flow: engine.rerun(flow.pk, from_seq=1),  # type: ignore[misc]
            "suspend": lambda flow=flow: engine.suspend(flow.pk),  # type: ignore[misc]
            "skip last": lambda flow=flow, last=last: engine.skip(flow.pk, last),  # type: ignore[misc]
        }
        together(success_of(taken), others[verb])
        propagation.settle(flow.pk)
        propagation.complete_all_parked(flow.pk)
        check(flow)


def test_each_remote_task_is_claimed_by_one_worker(runner: InlineRunner) -> None:
    for _ in range(ROUNDS):
        flows = [planned(*(Node(seq=seq, program="", remote="other") for seq in range(1, 6))) for _ in range(3)]
        claims = together(
            *[partial(engine.claim_remote, name, limit=4) for name in "abcd"],
            partial(engine.take_remote, TaskRef(flows[0].pk, 1), "e"),
        )
        works = [work for claim in claims[:4] for work in claim] + [work for work in claims[4:] if work is not None]
        assert len({work.ref for work in works}) == len(works)
        assert {work.attempt for work in works} == {1}
        works += engine.claim_remote("f", limit=100)
        assert len({work.ref for work in works}) == len(works) == 15
        for flow in flows:
            check(flow)
            engine.cancel(flow.pk)


@pytest.mark.parametrize("verb", ["cancel", "suspend", "end", "fail", "expire", "claim"])
def test_a_claimed_remote_task_ends_once(runner: InlineRunner, verb: str) -> None:
    for _ in range(ROUNDS):
        flow = planned(
            Node(seq=1, program="", remote="other", max_retries=1, retry_delay=0),
            Node(seq=2, program="Noop", depends_on=(1,)),
        )
        ref = TaskRef(flow.pk, 1)
        assert engine.take_remote(ref, "w")
        Task.objects.at(ref).update(lease_ts=Now())
        others: dict[str, Callable[[], Any]] = {
            "cancel": partial(engine.cancel, flow.pk),
            "suspend": partial(engine.suspend, flow.pk),
            "end": partial(engine.end_task, *ref, output=2, attempt=1),
            "fail": partial(engine.fail_task, *ref, "no", attempt=1),
            "expire": partial(remote_leases.expire, ref),
            "claim": partial(engine.take_remote, ref, "v"),
        }
        ended, _ = together(partial(engine.end_task, *ref, output=1, attempt=1), others[verb])
        row = engine.get_task(*ref)
        assert (row.status is Status.FINISH and row.output == 1) is not isinstance(ended, StateConflictError)
        propagation.settle(flow.pk)
        check(flow)
        if not Flow.objects.get(pk=flow.pk).ended:
            engine.cancel(flow.pk)


def test_a_claim_against_a_cancelled_or_held_flow(runner: InlineRunner) -> None:
    for verb in (engine.cancel, engine.suspend) * (ROUNDS // 2):
        flow = planned(*(Node(seq=seq, program="", remote="other") for seq in range(1, 4)))
        works, _ = together(partial(engine.claim_remote, "w", limit=3), partial(verb, flow.pk))
        propagation.settle(flow.pk)
        check(flow)
        if verb is engine.cancel:
            assert Flow.objects.get(pk=flow.pk).status is Status.IGNORE
        else:
            assert statuses(flow) == dict.fromkeys(range(1, 4), Status.RUNNING if works else Status.WAIT)
            engine.cancel(flow.pk)


def test_a_remote_task_is_answered_once(runner: InlineRunner) -> None:
    for _ in range(ROUNDS):
        flow = planned(Node(seq=1, program="", remote="other"), Node(seq=2, program="Noop", depends_on=(1,)))
        answers = together(
            *[lambda flow=flow: engine.end_task(flow.pk, 1)] * 3,
            *[lambda flow=flow: engine.fail_task(flow.pk, 1, "no")] * 3,
        )
        assert sum(isinstance(answer, StateConflictError) for answer in answers) == 5
        check(flow)
