"""What a pool process continues with, where the worker's parent believes it to be, and what it gives back."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any

import pytest
from celery.app import app_or_default
from django.db import connection
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from flowerapp import engine
from flowerapp.core import identity
from flowerapp.core.identity import Process
from flowerapp.core.messages import FIRST_SENT, Message, TaskCall, TaskRef
from flowerapp.engine import dispatching
from flowerapp.executors.celery import continuation, process_table, routes
from flowerapp.models import Flow, Task
from flowerapp.selectors import queues
from flowerapp.states import Status
from flowerapp.testing import InlineRunner
from tests.engine.support import check, define, statuses

pytestmark = pytest.mark.django_db(transaction=True)

NAME = routes.task_name("Noop")
WIDE = 2 * FIRST_SENT


class Celery:
    """What Celery does in a pool process: it calls the tracer of a message's task, which runs it."""

    def __init__(self, runner: InlineRunner) -> None:
        self.runner = runner
        self.continuation = continuation.MessageContinuation()
        self.seqs: list[int] = []
        self.at: list[list[TaskRef]] = []
        """Where the parent believes this process to be, at the beginning of each task and after its finish."""
        self.before: Callable[[int], None] = lambda seq: None

    def trace(self, uuid: str, args: tuple[str, int], kwargs: Any, request: Any) -> None:
        """Run one task as ``tasks.run`` does."""
        self.seqs.append(args[1])
        self.before(args[1])
        outcome = self.continuation.perform(TaskRef(*args))
        dispatching.send(self.continuation.keep_next(outcome.released))
        self.at.append(process_table.refs_of(self.message, process_table.process_table.read()))

    def deliver(self, flow: Flow, seconds: float = 60) -> None:
        """A message for the first task came."""
        self.message = routes.message_id(TaskRef(flow.pk, 1))
        priority = routes.options_of(app_or_default(), TaskCall(seq=1, program="Noop"))["priority"]
        delivery_info = {"priority": priority, "routing_key": queues.queue_of("Noop", "")}
        request = {"id": self.message, continuation.HEADER: seconds, "delivery_info": delivery_info}
        self.continuation.run({NAME: self.trace}, NAME, self.message, (flow.pk, 1), {}, request)


@pytest.fixture
def celery(runner: InlineRunner) -> Iterator[Celery]:
    """A pool process."""
    if connection.vendor != "postgresql":
        pytest.skip("processes continue on PostgreSQL only")
    identity.renew()
    assert process_table.process_table.claim()
    routes._route_of.cache_clear()
    yield Celery(runner)
    routes._route_of.cache_clear()


def wide() -> Flow:
    """Many that are ready at once."""
    return engine.register(define({seq: [] for seq in range(1, WIDE + 1)}, "Noop"))


def test_the_parent_knows_of_a_claim_before_the_process_does_anything_else(celery: Celery) -> None:
    flow = wide()
    celery.deliver(flow)
    assert celery.seqs == [1, *range(FIRST_SENT + 1, WIDE + 1)]
    following = zip(celery.seqs, celery.seqs[1:], strict=False)
    assert celery.at[:-1] == [[(flow.pk, before), (flow.pk, seq)] for before, seq in following]
    celery.runner.run()
    assert set(statuses(flow).values()) == {Status.FINISH}
    check(flow)


def test_a_deferred_task_costs_one_statement(celery: Celery) -> None:
    """The finish of one claims the next; the first, which came by a message, costs two."""
    flow = wide()
    with CaptureQueriesContext(connection) as statements:
        celery.deliver(flow)
    assert len(celery.seqs) == 1 + WIDE - FIRST_SENT
    assert len(statements) == 1 + len(celery.seqs)


def test_a_chain_costs_one_statement_a_task_and_no_message(celery: Celery) -> None:
    """The finish of each claims the next; the first, which came by a message, costs two."""
    flow = engine.register(define({seq: [seq - 1] if seq > 1 else [] for seq in range(1, 11)}, "Noop"))
    celery.runner.sent.clear()
    with CaptureQueriesContext(connection) as statements:
        celery.deliver(flow)
    assert celery.seqs == list(range(1, 11))
    assert len(statements) == 1 + len(celery.seqs)
    assert celery.runner.sent == []
    assert flow.tasks.filter(sent_ts=None).count() == len(celery.seqs) - 1


FORK: dict[int, list[int]] = {1: [], **{seq: [1] for seq in range(2, 7)}, 7: list(range(2, 7))}


