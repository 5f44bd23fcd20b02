"""What a worker's parent does for its own tasks."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from billiard.einfo import ExceptionInfo
from billiard.exceptions import WorkerLostError
from celery.app import app_or_default
from celery.exceptions import Reject, TimeLimitExceeded
from celery.signals import task_failure, task_internal_error
from celery.worker import state as worker_state
from django.db import OperationalError, connection
from django.db.models.functions import Now

from flowerapp import conf, engine
from flowerapp.core import identity
from flowerapp.core.identity import Process
from flowerapp.core.messages import TaskRef
from flowerapp.engine import recovery
from flowerapp.executors.celery import (
    backend,
    continuation,
    losses,
    reports,
    routes,
    shutdown,
    stopping,
    worker,
)
from flowerapp.executors.celery.backend import FlowBackend
from flowerapp.executors.celery.stopping import Phase
from flowerapp.executors.celery.supervisor import PoolSupervisor
from flowerapp.models import Flow, Task, Worker
from flowerapp.querysets import Success
from flowerapp.states import Status
from flowerapp.testing import InlineRunner
from flowerapp.watcher.duties.rescue import rescue_one
from flowerapp.watcher.heartbeat import Heartbeat
from flowerapp.watcher.loop import Loop
from tests.engine.support import check, define, status, task, verbs

pytestmark = pytest.mark.django_db(transaction=True)


def running(program: str = "Noop", pid: int = 1) -> Flow:
    """A flow of two tasks whose first was claimed by this worker long ago."""
    flow = engine.register(define({1: [], 2: [1]}, program))
    assert Task.objects.claim(TaskRef(flow.pk, 1), Process(identity.worker(), pid))
    Task.objects.filter(task_exec_seq=1).update(started_ts=Now() - timedelta(seconds=60))
    return flow


def killed(flow: Flow, error: Exception, pid: int = 1) -> None:
    """The pool reports to the result backend that it lost the process of the first task."""
    keeps = FlowBackend(app=app_or_default(), url="django-db://")
    request = SimpleNamespace(worker_pid=pid)
    keeps.mark_as_failure(routes.message_id(TaskRef(flow.pk, 1)), error, request=request)


@pytest.fixture(autouse=True)
def _nothing_unrecorded() -> Iterator[None]:
    yield
    left = list(losses._losses)
    losses._losses.clear()
    assert not left


@pytest.fixture
def keeper(monkeypatch: pytest.MonkeyPatch) -> PoolSupervisor:
    """This process as the parent of a pool."""
    identity.renew()
    return PoolSupervisor()


@pytest.mark.parametrize(
    ("error", "verb", "after"),
    [(WorkerLostError("signal 9"), "rescue", Status.WAIT), (TimeLimitExceeded(3), "fail", Status.SUSPEND)],
    ids=["lost", "timed out"],
)
def test_the_end_of_a_process_is_recorded_once_the_database_is_back(
    runner: InlineRunner,
    keeper: PoolSupervisor,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    verb: str,
    after: Status,
) -> None:
    """A limit is recorded as such, however long the database was unreachable."""

    def away(*_: Any, **__: Any) -> None:
        raise OperationalError("the database is unreachable")

    flow = running()
    with monkeypatch.context() as broken:
        broken.setattr(recovery, "record_lost", away)
        broken.setattr(recovery, "record_timeout", away)
        killed(flow, error)
        assert not keeper.do("record", 0, losses.record_all)
        for _ in range(3):
            keeper.rescue_own()
        assert status(flow, 1) is Status.RUNNING
    keeper.look()
    assert status(flow, 1) is after
    assert verbs(flow) == [verb]
    check(flow)


def test_a_process_that_is_lost_while_it_continues_is_recorded_once(
    runner: InlineRunner, keeper: PoolSupervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The finish of the first claimed the second, and the process had told its parent where it was."""
    if connection.vendor != "postgresql":
        pytest.skip("processes continue on PostgreSQL only")
    flow = running()
    done = Task.objects.finish(
        Success(
            ref=TaskRef(flow.pk, 1), attempt=1, output="{}", process=Process(identity.worker(), 1), candidates=["Noop"]
        )
    )
    assert done
    assert done.claimed
    ids = [routes.message_id(TaskRef(flow.pk, seq)) for seq in (1, 2)]
    monkeypatch.setattr(backend, "ids_of", lambda *_: ids)
    runner.sent.clear()
    killed(flow, WorkerLostError("signal 9"))
    losses.record_all()
    assert verbs(flow) == ["rescue"]
    assert [message.head.seq for message in runner.sent] == [2]


