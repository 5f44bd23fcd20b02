"""Live sites: PostgreSQL with Redis or RabbitMQ and real workers, and SQLite with threads in this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from flowerapp.models import Flow, Task
from tests.acceptance.live import Live, interventions
from tests.ledger import LEDGER, NO_FAULT
from tests.services import Site, site, sqlite_site, threads

SITES: dict[str, tuple[str, tuple[int, ...]]] = {
    "redis-2": ("redis", (2,)),
    "redis-4": ("redis", (2, 2)),
    "amqp-2": ("amqp", (2,)),
    "redis": ("redis", ()),
    "amqp": ("amqp", ()),
}
"""Name → broker, and the pool processes of each worker. Beside these there is "sqlite"."""


@contextmanager
def site_named(name: str, request: pytest.FixtureRequest, blocker: Any) -> Iterator[Site]:
    """A site of ``SITES`` with its workers, or "sqlite"."""
    with ExitStack() as stack:
        if name == "sqlite":
            chosen = sqlite_site()
        else:
            broker, processes = SITES[name]
            broker_url = request.getfixturevalue("redis_url" if broker == "redis" else "amqp_url")
            chosen = site(request.getfixturevalue("postgres_url"), broker, broker_url)
        with blocker.unblock():
            made = stack.enter_context(chosen)
        if name != "sqlite":
            made.start_all(*processes)
        yield made


@pytest.fixture(scope="package")
def shared_site(request: pytest.FixtureRequest, django_db_blocker: Any) -> Iterator[Site]:
    """A site that tests of several modules use one after the other; parametrized by its name."""
    with site_named(request.param, request, django_db_blocker) as made:
        yield made


@contextmanager
def faultless(request: pytest.FixtureRequest) -> Iterator[None]:
    """The watcher repaired nothing in the flows that begin in the block, unless the test itself breaks something."""
    before = set(Flow.objects.values_list("pk", flat=True))
    yield
    if request.node.get_closest_marker("fault") is not None:
        return
    begun = list(Flow.objects.exclude(pk__in=before))
    tasks = Task.objects.filter(task_flow__in=begun).count()
    steps = interventions(*begun)
    with LEDGER.opened(NO_FAULT):
        LEDGER.count(tasks=tasks, lost=0, doubled=0, interventions=len(steps))
    assert not steps, f"{len(steps)} interventions: {steps[:10]}"


@pytest.fixture
def live(request: pytest.FixtureRequest, shared_site: Site, django_db_blocker: Any) -> Iterator[Live]:
    """This test on the shared site."""
    with ExitStack() as stack:
        stack.enter_context(django_db_blocker.unblock())
        app = stack.enter_context(shared_site.entered())
        if shared_site.in_process:
            stack.enter_context(threads(app))
        stack.enter_context(faultless(request))
        yield Live(shared_site)


@pytest.fixture
def own(request: pytest.FixtureRequest, django_db_blocker: Any) -> Iterator[Live]:
    """This test on a site of its own, whose workers it starts itself; parametrized by its name."""
    name = getattr(request, "param", "redis")
    with (
        site_named(name, request, django_db_blocker) as made,
        django_db_blocker.unblock(),
        made.entered(),
        faultless(request),
    ):
        yield Live(made)
