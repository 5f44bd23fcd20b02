"""Patterns for ``matches``, in time linear in the text: the common part of RE2's syntax, without backtracking.

A pattern is read into a graph of states. A search follows all ways through it at once, and keeps what it computed for
each set of states and character, so no pattern takes longer on a text than its length times the pattern's.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

from flowerapp.core.expressions.errors import Failure
from flowerapp.core.expressions.limits import Evaluation
from flowerapp.core.expressions.pattern_parser import Assertion, Characters, Machine, is_word, read

MAX_PATTERN = 1_000
"""Most characters of a pattern."""
MAX_REMEMBERED = 50_000
"""Most states and moves that a pattern remembers; then it forgets them and computes them anew."""


@dataclass(slots=True, eq=False)
class StateSet:
    """States that a search may be in, and what came before: None at the start of the text."""

    states: frozenset[int]
    before: str | None
    moves: dict[str, StateSet | None] = field(default_factory=dict)
    """The set after each character that was met; None where the pattern has matched before it."""


class Pattern:
    """A pattern that can be searched for."""

    def __init__(self, text: str) -> None:
        self.machine: Machine = read(text)
        self._weight = 1 + len(text) // 2
        """Steps that looking at a new character takes, without those for states."""
        self._sets: dict[tuple[frozenset[int], str | None], StateSet] = {}
        self._remembered = 0

    def search(self, evaluation: Evaluation, text: str) -> bool:
        """Whether it matches anywhere in ``text``."""
        evaluation.step(len(text) + 1)
        current = self._set(frozenset({self.machine.start}), None)
        for char in text:
            following = current.moves[char] if char in current.moves else self._move(evaluation, current, char)
            if following is None:
                return True
            current = following
        return self._accepts(self._closure(evaluation, current, None))

    def _set(self, states: frozenset[int], before: str | None) -> StateSet:
        state_set = self._sets.get((states, before))
        if state_set is None:
            self._remember(len(states))
            state_set = self._sets[states, before] = StateSet(states, before)
        return state_set

    def _remember(self, number: int) -> None:
        self._remembered += number
        if self._remembered > MAX_REMEMBERED:
            self._remembered = number
            self._sets = {}

    def _move(self, evaluation: Evaluation, current: StateSet, char: str) -> StateSet | None:
        """The set after ``char``, or None if the pattern has matched before it."""
        evaluation.step(self._weight)
        states = self._closure(evaluation, current, char)
        following: StateSet | None = None
        if not self._accepts(states):
            nexts = {self.machine.start}
            for state in states:
                node = self.machine.nodes[state]
                if isinstance(node, Characters) and node.accept(char):
                    nexts.add(node.following)
            following = self._set(frozenset(nexts), _kind(char))
        self._remember(1)
        current.moves[char] = following
        return following

    def _accepts(self, states: Iterable[int]) -> bool:
        return self.machine.end in states

    def _closure(self, evaluation: Evaluation, current: StateSet, char: str | None) -> set[int]:
        """The states that are reached without taking a character, where ``char`` is next, None at the end."""
        reached: set[int] = set()
        waiting = list(current.states)
        while waiting:
            state = waiting.pop()
            if state in reached:
                continue
            reached.add(state)
            node = self.machine.nodes[state]
            if isinstance(node, Assertion):
                waiting += [node.following] if node.holds(current.before, char) else []
            elif isinstance(node, tuple):
                waiting += node
        evaluation.step(len(reached))
        return reached


def _kind(char: str) -> str:
    """The character as assertions see it from behind: a line feed, a character of a word, or another."""
    return char if char == "\n" else "w" if is_word(char) else " "


@lru_cache(maxsize=32)
def compiled(text: str) -> Pattern:
    """The pattern of a text; raises Failure that says what in it cannot be read."""
    if len(text) > MAX_PATTERN:
        raise Failure(f"the pattern has {len(text):,} characters; the limit is {MAX_PATTERN:,}")
    return Pattern(text)
