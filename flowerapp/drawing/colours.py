"""Colours of the states."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from flowerapp.states import Status


@dataclass(frozen=True, slots=True)
class Colour:
    """Colours of one state."""

    fill: str
    line: str
    text: str


LIGHT: Mapping[Status, Colour] = {
    Status.WAIT: Colour("#f6f8fa", "#6e7781", "#424a53"),
    Status.RUNNING: Colour("#ddf4ff", "#0969da", "#0550ae"),
    Status.SUSPEND: Colour("#ffebe9", "#cf222e", "#a40e26"),
    Status.FINISH: Colour("#dafbe1", "#1a7f37", "#116329"),
    Status.IGNORE: Colour("#fff8c5", "#9a6700", "#7d4e00"),
}
DARK: Mapping[Status, Colour] = {
    Status.WAIT: Colour("#21262d", "#8b949e", "#c9d1d9"),
    Status.RUNNING: Colour("#0c2d6b", "#58a6ff", "#a5d6ff"),
    Status.SUSPEND: Colour("#5d0f12", "#ff7b72", "#ffdcd7"),
    Status.FINISH: Colour("#0f3d1c", "#3fb950", "#aff5b4"),
    Status.IGNORE: Colour("#3b2a04", "#d29922", "#f8e3a1"),
}
