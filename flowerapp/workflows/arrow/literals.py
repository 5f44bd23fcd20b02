"""Literals: where a JSON or YAML value in a text ends, and what it is.

JSON is read by Python's own decoder, so brackets inside strings and lists are no matter; ``yaml_scan`` says where YAML
ends.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

from flowerapp.core import values, yaml_values
from flowerapp.core.expressions.limits import MAX_LEVELS, TOO_MANY_DIGITS
from flowerapp.core.expressions.literals import MOST_DIGITS
from flowerapp.core.yaml_values import MAX_EVENTS, YAMLError
from flowerapp.exceptions import InvalidValueError
from flowerapp.workflows.arrow.errors import Failure
from flowerapp.workflows.arrow.limits import MAX_YAML_WORK
from flowerapp.workflows.arrow.sizes import Sizes
from flowerapp.workflows.arrow.syntax import Literal
from flowerapp.workflows.arrow.yaml_scan import Scan

BLANKS = re.compile(r"[ \t\r\n\f\v]*")
OPENING = re.compile(r"[(<][ \t\r\n\f\v]*(?=[{\[])")
"""What a JSON literal begins with."""
CLOSING = {"(": ")", "<": ">"}
SHOWN = {"(": "({ … }), ([ … ]) or (- … -)", "<": "<{ … }>, <[ … ]> or <- … ->"}
"""The forms of a literal, by its first character."""


def json_literal(text: str, start: int) -> Literal:
    """The JSON literal that begins with the bracket at ``start``."""
    opening = OPENING.match(text, start)
    if opening is None:
        raise Failure(f"a literal is {SHOWN[text[start]]}", start)
    value, end = _decoded(text, opening.end(), text[start])
    closing = CLOSING[text[start]]
    end = _skip_blanks(text, end)
    if not text.startswith(closing, end):
        raise Failure(f"the JSON value is complete; expected {closing}", end, closing)
    return checked(text, start, end + 1, value)


def _skip_blanks(text: str, start: int) -> int:
    match = BLANKS.match(text, start)
    return match.end() if match else start


def _decoded(text: str, start: int, bracket: str) -> tuple[Any, int]:
    try:
        return _decoder.raw_decode(text, start)
    except json.JSONDecodeError as error:
        hint = f"{bracket}- … -{CLOSING[bracket]} takes YAML"
        sentence = f"the JSON is invalid: {error.msg[0].lower()}{error.msg[1:]}; {hint}"
        raise Failure(sentence, min(error.pos, len(text))) from None
    except RecursionError:
        raise Failure(f"the JSON has more than {MAX_LEVELS} lists and objects inside one another", start) from None
    except ValueError as error:
        raise Failure(f"the JSON is invalid: {error}", start) from None


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON value")


def _integer(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise ValueError(TOO_MANY_DIGITS)
    return int(digits)


def _float(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError("the number is too large")
    return value


_decoder = json.JSONDecoder(parse_constant=_constant, parse_int=_integer, parse_float=_float)


def checked(text: str, start: int, end: int, value: Any) -> Literal:
    """The literal, if the database can store its value."""
    try:
        size = len(values.dumps(value, "the value"))
    except InvalidValueError as error:
        raise Failure(str(error), start) from None
    return Literal(value, start, text[start:end], size)


def empty_literal(text: str, start: int) -> Literal:
    """``()`` or ``<>``."""
    end = text.index(CLOSING[text[start]], start) + 1
    return Literal({}, start, text[start:end])


class Account:
    """The work of reading the YAML of a text, and the size of its values, which are bounded for the whole text."""

    __slots__ = ("events", "sizes", "work")

    def __init__(self) -> None:
        self.work = 0
        self.events = 0
        self.sizes = Sizes()

    def add(self, work: int, position: int) -> None:
        """Count work before it is done; raises Failure over the limit."""
        self.work += work
        if self.work > MAX_YAML_WORK:
            raise Failure("the YAML of the text has too many lists and objects inside one another", position)


def yaml_literal(text: str, start: int, account: Account) -> Literal:
    """The YAML literal that begins with the bracket at ``start``."""
    body_start = start + 2
    scan = yaml_scan(text, start)
    if scan.end is None or (scan.stray is not None and "(-" in text[scan.stray : scan.end]):
        raise _unclosed(text, start, scan)
    account.add(scan.work, start)
    body = text[body_start : scan.end]
    try:
        value, events = yaml_values.read(body, MAX_EVENTS - account.events)
    except YAMLError as error:
        if scan.stray is not None and "\n" in text[scan.stray : scan.end]:
            raise _unclosed(text, start, scan) from None
        raise Failure(str(error), body_start + error.position) from None
    account.events += events
    literal = checked(text, start, scan.end + 2, value if body.strip() else {})
    account.sizes.add(literal.size, start)
    return literal


def yaml_scan(text: str, start: int) -> Scan:
    """Where the YAML literal ends that begins with the bracket at ``start``."""
    return Scan(text, start + 2, f"-{CLOSING[text[start]]}")


def _unclosed(text: str, start: int, scan: Scan) -> Failure:
    """The failure of YAML that lacks its end: where another bracket stands in its place, or else where it begins."""
    opening = text[start : start + 2]
    sentence = f"what begins with {opening} ends with {scan.closing}"
    if scan.stray is None:
        return Failure(f"{sentence}, which does not follow; expected {scan.closing}", start, scan.closing)
    return Failure(
        f"{sentence}, and here is {text[scan.stray]} alone; expected {scan.closing}", scan.stray, scan.closing
    )
