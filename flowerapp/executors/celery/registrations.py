"""Messages that register flows: they carry inputs and parameters, which Celery writes to logs, events and results."""

from __future__ import annotations

import logging
from typing import Any

from celery import Task, signals
from celery.utils.saferepr import saferepr
from celery.worker.request import Request

from flowerapp.core import logs
from flowerapp.core.masking import masked
from flowerapp.executors.celery.routes import REGISTER

DESCRIBED = ("argsrepr", "kwargsrepr")
"""Headers of a message that describe its arguments."""
LONGEST = 1024
"""Characters of the arguments as a message describes them, as in Celery."""


class RegisterTask(Task):  # type: ignore[type-arg]
    """Base of the task that registers: its messages describe their arguments with secrets masked."""

    abstract = True
    Request = "flowerapp.executors.celery.registrations:RegisterRequest"

    def apply_async(self, args: Any = None, kwargs: Any = None, *others: Any, **options: Any) -> Any:
        """Send it."""
        shown = {
            "argsrepr": saferepr(masked(args or ()), LONGEST),
            "kwargsrepr": saferepr(masked(kwargs or {}), LONGEST),
        }
        return super().apply_async(args, kwargs, *others, **{**shown, **options})


class RegisterRequest(Request):
    """Such a message in a worker; one of another sender describes its arguments as they are."""

    def __init__(self, message: Any, **options: Any) -> None:
        super().__init__(message, **options)
        described: dict[str, Any] = self._request_dict  # type: ignore[attr-defined] # missing in the types
        for name in DESCRIBED:
            described[name] = str(masked(str(described.get(name) or "")))
            setattr(self, f"_{name}", described[name])


def _mask_headers(headers: Any = None, **_: Any) -> None:
    """For a message that is sent by the task's name alone, as it is published."""
    if isinstance(headers, dict):
        headers.update({name: str(masked(str(headers[name]))) for name in DESCRIBED if headers.get(name)})


def _mask_body(record: logging.LogRecord) -> bool:
    """For the line, at DEBUG, with which a pool takes a message: it quotes the body."""
    return logs.mask(record) if REGISTER in record.getMessage() else True


def install() -> None:
    """Mask what such messages say, and what the pool logs about them."""
    signals.before_task_publish.connect(_mask_headers, sender=REGISTER)
    logging.getLogger("celery.pool").addFilter(_mask_body)
