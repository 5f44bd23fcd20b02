"""Fixtures for the tests of the command line."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from flowerapp.testing import InlineRunner, inline


@pytest.fixture
def runner(transactional_db: None) -> Iterator[InlineRunner]:
    """Runs what is sent, when asked to."""
    with inline() as runner:
        yield runner


@pytest.fixture
def busy(runner: InlineRunner, monkeypatch: pytest.MonkeyPatch) -> InlineRunner:
    """Tasks run while the CLI sleeps between two looks."""
    monkeypatch.setattr("flowerapp.management.cli.follow.time.sleep", lambda seconds: runner.step())
    return runner


@pytest.fixture
def api() -> APIClient:
    """A client logged in as a superuser."""
    client = APIClient()
    client.force_login(User.objects.create_superuser("root"))
    return client
