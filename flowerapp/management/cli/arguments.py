"""Values that users type: inputs, ``KEY=VALUE``, states, ids of flows."""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from flowerapp.core import values
from flowerapp.core.coercion import short
from flowerapp.exceptions import InvalidError, UnknownFlowError
from flowerapp.models import Flow
from flowerapp.selectors.flow_ids import id_of
from flowerapp.selectors.flows import shown_flows
from flowerapp.selectors.status_style import flow_style

SHORTEST_PREFIX = 6
"""Characters of a flow's id that may stand for the whole."""
LONGEST_SEQ = 10
"""Digits of the largest seq, 2³¹ − 1."""
MOST_LISTED = 10
"""Flows that are listed where a prefix fits several."""

Parameters = dict[int, dict[str, Any]]


def actor() -> str:
    """Name of the user for the history: ``cli:`` and the name in the operating system."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid()) if hasattr(os, "getuid") else ""
    return f"cli:{user}"[:150]


TEXT_SUFFIXES = (".flow", ".lf")
"""How the names of files of the arrow language end."""


def read_input(text: str | None, option: str = "--input") -> Any:
    """Value of ``--input`` or such an option: JSON, ``@FILE`` with JSON in it, or ``@-`` for standard input.

    Raises InvalidError.
    """
    if text is None:
        return None
    if not text.startswith("@"):
        return values.loads(text, option)
    try:
        raw = sys.stdin.buffer.read() if text == "@-" else Path(text[1:]).read_bytes()
    except OSError as error:
        raise InvalidError(f"{option} {text}: {error.strerror or error}; name a file that can be read") from None
    return values.loads(raw, f"{option} {text}")


def pair(text: str) -> tuple[str, Any]:
    """``KEY=VALUE`` is text, ``KEY:=JSON`` any value. Raises InvalidError."""
    key, equals, value = text.partition("=")
    typed = key.endswith(":")
    key = key.removesuffix(":")
    if not equals or not key:
        raise InvalidError(f"{short(text)} is not KEY=VALUE; write KEY=TEXT or KEY:=JSON")
    return key, values.loads(value, key) if typed else values.check(value, key)


def pairs(texts: Iterable[str]) -> dict[str, Any]:
    """Several ``KEY=VALUE``; the last of a key wins."""
    return dict(pair(text) for text in texts)


def steps(texts: Iterable[str] | None) -> Parameters:
    """Several ``SEQ.KEY=VALUE`` as parameters by seq. Raises InvalidError."""
    result: Parameters = {}
    for text in texts or ():
        seq, dot, rest = text.partition(".")
        if not dot or not seq.isascii() or not seq.isdecimal() or len(seq) > LONGEST_SEQ:
            raise InvalidError(f"{short(text)} is not SEQ.KEY=VALUE; write for example 3.URL=http://127.0.0.1/")
        key, value = pair(rest)
        result.setdefault(int(seq), {})[key] = value
    return result


def task_of_flows(words: Sequence[str]) -> tuple[list[str], int, dict[str, Any]]:
    """``ID … SEQ KEY=VALUE …`` as ids, seq and parameters; raises InvalidError."""
    first = next((place for place, word in enumerate(words) if "=" in word), len(words))
    *flows, seq = words[:first] or [""]
    if not flows or not seq.isascii() or not seq.isdecimal() or len(seq) > LONGEST_SEQ:
        raise InvalidError(f"write set ID [ID …] SEQ KEY=VALUE …; {short(seq)} is not the number of a task")
    return flows, int(seq), pairs(words[first:])


def step(text: str | None) -> int | str | None:
    """A step by its number, or else its name."""
    numeric = text is not None and text.isascii() and text.isdecimal() and len(text) <= LONGEST_SEQ
    return int(text) if text is not None and numeric else text


def check_text(text: str) -> None:
    """Raise InvalidError for text that cannot be stored or looked up, such as bytes that are not UTF-8."""
    if "\0" in text or not _encodable(text):
        raise InvalidError(f"{text!r} is not UTF-8 text")


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def find_flow(text: str) -> Flow:
    """The flow of that id, or the only one whose id begins so. Raises UnknownFlowError, InvalidError.

    Both may have ``workflow:`` in front.
    """
    text = id_of(text)
    if "\0" in text:
        raise UnknownFlowError(f"there is no flow {text!r}")
    flow: Flow | None = shown_flows().filter(pk=text).first()
    return flow if flow is not None else _only(text, matching(text))


def matching(prefix: str) -> list[Flow]:
    """The newest flows whose ids begin with ``prefix``, a few at most; none for a short prefix."""
    if len(prefix) < SHORTEST_PREFIX or "\0" in prefix:
        return []
    return list(shown_flows().filter(pk__startswith=prefix)[: MOST_LISTED + 1])


def _only(prefix: str, matches: list[Flow]) -> Flow:
    if not matches:
        hint = "" if len(prefix) >= SHORTEST_PREFIX else f"; give at least {SHORTEST_PREFIX} characters of its id"
        raise UnknownFlowError(f"there is no flow {prefix!r}{hint}; see `flow list`")
    if len(matches) > 1:
        listed = "\n".join(f"  {flow.pk}  {flow.task_id}  {flow_style(flow).word}" for flow in matches[:MOST_LISTED])
        more = "\n  …" if len(matches) > MOST_LISTED else ""
        raise InvalidError(f"{prefix!r} is the beginning of several flows; give more of the id:\n{listed}{more}")
    return matches[0]
