"""What is published of a batch in which some messages cannot be, and what a task sends of its message, by broker."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any

import kombu
import pytest
from celery import Celery
from kombu.exceptions import OperationalError as LibraryError

from flowerapp import engine
from flowerapp.core import executor
from flowerapp.core.executor import UnpublishableError
from flowerapp.core.messages import Message, TaskCall, TaskRef
from flowerapp.engine import attempts
from flowerapp.executors.celery import canvas, memory_transport, routes
from flowerapp.executors.celery.executor import CeleryExecutor
from flowerapp.models import Flow, Task
from flowerapp.selectors import queues
from flowerapp.states import Status
from flowerapp.watcher.duties.send import send_unsent
from tests.engine.support import define, status, task
from tests.services import celery_app, fresh_rabbitmq, fresh_redis

pytestmark = pytest.mark.django_db(transaction=True)

GOOD, BAD = "Noop", "Echo"


BROKERS = ("memory", "redis", "amqp")


@pytest.fixture(scope="module")
def broker_urls(request: pytest.FixtureRequest) -> Iterator[Callable[[str], str]]:
    """The URL of a broker of this module's own, by its name."""
    fresh = {"redis": fresh_redis, "amqp": fresh_rabbitmq}
    with ExitStack() as stack:
        made = {"memory": memory_transport.URL}

        def url_of(name: str) -> str:
            if name not in made:
                made[name] = stack.enter_context(fresh[name](request.getfixturevalue(f"{name}_url")))
            return made[name]

        yield url_of


@contextmanager
def app_on(url: str) -> Iterator[Celery]:
    """The current app is that of the reference project on this broker, with an empty queue."""
    serving = memory_transport._serving
    memory_transport.serve()
    routes._route_of.cache_clear()
    previous = executor.use(CeleryExecutor())
    try:
        with celery_app({"CELERY_BROKER_URL": url}) as app:
            received(app)
            yield app
    finally:
        executor.use(previous)
        routes._route_of.cache_clear()
        memory_transport.Transport.forget()
        memory_transport._serving = serving


@pytest.fixture(params=BROKERS)
def app(request: pytest.FixtureRequest, broker_urls: Callable[[str], str]) -> Iterator[Celery]:
    """The current app, on each broker."""
    with app_on(broker_urls(request.param)) as app:
        yield app


only_redis = pytest.mark.parametrize("app", ["redis"], indirect=True)
only_rabbitmq = pytest.mark.parametrize("app", ["amqp"], indirect=True)


def raising(error: Exception) -> Callable[[Celery], None]:
    """A host whose router raises for one program."""

    def route(name: str, *_: Any, **__: Any) -> None:
        if name == routes.task_name(BAD):
            raise error

    def configure(app: Celery) -> None:
        app.conf.task_routes = (route,)
        app.amqp.flush_routes()
        app.amqp.__dict__.pop("router", None)

    return configure


def routed(**route: Any) -> Callable[[Celery], None]:
    """A host that routes one program so."""

    def configure(app: Celery) -> None:
        app.conf.task_routes = {routes.task_name(BAD): route}
        app.amqp.flush_routes()
        app.amqp.__dict__.pop("router", None)

    return configure


def without_missing_queues(app: Celery) -> None:
    """A host that names all its queues, and routes one program to another."""
    app.conf.task_create_missing_queues = False
    app.conf.task_queues = [kombu.Queue("default")]
    app.amqp.__dict__.pop("queues", None)
    routed(queue="typo")(app)


def with_an_option_that_is_no_json(app: Celery) -> None:
    """A host that annotates one program so."""
    routed(headers={"what": object()})(app)


KINDS: dict[str, Callable[[Celery], None]] = {
    "router": raising(LookupError("no route for this one")),
    "router without a network": raising(ConnectionRefusedError("the directory of routes is unreachable")),
    "router with the library's error": raising(LibraryError("asked a broker of its own")),
    "missing queue": without_missing_queues,
    "no JSON": with_an_option_that_is_no_json,
    "unknown option": routed(compression="no such compression"),
}


