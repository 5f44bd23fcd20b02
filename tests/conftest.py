"""Fixtures for all tests: real services, required or skipped."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from tests.services import Service, address_of


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    """Where services are required, a skipped test has failed."""
    report = yield
    if report.skipped and Service.POSTGRES.required:
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped although FLOWER_TEST_REQUIRE is set: {report.longrepr}"
    return report


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
