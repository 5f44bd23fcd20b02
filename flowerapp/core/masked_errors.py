"""Errors that quote no secret, for logs, error trackers and monitors."""

from __future__ import annotations

from contextlib import suppress
from operator import is_
from typing import Any

from flowerapp.core import masking
from flowerapp.core.masking import Secrets
from flowerapp.exceptions import AttemptError

MOST = 100
"""Most errors of one chain; those before them are left out."""
_SLOTS = ("filename", "filename2", "strerror", "text", "msg", "reason", "doc")
"""Attributes of Python's own errors that are in their texts."""


Seen = dict[int, tuple[BaseException, BaseException]]
"""By the ids of errors: each with what takes its place, which is itself while it is looked at."""


def masked_error(error: BaseException, secrets: Secrets) -> BaseException:
    """The error, with what it and the errors before it quote of secrets replaced by masks.

    It is another one, with the same traceback and a masked message, where its text cannot be changed.
    """
    return _masked(error, secrets, {})


def _masked(error: BaseException, secrets: Secrets, seen: Seen) -> BaseException:
    if id(error) in seen:
        return seen[id(error)][1]
    seen[id(error)] = error, error
    masked = _masked_anew(error, secrets, seen)
    seen[id(error)] = error, masked
    return masked


def _masked_anew(error: BaseException, secrets: Secrets, seen: Seen) -> BaseException:
    for name in ("__cause__", "__context__"):
        before = getattr(error, name)
        if before is not None:
            _set(error, name, _masked(before, secrets, seen) if len(seen) < MOST else None)
    if isinstance(error, BaseExceptionGroup):
        return _group(error, secrets, [_masked(member, secrets, seen) for member in error.exceptions])
    _mask_inner(error, secrets, seen)
    return error if _is_clean(error, secrets) else _rewritten(error, secrets)


def _mask_inner(error: BaseException, secrets: Secrets, seen: Seen) -> None:
    """Mask the errors that an error holds, such as the reason of a URLError."""

    def masked(value: Any) -> Any:
        return _masked(value, secrets, seen) if isinstance(value, BaseException) else value

    with suppress(Exception):  # an error may refuse changes
        if any(isinstance(argument, BaseException) for argument in error.args):
            error.args = tuple(map(masked, error.args))
        for name, value in [*vars(error).items()]:
            if isinstance(value, BaseException):
                setattr(error, name, masked(value))


def _group(error: BaseExceptionGroup[Any], secrets: Secrets, members: list[BaseException]) -> BaseException:
    """The group with masked members; its message and members cannot be changed, so that it may be another one."""
    if _is_clean(error, secrets) and all(map(is_, members, error.exceptions)):
        return error
    other = BaseExceptionGroup(masking.masked(error.message, secrets), members)
    for note in getattr(error, "__notes__", ()):
        other.add_note(masking.masked(note, secrets))
    return _in_place_of(error, other)


def _set(error: BaseException, name: str, value: Any) -> None:
    """Set an attribute; setting a cause would suppress the context as well."""
    if getattr(error, name) is not value:
        suppressed = error.__suppress_context__
        setattr(error, name, value)
        error.__suppress_context__ = suppressed


def _texts(error: BaseException) -> list[str]:
    """All that a log writes of one error; none where they cannot be made."""
    try:
        return [str(error), repr(error), *map(str, getattr(error, "__notes__", ()))]
    except Exception:
        return []


def _is_clean(error: BaseException, secrets: Secrets) -> bool:
    return all(masking.masked(text, secrets) == text for text in _texts(error))


def _rewritten(error: BaseException, secrets: Secrets) -> BaseException:
    with suppress(Exception):  # an error may refuse changes
        _rewrite(error, secrets)
    if _is_clean(error, secrets):
        return error
    other = AttemptError(f"{type(error).__name__}: {masking.masked(str(error), secrets)}")
    return _in_place_of(error, other)


def _in_place_of(error: BaseException, other: BaseException) -> BaseException:
    other.__traceback__ = error.__traceback__
    other.__cause__, other.__context__ = error.__cause__, error.__context__
    other.__suppress_context__ = error.__suppress_context__
    return other


def _rewrite(error: BaseException, secrets: Secrets) -> None:
    error.args = tuple(_value(argument, secrets) for argument in error.args)
    own = [name for name in _SLOTS if isinstance(getattr(error, name, None), str)]
    for name in {*vars(error), *own}:
        setattr(error, name, _value(getattr(error, name), secrets))


def _value(value: Any, secrets: Secrets) -> Any:
    return masking.masked(value, secrets) if isinstance(value, (str, dict, list, tuple)) else value
