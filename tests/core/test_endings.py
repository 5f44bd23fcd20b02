"""How an attempt that ended without a success is logged, and how it travels between processes."""

from __future__ import annotations

import logging
import pickle
from typing import Any

import pytest

from flowerapp.core.endings import Ending
from flowerapp.core.messages import TaskRef
from flowerapp.exceptions import AttemptError


class UnpicklableError(Exception):
    """Its arguments are not those of its class."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} {second}")


def made(error: Exception, delay: float | None = None) -> Ending:
    """One whose error was raised."""
    try:
        raise error
    except Exception as raised:
        return Ending(ref=TaskRef("F", 3), program="P", attempt=2, error=raised, message=f"{raised!r}", delay=delay)


@pytest.mark.parametrize(
    ("delay", "expected", "level", "traceback"),
    [(None, False, logging.ERROR, True), (5.0, False, logging.WARNING, True), (None, True, logging.INFO, False)],
    ids=["failed", "retried", "expected"],
)
def test_the_line_names_flow_task_program_and_attempt(
    caplog: pytest.LogCaptureFixture, delay: float | None, expected: bool, level: int, traceback: bool
) -> None:
    caplog.set_level(logging.INFO)
    made(ValueError("no"), delay).log(expected=expected)
    (record,) = caplog.records
    facts: dict[str, Any] = {name: getattr(record, name) for name in ("flow", "seq", "program", "attempt")}
    assert facts == {"flow": "F", "seq": 3, "program": "P", "attempt": 2}
    assert record.getMessage().startswith("flow F task 3 (program P, attempt 2) ")
    assert "ValueError('no')" in record.getMessage()
    assert record.levelno == level
    assert bool(record.exc_info) is traceback


def test_it_reaches_another_process_with_the_text_of_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    sent = made(ValueError("no"), 5.0)
    arrived: Ending = pickle.loads(pickle.dumps(sent))  # noqa: S301 - our own bytes
    assert (arrived.ref, arrived.program, arrived.attempt, arrived.delay) == (sent.ref, "P", 2, 5.0)
    assert repr(arrived.error) == repr(sent.error)
    arrived.log()
    assert "in made\n    raise error" in caplog.text


def test_an_error_that_cannot_be_pickled_becomes_one_that_can() -> None:
    arrived: Ending = pickle.loads(pickle.dumps(made(UnpicklableError("a", "b"))))  # noqa: S301 - our own bytes
    assert isinstance(arrived.error, AttemptError)
    assert str(arrived.error) == "UnpicklableError('a b')"