def fork(waited: float) -> Flow:
    """Five that follow one, whose message waited for so many seconds."""
    flow = engine.register(define(FORK, "Noop"))
    flow.tasks.filter(task_exec_seq=1).update(sent_ts=Now() - timedelta(seconds=waited))
    return flow


def test_a_small_fork_costs_one_statement_a_task_and_no_message_while_all_are_busy(celery: Celery) -> None:
    """Its branches are deferred for the process that releases them; else it would send all but one."""
    flow = fork(waited=9)
    celery.continuation.seconds["Noop"] = 0.001
    celery.runner.sent.clear()
    with CaptureQueriesContext(connection) as statements:
        celery.deliver(flow)
    assert celery.seqs == list(FORK)
    assert len(statements) == 1 + len(FORK)
    assert celery.runner.sent == []
    assert set(statuses(flow).values()) == {Status.FINISH}
    check(flow)


@pytest.mark.parametrize(
    ("waited", "idle", "seconds", "sent"),
    [(9, True, 0.001, 4), (0, False, 0.001, 4), (9, False, 20.1, 4), (9, False, 0.001, 0)],
    ids=["a process is idle", "the message did not wait", "there is time for two more alone", "all are busy"],
)
def test_branches_are_sent_that_others_can_do_sooner(
    celery: Celery, monkeypatch: pytest.MonkeyPatch, waited: float, idle: bool, seconds: float, sent: int
) -> None:
    flow = fork(waited)
    monkeypatch.setattr(process_table.process_table, "another_is_idle", lambda: idle)
    celery.runner.sent.clear()
    celery.before = lambda seq: celery.continuation.seconds.update(Noop=seconds)
    monkeypatch.setattr(celery.continuation, "_quick", lambda: ["Noop"])
    celery.deliver(flow)
    messages = [message.head.seq for message in celery.runner.sent]
    assert len(messages) == sent
    celery.runner.run()
    assert set(statuses(flow).values()) == {Status.FINISH}
    check(flow)


@pytest.mark.parametrize(("idle", "seqs"), [(True, list(range(1, 11))), (False, [1])])
def test_a_process_continues_longer_while_another_is_idle(
    celery: Celery, monkeypatch: pytest.MonkeyPatch, idle: bool, seqs: list[int]
) -> None:
    """Then no message waits for it."""
    monkeypatch.setattr(process_table.process_table, "another_is_idle", lambda: idle)
    monkeypatch.setattr(continuation, "LONGER", 1e9)
    flow = engine.register(define({seq: [seq - 1] if seq > 1 else [] for seq in range(1, 11)}, "Noop"))
    celery.deliver(flow, seconds=1e-6)
    assert celery.seqs == seqs
    celery.runner.run()
    check(flow)


def test_the_longer_time_ends_too(celery: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_table.process_table, "another_is_idle", lambda: True)
    flow = engine.register(define({1: [], 2: [1]}, "Noop"))
    celery.deliver(flow, seconds=1e-9)
    assert celery.seqs == [1]
    celery.runner.run()
    check(flow)


def test_a_process_sees_whether_another_one_is_idle() -> None:
    """Not itself, nor one that is busy, nor one that has ended."""
    table = process_table.ProcessTable()
    assert table.claim()
    assert not table.another_is_idle()
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    for pid, is_idle in ((ended.pid, False), (os.getppid(), True)):
        with pytest.MonkeyPatch.context() as other:
            other.setattr(os, "getpid", lambda pid=pid: pid)
            table.write("", "", "")
            table.set_busy(False)
        assert table.another_is_idle() is is_idle
    with pytest.MonkeyPatch.context() as other:
        other.setattr(os, "getpid", os.getppid)
        table.set_busy(True)
    assert not table.another_is_idle()


def candidates(celery: Celery, routing_key: str = "near", nice: int = 0, **columns: Any) -> Sequence[str]:
    """Programs that a process continues with whose message for Noop came through this queue."""
    flow = wide()
    Task.objects.filter(task_flow=flow).update(**columns)
    claim = Task.objects.claim(TaskRef(flow.pk, 1), Process(identity.worker(), os.getpid()))
    assert claim
    options = routes.options_of(app_or_default(), TaskCall(seq=1, program="Noop", priority=nice))
    celery.continuation._route = routes.Route(routing_key, options["priority"])
    assert celery.continuation.candidates(claim) == ()
    celery.continuation._ends = time.monotonic() + 60
    return celery.continuation.candidates(claim)


