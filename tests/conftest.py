"""Fixtures for all tests: real services, required or skipped."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from django.db import connections, transaction
from django.test import TransactionTestCase

from flowerapp.testing import InlineRunner, inline
from tests.compose.engine import NO_ENGINE
from tests.faults import report
from tests.ledger import LEDGER
from tests.services import Service, address_of


def pytest_configure(config: pytest.Config) -> None:
    """The tests' own markers."""
    config.addinivalue_line("markers", "fault(name, within=None): what is broken, and the seconds to recover in")


KEPT = {"django_migrations", "django_content_type", "auth_permission"}
"""Tables whose rows the tests leave as the migrations made them."""


@pytest.fixture(scope="session", autouse=True)
def _quick_teardown() -> Iterator[None]:
    """Delete rows after a test with transactions of its own; Django truncates all tables and writes permissions anew,
    which takes ten times as long as most tests."""

    def delete_rows(test: TransactionTestCase) -> None:
        for alias in test._databases_names(include_mirrors=False):  # type: ignore[attr-defined]
            made = connections[alias]
            tables = set(made.introspection.django_table_names(only_existing=True, include_views=False)) - KEPT
            with transaction.atomic(using=alias), made.cursor() as cursor:
                for table in sorted(tables):
                    cursor.execute(f"DELETE FROM {made.ops.quote_name(table)}")  # noqa: S608 - names of tables

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", delete_rows)
        yield


@pytest.fixture(autouse=True)
def account(request: pytest.FixtureRequest) -> Iterator[None]:
    """What a test with the marker ``fault`` counts goes to that fault's account."""
    marker = request.node.get_closest_marker("fault")
    with LEDGER.opened(*marker.args, **marker.kwargs) if marker else nullcontext():
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    """Where services are required, a skipped test has failed, unless it needs a container engine and there is none."""
    result = yield
    if result.skipped and Service.POSTGRES.required and NO_ENGINE not in str(result.longrepr):
        result.outcome = "failed"
        result.longrepr = f"{item.nodeid} was skipped although FLOWER_TEST_REQUIRE is set: {result.longrepr}"
    return result


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, exitstatus: int) -> None:
    """Show what was counted, save it where FLOWER_TEST_LEDGER says, and write the page that FLOWER_TEST_REPORT names if
    no test failed."""
    if path := os.environ.get("FLOWER_TEST_LEDGER"):
        LEDGER.save(Path(path))
    if not LEDGER.used:
        return
    terminalreporter.section("reliability")
    for line in report.short(LEDGER):
        terminalreporter.write_line(line)
    if path := os.environ.get("FLOWER_TEST_REPORT"):
        if exitstatus == pytest.ExitCode.OK:
            Path(path).write_text(report.page(LEDGER), encoding="utf-8")
        else:
            terminalreporter.write_line(f"{path} was not written, because not all tests passed")


def _url(service: Service) -> str:
    url, reason = address_of(service)
    if url is None:
        if service.required:
            pytest.fail(f"FLOWER_TEST_REQUIRE is set, but {reason}")
        pytest.skip(reason)
    return url


@pytest.fixture(scope="session")
def postgres_url() -> str:
    """URL of a PostgreSQL server where databases may be created."""
    return _url(Service.POSTGRES)


@pytest.fixture(scope="session")
def redis_url() -> str:
    """URL of a Redis server."""
    return _url(Service.REDIS)


@pytest.fixture(scope="session")
def amqp_url() -> str:
    """URL of a RabbitMQ server."""
    return _url(Service.AMQP)


@pytest.fixture
def runner(transactional_db: None) -> Iterator[InlineRunner]:
    """What the engine sends to; nothing runs until the test says so."""
    with inline() as runner:
        yield runner
