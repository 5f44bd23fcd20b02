"""What a process goes on with: where the worker's parent believes it to be, and what becomes of it when broken off."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from celery.app import app_or_default
from django.db import connection
from django.test.utils import CaptureQueriesContext

from flowerapp import canvas, engine, identity, queues, slices
from flowerapp.dispatch import FIRST, Link
from flowerapp.models import Flow, Task
from flowerapp.states import Status
from flowerapp.testing import InlineRunner
from tests.engine.support import check, define, statuses

pytestmark = pytest.mark.django_db(transaction=True)

NAME = canvas.task_name("Noop")
WIDE = 2 * FIRST


class Celery:
    """What Celery does in a pool process: it calls the tracer of a message's task, which runs it."""

    def __init__(self, runner: InlineRunner) -> None:
        self.runner = runner
        self.slice = slices.Slice()
        self.seqs: list[int] = []
        self.at: list[list[slices.Place]] = []
        """Where the parent believes this process to be, at the beginning of each task and after its finish."""
        self.before: Callable[[int], None] = lambda seq: None

    def trace(self, uuid: str, args: tuple[str, int], kwargs: Any, request: Any) -> None:
        """Run one task as ``tasks.run`` does."""
        self.seqs.append(args[1])
        self.before(args[1])
        outcome = self.slice.perform(*args)
        engine.send(self.slice.keep_next(SimpleNamespace(**request), outcome.released))
        self.at.append(slices.places_of(self.message, slices.marks.read()))

    def deliver(self, flow: Flow, seconds: float = 60) -> None:
        """A message for the first task came."""
        self.message = canvas.message_id(flow.pk, 1)
        priority = canvas.options_of(app_or_default(), Link(seq=1, program="Noop"))["priority"]
        delivery_info = {"priority": priority, "routing_key": queues.queue_of("Noop", "")}
        request = {"id": self.message, slices.HEADER: seconds, "delivery_info": delivery_info}
        self.slice.run({NAME: self.trace}, NAME, self.message, (flow.pk, 1), {}, request)


@pytest.fixture
def celery(runner: InlineRunner) -> Celery:
    """A pool process."""
    if connection.vendor != "postgresql":
        pytest.skip("processes go on on PostgreSQL")
    identity.renew()
    assert slices.marks.claim()
    return Celery(runner)


def wide() -> Flow:
    """Many that are ready at once."""
    return engine.register(define({seq: [] for seq in range(1, WIDE + 1)}, "Noop"))


def test_the_parent_knows_of_what_was_claimed_before_anything_else_is_done(celery: Celery) -> None:
    flow = wide()
    celery.deliver(flow)
    assert celery.seqs == [1, *range(FIRST + 1, WIDE + 1)]
    following = zip(celery.seqs, celery.seqs[1:], strict=False)
    assert celery.at[:-1] == [[(flow.pk, before), (flow.pk, seq)] for before, seq in following]
    celery.runner.run()
    assert set(statuses(flow).values()) == {Status.FINISH}
    check(flow)


def test_what_was_left_over_costs_one_statement(celery: Celery) -> None:
    """The finish of one claims the next; the first, which came by a message, costs two."""
    flow = wide()
    with CaptureQueriesContext(connection) as statements:
        celery.deliver(flow)
    assert len(celery.seqs) == 1 + WIDE - FIRST
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


def test_it_goes_on_with_programs_that_were_quick_and_come_by_the_same_queue(
    celery: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that this process does not know, or knows as slow, comes by a message."""
    flow = wide()
    celery.slice.took |= {"Quick": 0.01, "Slow": 5.0, "Elsewhere": 0.01, "Limited": 0.01}
    monkeypatch.setattr(queues, "queue_of", lambda program, queue: "far" if program == "Elsewhere" else "near")
    limits = {"Limited": {"soft_time_limit": 9}}
    options_of = canvas.options_of
    monkeypatch.setattr(canvas, "options_of", lambda app, link: options_of(app, link) | limits.get(link.program, {}))
    claim = Task.objects.claim(flow.pk, 1, identity.worker(), os.getpid())
    assert claim
    assert celery.slice.wants(claim) == ()
    celery.slice._ends = time.monotonic() + 60
    assert celery.slice.wants(claim) == ("Noop", "Quick")


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
        if seq == FIRST + 2:
            raise SystemExit

    flow = wide()
    celery.before = end
    with pytest.raises(SystemExit):
        celery.deliver(flow)
    given_back = Task.objects.one(flow.pk, FIRST + 2).get()
    assert (given_back.status, given_back.rescues, given_back.pid) == (Status.WAIT, 0, os.getpid())
    assert celery.slice._next is celery.slice._step is None
    celery.runner.run()
    assert set(statuses(flow).values()) == {Status.FINISH}
    assert set(flow.tasks.values_list("attempt", flat=True)) == {1, 2}
    check(flow)


def test_entries_of_other_processes_are_left_alone(celery: Celery) -> None:
    """A pid that is taken to the same entry belongs to a process that lives, or to none."""
    marks = slices.Marks()
    entry = os.getpid() % marks._ROOM * marks._ENTRY.size
    marks._ENTRY.pack_into(marks._memory, entry, os.getppid(), b"another.", 1, 2)
    assert not marks.claim()
    marks._ENTRY.pack_into(marks._memory, entry, 2**22 + 1, b"another.", 1, 2)
    assert marks.claim()
