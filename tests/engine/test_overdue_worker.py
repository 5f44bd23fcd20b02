"""A worker that was stopped or asleep claims nothing until it has sent a heartbeat."""

from __future__ import annotations

import time

import pytest

from flowerapp import engine
from flowerapp.core.messages import TaskRef
from flowerapp.engine import attempts
from flowerapp.models import Worker
from flowerapp.states import Status
from flowerapp.testing import InlineRunner
from tests.engine.sending import ago
from tests.engine.support import define, statuses

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def asleep() -> Worker:
    """A worker that sent no heartbeat for a minute."""
    worker = Worker.objects.create(pk="w", name="w@here", pid=1, pool="prefork", concurrency=1)
    Worker.objects.update(seen_ts=ago(60))
    return worker


def test_an_overdue_worker_claims_once_it_has_sent_a_heartbeat(
    runner: InlineRunner, asleep: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow = engine.register(define({1: []}, "Noop"))
    monkeypatch.setattr(time, "sleep", lambda _: Worker.objects.seen("w"))
    assert attempts.run(TaskRef(flow.pk, 1), "w").finished
    assert statuses(flow) == {1: Status.FINISH}


def test_an_overdue_worker_leaves_a_task_to_others_without_a_heartbeat(
    runner: InlineRunner, asleep: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow = engine.register(define({1: []}, "Noop"))
    monkeypatch.setattr(attempts, "DB_RETRY_SECONDS", 0.3)
    assert not attempts.run(TaskRef(flow.pk, 1), "w").finished
    assert statuses(flow) == {1: Status.WAIT}
