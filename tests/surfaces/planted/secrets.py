"""Planted secrets: each knows the place where it was planted, and is found in whatever form a text has it."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator

_MARK = re.compile(r"zq(\d{4})kv")
_ENCODED = re.compile(r"[A-Za-z0-9+/_-]{12,}")
_ENCODED_MARK = re.compile(r"enE|px[MNO]|6cT")
"""What base64 makes of the mark, after any number of bytes."""
ODD = "&<é'\"\\ /%9"
"""What HTML, JSON, URLs and Python escape."""


class Planter:
    """Makes secrets, each with a number of its own, so that a part of one that is cut still says which it is."""

    def __init__(self) -> None:
        self.places: dict[int, str] = {}

    def plant(self, place: str, tail: str = "Tail9") -> str:
        """A new secret for a place."""
        number = len(self.places)
        self.places[number] = place
        return f"zq{number:04}kv{tail}"

    def leaks(self, text: str) -> list[str]:
        """The places whose secrets a text shows, also within base64."""
        return sorted({self.places.get(number, "?") for number in _numbers(text)})


def _numbers(text: str) -> Iterator[int]:
    yield from (int(match[1]) for match in _MARK.finditer(text))
    for run in filter(_ENCODED_MARK.search, _ENCODED.findall(text)):
        for start in range(4):
            decoded = _decoded(run[start:])
            yield from (int(match[1]) for match in _MARK.finditer(decoded))


def _decoded(run: str) -> str:
    whole = run[: len(run) // 4 * 4].replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(whole).decode("latin-1")
    except (binascii.Error, ValueError):
        return ""
