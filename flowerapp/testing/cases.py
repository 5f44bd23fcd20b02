"""Test cases of Django in which flows run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.test import SimpleTestCase, TestCase, TransactionTestCase

from flowerapp.testing.runner import FlowRunner, flower

if TYPE_CHECKING:
    _Case = SimpleTestCase
else:
    _Case = object


class FlowerMixin(_Case):
    """For any test case of Django: ``self.flower`` runs flows, and no broker can be reached, ``setUp`` included."""

    flower: FlowRunner

    def run(self, result: Any = None) -> Any:
        """Run the test within ``testing.flower``."""
        with flower() as self.flower:
            return super().run(result)

    def debug(self) -> None:
        """The same without collecting errors."""
        with flower() as self.flower:
            super().debug()


class FlowerTestCase(FlowerMixin, TestCase):
    """A ``TestCase``: each test in a transaction that is rolled back."""


class FlowerTransactionTestCase(FlowerMixin, TransactionTestCase):
    """A ``TransactionTestCase``: what a test writes is committed, and deleted after it."""
