"""Functions that turn a value of one type into one of another."""

from __future__ import annotations

import base64
import binascii
import json
import re
from decimal import Decimal
from typing import Any, NoReturn

from flowerapp.core.expressions import kinds
from flowerapp.core.expressions.errors import Failure
from flowerapp.core.expressions.functions import function
from flowerapp.core.expressions.kinds import name
from flowerapp.core.expressions.limits import TOO_MANY_DIGITS, Evaluation
from flowerapp.core.expressions.number_functions import UNITS
from flowerapp.core.expressions.operations import calculate

MOST_DIGITS = 4_300
INTEGER = re.compile(r"[+-]?[0-9]+")
FLOAT = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
DURATION = re.compile(r"([0-9]{1,15}(?:\.[0-9]{0,9})?|\.[0-9]{1,9})(ns|us|µs|ms|s|m|h)")


@function("type", "any")
def type_name(evaluation: Evaluation, value: Any) -> str:
    """``nil``, ``bool``, ``int``, ``float``, ``string``, ``array`` or ``map``."""
    return kinds.GO_NAMES[type(value)]


@function("int", "any")
def integer(evaluation: Evaluation, value: Any) -> int:
    """An integer of a number, which loses its fraction, or of a string of digits."""
    if type(value) in kinds.NUMBERS:
        return int(value)
    text = _number_text("int", value, INTEGER)
    if len(text) > MOST_DIGITS:
        raise Failure(TOO_MANY_DIGITS)
    return evaluation.integer(int(text))


@function("float", "any")
def floating(evaluation: Evaluation, value: Any) -> Any:
    """A number with a fraction, of a number or of a string."""
    if type(value) in kinds.NUMBERS:
        return calculate(evaluation, float, value)
    return calculate(evaluation, float, _number_text("float", value, FLOAT))


def _number_text(what: str, value: Any, pattern: re.Pattern[str]) -> str:
    if type(value) is not str:
        raise Failure(f"{what}() needs a number or a string, and this is {name(value)}")
    if not pattern.fullmatch(value):
        raise Failure(f"{what}() cannot read this string as a number")
    return str(value)


@function("string", "any")
def string(evaluation: Evaluation, value: Any) -> str:
    """A string as it is, ``3``, ``true``, ``null``, or JSON text of a list or object."""
    return kinds.as_text(evaluation, value)


@function("toJSON", "any")
def to_json(evaluation: Evaluation, value: Any) -> str:
    """JSON text without blanks."""
    return kinds.json_text(evaluation, value)


@function("fromJSON", "string")
def from_json(evaluation: Evaluation, text: str) -> Any:
    """The value of JSON text."""
    evaluation.build(len(text), sum(map(text.count, ",[{")))
    try:
        value = json.loads(text, parse_constant=_refuse)
    except json.JSONDecodeError as error:
        raise Failure(f"fromJSON(): {error.msg} at its line {error.lineno}, column {error.colno}") from None
    except (RecursionError, ValueError):
        raise Failure("fromJSON(): it is nested too deeply, or a number has more than 4,300 digits") from None
    kinds.measure(evaluation, value)
    return value


def _refuse(constant: str) -> NoReturn:
    raise Failure(f"fromJSON(): {constant} is not JSON")


@function("toBase64", "string")
def to_base64(evaluation: Evaluation, text: str) -> str:
    """The string's UTF-8 in Base64."""
    evaluation.build(6 * len(text))
    return base64.b64encode(text.encode(errors="replace")).decode()


@function("fromBase64", "string")
def from_base64(evaluation: Evaluation, text: str) -> str:
    """The string whose UTF-8 is in Base64."""
    try:
        decoded = base64.b64decode(text, validate=True).decode()
    except (binascii.Error, ValueError):
        raise Failure("fromBase64() needs the Base64 of text in UTF-8") from None
    kinds.measure(evaluation, decoded)
    return decoded


@function("duration", "string")
def duration(evaluation: Evaluation, text: str) -> Any:
    """The seconds of a duration such as ``1h30m`` or ``1.5s``."""
    sign, rest = (-1, text[1:]) if text.startswith("-") else (1, text)
    parts = DURATION.findall(rest) if len(rest) < 1000 else []
    if not parts or "".join(map("".join, parts)) != rest:
        raise Failure("duration() needs a text such as 1h30m, 1.5s or 300ms; the units are ns, us, ms, s, m, h")
    total = sign * sum(Decimal(number) * UNITS[unit] for number, unit in parts) / 10**9
    return int(total) if total == int(total) else calculate(evaluation, float, total)