CASES = [(name, kind) for name in BROKERS for kind in KINDS if (name, kind) != ("memory", "no JSON")]
"""Messages in memory may carry any object."""
each_kind = pytest.mark.parametrize(("app", "kind"), CASES, indirect=["app"])


def flow_of(*programs: str) -> Flow:
    """A flow of independent tasks, registered but not sent."""
    name = define({seq: [] for seq in range(1, len(programs) + 1)}, GOOD)
    with executor_away():
        flow = engine.register(name)
    for seq, program in enumerate(programs, 1):
        Task.objects.filter(task_flow=flow, task_exec_seq=seq).update(program=program)
    return flow


@contextmanager
def executor_away() -> Iterator[None]:
    """Within the block, nothing is sent."""
    previous = executor.use(executor.NoExecutor())
    try:
        yield
    finally:
        executor.use(previous)


def in_queue(app: Celery, name: str = "default") -> int | None:
    """Messages in a queue."""
    return executor.current().queue_sizes([name])[name].messages


@each_kind
def test_a_message_that_cannot_be_published_blocks_no_other(app: Celery, kind: str) -> None:
    KINDS[kind](app)
    flow = flow_of(BAD, GOOD, GOOD, BAD, GOOD)
    assert send_unsent() == 3
    assert executor.current().connected()
    assert in_queue(app) == 3
    refused = flow.tasks.filter(refused_by="executor", sent_ts=None)
    assert list(refused.values_list("task_exec_seq", flat=True)) == [1, 4]
    assert task(flow, 1).error.startswith("cannot be published: ")
    assert engine.register(define({1: []}, GOOD))
    assert in_queue(app) == 4


@only_rabbitmq
@pytest.mark.parametrize("queue", ["n" * 256, "taken"], ids=["too long a name", "declared otherwise"])
def test_a_queue_that_rabbitmq_refuses_blocks_no_other(app: Celery, queue: str) -> None:
    with app.connection_for_write() as connection:
        kombu.Queue("taken", exclusive=False, durable=True).declare(channel=connection.default_channel)
        routed(queue=queue)(app)
        flow = flow_of(BAD, GOOD, BAD, GOOD)
        assert send_unsent() == 2
    assert in_queue(app) == 2
    assert flow.tasks.filter(refused_by="executor").count() == 2
    assert executor.current().connected()


@only_redis
def test_a_key_of_another_type_in_redis_blocks_no_other(app: Celery) -> None:
    routed(queue="odd")(app)
    with app.connection_for_write() as connection:
        channel: Any = connection.default_channel
        for step in range(10):
            channel.client.hset(channel._q_for_pri("odd", step), "a", "b")
    flow = flow_of(BAD, GOOD, BAD, GOOD)
    assert send_unsent() == 2
    assert in_queue(app) == 2
    assert flow.tasks.filter(refused_by="executor").count() == 2
    assert "WRONGTYPE" in task(flow, 1).error
    assert executor.current().connected()


