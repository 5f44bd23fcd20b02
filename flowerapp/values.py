"""Strict JSON: what may be stored as input, parameter or output."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from flowerapp import conf
from flowerapp.exceptions import InvalidValueError

MASKED = "••••"
MAX_DEPTH = 200
"""Most levels of arrays and objects in each other; databases and readers give up beyond some thousand."""


def _refuse_constant(name: str) -> Any:
    raise InvalidValueError(f"{name} is not JSON; use null or a number")


def dumps(value: Any, what: str = "value") -> str:
    """JSON text of ``value``.

    ``what`` names the value in errors. Raises InvalidValueError for anything that strict JSON, PostgreSQL's jsonb
    or the size limit (``MAX_JSON_BYTES``) does not take.
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
    """``value`` as the database will give it back (tuples become lists); raises InvalidValueError as ``dumps``."""
    return json.loads(dumps(value, what))


def loads(text: str | bytes, what: str = "value") -> Any:
    """Value of strict JSON ``text``; raises InvalidValueError naming ``what``, line and column."""
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise InvalidValueError(
            f"{what} is not JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        ) from None
    except RecursionError:
        raise InvalidValueError(_too_deep(what)) from None
    except ValueError as error:  # bytes that are not text, or a number of thousands of digits
        raise InvalidValueError(f"{what} is not JSON: {error}") from None
    dumps(value, what)
    return value


def _too_deep(what: str) -> str:
    return f"{what} is nested too deep; the limit is {MAX_DEPTH} levels"


def _deeper(value: Any) -> bool:
    """Whether there are more than ``MAX_DEPTH`` levels."""
    layer = [value]
    for _ in range(MAX_DEPTH):
        inner = (each.values() if isinstance(each, dict) else each for each in layer if _nests(each))
        layer = [each for group in inner for each in group if _nests(each)]
    return bool(layer)


def _nests(value: Any) -> bool:
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
    """``str(value)`` as a database can store it: NUL and lone surrogates become the replacement character."""
    readable = str(value).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return readable.replace("\0", "\N{REPLACEMENT CHARACTER}")


def storable(value: str) -> bool:
    """Whether a name can be looked for in the database at all."""
    return text(value) == value


def merge(outputs: list[Any]) -> Any:
    """Input of a task from the outputs of its dependencies, in order of seq.

    One output stands as it is; of several, empty objects are dropped and a single survivor stands alone; all
    empty is ``{}``. ``null``, ``[]``, ``""`` and ``0`` are values and kept.
    """
    if len(outputs) == 1:
        return outputs[0]
    kept = [output for output in outputs if output != {} or not isinstance(output, dict)]
    if len(kept) == 1:
        return kept[0]
    return kept or {}


def merge_objects(outputs: Mapping[int, Any]) -> dict[str, Any]:
    """One object made of the outputs of several tasks, by seq; of a key that several have, the last is taken.

    Raises InvalidValueError naming the task whose output is no object.
    """
    merged: dict[str, Any] = {}
    for seq, output in sorted(outputs.items()):
        if not isinstance(output, dict):
            raise InvalidValueError(
                f"the output of task {seq} is no object, so it cannot be merged; return one, or turn merge off"
            )
        merged |= output
    return merged


def secret(key: str) -> bool:
    """Whether a parameter's name says that its value is not to be shown (``FLOWER["MASK"]``)."""
    return any(word.lower() in key.lower() for word in conf.get().MASK)


def masked(parameters: Any) -> Any:
    """``parameters`` with the values of secret-looking keys replaced, at any depth, for showing to people."""

    def mask(value: Any) -> Any:
        if isinstance(value, dict):
            return {
                key: MASKED if item not in (None, "") and secret(key) else mask(item) for key, item in value.items()
            }
        if isinstance(value, list):
            return [mask(item) for item in value]
        return value

    return mask(parameters)
