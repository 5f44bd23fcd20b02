"""Fixtures of the tests of ``flowerapp.testing``."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from flowerapp import signals
from flowerapp.testing import FlowRunner
from flowerapp.testing import flower as running
from flowerapp.workflows import classes
from tests.testing.workflows import Sums

_HOOK = ("all_over", Sums.task_id)
del classes._classes[Sums.task_id], signals._methods[_HOOK]


@pytest.fixture(autouse=True)
def _known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The class is known to the tests of this package only; others count what is stored."""
    monkeypatch.setitem(classes._classes, Sums.task_id, Sums)
    monkeypatch.setitem(signals._methods, _HOOK, Sums().all_over)


ROLLED_BACK = pytest.param(None, id="rolled back", marks=pytest.mark.django_db)
COMMITTED = pytest.param(None, id="committed", marks=pytest.mark.django_db(transaction=True))


@pytest.fixture(params=[ROLLED_BACK, COMMITTED])
def flower() -> Iterator[FlowRunner]:
    """Runs flows, once in a transaction as of a ``TestCase``, and once in tests that commit."""
    with running() as runner:
        yield runner
