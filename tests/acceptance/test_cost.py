"""What a chained task costs: statements and messages."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from celery.signals import before_task_publish
from django.db import connection
from django.db.backends.signals import connection_created

from flowerapp import conf, engine
from flowerapp.executors.celery import memory_transport
from tests.acceptance.live import Live, define
from tests.probe.measure import size_of
from tests.services import Site, fresh_database, sqlite_site, threads

LENGTH = 100
POSTGRES_STATEMENTS = 2
REGISTER_STATEMENTS = 2
"""The plan, and the flow with all its tasks; the second alone where the process has read the plan before."""
BYTES_PER_LINK = 350
"""Of a message, for each task that travels on it."""
SQLITE_STATEMENTS = 10
"""The portable form of claim and finish, each in a transaction; SQLite answers without a network."""


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """Count messages, and the statements of the pool's threads."""
    counts: Counter[str] = Counter()

    def count(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        thread = threading.current_thread()
        counts["statements"] += thread.name.startswith("ThreadPoolExecutor")
        counts["registering"] += thread is threading.main_thread()
        return execute(sql, params, many, context)

    def on_connection(connection: Any, **_: Any) -> None:
        connection.execute_wrappers.append(count)

    def on_publish(body: Any = None, headers: Any = None, properties: Any = None, **_: Any) -> None:
        counts["messages"] += 1
        size = size_of(body) * 4 // 3 + size_of(headers) + size_of(properties)
        counts["largest"] = max(counts["largest"], size)

    connection_created.connect(on_connection)
    before_task_publish.connect(on_publish)
    try:
        yield counts
    finally:
        connection_created.disconnect(on_connection)
        before_task_publish.disconnect(on_publish)


@pytest.fixture(params=["postgresql", "sqlite"])
def site(request: pytest.FixtureRequest, django_db_blocker: Any) -> Iterator[Site]:
    """A database with a broker in this process's memory."""
    with ExitStack() as stack:
        stack.enter_context(django_db_blocker.unblock())
        made = stack.enter_context(sqlite_site())
        if request.param == "postgresql":
            url = request.getfixturevalue("postgres_url")
            made.environment["DATABASE_URL"] = stack.enter_context(fresh_database(url))
            with made.entered():
                made.migrate()
        yield made


def test_a_chained_task_costs_two_statements_and_one_message(site: Site) -> None:
    limit = POSTGRES_STATEMENTS if "postgres" in site.environment["DATABASE_URL"] else SQLITE_STATEMENTS
    with site.entered() as app:
        name = define({seq: [seq - 1] if seq > 1 else [] for seq in range(1, LENGTH + 1)}, program="Noop")
        memory_transport.serve()
        with counted() as counts, threads(app, concurrency=1):
            flow = engine.register(name)
            Live(site).finish(flow)
    print(site.environment["DATABASE_URL"].partition(":")[0], counts)  # noqa: T201
    assert counts["messages"] == LENGTH
    assert LENGTH <= counts["statements"] <= limit * LENGTH + 1


@pytest.mark.parametrize("site", ["postgresql"], indirect=True)  # SQLite takes a statement for some rows each
@pytest.mark.parametrize("tasks", [1, 3, 3000])
def test_a_registration_costs_two_statements_whatever_its_size(site: Site, tasks: int) -> None:
    with site.entered():
        name = define({seq: [seq - 1] if seq > 1 else [] for seq in range(1, tasks + 1)}, program="Noop")
        connection.close()
        memory_transport.serve()
        with counted() as counts:
            flow = engine.register(name)
        assert counts["registering"] == REGISTER_STATEMENTS
        assert counts["messages"] == 1
        assert counts["largest"] <= 1000 + BYTES_PER_LINK * min(tasks, conf.get().CHAIN_LENGTH)
        assert flow.tasks.count() == tasks
        with counted() as counts:
            connection.close()
            again = engine.register(name)
        assert counts["registering"] == REGISTER_STATEMENTS - 1
        assert counts["messages"] == 1
        assert again.tasks.count() == tasks
