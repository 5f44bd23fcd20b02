"""What the watcher holds back while nobody could give a sign of life."""

from __future__ import annotations

import pytest
from django.db import OperationalError

from flowerapp import watcher
from flowerapp.watcher import Watcher


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("revival", "rescues"), [(watcher.REVIVAL, 0), (-10, 1)])
def test_nobody_is_taken_for_dead_when_the_database_has_just_come_back(
    monkeypatch: pytest.MonkeyPatch, revival: float, rescues: int
) -> None:
    looked: list[str] = []
    away = True

    def vouch(self: Watcher) -> None:
        if away:
            raise OperationalError("the database is away")

    def noted(name: str) -> int:
        looked.append(name)
        return 0

    monkeypatch.setattr(watcher, "REVIVAL", revival)
    monkeypatch.setattr(Watcher, "vouch", vouch)
    ours = Watcher({})
    ours.duties = [("rescue", 2, lambda: noted("rescue")), ("settle", 2, lambda: noted("settle"))]
    ours.look()
    assert looked == []
    away = False
    ours._last["vouch"] = float("-inf")
    ours.look()
    assert ours.leads
    assert looked.count("settle") == 1
    assert looked.count("rescue") == rescues
