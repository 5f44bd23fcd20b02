"""What a chained task costs: statements and messages."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from celery.signals import before_task_publish
from django.db.backends.signals import connection_created

from flowerapp import engine, memory
from tests.acceptance.live import Live, define
from tests.services import Site, fresh_database, sqlite_site, threads

LENGTH = 100
POSTGRES_STATEMENTS = 2
SQLITE_STATEMENTS = 10
"""The portable form of claim and finish, each in a transaction; SQLite answers without a network."""


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """Count messages, and the statements of the pool's threads."""
    counts: Counter[str] = Counter()

    def count(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        counts["statements"] += threading.current_thread().name.startswith("ThreadPoolExecutor")
        return execute(sql, params, many, context)

    def on_connection(connection: Any, **_: Any) -> None:
        connection.execute_wrappers.append(count)

    def on_publish(**_: Any) -> None:
        counts["messages"] += 1

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
        memory.serve()
        with counted() as counts, threads(app, concurrency=1):
            flow = engine.register(name)
            Live(site).finish(flow)
    print(site.environment["DATABASE_URL"].partition(":")[0], counts)  # noqa: T201
    assert counts["messages"] == LENGTH
    assert LENGTH <= counts["statements"] <= limit * LENGTH + 1
