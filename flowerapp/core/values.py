"""Strict JSON: the values that may be stored as input, parameters or output, and how outputs become an input."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any

from flowerapp import conf
from flowerapp.exceptions import InvalidValueError

MAX_DEPTH = 200
"""Most nested arrays and objects; parsers and databases fail at a few thousand."""


def _refuse_constant(name: str) -> Any:
    raise InvalidValueError(f"{name} is not JSON; use null or a number")


def dumps(value: Any, what: str = "value") -> str:
    """``value`` as JSON text.

    ``what`` names the value in errors. Raises InvalidValueError for a value that strict JSON or PostgreSQL's jsonb
    cannot hold, or that has more than ``FLOWER["MAX_JSON_BYTES"]`` bytes.
    """
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
        size = len(text.encode())
    except UnicodeEncodeError:
        raise InvalidValueError(f"{what} holds a lone surrogate, which is not text") from None
    except RecursionError:
        raise InvalidValueError(_too_deep(what)) from None
    except (TypeError, ValueError) as error:
        raise InvalidValueError(f"{what} is not JSON: {error}") from None
    if text.count("[") + text.count("{") > MAX_DEPTH and _deeper(value):
        raise InvalidValueError(_too_deep(what))
    if "\\u0000" in text and _holds_nul(value):
        raise InvalidValueError(f"{what} holds a NUL character, which the database cannot store")
    limit = conf.get().MAX_JSON_BYTES
    if size > limit:
        raise InvalidValueError(f"{what} is {size:,} bytes of JSON; the limit is {limit:,} (FLOWER['MAX_JSON_BYTES'])")
    return text


def check(value: Any, what: str = "value") -> Any:
    """``value`` as the database returns it (tuples become lists); raises InvalidValueError as ``dumps`` does."""
    return json.loads(dumps(value, what))


def loads(text: str | bytes, what: str = "value") -> Any:
    """The value of JSON ``text``; raises InvalidValueError that names ``what``, the line and the column."""
    value = parsed(text, what)
    dumps(value, what)
    return value


def parsed(text: str | bytes, what: str = "value") -> Any:
    """The value of JSON ``text``, of any size; ``dumps`` has yet to check it. Raises as ``loads`` does."""
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise InvalidValueError(
            f"{what} is not JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        ) from None
    except RecursionError:
        raise InvalidValueError(_too_deep(what)) from None
    except ValueError as error:  # bytes that are not text, or a number of thousands of digits
        raise InvalidValueError(f"{what} is not JSON: {error}") from None


def _too_deep(what: str) -> str:
    return f"{what} is nested too deeply; the limit is {MAX_DEPTH} levels"


def _deeper(value: Any) -> bool:
    """Whether arrays and objects are nested in more than ``MAX_DEPTH`` levels."""
    level = [value]
    for _ in range(MAX_DEPTH):
        groups = (item.values() if isinstance(item, dict) else item for item in level if _is_container(item))
        level = [item for group in groups for item in group if _is_container(item)]
    return bool(level)


def _is_container(value: Any) -> bool:
    return isinstance(value, (dict, list, tuple))


def _holds_nul(value: Any) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any(_holds_nul(key) or _holds_nul(item) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return any(_holds_nul(item) for item in value)
    return False


def text(value: object) -> str:
    """``str(value)`` as the database can store it: U+FFFD replaces NUL and lone surrogates."""
    readable = str(value).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return readable.replace("\0", "\N{REPLACEMENT CHARACTER}")


def cut(value: str, most: int) -> str:
    """``value``, or its beginning and its end with the number of characters that are left out between them."""
    if len(value) <= most:
        return value
    half = most // 2
    return f"{value[:half]}\n… {len(value) - 2 * half:,} characters are left out …\n{value[-half:]}"


def brief(details: Mapping[str, Any], most: int) -> dict[str, Any]:
    """``details`` in at most about ``most`` characters of JSON: long values are cut to text, further ones counted."""
    result: dict[str, Any] = {}
    room = most
    for name, value in details.items():
        shown = brief(value, room) if isinstance(value, dict) else _short(value, most // 10)
        room -= len(name) + len(json.dumps(shown, ensure_ascii=False))
        if room < 0:
            return result | {"…": len(details) - len(result)}
        result[name] = shown
    return result


def _short(value: Any, most: int) -> Any:
    """``value``, or the beginning of its JSON text."""
    text = json.dumps(value, ensure_ascii=False)
    return value if len(text) <= most else f"{text[:most]}…"


def storable(value: str) -> bool:
    """Whether the database can store a text as it is, so that a query for it makes sense."""
    return text(value) == value


TYPED = '"__type__"'
"""Stands in the JSON text of values that have types beyond JSON's, as Celery's serializer writes them."""


def plain(value: Any) -> Any:
    """A JSON value with text in place of Celery's typed values: ``{"__type__": "date", "__value__": "2026-01-31"}``."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    if value.keys() != {"__type__", "__value__"}:
        return {key: plain(item) for key, item in value.items()}
    inner = value["__value__"]
    if value["__type__"] == "uuid" and isinstance(inner, dict):
        return _uuid_text(str(inner.get("hex", "")))
    return plain(inner)


def _uuid_text(digits: str) -> str:
    try:
        return str(uuid.UUID(digits))
    except ValueError:
        return digits


def merge(outputs: list[Any]) -> Any:
    """The input of a task, from the outputs of its dependencies in order of seq (docs/programs.md, "Values").

    A single output is the input. Of several, empty objects are dropped; if one output remains, it is the input, and if
    more remain, their list is; if none remains, the input is ``{}``. ``null``, ``[]``, ``""`` and ``0`` are kept.
    """
    if len(outputs) == 1:
        return outputs[0]
    kept = [output for output in outputs if output != {} or not isinstance(output, dict)]
    if len(kept) == 1:
        return kept[0]
    return kept or {}


def merge_objects(outputs: Mapping[int, Any]) -> dict[str, Any]:
    """One object with the keys of several outputs, ``{seq: output}``, or of the items of one that is a list.

    For a repeated key the last output, or the last item, wins. Raises InvalidValueError that names what is no object.
    """
    merged: dict[str, Any] = {}
    for name, value in _to_merge(outputs):
        if not isinstance(value, dict):
            raise InvalidValueError(f"{name} is not an object, so it cannot be merged; return one, or turn merge off")
        merged |= value
    return merged


def _to_merge(outputs: Mapping[int, Any]) -> list[tuple[str, Any]]:
    named = [(f"the output of task {seq}", output) for seq, output in outputs.items()]
    if len(named) == 1 and isinstance(named[0][1], list):
        ((name, items),) = named
        return [(f"item {place} of {name}", item) for place, item in enumerate(items, start=1)]
    return named
