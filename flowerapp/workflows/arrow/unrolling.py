"""Loops unrolled.

A loop is entered at one step, its head, and one step with a guard, its tail, leads back: ``:a A → ? `g` B → :a``. With
``max_rounds`` the tail and what follows it to the end of the next round become a subflow behind the guard, which holds
the round after it in the same way: ``A → ? `g` { B → A → ? `g` { B → A } }`` for three rounds. So the steps of the loop
run until the guard does not hold, or until the head has run ``max_rounds`` times; then the value that came last is what
the loop gives. It continues with what follows the tail or, if one step alone leads to the tail, that step; if nothing
follows, it ends the flow or subflow.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from flowerapp.workflows.arrow.errors import Failure
from flowerapp.workflows.arrow.graph import Kind
from flowerapp.workflows.arrow.limits import max_steps
from flowerapp.workflows.arrow.loops import After, Placed, followers, loops, title, unbounded, unreached
from flowerapp.workflows.arrow.scopes import Before, Element, Scope

BRACES = "put the loop into { } of its own"


@dataclass(slots=True)
class Unroller:
    """Unrolls the loops of the scopes of one text, within the bound of steps."""

    max_rounds: int | None
    placed: Placed
    steps: int = 0
    """How many steps the rounds have together."""

    def unroll(self, scope: Scope) -> None:
        """Unroll the loops of a scope; raises Failure at one without a bound, and at a shape that has no meaning."""
        components = loops(scope)
        if not components:
            return
        if self.max_rounds is None:
            raise unbounded(scope, components[0], self.placed)
        after, rounds = followers(scope.before), Rounds(scope, {})
        for component in components:
            loop = read(scope, after, component)
            self._count(len(component) * self.max_rounds, loop.tail.position)
            rounds.put(loop, self.max_rounds)
        kept = scope.before.keys() | rounds.moved.keys()
        scope.elements = [rounds.moved.get(element, element) for element in scope.elements if element in kept]

    def _count(self, steps: int, position: int) -> None:
        self.steps += steps
        if self.steps > max_steps():
            sentence = f"with the rounds of its loops the flow has more than {max_steps():,} steps"
            raise Failure(f"{sentence} (FLOWER['MAX_TASKS'])", position)


@dataclass(slots=True)
class Loop:
    """A loop that can be unrolled."""

    members: list[Element]
    head: Element
    tail: Element
    feeders: dict[Element | None, None]
    """What leads to the tail, but for itself."""
    followers: dict[Element, list[Element]]
    """``{member that leads out of the loop: what it leads to}``."""
    ends: bool
    """Whether what the loop gives goes to the end of the scope."""


def read(scope: Scope, after: After, members: list[Element]) -> Loop:
    """The loop of these members; raises Failure at what cannot be unrolled."""
    inside = set(members)
    head, tail = _head_and_tail(scope.before, members, inside)
    _check_shape(scope.before, members, head, tail)
    feeders = {item: None for item in scope.before[tail] if item is not tail}
    outside = {item: [other for other in after[item] if other not in inside] for item in members}
    leaving = {item: others for item, others in outside.items() if others or item in scope.last}
    for item in leaving:
        if item is not tail and list(feeders) != [item]:
            sentence = f"this step leads out of a loop, which only {title(tail)} or the one step before it may"
            raise Failure(f"{sentence}; {BRACES}", item.position)
    return Loop(members, head, tail, feeders, leaving, not leaving or any(item in scope.last for item in leaving))


def _head_and_tail(before: Before, members: list[Element], inside: set[Element]) -> tuple[Element, Element]:
    entries = [item for item in members if any(other not in inside for other in before[item])]
    if not entries:
        sentence = "nothing leads into this loop; label its first step as in :a A, without an arrow"
        raise Failure(sentence, members[0].position)
    if len(entries) > 1:
        sentence = f"the loop can be entered here too, not only at {title(entries[0])}; {BRACES}"
        raise Failure(sentence, entries[1].position)
    tails = [item for item in members if item in before[entries[0]]]
    if len(tails) > 1:
        sentence = f"this step leads back to {title(entries[0])} like {title(tails[0])}; lead back from one step"
        raise Failure(sentence, tails[1].position)
    return entries[0], tails[0]


def _check_shape(before: Before, members: list[Element], head: Element, tail: Element) -> None:
    if not tail.guard:
        sentence = f"{title(tail)} leads back to {title(head)}; put a guard before it, ? `…`, which ends the loop"
        raise Failure(sentence, tail.position)
    inner: Before = {item: dict.fromkeys(before[item]) for item in members}
    inner[head].pop(tail)
    if unreached(inner):
        raise Failure(f"this loop has another loop in it; {BRACES}", tail.position)


@dataclass(slots=True)
class Rounds:
    """The rounds of the loops of a scope."""

    scope: Scope
    moved: dict[Element, Element]
    """``{tail: the first of the rounds that took its place}``."""

    def put(self, loop: Loop, max_rounds: int) -> None:
        """Replace a loop by its rounds inside one another."""
        before = self.scope.before
        first = self._nested(loop, max_rounds if loop.head is loop.tail else max_rounds - 1)
        before[loop.head].pop(loop.tail)
        before.pop(loop.tail)
        if first:
            self.moved[loop.tail] = first
            before[first] = loop.feeders
        self._lead_out(loop, {first: None} if first else loop.feeders)

    def _lead_out(self, loop: Loop, gives: dict[Element | None, None]) -> None:
        """Let what followed the loop follow what it gives."""
        for item, others in loop.followers.items():
            self.scope.last.pop(item, None)
            for follower in others:
                befores = self.scope.before[self.moved.get(follower, follower)]
                befores.pop(item, None)
                befores |= gives
        if loop.ends:
            self.scope.last |= {item: None for item in gives if item}

    def _nested(self, loop: Loop, rounds: int) -> Element | None:
        """The subflow of the rounds behind the first, from the last of them to the first; None if there are none."""
        again, tail = replace(loop.tail, guard="", merge=False), loop.tail
        following: Element | None = None
        for _ in range(rounds):
            scope = self._round(loop, again, following)
            following = Element(
                kind=Kind.START, position=tail.position, guard=tail.guard, merge=tail.merge, scope=scope
            )
        return following

    def _round(self, loop: Loop, again: Element, following: Element | None) -> Scope:
        """The scope of a round: the tail, the other steps, and the round after it."""
        scope = Scope([again], {again: {None: None}}, end=self.scope.end)
        for item in loop.members:
            if item is not loop.tail:
                scope.elements.append(item)
                scope.before[item] = {again: None} if item is loop.head else self.scope.before[item]
        feeders: dict[Element | None, None] = {again: None} if loop.head is loop.tail else loop.feeders
        if following:
            scope.elements.append(following)
            scope.before[following] = feeders
            feeders = {following: None}
        scope.last = {item: None for item in feeders if item}
        return scope
