"""Loops of a scope: found, and refused with their path unless the flow declares a bound."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from flowerapp.workflows.arrow.declarations import ROUNDS
from flowerapp.workflows.arrow.errors import Failure
from flowerapp.workflows.arrow.graph import Kind
from flowerapp.workflows.arrow.scopes import Before, Element, Scope

Placed = Callable[[int], object]
"""The line and column of a position."""
After = dict[Element, list[Element]]
SHOWN = 20
"""Most steps of a path that an error shows."""


def followers(before: Before) -> After:
    """``{element: elements that collect its output}``."""
    after: After = {element: [] for element in before}
    for element, befores in before.items():
        for item in befores:
            if item in after:
                after[item].append(element)
    return after


def loops(scope: Scope) -> list[list[Element]]:
    """The sets of elements that lead to one another, each in reading order."""
    stuck = unreached(scope.before)
    if not stuck:
        return []
    inner: Before = {element: _within(scope.before[element], stuck) for element in scope.elements if element in stuck}
    reading = {element: number for number, element in enumerate(scope.elements)}
    components, assigned = [], set[Element]()
    for root in reversed(_search(followers(inner))):
        if root in assigned:
            continue
        component = _reach(root, inner, assigned)
        assigned |= component
        if len(component) > 1 or root in inner[root]:
            components.append(sorted(component, key=reading.__getitem__))
    return sorted(components, key=lambda component: reading[component[0]])


def _within(befores: dict[Element | None, None], members: set[Element]) -> dict[Element | None, None]:
    return {item: None for item in befores if item in members}


def unreached(before: Before) -> set[Element]:
    """The elements that a topological order does not reach: those in loops, and those behind them."""
    after = followers(before)
    waiting = {element: sum(1 for item in befores if item in after) for element, befores in before.items()}
    ready = [element for element, number in waiting.items() if not number]
    while ready:
        for follower in after[ready.pop()]:
            waiting[follower] -= 1
            if not waiting[follower]:
                ready.append(follower)
    return {element for element, number in waiting.items() if number}


def _search(after: After) -> list[Element]:
    """The elements in the order in which a search in depth leaves them."""
    order: list[Element] = []
    seen: set[Element] = set()
    for root in after:
        stack: list[tuple[Element, Iterator[Element]]] = [] if root in seen else [(root, iter(after[root]))]
        seen.add(root)
        while stack:
            element, rest = stack[-1]
            follower = next((item for item in rest if item not in seen), None)
            if follower is None:
                order.append(element)
                stack.pop()
            else:
                seen.add(follower)
                stack.append((follower, iter(after[follower])))
    return order


def _reach(root: Element, inner: Before, without: set[Element]) -> set[Element]:
    reached, stack = {root}, [root]
    while stack:
        for item in inner[stack.pop()]:
            if item and item not in reached and item not in without:
                reached.add(item)
                stack.append(item)
    return reached


def unbounded(scope: Scope, loop: list[Element], placed: Placed) -> Failure:
    """The failure of a loop in a flow that declares no bound, with its path."""
    members = set(loop)
    path = _path(followers({item: _within(scope.before[item], members) for item in loop}), loop[0])
    names = " → ".join(f"{title(element)} ({placed(element.position)})" for element in path[:SHOWN])
    more = " → …" if len(path) > SHOWN else ""
    advice = f"declare a bound, as in @flow name (- {ROUNDS}: 10 -), if a guard ends the loop"
    return Failure(f"the steps form a loop: {names}{more} → {title(path[0])}; {advice}", path[0].position)


def _path(after: After, first: Element) -> list[Element]:
    """A way from an element to itself."""
    path, seen = [first], {first: 0}
    while True:
        following = first if first in after[path[-1]] else after[path[-1]][0]
        if following in seen:
            return path[seen[following] :]
        seen[following] = len(path)
        path.append(following)


def title(element: Element) -> str:
    """What errors call a step."""
    return element.name or ("{ }" if element.kind is Kind.START else "a value")
