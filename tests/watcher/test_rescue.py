"""A duty that meets a row it cannot repair, or an unreachable database."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import OperationalError

from flowerapp import engine
from flowerapp.core.identity import Process
from flowerapp.core.messages import TaskRef
from flowerapp.engine import recovery
from flowerapp.models import Task
from flowerapp.querysets.db import each_isolated
from flowerapp.states import Status
from flowerapp.testing import InlineRunner
from flowerapp.watcher.duties.rescue import Rescue
from tests.engine.sending import ago
from tests.engine.support import define, statuses

pytestmark = pytest.mark.django_db(transaction=True)


def test_rows_that_stay_do_not_block_others(
    runner: InlineRunner, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("flowerapp.watcher.pages.PAGE", 2)
    flow = engine.register(define({seq: [] for seq in range(1, 8)}))
    for seq in range(1, 8):
        assert Task.objects.claim(TaskRef(flow.pk, seq), Process("dead", 1))
    Task.objects.update(started_ts=ago(60))
    record_lost = recovery.record_lost

    def stubborn(ref: TaskRef, *arguments: Any) -> Any:
        if ref.seq <= 3:
            raise ValueError("it cannot be repaired")
        return record_lost(ref, *arguments)

    monkeypatch.setattr(recovery, "record_lost", stubborn)
    rescue = Rescue()
    assert sum(rescue() for _ in range(4)) == 4
    assert statuses(flow) == {seq: Status.RUNNING if seq <= 3 else Status.WAIT for seq in range(1, 8)}
    assert "could not repair" in caplog.text


def test_an_unreachable_database_ends_a_duty_at_once(runner: InlineRunner) -> None:
    def away(row: int) -> int:
        raise OperationalError(f"row {row}")

    with pytest.raises(OperationalError, match="row 1"):
        each_isolated([1, 2, 3], away)
