"""The broker that the reference project's environment variables choose."""

from __future__ import annotations

import os
import runpy
from pathlib import Path
from unittest import mock

import pytest
from django.core.exceptions import ImproperlyConfigured

from flowerapp.executors.celery import memory_transport
from tests.services import SETTINGS

HOST = {"REDIS_HOST": "redis.example"}
FULL = {**HOST, "REDIS_PORT": "6380", "REDIS_USERNAME": "ann", "REDIS_PASSWORD": "p@ss/word"}
CHOSEN: list[tuple[dict[str, str], str]] = [
    ({}, memory_transport.URL),
    ({"REDIS_HOST": "", "REDIS_PORT": "", "REDIS_USERNAME": "", "REDIS_PASSWORD": ""}, memory_transport.URL),
    (HOST, "redis://redis.example:6379/0"),
    ({"REDIS_PORT": "6380"}, "redis://127.0.0.1:6380/0"),
    ({"REDIS_PASSWORD": "secret"}, "redis://:secret@127.0.0.1:6379/0"),
    ({"REDIS_USERNAME": "ann", "REDIS_PASSWORD": "secret"}, "redis://ann:secret@127.0.0.1:6379/0"),
    (FULL, "redis://ann:p%40ss%2Fword@redis.example:6380/0"),
    ({**FULL, "REDIS_PORT": ""}, "redis://ann:p%40ss%2Fword@redis.example:6379/0"),
    ({"CELERY_BROKER_URL": "amqp://here", "REDIS_USERNAME": "ann"}, "amqp://here"),
]


def broker(variables: dict[str, str], state: Path) -> object:
    """The broker's URL under these variables alone."""
    others = {
        name: value for name, value in os.environ.items() if not name.startswith(("REDIS_", "CELERY_", "DATABASE_URL"))
    }
    with mock.patch.dict(os.environ, {**others, **variables, "FLOWER_STATE_DIR": str(state)}, clear=True):
        return runpy.run_path(SETTINGS)["CELERY_BROKER_URL"]


@pytest.mark.parametrize(("variables", "url"), CHOSEN)
def test_the_broker(variables: dict[str, str], url: str, tmp_path: Path) -> None:
    assert broker(variables, tmp_path) == url


@pytest.mark.parametrize("variables", [{"REDIS_USERNAME": "ann"}, {**HOST, "REDIS_USERNAME": "ann"}])
def test_a_user_needs_a_password(variables: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(ImproperlyConfigured, match="REDIS_USERNAME is set without REDIS_PASSWORD"):
        broker(variables, tmp_path)
