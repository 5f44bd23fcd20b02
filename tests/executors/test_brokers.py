"""Brokers, queues and serializers: what is refused, what is warned of, and what the documentation says of each."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from django.core.checks import CheckMessage
from kombu import Queue
from kombu.transport import TRANSPORT_ALIASES, redis

from flowerapp.executors.celery import brokers, checks, worker
from flowerapp.executors.celery.brokers import BROKERS, Support

ROOT = Path(__file__).resolve().parents[2]
GOOD = {"worker_prefetch_multiplier": 1, "CELERY_DB_REUSE_MAX": 10}
STEPS = {"priority_steps": list(range(10)), "visibility_timeout": 3600}
QUORUM = {"x-queue-type": "quorum"}


class HostTransport(redis.Transport):
    """A host's own, derived from kombu's."""


def app_with(**settings: Any) -> Celery:
    """A Celery app of these settings, the others good."""
    app = Celery(set_as_current=False)
    app.conf.update(GOOD | settings)
    return app


def messages(app: Celery) -> list[CheckMessage]:
    """What is refused and what is warned of."""
    return [*checks.refusals(app), *checks.celery_warnings(app)]


def ids(app: Celery) -> list[str]:
    """Their ids."""
    return [str(message.id).removeprefix("flowerapp.") for message in messages(app)]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://one:6379/0", []),
        ("rediss://one:6379/0?ssl_cert_reqs=none", []),
        ("redis+socket:///run/redis.sock", []),
        ("redis://one:6379/0;redis://two:6379/0", []),
        (["redis://one:6379/0", "redis://two:6379/0"], []),
        ("tests.executors.test_brokers:HostTransport://one", []),
        ("sentinel://one:26379;sentinel://two:26379", ["E016"]),
        ("amqp://one//", ["W003"]),
        ("pyamqp://one//;pyamqp://two//", ["W003"]),
        ("amqps://one//", ["W003"]),
        (None, ["W003"]),
        ("amqp://one//;redis://two", ["E011"]),
        (["redis://one", "amqp://two"], ["E011"]),
        ("flower-memory://localhost;redis://two", ["E011"]),
        ("memory://", ["W010"]),
        ("redis://one;memory://", ["W010"]),
        ("sqs://", ["E010"]),
        ("SQS://", ["E010"]),
        ("filesystem://", ["E010"]),
        ("kafka://one", ["E010"]),
        ("confluentkafka://one", ["E010"]),
        ("sqla+postgresql://one/db", ["E010"]),
        ("mongodb://one", ["E010"]),
        ("rediscluster://one", ["E010"]),
        ("redis+cluster://one", ["E010"]),
        ("valkey://one", ["E010"]),
        ("librabbitmq://one", ["E010"]),
        ("nonsense://one", ["E010"]),
        ("no.such:Transport://one", ["E010"]),
        ("kombu.transport.filesystem:Transport://one", ["E010"]),
    ],
)
def test_brokers(url: Any, expected: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CELERY_BROKER_URL", raising=False)
    app = app_with(broker_url=url, broker_transport_options=STEPS)
    assert ids(app) == expected
    assert all(message.hint for message in messages(app))


@pytest.mark.parametrize("name", ["broker_read_url", "broker_write_url"])
def test_the_urls_for_reading_and_writing_count(name: str) -> None:
    options = {"broker_url": "redis://one", "broker_transport_options": STEPS}
    assert ids(app_with(**options, **{name: "redis://two"})) == []
    assert ids(app_with(**options, **{name: "sqs://"})) == ["E010"]
    assert ids(app_with(**options, **{name: "amqp://two"})) == ["E011"]


def test_sentinel_gets_the_advice_of_redis() -> None:
    options = {"broker_url": "sentinel://one:26379"}
    assert ids(app_with(**options, broker_transport_options={"master_name": "main", **STEPS})) == []
    assert ids(app_with(**options, broker_transport_options={"master_name": "main"})) == ["W002"]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"task_queue_max_priority": 9}, []),
        ({"task_default_queue_type": "quorum"}, ["I001"]),
        ({"task_default_queue_type": "quorum", "task_queue_max_priority": 9}, ["E013", "I001"]),
        ({"task_default_queue_type": "quorum", "worker_detect_quorum_queues": False}, ["E013", "I001"]),
        ({"task_queues": [Queue("a", queue_arguments=dict(QUORUM))]}, ["I001"]),
        ({"task_queues": [Queue("a", queue_arguments=dict(QUORUM), max_priority=9)]}, ["E013", "I001"]),
        ({"task_queues": [Queue("a", queue_arguments={**QUORUM, "x-max-priority": 5})]}, ["E013", "I001"]),
        ({"task_queues": [Queue("a", queue_arguments={"x-queue-type": "stream"})]}, ["E013", "W003"]),
    ],
)
def test_queues_of_rabbitmq(settings: dict[str, Any], expected: list[str]) -> None:
    assert ids(app_with(broker_url="amqp://one", **settings)) == expected


def test_quorum_queues_mean_nothing_to_redis() -> None:
    settings = {"broker_url": "redis://one", "broker_transport_options": STEPS, "task_default_queue_type": "quorum"}
    assert ids(app_with(**settings)) == []


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"accept_content": ["pickle"], "task_serializer": "pickle"}, ["E012"]),
        ({"accept_content": ["yaml", "msgpack"], "task_serializer": "yaml"}, ["E012"]),
        ({"accept_content": ["application/x-python-serialize"]}, ["E012"]),
        ({"accept_content": ["auth"], "task_serializer": "auth"}, ["E012"]),
        ({"accept_content": {"pickle", "application/json"}, "task_serializer": "pickle"}, []),
        ({"accept_content": ["pickle", "json"], "task_serializer": "pickle"}, []),
        ({"accept_content": None}, []),
        ({"task_serializer": "yaml"}, []),
    ],
)
def test_serializers(settings: dict[str, Any], expected: list[str]) -> None:
    assert ids(app_with(broker_url="redis://one", broker_transport_options=STEPS, **settings)) == expected


def test_memory_is_no_error_for_a_projects_tests_but_one_for_a_worker() -> None:
    (refusal,) = checks.refusals(app_with(broker_url="memory://"))
    assert refusal.is_serious()
    assert not checks._tolerate_memory(refusal).is_serious()


@pytest.mark.parametrize(
    "settings", [{"broker_url": "sqs://"}, {"broker_url": "memory://"}, {"accept_content": ["yaml"]}]
)
def test_a_worker_ends_before_it_starts(settings: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    app = app_with(**{"broker_url": "redis://127.0.0.1:1", **settings})
    with pytest.raises(SystemExit) as ended:
        worker.on_celeryd_init(type("Instance", (), {"app": app, "hostname": "w@host"}))
    assert ended.value.code == 2
    assert re.fullmatch(r"(the broker|workers accept) .+\. (Set|Add) .+\.", caplog.messages[0])


def test_all_transports_of_kombu_are_in_the_table() -> None:
    listed = {scheme for broker in BROKERS for scheme in broker.schemes}
    assert set(TRANSPORT_ALIASES) <= listed
    assert len(listed) == sum(len(broker.schemes) for broker in BROKERS)
    assert {broker.family for broker in BROKERS if broker.support is not Support.REFUSED} == {"redis", "amqp", "memory"}


def test_the_documentation_has_the_table() -> None:
    text = (ROOT / "docs" / "installation.md").read_text()
    table = dict(re.findall(r"^\| ([^|]+?) \| ([^|]+?) \|", text, re.MULTILINE))
    for broker in BROKERS:
        if broker.support is not Support.REFUSED:
            row = f"{broker.name}, `{broker.schemes[0]}://`"
            assert table[row] == broker.support
        else:
            assert f"`{broker.schemes[0]}://`" in text


def test_an_unreachable_server_is_no_cluster() -> None:
    assert not brokers.is_cluster(app_with(broker_url="redis://127.0.0.1:1"))
    assert not brokers.is_cluster(app_with(broker_url="amqp://127.0.0.1:1"))
