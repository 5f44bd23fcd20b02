"""The brokers: which are supported, which of them continuous integration tests, and which are refused.

``docs/installation.md`` has the same table, and a test compares them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from celery import Celery
from celery.app import app_or_default
from kombu.transport import resolve_transport

from flowerapp.executors.celery import memory_transport


class Support(StrEnum):
    """What is promised of a broker."""

    TESTED = "supported, tested in CI"
    SUPPORTED = "supported"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Broker:
    """A kind of broker."""

    name: str
    schemes: tuple[str, ...]
    """How URLs of it begin, without ``://``."""
    support: Support = Support.REFUSED
    family: str = ""
    """``redis``, ``amqp`` or ``memory``: brokers of one family understand the same priorities and options."""
    lacks: str = "flowerapp has not been tried with it"
    """Why it is refused."""


BROKERS = (
    Broker("Redis", ("redis", "redis+socket"), Support.TESTED, "redis"),
    Broker("Redis over TLS", ("rediss",), Support.TESTED, "redis"),
    Broker("Redis Sentinel", ("sentinel",), Support.TESTED, "redis"),
    Broker("RabbitMQ", ("amqp", "pyamqp"), Support.TESTED, "amqp"),
    Broker("RabbitMQ over TLS", ("amqps",), Support.SUPPORTED, "amqp"),
    Broker("memory of a standalone server", (memory_transport.SCHEME,), Support.TESTED, "memory"),
    Broker("memory", ("memory",), lacks="its messages never leave their process, so no worker gets them"),
    Broker("Redis Cluster", ("rediscluster", "redis+cluster", "rediss+cluster"), lacks="kombu cannot use a cluster"),
    Broker("Valkey by its own name", ("valkey", "valkeys"), lacks="kombu knows Valkey as redis://, so name it so"),
    Broker("librabbitmq", ("librabbitmq",), lacks="it does not exist for Python 3.11; amqp:// reaches the same server"),
    Broker("Amazon SQS", ("sqs", "SQS"), lacks="it has no priorities and only estimates how many messages wait"),
    Broker("Kafka", ("kafka", "confluentkafka"), lacks="it has no priorities and does not acknowledge single messages"),
    Broker("files", ("filesystem",), lacks="it has no priorities and does not know which messages a worker holds"),
    Broker("SQL database", ("sqlalchemy", "sqla", "django", "pgmq")),
    Broker("Google Pub/Sub", ("gcpubsub",), lacks="it has no priorities and only estimates how many messages wait"),
    Broker("Azure", ("azurestoragequeues", "azureservicebus"), lacks="it has no priorities"),
    Broker("MongoDB", ("mongodb",)),
    Broker("others", ("consul", "etcd", "pyro", "qpid", "slmq", "SLMQ", "zookeeper")),
)
"""All of them; a scheme that is in none is looked up in kombu."""

_BY_SCHEME = {scheme: broker for broker in BROKERS for scheme in broker.schemes}


def schemes(conf: Any) -> list[str]:
    """How the broker URLs of a Celery configuration begin, each once: for reading, for writing, and to fail over to."""
    names: dict[str, None] = {}
    for value in (conf.broker_read_url, conf.broker_write_url):
        urls = value if isinstance(value, (list, tuple)) else [value]
        for url in ";".join(str(url or "amqp://") for url in urls).split(";"):
            scheme, separator, _ = url.partition("://")
            names.setdefault(scheme if separator else next(iter(names), "amqp"))
    return list(names)


def redis_url() -> str:
    """The address of a Redis server that is a broker, as a client of Redis takes it; empty if none is."""
    conf: Any = app_or_default().conf
    values = [conf.broker_write_url, conf.broker_read_url]
    urls = ";".join(
        str(url or "") for value in values for url in (value if isinstance(value, (list, tuple)) else [value])
    )
    return next((url for url in urls.split(";") if url.startswith(("redis://", "rediss://"))), "")


def of_scheme(scheme: str) -> Broker:
    """The broker whose URLs begin so."""
    broker = _BY_SCHEME.get(scheme) or _BY_SCHEME.get(scheme.partition("+")[0])
    return broker or _unlisted(scheme)


def _unlisted(scheme: str) -> Broker:
    """A transport of the host's own is supported if it is derived from kombu's for Redis or RabbitMQ."""
    try:
        family = getattr(resolve_transport(scheme), "driver_type", "")
    except Exception as error:  # it is the host's code
        return Broker(scheme, (scheme,), lacks=f"kombu cannot load it: {error}")
    if family in ("redis", "amqp"):
        return Broker(scheme, (scheme,), Support.SUPPORTED, family)
    return Broker(scheme, (scheme,))


def in_use(conf: Any) -> list[Broker]:
    """The brokers that a Celery configuration names, each once."""
    return list(dict.fromkeys(map(of_scheme, schemes(conf))))


def family(conf: Any) -> str:
    """The family of the brokers in use; empty if they are refused or of several families."""
    families = {broker.family for broker in in_use(conf)}
    return families.pop() if len(families) == 1 else ""


def queue_types(app: Celery) -> Iterator[tuple[str, str, bool]]:
    """The queues that the app declares on RabbitMQ: name, type (``classic``, ``quorum`` or ``stream``), and whether it
    asks for priorities. The last, ``*``, stands for those that Celery makes where a name is unknown."""
    conf: Any = app.conf
    queues: dict[str, Any] = app.amqp.Queues(conf.task_queues)
    for name, queue in queues.items():
        arguments = queue.queue_arguments or {}
        prioritized = queue.max_priority is not None or "x-max-priority" in arguments
        yield name, arguments.get("x-queue-type", "classic"), prioritized
    missing = conf.get("task_create_missing_queue_type") or "classic"  # from Celery 5.6
    yield "*", missing, conf.task_queue_max_priority is not None


def is_cluster(app: Celery) -> bool:
    """Whether the Redis server that the app reads from is a node of a cluster; False if it does not answer."""
    if family(app.conf) != "redis":
        return False
    try:
        with app.connection_for_read() as connection:
            connection.ensure_connection(max_retries=1, timeout=3)
            channel: Any = connection.default_channel
            return bool(channel.client.info("cluster").get("cluster_enabled"))
    except Exception:  # Celery reports it where it connects, and tries again
        return False