@pytest.fixture
def queue_by_program(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Queue, or error, of each program that is not routed to the queue "near"."""
    queues_or_errors: dict[str, Any] = {}

    def queue_of(program: str, queue: str) -> str:
        if isinstance(queues_or_errors.get(program), Exception):
            raise queues_or_errors[program]
        return queue or queues_or_errors.get(program, "near")

    monkeypatch.setattr(routes, "queue_of", queue_of)
    return queues_or_errors


def test_it_continues_with_what_a_message_would_bring_to_it(celery: Celery, queue_by_program: dict[str, Any]) -> None:
    """Not with a program that it does not know, or knows as slow, that has a limit, or is routed elsewhere."""
    celery.continuation.seconds |= {
        "Echo": 0.01,
        "Sleep": 5.0,
        "Nap": 0.01,
        "SoftLimited": 0.01,
        "Record": 0.01,
        "Gone": 0.01,
    }
    queue_by_program |= {"Nap": "far", "Record": LookupError("a router's own")}
    assert candidates(celery) == ["Noop", "Echo"]


@pytest.mark.parametrize(
    ("routing_key", "nice", "columns", "programs"),
    [
        ("far", 0, {}, []),
        ("near", -10, {}, []),
        ("near", 0, {"queue": "far"}, []),
        ("near", 0, {"task_priority": 10}, []),
        ("far", 0, {"queue": "far"}, ["Noop"]),
    ],
    ids=["by another route", "more urgently", "before its queue was changed", "its priority too", "as its row says"],
)
def test_a_process_continues_only_with_tasks_of_its_messages_route(
    celery: Celery,
    queue_by_program: dict[str, Any],
    routing_key: str,
    nice: int,
    columns: dict[str, Any],
    programs: list[str],
) -> None:
    """Else the next one's would go to another worker, or after others."""
    assert candidates(celery, routing_key, nice, **columns) == programs


def test_the_limits_of_a_task_of_the_apps_are_known(celery: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a setting of the host's gives one."""
    assert not routes.has_time_limit(app_or_default().tasks[NAME])
    monkeypatch.setattr(app_or_default().tasks[NAME], "soft_time_limit", 9)
    assert routes.has_time_limit(app_or_default().tasks[NAME])
    assert candidates(celery, queues.queue_of("Noop", "")) == []


@pytest.mark.parametrize(
    ("program", "seconds", "number"),
    [("Elsewhere", 60, 0), ("Noop", 0, 0), ("Noop", 60, 1)],
    ids=["unknown", "late", "quick"],
)
def test_the_router_is_asked_only_about_tasks_that_this_process_may_continue_with(
    celery: Celery, monkeypatch: pytest.MonkeyPatch, program: str, seconds: float, number: int
) -> None:
    """A program may be known to other workers alone, and a router may take its time."""
    asked: list[Any] = []
    monkeypatch.setattr(continuation, "route_of", lambda *arguments: asked.append(arguments))
    celery.continuation.seconds["Noop"] = 0.01
    celery.continuation._ends = time.monotonic() + seconds
    message = Message(flow_id="none", head=TaskCall(seq=2, program=program))
    assert celery.continuation.keep_next([message]) == [message]
    assert len(asked) == number


def test_without_time_each_is_sent(celery: Celery) -> None:
    flow = wide()
    celery.deliver(flow, seconds=0)
    assert celery.seqs == [1]
    assert celery.at == [[(flow.pk, 1)]]
    celery.runner.run()
    check(flow)


def test_a_process_that_is_broken_off_gives_back_what_it_had_claimed(celery: Celery) -> None:
    """As another start, which is none of those that are counted."""

    def end(seq: int) -> None:
        if seq == FIRST_SENT + 2:
            raise SystemExit

    flow = wide()
    celery.before = end
    with pytest.raises(SystemExit):
        celery.deliver(flow)
    given_back = Task.objects.at(TaskRef(flow.pk, FIRST_SENT + 2)).get()
    assert (given_back.status, given_back.rescues, given_back.pid) == (Status.WAIT, 0, os.getpid())
    assert celery.continuation._next is celery.continuation._step is None
    celery.runner.run()
    assert set(statuses(flow).values()) == {Status.FINISH}
    assert set(flow.tasks.values_list("attempt", flat=True)) == {1, 2}
    check(flow)


def test_entries_of_other_processes_are_left_alone(celery: Celery) -> None:
    """A pid that is taken to the same entry belongs to a process that lives, or to none."""
    table = process_table.ProcessTable()
    entry = os.getpid() % table._SIZE * table._ENTRY.size
    table._ENTRY.pack_into(table._memory, entry, os.getppid(), b"another.", b"1:a", b"2:b")
    assert not table.claim()
    table._ENTRY.pack_into(table._memory, entry, 2**22 + 1, b"another.", b"1:a", b"2:b")
    assert table.claim()
