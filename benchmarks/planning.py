"""Figures to plan with: rows and bytes per task, broker memory per waiting message, connections of a worker."""

from __future__ import annotations

from typing import Any

import redis
from django.db import connection

from benchmarks import ours
from benchmarks.contenders import server_url
from flowerapp import engine
from flowerapp.models import Flow, Task
from tests.services import Service, Site, site, until

FLOWS = 3000
WAITING = 5000
PROCESSES = 2
TABLES = ("kr_task_flow", "kr_task_stat")


def measure() -> dict[str, Any]:
    """On a PostgreSQL database and a Redis database of its own."""
    with site(server_url(Service.POSTGRES), "redis", server_url(Service.REDIS)) as made, made.entered():
        made.environment["DJANGO_SETTINGS_MODULE"] = "benchmarks.settings"
        made.start_all(PROCESSES)
        stored = _stored()
        connections = _connections(made)
        made.stop()
        return {"workload": "PLANNING", "processes": PROCESSES, **stored, **connections, **_waiting(made)}


def _stored() -> dict[str, Any]:
    """What finished flows of three tasks leave, tables and indexes, after a vacuum."""
    name = ours.define("chain-3", {1: [], 2: [1], 3: [2]}, last="benchmarks.noop")
    for _ in range(FLOWS):
        engine.register(name)
    until(lambda: not Flow.objects.filter(finished_ts=None).exists(), 120, poll=0.1)
    ours.analyze()
    size = sum(_value(f"SELECT pg_total_relation_size('{table}')") for table in TABLES)
    return {"rows_per_task": round(1 + FLOWS / Task.objects.count(), 2), "bytes_per_task": round(size / (3 * FLOWS))}


def _connections(made: Site) -> dict[str, int]:
    """Connections of a worker, beside the one of this process to each server."""
    sessions = "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = CURRENT_DATABASE() AND pid <> PG_BACKEND_PID()"
    broker = _broker(made)
    number = str(broker.connection_pool.connection_kwargs["db"])
    clients = [client for client in broker.client_list() if client["db"] == number]
    return {"postgres_connections": _value(sessions), "redis_connections": len(clients) - 2}


def _waiting(made: Site) -> dict[str, Any]:
    """Memory that Redis takes for a message that waits in a queue, while no worker runs: a flow of one task has one."""
    broker = _broker(made)
    name = ours.define("waiting", {1: []}, last="benchmarks.noop")
    before = int(broker.info("memory")["used_memory"])
    for _ in range(WAITING):
        engine.register(name)
    taken = int(broker.info("memory")["used_memory"]) - before
    return {"broker_bytes_per_message": round(taken / WAITING)}


def _broker(made: Site) -> Any:
    return redis.Redis.from_url(made.environment["CELERY_BROKER_URL"])


def _value(statement: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return int(cursor.fetchone()[0])


def lines(result: dict[str, Any]) -> list[str]:
    """A result for people."""
    stored = f"{result['rows_per_task']} rows and {result['bytes_per_task']} bytes per finished task of flows of 3"
    waiting = f"{result['broker_bytes_per_message']} bytes of Redis per waiting message, of which a wide flow has 20"
    kept = f"{result['postgres_connections']} connections to PostgreSQL and {result['redis_connections']} to Redis"
    return [f"PLANNING: {stored}, {waiting}; a worker of {result['processes']} processes keeps {kept}"]
