"""The heartbeat of a worker, and the file that a container's health check looks at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError

from flowerapp.models import Worker
from flowerapp.watcher.heartbeat import Heartbeat

COLUMNS = {"name": "w@here", "pid": 1, "pool": "prefork", "concurrency": 2, "queues": ["default"]}
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def file(tmp_path: Path, settings: Any) -> Path:
    """The file that the settings name, not made yet."""
    path = tmp_path / "heartbeat"
    settings.FLOWER = {**settings.FLOWER, "HEARTBEAT_FILE": str(path)}
    return path


def test_a_heartbeat_touches_the_file(file: Path) -> None:
    Heartbeat(lambda: COLUMNS).look()
    assert file.exists()
    assert Worker.objects.get().name == "w@here"


def test_without_the_database_the_file_is_not_touched(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: Any) -> int:
        raise OperationalError("the database is unreachable")

    monkeypatch.setattr(type(Worker.objects.all()), "seen", unreachable)
    monkeypatch.setattr(type(Worker.objects), "seen", unreachable)
    Heartbeat(lambda: COLUMNS).look()
    assert not file.exists()


def test_a_file_that_cannot_be_made_costs_no_heartbeat(file: Path, settings: Any, caplog: Any) -> None:
    settings.FLOWER = {**settings.FLOWER, "HEARTBEAT_FILE": str(file / "of" / "nowhere")}
    Heartbeat(lambda: COLUMNS).look()
    assert Worker.objects.exists()
    assert str(file) in caplog.text
