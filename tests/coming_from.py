"""docs/coming-from.md as its tests read it: the commands that it shows as ours, and what it says they answer."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from tests.core.test_expression_docs import _cells, _codes
from tests.hosts.readme import blocks
from tests.services import ROOT

PAGE = ROOT / "docs" / "coming-from.md"
THEIRS = ("there", "callback there")
"""Headings of the columns that show what other engines have."""
IN_PROCESS = ("flow",)
ON_A_SERVER = ("curl", "python", "celery", "gunicorn", "docker")
"""What the commands begin with: those that run in a test's own process, and those that need processes."""
ELLIPSIS = "…"
ABSENT = "Not there"
"""The heading of what other engines have and flowerapp has not."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command of the page."""

    text: str
    answer: str = ""
    """The JSON that the page says it answers; a value ``…`` may be any."""

    def __str__(self) -> str:
        return self.text

    def holds(self, printed: str) -> bool:
        """Whether what it printed has what the page says."""
        return not self.answer or _within(json.loads(self.answer), json.loads(printed))


def _within(expected: Any, actual: Any) -> bool:
    if isinstance(expected, dict):
        return isinstance(actual, dict) and all(_within(value, actual.get(name)) for name, value in expected.items())
    return expected in (ELLIPSIS, actual)


def commands(*tools: str) -> list[Command]:
    """The commands that begin with one of these words, each once, in the order of the page."""
    return [command for command in _all() if command.text.split()[0] in tools and ELLIPSIS not in command.text]


def forms(*tools: str) -> list[str]:
    """What looks like a command and is none, because an ellipsis stands in it."""
    return [command.text for command in _all() if command.text.split()[0] in tools and ELLIPSIS in command.text]


def _all() -> list[Command]:
    """All code of the page, each once, but for what other engines have and for blocks of other languages."""
    return list(dict.fromkeys([*_in_text(_lines()), *_in_blocks()]))


def _lines() -> list[str]:
    """The page without its blocks."""
    return re.sub(r"^```.*?^```$", "", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE).splitlines()


def _in_text(lines: list[str]) -> Iterator[Command]:
    """The code of sentences, and of tables but for the columns of other engines."""
    headings: list[str] = []
    for line in lines:
        cells = _cells(line) if line.startswith("|") else [line]
        if not line.startswith("|"):
            headings = []
        elif not headings:
            headings = cells
            continue
        for heading, cell in zip(headings or [""], cells, strict=True):
            if heading not in THEIRS:
                yield from _of_cell(_codes(cell))


def _of_cell(codes: list[str]) -> Iterator[Command]:
    for code, following in pairwise([*codes, ""]):
        yield Command(code, following if following.startswith("{") else "")


def _in_blocks() -> Iterator[Command]:
    for block in blocks(PAGE):
        if block.language == "sh":
            yield from map(Command, filter(None, block.text.splitlines()))


def of_language(language: str) -> list[str]:
    """The blocks of a language."""
    return [block.text for block in blocks(PAGE) if block.language == language]


def absent() -> list[str]:
    """The code in the list of what is not there."""
    text = "\n".join(_lines())
    section = re.search(rf"^## {ABSENT}\n(.*?)^## ", text, re.DOTALL | re.MULTILINE)
    assert section
    return [code for line in section[1].splitlines() for code in _codes(line)]


def named(text: str, **names: str) -> str:
    """A command with values in place of ``ID`` and ``TOKEN``."""
    return re.sub(r"\b(ID|TOKEN)\b", lambda match: names[match[1]], text)
