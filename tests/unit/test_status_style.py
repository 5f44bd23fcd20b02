"""Words, symbols and colors of states."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.conf import settings

from flowerapp.drawing.colors import DARK, LIGHT
from flowerapp.models import Flow
from flowerapp.selectors.counts import Counts
from flowerapp.selectors.durations import spelled
from flowerapp.selectors.status_style import COLORS, STYLES, flow_note, flow_style, ignored_reason, task_style
from flowerapp.states import IgnoredBy, Status

STYLESHEET = Path(settings.BASE_DIR, "flowerapp/static/flowerapp/admin.css")


def luminance(color: str) -> float:
    parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(text: str, ground: str) -> float:
    lighter, darker = sorted((luminance(text), luminance(ground)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize(
    ("status", "ignored_by", "word"),
    [
        (Status.WAIT, "", "Waiting"),
        (Status.RUNNING, "", "Running"),
        (Status.SUSPEND, "", "Failed"),
        (Status.FINISH, "", "Finished"),
        (Status.IGNORE, "", "Skipped"),
        (Status.IGNORE, IgnoredBy.SKIP, "Skipped"),
        (Status.IGNORE, IgnoredBy.CONDITION, "Skipped"),
        (Status.IGNORE, IgnoredBy.ENTRANCE, "Skipped"),
        (Status.IGNORE, IgnoredBy.TOLERATED, "Skipped"),
        (Status.IGNORE, IgnoredBy.CANCEL, "Cancelled"),
        (Status.IGNORE, IgnoredBy.SIBLING, "Cancelled"),
    ],
)
def test_word_of_a_task(status: Status, ignored_by: str, word: str) -> None:
    assert task_style(status, ignored_by).word == word


def test_every_reason_for_ignore_is_shown() -> None:
    silent = {reason for reason in IgnoredBy if not ignored_reason(reason)}
    assert silent == {IgnoredBy.SKIP, IgnoredBy.CANCEL}


def test_a_held_flow_with_a_failure_is_failed() -> None:
    flow = Flow(exec_status=Status.SUSPEND, held=True, failed_seq=3)
    assert (flow_style(flow).word, flow_note(flow, Counts())) == ("Failed", "task 3, held")


def test_symbols_differ_wherever_words_mean_different_states() -> None:
    assert len({style.symbol for style in STYLES}) == len({style.plain_symbol for style in STYLES}) == len(COLORS)
    assert "".join(style.plain_symbol for style in STYLES).isascii()


def test_drawings_have_enough_contrast() -> None:
    for boxes in (LIGHT, DARK):
        for token, box in boxes.items():
            assert contrast(box.text, box.fill) >= 4.5, token


def test_the_stylesheet_has_the_colors_and_enough_contrast() -> None:
    rules = re.findall(r"--flower-(\w+): (#\w{6}); --flower-\1-bg: (#\w{6});", STYLESHEET.read_text())
    assert {(token, color) for token, color, _ in rules} == {
        (token, shade) for token, color in COLORS.items() for shade in (color.light, color.dark)
    }
    for token, color, ground in rules:
        assert contrast(color, ground) >= 4.5, token


@pytest.mark.parametrize(
    ("seconds", "words"), [(None, ""), (0.04, "0.0 s"), (59.94, "59.9 s"), (125, "2 min 05 s"), (11045, "3 h 04 min")]
)
def test_durations_in_words(seconds: float | None, words: str) -> None:
    assert spelled(seconds) == words
