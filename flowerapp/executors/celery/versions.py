"""What the supported versions of Celery, kombu and billiard do not all have; the only place that asks.

The oldest versions are those of ``pyproject.toml``; ``.ci/oldest.txt`` names them for continuous integration.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from billiard import common
from celery import Celery
from kombu import exceptions


class _NeverRaisedError(Exception):
    """Stands for an error that this version of kombu does not have."""


BatchPublishError: type[Exception] = getattr(exceptions, "BatchPublishError", _NeverRaisedError)
"""A batch of messages broke off; from kombu 5.7."""


def can_batch(producer: Any) -> bool:
    """Whether kombu (5.7) and the producer's transport can publish many messages in one round trip."""
    return bool(getattr(producer, "supports_batch_publish", False))


def batch(producer: Any) -> AbstractContextManager[Any]:
    """Within the block, publish in one round trip where kombu (5.7) and its transport can; else one after the other."""
    return producer.batch() if hasattr(producer, "batch") else nullcontext(producer)


def terminate_handler_fired() -> bool:
    """Whether this pool process got the signal to end; billiard has a function for it from 4.3."""
    asked = getattr(common, "terminate_handler_fired", None)
    return bool(asked() if asked else common._should_have_exited[0])  # type: ignore[attr-defined] # missing in the types


def present(app: Celery, names: tuple[str, ...]) -> dict[str, Any]:
    """Those of Celery's settings that this version has, with their values."""
    return {name: app.conf[name] for name in names if name in app.conf}
