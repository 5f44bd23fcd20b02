"""What a worker's parent does for its own tasks."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from billiard.einfo import ExceptionInfo
from billiard.exceptions import WorkerLostError
from celery.app import app_or_default
from celery.exceptions import TimeLimitExceeded
from celery.signals import task_internal_error
from celery.worker import state as worker_state
from django.db import OperationalError
from django.db.models.functions import Now

from flowerapp import backend, canvas, engine, identity
from flowerapp.backend import FlowBackend
from flowerapp.models import Flow, Task
from flowerapp.states import Status
from flowerapp.testing import InlineRunner
from flowerapp.watcher import Voucher
from tests.engine.support import check, define, status, task, verbs

pytestmark = pytest.mark.django_db(transaction=True)


def running(program: str = "Noop") -> Flow:
    """A flow of two tasks whose first was claimed by this worker long ago."""
    flow = engine.register(define({1: [], 2: [1]}, program))
    assert Task.objects.claim(flow.pk, 1, identity.worker(), 1)
    Task.objects.filter(task_exec_seq=1).update(started_ts=Now() - timedelta(seconds=60))
    return flow


def killed(flow: Flow, error: Exception) -> None:
    """The pool tells the result backend that it lost the process of the first task."""
    keeps = FlowBackend(app=app_or_default(), url="django-db://")
    keeps.mark_as_failure(canvas.message_id(flow.pk, 1), error)


@pytest.fixture(autouse=True)
def _nothing_unrecorded() -> Iterator[None]:
    yield
    assert not backend._losses


@pytest.fixture
def parent(monkeypatch: pytest.MonkeyPatch) -> Voucher:
    """This process as the parent of a pool."""
    monkeypatch.setattr(identity, "_parent", -1)
    monkeypatch.setattr(backend, "_process_of", lambda task_id: None)
    return Voucher({})


@pytest.mark.parametrize(
    ("error", "verb", "after"),
    [(WorkerLostError("signal 9"), "rescue", Status.WAIT), (TimeLimitExceeded(3), "fail", Status.SUSPEND)],
    ids=["lost", "timed out"],
)
def test_the_end_of_a_process_is_recorded_once_the_database_is_back(
    runner: InlineRunner,
    parent: Voucher,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    verb: str,
    after: Status,
) -> None:
    """A limit is told as such, however long the database was away."""

    def away(*_: Any, **__: Any) -> None:
        raise OperationalError("the database is away")

    flow = running()
    with monkeypatch.context() as broken:
        broken.setattr(engine, "lost", away)
        broken.setattr(engine, "timed_out", away)
        killed(flow, error)
        assert status(flow, 1) is Status.RUNNING
        assert not parent.do("record", 0, backend.record_lost)
    assert parent.do("record", 0, backend.record_lost)
    assert status(flow, 1) is after
    assert verbs(flow) == [verb]
    check(flow)


def test_an_end_that_cannot_be_recorded_holds_up_no_other(
    runner: InlineRunner, parent: Voucher, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = running(), running()
    lost = engine.lost

    def stubborn(flow_id: str, *arguments: Any, **options: Any) -> Any:
        if flow_id == first.pk:
            raise ValueError("no")
        return lost(flow_id, *arguments, **options)

    monkeypatch.setattr(engine, "lost", stubborn)
    for flow in (first, second):
        killed(flow, WorkerLostError("signal 9"))
    assert (status(first, 1), status(second, 1)) == (Status.RUNNING, Status.WAIT)
    assert "could not record" in caplog.text
    monkeypatch.undo()
    parent.rescue_own()
    assert status(first, 1) is Status.WAIT


@pytest.mark.parametrize(("known", "after"), [(True, Status.RUNNING), (False, Status.WAIT)])
def test_what_the_worker_knows_of_is_not_rescued(
    runner: InlineRunner, parent: Voucher, monkeypatch: pytest.MonkeyPatch, known: bool, after: Status
) -> None:
    flow = running()
    requests = {canvas.message_id(flow.pk, 1): None} if known else {}
    monkeypatch.setattr(worker_state, "requests", requests)
    parent.rescue_own()
    assert status(flow, 1) is after


@pytest.mark.parametrize(("concurrency", "lost"), [(1, {2, 3}), (2, {1, 2, 3})])
def test_messages_that_wait_in_a_busy_worker_are_not_lost(
    runner: InlineRunner, parent: Voucher, monkeypatch: pytest.MonkeyPatch, concurrency: int, lost: set[int]
) -> None:
    parent.description = {"concurrency": concurrency}
    flow = engine.register(define({1: [], 2: [], 3: []}))
    Task.objects.update(sent_ts=Now() - timedelta(seconds=60))
    requests = [SimpleNamespace(id=canvas.message_id(flow.pk, seq)) for seq in (1, 2)]
    monkeypatch.setattr(worker_state, "reserved_requests", requests)
    monkeypatch.setattr(worker_state, "active_requests", requests[1:])
    parent.hold()
    assert set(Task.objects.silent(10).values_list("task_exec_seq", flat=True)) == lost


def test_a_link_that_could_not_be_published_is_sent(runner: InlineRunner) -> None:
    flow = running()
    (claimed,) = Task.objects.filter(task_exec_seq=1)
    assert Task.objects.finish(flow.pk, 1, claimed.attempt, "{}")
    runner.sent.clear()
    try:
        raise OSError("no broker")
    except OSError as error:
        facts = {"args": (), "kwargs": {}, "request": None, "exception": error, "einfo": ExceptionInfo()}
        task_internal_error.send(sender=None, task_id=canvas.message_id(flow.pk, 1), **facts)
        task_internal_error.send(sender=None, task_id="of the host", **facts)
    assert [message.head.seq for message in runner.sent] == [2]
    assert task(flow, 2).sent_ts is not None
