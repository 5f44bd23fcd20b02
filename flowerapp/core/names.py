"""Characters of names and of texts that people read: which are refused, and how stored ones are shown.

A name with a character that cannot be seen looks like another name, and one that turns the direction of writing makes
a line say something else. So new names and reasons may not hold any, and stored ones are shown as ``\\u202e``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from flowerapp.core.values import text
from flowerapp.exceptions import InvalidValueError

LONGEST_NAME = 256
"""Characters of the longest name; the columns are varchar(256)."""
LONGEST_WHY = 2000
"""Characters of the longest reason of an operator."""

_CONTROL = r"\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff"
_BLANK = r"\xad\u061c\u115f\u1160\u200b\u200e\u200f\u2060-\u206f\u2800\u3164\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff"
_PLANES = r"\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e00ff\U000e01f0-\U000e0fff"
_TURNS = r"\u202a-\u202e"
_SPELLING = r"\u034f\u17b4\u17b5\u180b-\u180f\u200c\u200d\ufe00-\ufe0f\U000e0100-\U000e01ef"
"""Unseen too, but some languages and emoji are not spelled without them; so texts may hold them, and names not."""

NOT_IN_TEXTS = f"{_CONTROL}{_TURNS}{_BLANK}{_PLANES}"
"""A class of characters, as regular expressions write it: control characters, and those that mislead a reader."""
NOT_IN_NAMES = f"/{NOT_IN_TEXTS}{_SPELLING}"
"""The same for names, which also stand in URLs."""

_not_in_names = re.compile(f"[{NOT_IN_NAMES}]")
_unseen = re.compile(f"[{NOT_IN_TEXTS}{_SPELLING}]")
_misleading = re.compile(f"[{NOT_IN_TEXTS}]")
_misleading_in_lines = re.compile(f"(?![\t\n\r])[{NOT_IN_TEXTS}]")


def name_problems(name: str, what: str = "task_id") -> Iterator[str]:
    """The problems of a name that stands in URLs and varchar(256) columns; ``what`` names it in the sentences."""
    if not name or not name.strip():
        yield f"{what} is empty; give a name"
    if name in {".", ".."}:
        yield f"{what} {name!r} cannot be part of a URL; use another name"
    yield from part_problems(name, what)


def part_problems(name: str, what: str) -> Iterator[str]:
    """The same problems for a name that may be empty and stands in no URL by itself."""
    if len(name) > LONGEST_NAME:
        yield f"{what} has {len(name)} characters; {LONGEST_NAME} is the most"
    if match := _not_in_names.search(name):
        yield f"{what} holds {_called(match[0])}; use other characters"


def unseen_problems(name: str, what: str) -> Iterator[str]:
    """The problem of a name that may be any text but for characters that cannot be seen."""
    if match := _unseen.search(name):
        yield f"{what} holds {_called(match[0])}; use other characters"


def text_problems(content: str, what: str, longest: int | None = None) -> Iterator[str]:
    """The problems of a text of several lines that people write."""
    if longest is not None and len(content) > longest:
        yield f"{what} has {len(content):,} characters; {longest:,} is the most"
    if match := _misleading_in_lines.search(content):
        yield f"{what} holds {_called(match[0])}; leave it out"


def _called(char: str) -> str:
    return "a slash" if char == "/" else f"U+{ord(char):04X}, a control character or one that cannot be seen"


def visible(content: str) -> str:
    """A name or a line with escapes in place of what misleads a reader, as ``\\u202e``."""
    return _misleading.sub(_escaped, content)


def visible_lines(content: str) -> str:
    """The same of a text of several lines, which stay."""
    return _misleading_in_lines.sub(_escaped, content)


def titled(seq: int, name: str, program: str = "") -> str:
    """``3 load``: a task by its number and the name of its step; of one without a name, by its program."""
    return f"{seq} {name or program}".rstrip()


def mentioned(seq: int, name: str, program: str = "") -> str:
    """``task 3 "load"``, for a sentence; of one without a name, ``task 3 HTTPPostRequest``."""
    return f'task {seq} "{name}"' if name else f"task {seq} {program}".rstrip()


def _escaped(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape", "backslashreplace").decode()


def checked_why(why: str) -> str:
    """The reason of an operator, as it is stored: U+FFFD replaces what is no text. Raises InvalidValueError."""
    reason = text(why)
    if problems := list(text_problems(reason, "why", LONGEST_WHY)):
        raise InvalidValueError("; ".join(problems))
    return reason
