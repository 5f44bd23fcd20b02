"""Who may override the parameters of a step that holds masked values (docs/secrets.md)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from flowerapp.core import graph, masking, permissions, programs, unmasking
from flowerapp.core.gates import EACH
from flowerapp.exceptions import Problem

_EDITOR = f"a user who may edit the workflow ({permissions.CHANGE_DEFINITION})"
_HOLDS = "the step holds masked values"


class MayOverride(StrEnum):
    """Which parameters a caller may override of a step that holds masked values."""

    ANY = "any"
    """All: Python code of the host, the command line, and users who may edit workflows."""
    LISTED = "listed"
    """Those that the step names in ``overridable`` or ``required_at_register``: other users with the permission."""
    NONE = "none"
    """None: callers of the open API."""

    @classmethod
    def of(cls, user: Any, permission: str) -> MayOverride:
        """What a user may override, in an act that needs ``permission``; ``user`` may be None or anonymous."""
        if not permissions.is_user(user):
            return cls.NONE
        if permissions.may(user, permissions.CHANGE_DEFINITION):
            return cls.ANY
        return cls.LISTED if permissions.may(user, permission) else cls.NONE


def laid_over(stored: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """``stored`` with ``overrides`` in place of the parameters of the same names; a mask keeps what is stored."""
    return {**stored, **unmasking.unmasked(dict(overrides), dict(stored))}


def refusals(
    seq: int, stored: Mapping[str, Any], overrides: Mapping[str, Any], may: MayOverride, listed: Collection[str]
) -> Iterator[Problem]:
    """The parameters of ``overrides`` that the caller may not lay over those ``stored``, as problems of the step.

    ``listed`` are the names that the step lists. A value that is as it shows is no override.
    """
    shown = stored if may is MayOverride.ANY else masking.masked(stored)
    if shown == stored:
        return
    changed = {
        name: value for name, value in overrides.items() if not (name in shown and unmasking.equal(value, shown[name]))
    }
    sentences = {name: _refusal(name, value, may, listed) for name, value in changed.items()}
    if changed and not any(sentences.values()):
        sentences = _revealing(stored, shown, changed)
    yield from (Problem(sentence, seq, f"parameters.{name}") for name, sentence in sentences.items() if sentence)


class Passing(NamedTuple):
    """How a step passes its input on."""

    depends_on: Collection[int]
    may_pass: bool
    """Whether its input may become its output: it is a gate, is skipped, or its condition may be false."""
    end: int | None
    """Of a gate with a condition that begins a subflow, the gate that ends it."""


def receivers(seq: int, steps: Mapping[int, Passing], *, entered: bool = False) -> list[int]:
    """The steps whose input the output of a step may become, on any way; of one that is ``entered``, its input."""
    after = graph.followers({at: step.depends_on for at, step in steps.items()})
    ways = {
        at: [*after[at], *([step.end] if step.end is not None else [])]
        for at, step in steps.items()
        if step.may_pass or (at == seq and not entered)
    }
    return sorted(graph.reach([seq], ways) - (set() if entered else {seq}))


def input_program(program: str, child_program: str) -> str:
    """The program whose parameter the input of a step may become; the items of a step for each item go to another."""
    return child_program if program == EACH else program


def input_refusals(
    seq: int, program: str, stored: Mapping[str, Any], may: MayOverride, listed: Collection[str]
) -> Iterator[Problem]:
    """The parameter that the input of a step would be, if the caller may not override it, as a problem of the step.

    ``program`` is what ``input_program`` gives.
    """
    entry = None if may is MayOverride.ANY else programs.find(program)
    argument = entry.input_argument(stored) if entry else ""
    for problem in refusals(seq, stored, {argument: None}, may, listed) if argument else ():
        yield Problem(f"its input becomes a parameter; {problem.message}", seq)


def _revealing(stored: Mapping[str, Any], shown: Mapping[str, Any], changed: Mapping[str, Any]) -> dict[str, str]:
    """Why parameters may not change because another one would then show: it is hidden by a name that stands in them."""
    again = masking.masked({**stored, **changed})
    for name in [name for name in stored if name not in changed]:
        if not unmasking.equal(again.get(name), shown.get(name)):
            return dict.fromkeys(changed, f"{name}, which is masked, would show; let {_EDITOR} change it")
    return {}


def _refusal(name: str, value: Any, may: MayOverride, listed: Collection[str]) -> str:
    """Why a caller may not override the parameter with that value; empty if it may."""
    if may is MayOverride.NONE:
        return f"parameter {name}: {_HOLDS}, so it cannot be overridden without a login; log in as {_EDITOR}"
    if name not in listed:
        return f"parameter {name}: {_HOLDS}; let {_EDITOR} override it, or name it in the step's overridable"
    if unmasking.holds_mask(value):
        part = f"only {_EDITOR} may change a value and keep the part that is {masking.MASKED}"
        return f"parameter {name}: {part}; give the whole value"
    return ""
