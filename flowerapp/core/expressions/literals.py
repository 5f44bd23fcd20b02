"""The values of numbers and strings as they stand in an expression."""

from __future__ import annotations

import math
import re

from flowerapp.core.expressions import kinds
from flowerapp.core.expressions.errors import Failure
from flowerapp.core.expressions.limits import INTEGER_END, TOO_MANY_DIGITS

MOST_DIGITS = 4_300
BASES = {"0x": 16, "0o": 8, "0b": 2}
ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|x([0-9a-fA-F]{2})|(.))", re.DOTALL)
CONTROLS = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "v": "\v", "a": "\a"}
KEPT = frozenset("\\\"'`/{}")
"""Characters that a backslash before them leaves as they are."""
SURROGATES = re.compile("([\ud800-\udbff])([\udc00-\udfff])")


def integer(text: str, position: int) -> int:
    """The value of ``42``, ``1_000``, ``0x2A``, ``0o52`` or ``0b1010``."""
    digits = text.replace("_", "")
    base = BASES.get(digits[:2].lower(), 10)
    digits = digits[2:] if base != 10 else digits
    if not digits or len(digits) > MOST_DIGITS:
        raise Failure("the integer has no digits, or more than 4,300", position)
    value = int(digits, base)
    if value >= INTEGER_END:
        raise Failure(TOO_MANY_DIGITS, position)
    return value


def floating(text: str, position: int) -> float:
    """The value of ``0.5``, ``.5`` or ``1e-3``."""
    value = float(text.replace("_", ""))
    if not math.isfinite(value):
        raise Failure("the number is too large", position)
    return value


def string(text: str, position: int) -> str:
    """The value of a string in quotes; raises Failure at the escape that has no meaning."""
    inner = text[1:-1]
    if "\\" in inner:
        inner = ESCAPE.sub(lambda match: _escape(match, position + 1), inner)
        inner = SURROGATES.sub(_joined, inner)
    return checked(inner, position)


def checked(inner: str, position: int) -> str:
    """``inner`` if it is text that JSON and the database can hold."""
    try:
        return kinds.text(inner)
    except Failure as failure:
        raise failure.at(position) from None


def _joined(pair: re.Match[str]) -> str:
    return pair[0].encode("utf-16", "surrogatepass").decode("utf-16")


def _escape(match: re.Match[str], start: int) -> str:
    code = match[1] or match[2] or match[3]
    if code and int(code, 16) <= 0x10FFFF:
        return chr(int(code, 16))
    char = match[4] or ""
    if char in CONTROLS or char in KEPT:
        return CONTROLS.get(char, char)
    raise Failure(f"a string has no escape {match[0][:2]}; write \\\\ for a backslash", start + match.start())
