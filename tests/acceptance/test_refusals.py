"""A task that no worker takes blocks no other flow, with real workers."""

from __future__ import annotations

import pytest

from flowerapp import engine
from flowerapp.states import Status
from tests.acceptance.live import Live, define, describe, starts, task
from tests.services import until


@pytest.mark.parametrize("own", ["redis", "amqp"], indirect=True)
def test_a_step_whose_queue_is_missing_blocks_no_other_flow(own: Live) -> None:
    """It is sent by a worker, whose host names all its queues; retries of others are sent meanwhile."""
    own.site.environment |= {"FLOWER_TEST_ONLY_QUEUES": "default", "FLOWER_TEST_REJECT_AFTER": "8"}
    own.site.start_all(2)
    bad = engine.register(define({1: [], 2: [1], 3: []}, {2: {"queue": "typo"}}))
    until(lambda: task(bad, 2).is_refused, 20, what=lambda: describe(bad))
    retried = {"program": "FailUntil", "parameters": {"start": 2}, "max_retries": 1, "retry_delay": 1}
    healthy = [engine.register(define({1: [], 2: [1]}, {1: retried})) for _ in range(5)]
    own.finish(*healthy, seconds=30)
    own.wait(bad, Status.SUSPEND, 40)
    assert task(bad, 2).error.startswith("cannot be published: QueueNotFound: Queue 'typo' missing")
    assert (task(bad, 1).status, task(bad, 3).status) == (Status.FINISH, Status.FINISH)
    assert starts(bad, 2) == []
    assert "raised unexpected" not in own.news
    engine.change(bad.pk, 2, queue="default")
    engine.rerun(bad.pk)
    own.finish(bad)
