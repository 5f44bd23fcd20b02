"""Where the YAML of a literal ends: at the first ``-)`` that is not in quotes or stands at the end of a line.

A source ends with ``->`` in the same way. Quotes count where a string of YAML may begin, so that the apostrophe of
``it's`` begins none. A comment has no quotes.
"""

from __future__ import annotations

import re
from functools import cache

STRINGS = {"'": re.compile(r"'(?:[^']|'')*+'"), '"': re.compile(r'"(?:[^"\\]|\\.)*+"', re.DOTALL)}
BLANK = " \t\r\n\f\v"
LONGEST_TAG = 100
"""Most characters of a tag or anchor that is looked at before a quote."""


class Scan:
    """The end of the YAML that begins at ``start``, and the first bracket before it that closes nothing."""

    def __init__(self, text: str, start: int, closing: str) -> None:
        self.text = text
        self.start = start
        self.closing = closing
        self.depth = 0
        self.parentheses = 0
        self.work = 0
        """The sum of the depths of all brackets: what PyYAML does for them, which looks at each enclosing one."""
        self.stray: int | None = None
        """Where a bracket stands that may have been meant as the end; None without one."""
        self.end = self._end()
        """Where the closing characters stand; None if they do not follow."""

    def _end(self) -> int | None:
        position = self.start
        while match := _signs(self.closing).search(self.text, position):
            sign = match[0]
            if sign == self.closing:
                return match.start()
            position = match.end()
            end = None
            if sign in STRINGS:
                end, position = self._quote(match.start())
            elif sign == "#":
                end, position = self._comment(match.start())
            else:
                self._bracket(sign, match.start())
            if end is not None:
                return end
        return None

    def _quote(self, place: int) -> tuple[int | None, int]:
        """The end if it stands in a string at the end of a line, and where to continue."""
        string = STRINGS[self.text[place]].match(self.text, place) if self._may_begin(place) else None
        if string is None:
            return None, place + 1
        at_line_end = _at_line_end(self.closing).search(self.text, place, string.end())
        return (at_line_end.start() if at_line_end else None), string.end()

    def _may_begin(self, place: int) -> bool:
        """Whether a string of YAML may begin at ``place``."""
        before = place - 1
        while before >= self.start and self.text[before] in BLANK:
            before -= 1
        gap = self.text[before + 1 : place]
        if before < self.start or "\n" in gap:
            return True
        sign = self.text[before]
        if sign in "[{" or (sign == "," and self.depth > 0):
            return True
        if sign in ":?-":
            return bool(gap) or (sign == ":" and self.text[before - 1] in STRINGS)
        word = self.text[max(self.start, before - LONGEST_TAG) : before + 1].split()[-1:]
        return bool(gap) and bool(word) and word[0][0] in "!&"

    def _comment(self, place: int) -> tuple[int | None, int]:
        if place > self.start and self.text[place - 1] not in BLANK:
            return None, place + 1
        line_end = self.text.find("\n", place)
        line_end = len(self.text) if line_end < 0 else line_end
        end = self.text.find(self.closing, place, line_end)
        return (None if end < 0 else end), line_end

    def _bracket(self, sign: str, place: int) -> None:
        if sign in "()":
            self.parentheses += 1 if sign == "(" else -1
            if self.parentheses < 0 and self.stray is None and self.closing == "-)":
                self.stray = place
        else:
            self.depth += 1 if sign in "[{" else -1
            self.work += max(self.depth, 0)


@cache
def _signs(closing: str) -> re.Pattern[str]:
    return re.compile(rf"{re.escape(closing)}|['\"#()\[\]{{}}]")


@cache
def _at_line_end(closing: str) -> re.Pattern[str]:
    return re.compile(rf"{re.escape(closing)}(?=[ \t\r]*(?:\n|\Z))")