def test_a_broker_that_is_gone_refuses_no_task(app: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    flow = flow_of(GOOD, GOOD)

    def publish(*_: Any, **__: Any) -> None:
        raise LibraryError("Connection refused") from ConnectionRefusedError("no")

    monkeypatch.setattr(kombu.Producer, "publish", publish)
    assert send_unsent() == 0
    assert not executor.current().connected()
    assert flow.tasks.filter(refused_ts=None, sent_ts=None).count() == 2


def test_queues_are_counted_although_a_router_raises(app: Celery) -> None:
    raising(LookupError("no"))(app)
    flow = flow_of(BAD, GOOD)
    assert queues.queue_of(BAD, "") == ""
    assert dict(queues.waiting(Task.objects.filter(task_flow=flow))) == {"default": 1}
    assert list(queues.by_queue(Task.objects.filter(task_flow=flow))) == ["default"]
    assert [queue.name for queue in queues.overview()] == ["default"]


# What a task sends that its message carried.


def carried(app: Celery, flow: Flow, message: Message) -> Any:
    """The request of a message that arrived, as its worker has it, after its first task has ended."""
    options = canvas.signature_of(app, message).options
    carried = {name: options.get(name) for name in ("chain", "chord")}
    request = SimpleNamespace(**{name: value and _as_json(app, value) for name, value in carried.items()})
    return request


def _as_json(app: Celery, value: Any) -> Any:
    from kombu.utils import json

    return json.loads(json.dumps(value))


@each_kind
def test_a_carried_task_that_cannot_be_published_is_refused_and_no_error_of_the_one_before(
    app: Celery, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    with executor_away():
        flow = engine.register(define({1: [], 2: [1], 3: [2]}, GOOD))
    Task.objects.filter(task_flow=flow, task_exec_seq=2).update(program=BAD)
    KINDS[kind](app)
    calls = [TaskCall(seq=2, program=BAD), TaskCall(seq=3, program=GOOD)]
    message = Message(flow_id=flow.pk, head=TaskCall(seq=1, program=GOOD), then=tuple(calls))
    request = carried(app, flow, message)
    outcome = attempts.run(TaskRef(flow.pk, 1), "w")
    with caplog.at_level(logging.WARNING):
        canvas.follow(request, outcome.released)
    assert (request.chain, request.chord) == (None, None)
    assert status(flow, 1) is Status.FINISH
    assert task(flow, 2).is_refused
    assert {record.levelname for record in caplog.records if record.name.startswith("flowerapp")} == {"WARNING"}
    assert "raised" not in caplog.text


def test_a_chain_continues_as_it_was_carried(app: Celery) -> None:
    """With its rest, in one message."""
    with executor_away():
        flow = engine.register(define({1: [], 2: [1], 3: [2]}, GOOD))
    calls = [TaskCall(seq=2, program=GOOD), TaskCall(seq=3, program=GOOD)]
    request = carried(app, flow, Message(flow_id=flow.pk, head=TaskCall(seq=1, program=GOOD), then=tuple(calls)))
    canvas.follow(request, attempts.run(TaskRef(flow.pk, 1), "w").released)
    (message,) = received(app)
    assert message.headers["id"].startswith(f"{flow.pk}:2:")
    rest = message.payload[2]["chain"]
    assert [routes.ref_of(link["options"]["task_id"]) for link in rest] == [(flow.pk, 3)]


def test_the_body_of_a_chord_is_sent_by_the_finish_that_releases_it(app: Celery) -> None:
    with executor_away():
        flow = engine.register(define({1: [], 2: [], 3: [1, 2]}, GOOD))
    body = TaskCall(seq=3, program=GOOD)
    for seq in (1, 2):
        message = Message(flow_id=flow.pk, head=TaskCall(seq=seq, program=GOOD), join=body)
        canvas.follow(carried(app, flow, message), attempts.run(TaskRef(flow.pk, seq), "w").released)
    assert [message.headers["id"].rpartition(":")[0] for message in received(app)] == [f"{flow.pk}:3"]


def received(app: Celery) -> list[Any]:
    """The messages that wait in the default queue."""
    with app.connection_for_read() as connection:
        queue = app.amqp.queues["default"](connection.default_channel)
        queue.declare()
        return list(iter(lambda: queue.get(no_ack=True), None))


def test_only_what_cannot_be_published_is_named(app: Celery) -> None:
    raising(LookupError("no"))(app)
    messages = [Message(flow_id="f", head=TaskCall(seq=seq, program=[GOOD, BAD][seq % 2])) for seq in range(4)]
    with pytest.raises(UnpublishableError) as raised:
        canvas.send(messages)
    assert raised.value.refused == {("f", 1): "LookupError: no", ("f", 3): "LookupError: no"}
