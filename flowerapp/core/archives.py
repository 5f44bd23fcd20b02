"""The archive of a flow: one JSON document, and the checks that a document from anywhere has to pass.

``{"format": …, "version": …, "flow": {…}, "tasks": […], "history": […], "logs": […], "workflow": …, "checksum": …}``.
Keys are the names of the columns; a task leaves out those that are at their default. The checksum is the SHA-256 of the
canonical JSON of all else: keys sorted, no blanks, UTF-8.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from flowerapp.core import values
from flowerapp.core.archive_parts import Archive
from flowerapp.core.archive_rules import check
from flowerapp.exceptions import InvalidArchiveError, InvalidValueError

FORMAT, VERSION = "flowerapp.flow", 1
MASKED_SECRETS, WHOLE_SECRETS = "masked", "whole"
"""What ``secrets`` says of the values in the document."""
MOST_SHOWN = 10
"""Problems of a document that are reported at once."""
_PREFIX = "sha256:"
_CHECKSUM = "checksum"


# Writing


def pieces(parts: Mapping[str, Any]) -> Iterator[str]:
    """The text of a document, piece by piece; a part that is an iterator is written as a list, item by item.

    Keys within a part keep their order, in which people see them.
    """
    digest = hashlib.sha256()
    for around, value in _written(parts):
        digest.update(_encoded(around if value is _NOTHING else around + _canonical(value)))
        yield around if value is _NOTHING else around + _dumps(value)
    digest.update(b"}")
    yield f',"{_CHECKSUM}":"{_PREFIX}{digest.hexdigest()}"}}'


_NOTHING = object()


def _written(parts: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """What stands before each value, and the value, if there is one."""
    opening = "{"
    for name in sorted(parts):
        before, value = f"{opening}{_canonical(name)}:", parts[name]
        opening = ","
        if isinstance(value, Iterator):
            yield before, _NOTHING
            yield from _list(value)
        else:
            yield before, value


def _list(items: Iterator[Any]) -> Iterator[tuple[str, Any]]:
    opening = "["
    for item in items:
        yield opening, item
        opening = ","
    yield "[]" if opening == "[" else "]", _NOTHING


def _canonical(value: Any) -> str:
    return _dumps(value, sort_keys=True)


def _dumps(value: Any, *, sort_keys: bool = False) -> str:
    return json.dumps(
        value, sort_keys=sort_keys, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_time_text
    )


def _time_text(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} is no JSON")


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


# Reading


def loads(raw: str | bytes) -> dict[str, Any]:
    """The document of a text; raises InvalidArchiveError for what is no JSON object."""
    try:
        document = values.parsed(raw, "the archive")
    except InvalidValueError as error:
        raise InvalidArchiveError(str(error)) from None
    return as_object(document)


def as_object(document: Any) -> dict[str, Any]:
    """The document; raises InvalidArchiveError unless it is an object."""
    if not isinstance(document, dict):
        raise InvalidArchiveError("the archive is no JSON object; give what `flow archive` wrote")
    return document


def read(document: Mapping[str, Any]) -> Archive:
    """A document, checked as if a stranger had written it; raises InvalidArchiveError that says what and where."""
    _check_head(document)
    try:
        archive = Archive.model_validate({name: value for name, value in document.items() if name != _CHECKSUM})
    except ValidationError as error:
        raise InvalidArchiveError(_sentences(error)) from None
    except RecursionError:
        raise InvalidArchiveError("the archive is nested too deeply") from None
    check(archive)
    return archive


def _check_head(document: Mapping[str, Any]) -> None:
    if document.get("format") != FORMAT:
        raise InvalidArchiveError(f"this is no archive of a flow: its format is not {FORMAT!r}")
    version = document.get("version")
    if type(version) is not int or version != VERSION:
        raise InvalidArchiveError(
            f"the archive has version {str(version)[:20]}, and this flowerapp reads {VERSION}; "
            "restore it with the flowerapp that wrote it, or with a newer one"
        )
    if document.get(_CHECKSUM) != checksum_of(document):
        raise InvalidArchiveError(
            "the checksum does not fit: the archive was changed or cut after it was written; take an intact copy"
        )


def checksum_of(document: Mapping[str, Any]) -> str:
    """The checksum that a document has to have; raises InvalidArchiveError for what is no strict JSON."""
    try:
        text = _canonical({name: value for name, value in document.items() if name != _CHECKSUM})
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidArchiveError(f"the archive is not JSON: {error}") from None
    return _PREFIX + hashlib.sha256(_encoded(text)).hexdigest()


def _sentences(error: ValidationError) -> str:
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    shown = [f"{_place(item['loc'])}: {item['msg']}" for item in problems[:MOST_SHOWN]]
    more = ["… and more"] if len(problems) > MOST_SHOWN else []
    return "the archive cannot be used: " + "; ".join([*shown, *more])


def _place(location: tuple[int | str, ...]) -> str:
    """``tasks[3].exec_status``."""
    words = [f"[{part}]" if isinstance(part, int) else f".{part[:80]}" for part in location]
    return "".join(words).lstrip(".") or "the document"


def content(document: Mapping[str, Any]) -> str:
    """What two archives of the same flow in the same state have alike, as text."""
    return _canonical([document.get(name) for name in ("flow", "tasks", "history", "logs")])
