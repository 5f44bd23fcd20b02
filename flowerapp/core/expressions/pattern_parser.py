"""Reads a pattern into a graph of states."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from flowerapp.core.expressions.errors import Failure

MAX_NODES = 5_000
"""Most states of a pattern, its repetitions written out."""
MAX_GROUPS = 25
"""Most groups inside one another."""
MAX_REPEATS = 1_000
"""The largest number in ``{2,5}``, as in RE2."""

Test = Callable[[str], bool]
Part = Callable[["Machine", int], int]
"""Adds a part of a pattern to a machine, in front of a state, and gives the state that it begins with."""


@dataclass(frozen=True, slots=True)
class Characters:
    """A state that takes a character."""

    accept: Test
    following: int


@dataclass(frozen=True, slots=True)
class Assertion:
    """A state that looks at the characters around it, None at the ends of the text."""

    holds: Callable[[str | None, str | None], bool]
    following: int


Node = Characters | Assertion | tuple[int, ...] | None
"""A state; a tuple is a choice, None the end."""


@dataclass(slots=True)
class Machine:
    """States by number."""

    nodes: list[Node] = field(default_factory=lambda: [None])
    end: int = 0
    start: int = 0
    copies: int = 0

    def add(self, node: Node) -> int:
        """The number of a new state."""
        self.count()
        self.nodes.append(node)
        return len(self.nodes) - 1

    def count(self) -> None:
        """Count a state or a repetition; raises Failure over the limit."""
        self.copies += 1
        if self.copies > MAX_NODES:
            raise Failure(f"the pattern is too large: with its repetitions it has more than {MAX_NODES:,} parts")


@dataclass(frozen=True, slots=True)
class Flags:
    """What ``(?ims)`` switches on."""

    i: bool = False
    m: bool = False
    s: bool = False


def is_word(char: str | None) -> bool:
    r"""Whether ``\w`` matches, which is ASCII as in RE2."""
    return char is not None and char.isascii() and (char.isalnum() or char == "_")


def _is_digit(char: str) -> bool:
    return "0" <= char <= "9"


def _is_space(char: str) -> bool:
    return char in "\t\n\f\r "


CLASSES: dict[str, Test] = {"d": _is_digit, "w": is_word, "s": _is_space}
CONTROLS = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v", "a": "\a"}
Boundary = Callable[[str | None, str | None], bool]
BOUNDARIES: dict[str, Boundary] = {
    "b": lambda before, after: (before == "w") != is_word(after),
    "B": lambda before, after: (before == "w") == is_word(after),
    "A": lambda before, after: before is None,
    "z": lambda before, after: after is None,
    "^": lambda before, after: before is None or before == "\n",
    "$": lambda before, after: after is None or after == "\n",
}
"""What is before is "w" for a character of a word, a line feed for itself, and a blank for others.

