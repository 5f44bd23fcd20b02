"""The pytest plugin of flowerapp: the fixture ``flower``. It needs pytest-django.

pytest imports it in every project where flowerapp is installed, so it imports nothing of Django before it is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from flowerapp.testing.runner import FlowRunner


@pytest.fixture
def flower(db: None) -> Iterator[FlowRunner]:
    """Runs flows in this process, without a broker, in a transaction that is rolled back after the test.

    With ``transactional_db``, or the mark ``django_db(transaction=True)``, the test commits.
    """
    from flowerapp import testing

    with testing.flower() as runner:
        yield runner
