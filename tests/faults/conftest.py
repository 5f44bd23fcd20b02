"""A site per test that may be broken, and servers of its own that may be killed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.acceptance.live import Live
from tests.faults.servers import MissingProgramError, PostgresServer, RedisServer
from tests.faults.support import count_successes
from tests.services import Service, Site, fresh_database, fresh_redis

if not os.environ.get("FLOWER_TEST_FAULTS"):
    collect_ignore = [
        "test_backlog.py",
        "test_flow_control.py",
        "test_messages.py",
        "test_output_cache.py",
        "test_postgres.py",
        "test_processes.py",
        "test_random.py",
        "test_redis.py",
        "test_remote.py",
        "test_continuation.py",
        "test_steps.py",
        "test_streams.py",
        "test_urgency.py",
        "test_waits.py",
    ]
"""The long tests, about 16 minutes on two cores: they run only where FLOWER_TEST_FAULTS is set. The other files run
always."""

Server = TypeVar("Server", RedisServer, PostgresServer)


@contextmanager
def live_site(database_url: str, broker_url: str, blocker: Any) -> Iterator[Live]:
    """A migrated site, whose workers the test starts itself, and this process on it."""
    with ExitStack() as stack:
        stack.enter_context(blocker.unblock())
        site = Site(database_url, broker_url)
        stack.callback(site.close)
        stack.enter_context(site.entered())
        site.migrate()
        count_successes()
        yield Live(site)


@contextmanager
def _started(kind: type[Server], service: Service) -> Iterator[Server]:
    try:
        server = kind()
    except MissingProgramError as error:
        if service.required:
            pytest.fail(f"FLOWER_TEST_REQUIRE is set, but {error}")
        pytest.skip(str(error))
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture
def live(postgres_url: str, redis_url: str, django_db_blocker: Any) -> Iterator[Live]:
    """A site on the tests' servers, with a database of its own in each."""
    with (
        fresh_database(postgres_url) as database,
        fresh_redis(redis_url) as broker,
        live_site(database, broker, django_db_blocker) as made,
    ):
        yield made


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    """A Redis server that the test may kill."""
    with _started(RedisServer, Service.REDIS) as server:
        yield server


@pytest.fixture
def on_redis(postgres_url: str, redis_server: RedisServer, django_db_blocker: Any) -> Iterator[Live]:
    """A site on a Redis server that the test may kill."""
    with (
        fresh_database(postgres_url) as database,
        live_site(database, redis_server.url, django_db_blocker) as made,
    ):
        yield made


@pytest.fixture(scope="module")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL server that the tests may restart."""
    with _started(PostgresServer, Service.POSTGRES) as server:
        yield server


@pytest.fixture
def on_postgres(postgres_server: PostgresServer, redis_url: str, django_db_blocker: Any) -> Iterator[Live]:
    """A site on a PostgreSQL server that the test may restart."""
    with (
        fresh_database(postgres_server.url) as database,
        fresh_redis(redis_url) as broker,
        live_site(database, broker, django_db_blocker) as made,
    ):
        yield made


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """A file that programs named Gate wait for; the test makes it."""
    return tmp_path / "gate"