``^`` and ``$`` are those of ``(?m)``.
"""


def _opposite(test: Test) -> Test:
    return lambda char: not test(char)


def _cased(test: Test, flags: Flags) -> Test:
    """``test``, with ``(?i)`` for either case of a character; what is negated is asked for both before, as in RE2."""
    return (lambda char: test(char) or test(char.lower()) or test(char.upper())) if flags.i else test


def _once(test: Test) -> Test:
    """``test``, which is asked once for a character that all repetitions of a part look at."""
    last: tuple[str, bool] = ("", False)

    def remember(char: str) -> bool:
        nonlocal last
        answer = last
        if answer[0] != char:
            answer = last = (char, test(char))
        return answer[1]

    return remember


def _is(char: str) -> Test:
    return lambda other: other == char


def _between(first: str, last: str) -> Test:
    return lambda char: first <= char <= last


def _category(name: str) -> Test:
    return lambda char: unicodedata.category(char).startswith(name)


def _in_any(tests: list[Test]) -> Test:
    return lambda char: any(test(char) for test in tests)


def _characters(test: Test) -> Part:
    return lambda machine, following: machine.add(Characters(test, following))


def _assertion(holds: Boundary) -> Part:
    return lambda machine, following: machine.add(Assertion(holds, following))


def _sequence(parts: list[Part]) -> Part:
    def add(machine: Machine, following: int) -> int:
        for part in reversed(parts):
            following = part(machine, following)
        return following

    return add


def _choice(parts: list[Part]) -> Part:
    return lambda machine, following: machine.add(tuple([part(machine, following) for part in parts]))


def _repeated(part: Part, low: int, high: int | None) -> Part:
    """``part`` at least ``low`` times, and at most ``high`` times; None is without end."""

    def add(machine: Machine, following: int) -> int:
        last = following if high is not None else _loop(machine, part, following)
        for _ in range(0 if high is None else high - low):
            machine.count()
            last = machine.add((part(machine, last), following))
        for _ in range(low):
            machine.count()
            last = part(machine, last)
        return last

    return add


def _loop(machine: Machine, part: Part, following: int) -> int:
    state = machine.add(())
    machine.nodes[state] = (part(machine, state), following)
    return state


def read(text: str) -> Machine:
    """The machine of a pattern; raises Failure."""
    reader = _Reader(text)
    part = reader.alternatives(Flags(), 0)
    if reader.rest:
        raise reader.failure("a ) without a (")
    machine = Machine()
    machine.start = part(machine, machine.end)
    return machine


class _Reader:
    """Takes a pattern from left to right."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    @property
    def rest(self) -> str:
        """What is not read yet, or its beginning."""
        return self.text[self.at : self.at + 100]

    def failure(self, message: str) -> Failure:
        """A failure that names the place in the pattern."""
        return Failure(f"the pattern has {message} at its character {self.at + 1}")

    def take(self, beginning: str) -> bool:
        """Whether the rest begins with a text, which is then taken."""
        matched = self.text.startswith(beginning, self.at)
        self.at += len(beginning) if matched else 0
        return matched

    def character(self) -> str:
        """The next character, taken."""
        if not self.rest:
            raise self.failure("an unexpected end")
        self.at += 1
        return self.text[self.at - 1]

    def until(self, end: str, what: str) -> str:
        """The text before ``end``; both are taken."""
        place = self.text.find(end, self.at)
        if place < 0:
            raise self.failure(f"{what} without its {end}")
        start, self.at = self.at, place + len(end)
        return self.text[start:place]

    def alternatives(self, flags: Flags, groups: int) -> Part:
        """What stands between ``|``, up to a ``)`` or the end."""
        parts: list[Part] = []
        while True:
            part, flags = self._sequence(flags, groups)
            parts.append(part)
            if not self.take("|"):
                return parts[0] if len(parts) == 1 else _choice(parts)

    def _sequence(self, flags: Flags, groups: int) -> tuple[Part, Flags]:
        parts: list[Part] = []
        while self.rest and self.rest[0] not in "|)":
            if self.rest.startswith("(?") and (switched := self._switch(flags)):
                flags = switched
                continue
            parts.append(self._repetition(self._atom(flags, groups)))
        return _sequence(parts), flags

    def _switch(self, flags: Flags) -> Flags | None:
        """The flags after ``(?i)``, which is taken; None if a group begins here."""
        letters = self.rest[2:].partition(")")[0]
        if not letters or set(letters) - set("ims-"):
            return None
        self.at += len(letters) + 3
        return _switched(flags, letters)

    def _atom(self, flags: Flags, groups: int) -> Part:
        char = self.character()
        if char == "(":
            return self._group(flags, groups + 1)
        if char in "^$":
            return _assertion(BOUNDARIES[char if flags.m else {"^": "A", "$": "z"}[char]])
        if char in "*+?":
            self.at -= 1
            raise self.failure(f"a {char} that repeats nothing")
        if char == "\\" and self.rest[:1] and self.rest[0] in "bBAz":
            return _assertion(BOUNDARIES[self.character()])
        test = self._test(char, flags)
        return _characters(_once(test))

    def _test(self, char: str, flags: Flags) -> Test:
        if char == ".":
            return (lambda _: True) if flags.s else _opposite(_is("\n"))
        if char == "[":
            return self._class(flags)
        return self._escape(flags) if char == "\\" else _cased(_is(char), flags)

    def _group(self, flags: Flags, groups: int) -> Part:
        if groups > MAX_GROUPS:
            raise self.failure(f"more than {MAX_GROUPS} groups inside one another")
        if self.take("?"):
            flags = self._group_flags(flags)
        part = self.alternatives(flags, groups)
        if not self.take(")"):
            raise self.failure("a ( without a )")
        return part

    def _group_flags(self, flags: Flags) -> Flags:
        if (self.rest[:1] and self.rest[0] in "=!") or self.rest[:2] in {"<=", "<!"}:
            raise self.failure("a look ahead or behind, which is not supported,")
        if self.take("P<") or self.take("<"):
            self.until(">", "a name")
            return flags
        letters = self.until(":", "(?")
        if set(letters) - set("ims-"):
            raise self.failure("an unknown group (?")
        return _switched(flags, letters)

    def _repetition(self, part: Part) -> Part:
        low, high = self._bounds()
        if (low, high) == (1, 1):
            return part
        self.take("?")
        if self.rest[:1] and self.rest[0] in "*+?":
            raise self.failure("a repetition of a repetition")
        return _repeated(part, low, high)

    def _bounds(self) -> tuple[int, int | None]:
        for sign, bounds in {"*": (0, None), "+": (1, None), "?": (0, 1)}.items():
            if self.take(sign):
                return bounds
        return self._braces() if self.rest.startswith("{") else (1, 1)

    def _braces(self) -> tuple[int, int | None]:
        """The numbers of ``{2}``, ``{2,}`` or ``{2,5}``; other braces stand for themselves."""
        inner, brace, _ = self.rest[1:].partition("}")
        first, comma, last = inner.partition(",")
        if not brace or not _digits(first) or (last and not _digits(last)):
            return 1, 1
        low = int(first)
        high = int(last) if last else None if comma else low
        if max(low, high or 0) > MAX_REPEATS or (high is not None and high < low):
            raise self.failure(f"a repetition that is not between 0 and {MAX_REPEATS:,}")
        self.at += len(inner) + 2
        return low, high

    def _class(self, flags: Flags) -> Test:
        negated = self.take("^")
        tests: list[Test] = []
        while not (self.take("]") and tests):
            char = self._class_character(flags, bool(tests))
            tests.append(self._range(flags, char) if isinstance(char, str) else char)
        return _opposite(_in_any(tests)) if negated else _in_any(tests)

    def _class_character(self, flags: Flags, inside: bool) -> str | Test:
        if not inside and self.text[self.at - 1] == "]":
            return "]"
        if self.rest.startswith("[:"):
            raise self.failure("a class like [:alpha:], which is not supported,")
        char = self.character()
        if char != "\\":
            return char
        return self._escape_or_character(flags)

    def _range(self, flags: Flags, first: str) -> Test:
        if not self.rest.startswith("-") or self.rest[1:2] in {"]", ""}:
            return _cased(_is(first), flags)
        self.at += 1
        last = self._class_character(flags, True)
        if not isinstance(last, str) or last < first:
            raise self.failure("a range without order")
        return _cased(_between(first, last), flags)

    def _escape(self, flags: Flags) -> Test:
        escape = self._escape_or_character(flags)
        return _cased(_is(escape), flags) if isinstance(escape, str) else escape

    def _escape_or_character(self, flags: Flags) -> str | Test:
        char = self.character()
        if char.lower() in CLASSES:
            test = CLASSES[char.lower()]
            return test if char.islower() else _opposite(test)
        if char in "pP":
            test = _cased(self._property(), flags)
            return test if char == "p" else _opposite(test)
        if char == "x":
            return self._hexadecimal()
        if char in CONTROLS or not char.isalnum():
            return CONTROLS.get(char, char)
        raise self.failure("an unknown escape")

    def _property(self) -> Test:
        name = self.until("}", "\\p{") if self.take("{") else self.character()
        if not 1 <= len(name) <= 2 or not name.isalpha():
            raise self.failure("an unknown class of characters")
        return _category(name)

    def _hexadecimal(self) -> str:
        digits = self.until("}", "\\x{") if self.take("{") else self.character() + self.character()
        try:
            return chr(int(digits, 16))
        except (ValueError, OverflowError):
            raise self.failure("a \\x without its digits") from None


def _digits(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 9


def _switched(flags: Flags, letters: str) -> Flags:
    on, _, off = letters.partition("-")
    return replace(flags, **dict.fromkeys(on, True), **dict.fromkeys(off.replace("-", ""), False))
