"""The inline runner as a fixture."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from flowerapp.testing import InlineRunner, inline


@pytest.fixture
def runner(transactional_db: None) -> Iterator[InlineRunner]:
    """What the engine sends to; nothing runs until the test says so."""
    with inline() as runner:
        yield runner
