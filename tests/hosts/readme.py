"""The code blocks of README and documents, as a reader pastes them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tests.services import ROOT

README = ROOT / "README.md"
INSTALLATION = ROOT / "docs" / "installation.md"
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of code."""

    language: str
    text: str

    @property
    def place(self) -> str:
        """Where it goes, as the comment in its first line says; empty without one."""
        first = self.text.partition("\n")[0]
        return first.removeprefix("# ") if first.startswith("# ") else ""

    @property
    def file(self) -> str:
        """Name of the file that it goes to; empty if it names none."""
        name = re.match(r"[\w.]+\.py\b", self.place)
        return name[0] if name else ""


def blocks(document: Path = README, heading: str = "") -> list[Block]:
    """The blocks of a document, or of the section under a heading; AssertionError if there are none."""
    text = document.read_text(encoding="utf-8")
    texts = _BLOCK.findall(_section(text, heading) if heading else text)
    assert texts, f"{document.name} has no blocks under {heading!r}"
    return [Block(language, body) for language, body in texts]


def _section(text: str, heading: str) -> str:
    start = re.search(rf"^(#+) {re.escape(heading)}\n", text, re.MULTILINE)
    assert start, f"no heading {heading!r}"
    rest = text[start.end() :]
    end = re.search(rf"^#{{2,{len(start[1])}}} ", rest, re.MULTILINE)
    return rest[: end.start()] if end else rest
