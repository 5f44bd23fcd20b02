"""A broker that does not say how many messages it holds."""

from __future__ import annotations

from collections.abc import Iterable

from flowerapp.core.executor import QueueSize
from flowerapp.executors.celery.executor import CeleryExecutor


def install() -> None:
    """Make the size of each queue unknown in this process."""
    setattr(CeleryExecutor, "queue_sizes", _unknown)  # noqa: B010


def _unknown(_: CeleryExecutor, names: Iterable[str]) -> dict[str, QueueSize]:
    return dict.fromkeys(names, QueueSize(unknown="the test's broker does not say"))
