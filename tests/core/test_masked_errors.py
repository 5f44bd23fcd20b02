"""Errors and log lines quote no secret."""

from __future__ import annotations

import io
import logging
import pickle
import subprocess
import traceback
from collections.abc import Iterator
from typing import Any
from urllib.error import URLError

import httpx2 as httpx
import pytest
from pydantic import BaseModel

from flowerapp.core import logs, masking
from flowerapp.core.masked_errors import MOST, masked_error
from flowerapp.core.masking import MASKED
from flowerapp.exceptions import AttemptError

S = "sesame-4711"
SECRETS = masking.secrets_of({"token": S})


class Odd(Exception):  # noqa: N818
    """Its text is in an attribute."""

    def __init__(self, *, what: str) -> None:
        self.what = what

    def __str__(self) -> str:
        return f"odd {self.what}"


class Frozen(Exception):  # noqa: N818
    """Its text cannot be changed."""

    __slots__ = ("inner",)

    def __init__(self, inner: str) -> None:
        super().__init__()
        object.__setattr__(self, "inner", inner)

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("__"):
            raise AttributeError(name)
        super().__setattr__(name, value)

    def __str__(self) -> str:
        return str(object.__getattribute__(self, "inner"))


class Model(BaseModel):
    """A number."""

    number: int


def invalid() -> BaseException:
    try:
        Model(number=S)  # type: ignore[arg-type]
    except ValueError as error:
        return error
    raise AssertionError


def chained() -> BaseException:
    try:
        try:
            raise KeyError(S)
        except KeyError as error:
            raise ValueError("outer") from error
    except ValueError as error:
        return error


def noted() -> BaseException:
    error = ValueError("x")
    error.add_note(f"with {S}")
    return error


def with_reason() -> BaseException:
    return URLError(invalid())


ERRORS = [
    ValueError(f"bad {S}"),
    ValueError({"a": [S]}, f"{S}!"),
    KeyError(S),
    OSError(2, "No such file", f"/run/{S}"),
    subprocess.CalledProcessError(1, ["curl", "-u", f"bob:{S}"]),
    httpx.ConnectError(f"cannot reach https://bob:{S}@h", request=httpx.Request("POST", f"https://bob:{S}@h")),
    Odd(what=S),
    Frozen(S),
    ValueError(S.encode()),
    UnicodeDecodeError("utf-8", S.encode(), 0, 1, f"no {S}"),
    ValueError(ValueError(S)),
    ExceptionGroup("several", [ValueError(S), ExceptionGroup(f"more {S}", [TypeError(S)])]),
    invalid(),
    with_reason(),
    chained(),
    noted(),
    RuntimeError(f"see https://bob:{S[:4]}@h"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_no_text_of_an_error_quotes_a_secret(error: BaseException) -> None:
    shown = masked_error(error, SECRETS)
    text = "".join(traceback.format_exception(shown))
    for line in (text, repr(shown), str(shown), repr(shown.args), str(shown.__cause__), str(shown.__context__)):
        assert S not in line
        assert f":{S[:4]}@" not in line
    assert MASKED in text


@pytest.mark.parametrize("error", ERRORS[:7], ids=lambda error: type(error).__name__)
def test_an_error_keeps_its_class_where_its_text_can_be_changed(error: BaseException) -> None:
    assert type(masked_error(error, SECRETS)) is type(error)


@pytest.mark.parametrize("error", [Frozen(S), invalid()], ids=lambda error: type(error).__name__)
def test_another_error_takes_its_place_where_it_cannot(error: BaseException) -> None:
    shown = masked_error(error, SECRETS)
    assert isinstance(shown, AttemptError)
    assert str(shown).startswith(f"{type(error).__name__}: ")
    assert shown.__traceback__ is error.__traceback__
    assert str(pickle.loads(pickle.dumps(shown))) == str(shown)  # noqa: S301


def test_errors_that_an_error_holds_are_masked_in_place() -> None:
    error = with_reason()
    shown = masked_error(error, SECRETS)
    assert isinstance(shown, URLError)
    assert isinstance(shown.reason, AttemptError)
    assert S not in str(shown.reason)


def test_an_error_without_secrets_is_left_alone() -> None:
    cause, error = KeyError("a"), ValueError("plain", {"a": [1]})
    error.__cause__ = cause
    assert masked_error(error, SECRETS) is error
    assert (error.args, error.__cause__) == (("plain", {"a": [1]}), cause)
    assert masked_error(error, masking.NO_SECRETS) is error


def test_errors_in_a_circle_and_in_a_long_chain() -> None:
    first, second = ValueError(S), ValueError(S)
    first.__context__, second.__context__ = second, first
    assert S not in str(masked_error(first, SECRETS).__context__)
    error: BaseException = ValueError(S)
    for _ in range(5000):
        later = ValueError(S)
        later.__cause__, error = error, later
    assert S not in "".join(traceback.format_exception(masked_error(error, SECRETS)))
    assert MOST < 5000


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """What a logger of ours writes."""
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    logger = logs.logger("flowerapp.test_masks")
    logger.addHandler(handler)
    yield text
    logger.removeHandler(handler)


def test_lines_of_our_loggers_are_masked(lines: io.StringIO) -> None:
    logger = logs.logger("flowerapp.test_masks")
    logger.warning("cannot reach %s: %r", f"https://bob:{S}@h", ValueError(f"token={S}"))
    try:
        raise ValueError(f"password: {S}")
    except ValueError:
        logger.exception("it failed")
    logger.warning("plain %s", "line")
    assert S not in lines.getvalue()
    assert lines.getvalue().count(MASKED) == 4
    assert "plain line" in lines.getvalue()
    assert "Traceback" in lines.getvalue()
