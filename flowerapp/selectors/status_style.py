"""How a status is shown to people: word, symbol and color, for admin, drawings and command line alike.

The five values of ``states`` stay in the database, the API, filters and tooltips; people read the words below. This
module is pure: it reads attributes of the rows that it is given and asks the database nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from flowerapp.core.gates import APPROVAL, COUNTDOWN, DELAY, EVENT
from flowerapp.core.names import mentioned
from flowerapp.states import ACTIVE, IgnoredBy, Status

if TYPE_CHECKING:
    from flowerapp.models import Flow
    from flowerapp.selectors.counts import Counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """Looks of a status."""

    word: str
    symbol: str
    """One character, so that color is never the only sign."""
    plain_symbol: str
    """The same for terminals without Unicode."""
    color: str
    """Token of its color: a key of ``COLORS``, part of a CSS class and of a class in drawings."""


@dataclass(frozen=True, slots=True)
class Color:
    """A color of text and lines, as ``#rrggbb``."""

    light: str
    dark: str


COLORS: Mapping[str, Color] = {
    "waiting": Color("#566072", "#a9b2c0"),
    "running": Color("#1d4ed8", "#8ab4ff"),
    "failed": Color("#b4151b", "#ff9a96"),
    "held": Color("#8a4b00", "#f0b95c"),
    "finished": Color("#146c37", "#7fd79b"),
    "ignored": Color("#6b5a80", "#c3b2d8"),
}
"""Color token → color on a light and on a dark page."""

WAITING = Style(word="Waiting", symbol="○", plain_symbol="o", color="waiting")
BEGUN = replace(WAITING, symbol="◔", plain_symbol="~")
"""Of a wait that has begun: a task that does nothing but wait, and not for other tasks."""
RUNNING = Style(word="Running", symbol="▶", plain_symbol=">", color="running")
FAILED = Style(word="Failed", symbol="✗", plain_symbol="!", color="failed")
HELD = Style(word="Held", symbol="‖", plain_symbol="=", color="held")
FINISHED = Style(word="Finished", symbol="✓", plain_symbol="+", color="finished")
SKIPPED = Style(word="Skipped", symbol="⊘", plain_symbol="-", color="ignored")
CANCELLED = Style(word="Cancelled", symbol="⊘", plain_symbol="-", color="ignored")
TOLERATED = replace(SKIPPED, word="Failed, tolerated")
"""Of the number of children that are Skipped because they failed and their parents continue without them."""

STYLES = (WAITING, RUNNING, FAILED, HELD, FINISHED, SKIPPED, CANCELLED)
"""Those that counts list, in that order."""

_OF_TASK = {
    Status.WAIT: WAITING,
    Status.RUNNING: RUNNING,
    Status.SUSPEND: FAILED,
    Status.FINISH: FINISHED,
    Status.IGNORE: SKIPPED,
}
CANCELLING = frozenset({IgnoredBy.CANCEL, IgnoredBy.SIBLING})
"""Reasons for Ignore that are shown as Cancelled."""
_REASONS = {
    IgnoredBy.CONDITION: "its condition is false",
    IgnoredBy.ENTRANCE: "before the entrance",
    IgnoredBy.SIBLING: "stopped with its siblings",
    IgnoredBy.TOLERATED: "failed, tolerated",
}


_WAITED_FOR = {DELAY: "for a time", EVENT: "for an event", COUNTDOWN: "for a latch", APPROVAL: "for a person"}


def waited_for(program: str) -> str:
    """What a step of a wait's program waits for, in a few words; empty for any other."""
    return _WAITED_FOR.get(program, "")


def task_style(status: int, ignored_by: str = "", *, begun: bool = False) -> Style:
    """Style of a task with these columns, or of a wait that has ``begun``."""
    if begun:
        return BEGUN
    return CANCELLED if ignored_by in CANCELLING else _OF_TASK[Status(status)]


def ignored_reason(ignored_by: str) -> str:
    """Why a task was skipped or cancelled, in a few words; empty where the word alone says it."""
    return _REASONS.get(IgnoredBy(ignored_by), "") if ignored_by else ""


def flow_style(flow: Flow) -> Style:
    """Style of a flow; one that is held and has a failed task is Failed."""
    if flow.status is Status.IGNORE:
        return CANCELLED
    if flow.status is Status.SUSPEND and flow.failed_seq is None:
        return HELD
    return _OF_TASK[flow.status]


def flow_note(flow: Flow, counts: Counts) -> str:
    """What a flow's word alone does not say: ``1 failed`` of a running one; may be empty."""
    if flow.status is Status.IGNORE:
        return ""
    has_failed = flow.failed_seq is not None and not flow.ended
    notes = {
        mentioned(flow.failed_seq or 0, *counts.first_failed): has_failed and flow.status is Status.SUSPEND,
        f"{max(1, counts.failed):,} failed": has_failed and flow.status in ACTIVE,
        "held": has_failed and flow.held,
        "not admitted yet": flow.status in ACTIVE and not flow.admitted,
        f"{counts.tolerated:,} {'child' if counts.tolerated == 1 else 'children'} failed": counts.tolerated > 0,
    }
    return ", ".join(note for note, fits in notes.items() if fits)