@pytest.mark.parametrize(
    ("message", "task", "seconds"),
    [({}, {}, 0.1), ({"timelimit": [9, None]}, {}, 0), ({}, {"time_limit": 9}, 0), ({}, {"soft_time_limit": 9}, 0)],
    ids=["no limit", "the message's", "the task's", "the task's soft one"],
)
def test_a_process_continues_only_where_no_limit_runs(
    monkeypatch: pytest.MonkeyPatch, message: dict[str, Any], task: dict[str, Any], seconds: float
) -> None:
    """It would be that of the first task, and end another."""
    app = app_or_default()
    name = routes.task_name("Noop")
    for key, value in task.items():
        monkeypatch.setattr(app.tasks[name], key, value)
    monkeypatch.setattr(worker, "continue_seconds", lambda: conf.get().CONTINUE_SECONDS)
    headers = {"id": routes.message_id(TaskRef("flow", 1)), "task": name, **message}
    arrived = SimpleNamespace(headers=headers, body=([], {}, {}), properties={}, delivery_info={}, delivery_tag=1)
    request = worker.ProgramRequest(arrived, app=app, decoded=True)
    assert (
        request._request_dict[  # type: ignore[attr-defined] # missing in the types
            continuation.HEADER
        ]
        == seconds
    )


def test_an_end_that_cannot_be_recorded_blocks_no_other(
    runner: InlineRunner, keeper: PoolSupervisor, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = running(), running()
    record_lost = recovery.record_lost

    def stubborn(ref: TaskRef, *arguments: Any) -> Any:
        if ref.flow_id == first.pk:
            raise ValueError("no")
        return record_lost(ref, *arguments)

    with monkeypatch.context() as broken:
        broken.setattr(recovery, "record_lost", stubborn)
        for flow in (first, second):
            killed(flow, WorkerLostError("signal 9"))
        losses.record_all()
    assert (status(first, 1), status(second, 1)) == (Status.RUNNING, Status.WAIT)
    assert "could not record" in caplog.text
    keeper.rescue_own()
    keeper.rescue_own()
    assert status(first, 1) is Status.WAIT


def test_the_end_of_a_process_is_not_that_of_another(runner: InlineRunner, keeper: PoolSupervisor) -> None:
    """It had recorded a retry before it was killed, and the task runs elsewhere by now."""
    flow = running(pid=2)
    killed(flow, WorkerLostError("signal 9"), pid=1)
    losses.record_all()
    assert status(flow, 1) is Status.RUNNING
    assert verbs(flow) == []


def test_a_process_that_is_forked_does_not_record_what_its_parent_will(
    runner: InlineRunner, keeper: PoolSupervisor
) -> None:
    flow = running()
    killed(flow, WorkerLostError("signal 9"))
    reading, writing = os.pipe()
    if (pid := os.fork()) == 0:
        os.write(writing, str(len(losses._losses)).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(reading, 9) == b"0"
    assert losses.unrecorded() == {(flow.pk, 1)}
    losses.record_all()
    assert status(flow, 1) is Status.WAIT


@pytest.mark.parametrize("looks", [1, 2])
def test_what_is_unknown_must_be_missed_in_two_looks(runner: InlineRunner, keeper: PoolSupervisor, looks: int) -> None:
    """Celery forgets a task a moment before its end is recorded."""
    flow = running()
    for _ in range(looks):
        keeper.rescue_own()
    assert status(flow, 1) is (Status.RUNNING if looks == 1 else Status.WAIT)


@pytest.mark.parametrize(("listed", "after"), [(True, Status.RUNNING), (False, Status.WAIT)])
def test_what_the_worker_knows_of_is_not_rescued(
    runner: InlineRunner, keeper: PoolSupervisor, monkeypatch: pytest.MonkeyPatch, listed: bool, after: Status
) -> None:
    flow = running()
    requests = {routes.message_id(TaskRef(flow.pk, 1)): None} if listed else {}
    monkeypatch.setattr(worker_state, "requests", requests)
    keeper.rescue_own()
    keeper.rescue_own()
    assert status(flow, 1) is after


@pytest.mark.parametrize(("concurrency", "lost"), [(1, {2, 3}), (2, {1, 2, 3})])
def test_messages_that_wait_in_a_busy_worker_are_not_lost(
    runner: InlineRunner, keeper: PoolSupervisor, monkeypatch: pytest.MonkeyPatch, concurrency: int, lost: set[int]
) -> None:
    keeper.consumer = SimpleNamespace(pool=SimpleNamespace(num_processes=concurrency))
    flow = engine.register(define({1: [], 2: [], 3: []}))
    Task.objects.update(sent_ts=Now() - timedelta(seconds=60))
    requests = [SimpleNamespace(id=routes.message_id(TaskRef(flow.pk, seq))) for seq in (1, 2)]
    monkeypatch.setattr(worker_state, "reserved_requests", requests)
    monkeypatch.setattr(worker_state, "active_requests", requests[1:])
    keeper.hold()
    assert set(Task.objects.silent(10).values_list("task_exec_seq", flat=True)) == lost


def test_messages_that_wait_for_their_rate_limit_are_not_lost(runner: InlineRunner, keeper: PoolSupervisor) -> None:
    """Though processes are free."""
    flow = engine.register(define({1: [], 2: []}))
    Task.objects.update(sent_ts=Now() - timedelta(seconds=60))
    bucket = SimpleNamespace(contents=deque([(SimpleNamespace(id=routes.message_id(TaskRef(flow.pk, 2))), 1)]))
    pool = SimpleNamespace(num_processes=8)
    keeper.consumer = SimpleNamespace(pool=pool, task_buckets={"flowerapp.Noop": bucket, "flowerapp.Echo": None})
    keeper.hold()
    assert set(Task.objects.silent(10).values_list("task_exec_seq", flat=True)) == {1}


def test_a_worker_that_starts_without_a_database_is_announced_when_it_is_back(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(self: Heartbeat) -> None:
        raise OperationalError("the database is unreachable")

    started: list[str] = []
    monkeypatch.setattr(Loop, "start", lambda self: started.append(self.name))
    monkeypatch.setattr(worker, "_loops", [])
    app = SimpleNamespace(amqp=SimpleNamespace(queues=SimpleNamespace(consume_from={"default": None})))
    controller = SimpleNamespace(hostname="w@here", pool_cls="prefork:TaskPool", concurrency=2, app=app)
    with monkeypatch.context() as broken:
        broken.setattr(Heartbeat, "announce", away)
        worker.on_worker_ready(SimpleNamespace(controller=controller, pool=None, hub=None))
    assert started == [f"flowerapp-{name}" for name in ("heartbeat", "supervisor", "watcher", "stream", "shutdown")]
    assert not Worker.objects.exists()
    worker._loops[0].look()
    assert Worker.objects.get().name == "w@here"


def test_a_link_that_could_not_be_published_is_sent(runner: InlineRunner) -> None:
    flow = running()
    (claimed,) = Task.objects.filter(task_exec_seq=1)
    assert Task.objects.finish(Success(ref=TaskRef(flow.pk, 1), attempt=claimed.attempt, output="{}"))
    runner.sent.clear()
    try:
        raise OSError("no broker")
    except OSError as error:
        facts: dict[str, Any] = {
            "args": (),
            "kwargs": {},
            "request": None,
            "exception": error,
            "einfo": ExceptionInfo(),
        }
        task_internal_error.send(sender=None, task_id=routes.message_id(TaskRef(flow.pk, 1)), **facts)
        task_internal_error.send(sender=None, task_id="of the host", **facts)
    assert [message.head.seq for message in runner.sent] == [2]
    assert task(flow, 2).sent_ts is not None


@pytest.fixture
def failures() -> Iterator[list[tuple[str, str, str]]]:
    """What Celery's signal said: the task's name, Celery's id, and the error."""
    said: list[tuple[str, str, str]] = []

    def on_failure(sender: Any, task_id: str, exception: Exception, einfo: Any, **_: Any) -> None:
        assert str(exception) in einfo.traceback
        said.append((sender.name, task_id, str(exception)))

    task_failure.connect(on_failure)
    yield said
    task_failure.disconnect(on_failure)


class Monitor:
    """A consumer's dispatcher of events that keeps them."""

    enabled = True

    def __init__(self) -> None:
        self.sent: list[tuple[str, str, str]] = []

    def send(self, kind: str, *, uuid: str, name: str, **_: Any) -> None:
        """Keep one."""
        self.sent.append((kind, uuid, name))


def test_spent_rescues_are_reported_with_the_message_of_the_lost_process(
    runner: InlineRunner,
    keeper: PoolSupervisor,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    failures: list[tuple[str, str, str]],
) -> None:
    monitor = Monitor()
    monkeypatch.setattr(reports, "_consumer", SimpleNamespace(event_dispatcher=monitor, hub=None))
    monkeypatch.setattr(runner, "report", reports.report)
    flow = running()
    killed(flow, WorkerLostError("signal 9"))
    losses.record_all()
    assert Task.objects.claim(TaskRef(flow.pk, 1), Process(identity.worker(), 1))
    Task.objects.filter(task_exec_seq=1).update(rescues=conf.get().MAX_RESCUES)
    killed(flow, WorkerLostError("signal 9"))
    losses.record_all()
    assert status(flow, 1) is Status.SUSPEND
    ((name, celery_id, error),) = failures
    assert routes.ref_of(celery_id) == (flow.pk, 1)
    assert "not started again" in error
    kinds = [kind for kind, _, _ in monitor.sent]
    assert kinds == ["task-retried", "task-failed"]
    assert monitor.sent[1][1:] == (celery_id, name) == (celery_id, "flowerapp.Noop")
    assert [record.levelname for record in caplog.records if hasattr(record, "flow")] == ["WARNING", "ERROR"]


def test_spent_rescues_that_the_watcher_records_are_reported(
    runner: InlineRunner,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    failures: list[tuple[str, str, str]],
) -> None:
    """The message of a dead worker is not known, so the report has an id of its own."""
    monkeypatch.setattr(runner, "report", reports.report)
    flow = running()
    Task.objects.filter(task_exec_seq=1).update(program="Unknown here", rescues=conf.get().MAX_RESCUES)
    assert rescue_one(TaskRef(flow.pk, 1), identity.worker(), "its worker is dead")
    assert [(name, routes.ref_of(celery_id)) for name, celery_id, _ in failures] == [
        ("flowerapp.Unknown here", (flow.pk, 1))
    ]
    assert [record.levelname for record in caplog.records if hasattr(record, "flow")] == ["ERROR"]


@pytest.fixture
def stopped() -> Iterator[None]:
    """This worker was asked to stop."""
    stopping.enter(Phase.GRACE)
    yield
    stopping.enter(Phase.RUNNING)


def test_a_process_that_is_lost_while_its_worker_stops_is_no_rescue(
    runner: InlineRunner, keeper: PoolSupervisor, stopped: None
) -> None:
    flow = running()
    Task.objects.filter(task_exec_seq=1).update(rescues=conf.get().MAX_RESCUES)
    killed(flow, WorkerLostError("signal 9"))
    losses.record_all()
    assert status(flow, 1) is Status.WAIT
    assert verbs(flow) == ["hand_back"]


def test_a_worker_that_stops_leaves_a_message_to_others(runner: InlineRunner, stopped: None) -> None:
    flow = engine.register(define({1: []}, "Noop"))
    with pytest.raises(Reject) as rejected:
        app_or_default().tasks[routes.task_name("Noop")](flow.pk, 1)
    assert rejected.value.requeue  # type: ignore[attr-defined] # missing in the types
    assert status(flow, 1) is Status.WAIT
    assert task(flow, 1).attempt == 0


def test_what_a_worker_cannot_hand_back_blocks_no_other(
    runner: InlineRunner, keeper: PoolSupervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = running(), running()
    hand_back = recovery.hand_back

    def stubborn(ref: TaskRef, *arguments: Any) -> Any:
        if ref.flow_id == first.pk:
            raise ValueError("no")
        return hand_back(ref, *arguments)

    monkeypatch.setattr(recovery, "hand_back", stubborn)
    messages = list(shutdown.hand_back())
    assert [message.flow_id for message in messages] == [second.pk]
    assert (status(first, 1), status(second, 1)) == (Status.RUNNING, Status.WAIT)


def test_an_action_that_hangs_does_not_keep_a_worker_from_ending() -> None:
    begun, end = time.monotonic(), threading.Event()
    shutdown._within(0.2, lambda: end.wait(60))
    assert 0.2 <= time.monotonic() - begun < 30
    end.set()


def test_one_task_that_cannot_be_rescued_does_not_stop_the_others(
    runner: InlineRunner, keeper: PoolSupervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = sorted([running(), running()], key=lambda flow: flow.pk)
    record_lost = recovery.record_lost

    def stubborn(ref: TaskRef, *arguments: Any) -> Any:
        if ref.flow_id == first.pk:
            raise ValueError("no")
        return record_lost(ref, *arguments)

    with monkeypatch.context() as broken:
        broken.setattr(recovery, "record_lost", stubborn)
        keeper.rescue_own()
        keeper.rescue_own()
    assert (status(first, 1), status(second, 1)) == (Status.RUNNING, Status.WAIT)
