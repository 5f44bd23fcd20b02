"""What the watcher holds back while no worker could send a heartbeat."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError

from flowerapp.querysets import LeaseQuerySet, clock
from flowerapp.watcher import leader
from flowerapp.watcher.leader import Leader


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("revival", "rescues"), [(leader.REVIVAL, 0), (-100, 1)])
def test_no_worker_is_taken_for_dead_when_the_database_has_just_come_back(
    monkeypatch: pytest.MonkeyPatch, revival: float, rescues: int
) -> None:
    looked: list[str] = []
    away = True
    take = LeaseQuerySet.take

    def take_if_there(*args: Any) -> bool:
        if away:
            raise OperationalError("the database is unreachable")
        return take(*args)

    monkeypatch.setattr(leader, "REVIVAL", revival)
    monkeypatch.setattr(LeaseQuerySet, "take", take_if_there)
    ours = watching(looked)
    ours.look()
    assert looked == []
    away = False
    ours.last.pop("lead")
    ours.look()
    assert ours.leads
    assert looked.count("settle") == 1
    assert looked.count("rescue") == rescues


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("seconds", "rescues"), [(5, 1), (60, 0)])
def test_no_worker_is_taken_for_dead_when_the_machine_was_asleep(seconds: int, rescues: int) -> None:
    """All workers were as silent as this one."""
    looked: list[str] = []
    ours = watching(looked)
    ours._looked = clock.now() - timedelta(seconds=seconds)
    for _ in range(2):
        ours.look()
        ours.last.pop("lead")
    assert ours.leads
    assert looked.count("rescue") == rescues


@pytest.mark.django_db(transaction=True)
def test_no_worker_is_taken_for_dead_when_a_duty_hung(monkeypatch: pytest.MonkeyPatch) -> None:
    """The database stood still while one waited for it, and no worker could send a heartbeat."""
    looked: list[str] = []
    ours = watching(looked)
    clock = [1000.0]

    def hang() -> int:
        clock[0] += 20
        return 0

    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    ours.duties.insert(0, ("hang", 1000, hang))
    ours.look()
    assert ours.leads
    assert looked == ["settle"]
    clock[0] += 3
    ours.look()
    assert looked == ["settle"]
    clock[0] += 100
    ours.look()
    assert looked == ["settle", "rescue", "settle"]


@pytest.mark.django_db(transaction=True)
def test_a_loop_continues_after_an_error(caplog: pytest.LogCaptureFixture) -> None:
    looked: list[str] = []
    ours = watching(looked)
    ours.duties.insert(0, ("broken", 0, lambda: 1 // 0))
    for _ in range(3):
        ours.look()
    assert looked == ["rescue", "settle"]
    assert caplog.text.count("broken failed") == 3


def watching(looked: list[str]) -> Leader:
    """A watcher whose duties write down their names."""

    def noted(name: str) -> int:
        looked.append(name)
        return 0

    ours = Leader()
    ours.duties = [(name, 60, lambda name=name: noted(name)) for name in ("rescue", "settle")]  # type: ignore[misc]
    return ours
