"""Colors of boxes in drawings: fills and texts that go with the colors of the states."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from flowerapp.selectors.status_style import COLORS


@dataclass(frozen=True, slots=True)
class BoxColors:
    """Colors of one box."""

    fill: str
    line: str
    text: str


_FILLS = {
    "waiting": ("#f6f8fa", "#21262d"),
    "running": ("#e6edff", "#132a57"),
    "failed": ("#ffebe9", "#4b1113"),
    "held": ("#fdf1dc", "#3b2a04"),
    "finished": ("#e2f6e8", "#0f3d1c"),
    "ignored": ("#f3eefa", "#352b45"),
}

LIGHT: Mapping[str, BoxColors] = {
    token: BoxColors(_FILLS[token][0], color.light, color.light) for token, color in COLORS.items()
}
"""Color token of a state → colors on a light page."""
DARK: Mapping[str, BoxColors] = {
    token: BoxColors(_FILLS[token][1], color.dark, color.dark) for token, color in COLORS.items()
}
"""The same on a dark page."""
