"""How many statements waits and events take."""

from __future__ import annotations

import pytest
from django.test.utils import CaptureQueriesContext

from flowerapp import engine
from flowerapp.core.gates import DELAY, EVENT
from flowerapp.models import Flow
from flowerapp.querysets import clock
from flowerapp.querysets.db import connection
from flowerapp.states import Status
from flowerapp.testing import InlineRunner
from flowerapp.watcher.duties.send import send_unsent
from flowerapp.watcher.duties.waits import end_due_waits
from tests.engine.support import define

pytestmark = pytest.mark.django_db(transaction=True)

MOST_TO_EMIT = 30
"""Statements of an event, however many of up to 500 flows wait for it."""
MOST_TO_BEGIN, MOST_TO_END = 25, 25
"""Statements of the watcher's look at delays that are ready, and at those that are due."""


@pytest.fixture(autouse=True)
def _unmoved() -> None:
    clock.reset()


def flows(runner: InlineRunner, program: str, number: int, **parameters: object) -> None:
    """Flows that have begun to wait, each with a task after it."""
    name = define({1: []}, program=program, parameters=parameters)
    define({2: [1]}, name=name)
    engine.register_many([{"task_id": name} for _ in range(number)])
    runner.run()
    assert Flow.objects.filter(task_id=name, exec_status=Status.RUNNING).count() == number


@pytest.mark.parametrize("number", [1, 10, 500])
def test_an_event_takes_as_many_statements_for_one_as_for_many(runner: InlineRunner, number: int) -> None:
    flows(runner, EVENT, number, event="paid")
    with CaptureQueriesContext(connection()) as queries:
        event = engine.emit("paid")
    assert event.outcome.ended == number
    assert len(queries) <= MOST_TO_EMIT, "\n".join(query["sql"][:150] for query in queries)
    while send_unsent() or runner.run():
        pass
    assert Flow.objects.filter(exec_status=Status.FINISH).count() == number


@pytest.mark.parametrize("number", [1, 10, 500])
def test_delays_begin_and_end_many_at_once(runner: InlineRunner, number: int) -> None:
    with CaptureQueriesContext(connection()) as queries:
        flows(runner, DELAY, number, duration=5)
    begun = [query["sql"] for query in queries]
    clock.advance(6)
    with CaptureQueriesContext(connection()) as queries:
        assert end_due_waits() == number
    assert len(queries) <= MOST_TO_END, "\n".join(query["sql"][:150] for query in queries)
    assert len(begun) <= MOST_TO_BEGIN + number, "registering many is measured elsewhere"
    while send_unsent() or runner.run():
        pass
    assert Flow.objects.filter(exec_status=Status.FINISH).count() == number
