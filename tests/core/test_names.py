"""Which characters names and reasons may hold, and how stored ones are shown."""

from __future__ import annotations

import unicodedata

import pytest

from flowerapp.core import names, values
from flowerapp.exceptions import InvalidValueError

MISLEADING = {
    "directions": "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c",
    "no width": "\u200b\u2060\ufeff\xad\u2061\u2062\u2063\u2064\u206a\u206f\ufff9\ufffb",
    "blanks": "\u115f\u1160\u3164\uffa0\u2800",
    "tags": "\U000e0001\U000e0020\U000e0041\U000e007f",
    "lines": "\u2028\u2029\x85\x0b\x0c",
    "control": "\x00\x07\x08\x1b\x7f\x9b",
    "no text": "\ud800\udfff\ufffe\uffff",
}
SPELLING = "\u200c\u200d\ufe0e\ufe0f\u034f\u180b\u17b4\U000e0100"
GOOD = ["etl", "Ünïcode 名前", "عربي", "עברית", "हिन्दी", "🌷", "a b", "a-b_c.d", "x" * 256, "•", "−1", "\u00a0x"]


@pytest.mark.parametrize("char", [char for group in MISLEADING.values() for char in group], ids=ascii)
def test_misleading_characters(char: str) -> None:
    for problems in (names.name_problems, names.part_problems, names.unseen_problems, names.text_problems):
        (problem,) = problems(f"a{char}b", "queue")
        assert f"queue holds U+{ord(char):04X}" in problem
    shown = names.visible(f"a{char}b")
    assert shown == f"a{char.encode('unicode_escape', 'backslashreplace').decode()}b"
    assert shown.isascii()
    assert names.visible_lines(f"a{char}b") == shown
    if values.storable(char):
        with pytest.raises(InvalidValueError, match="why holds U"):
            names.checked_why(f"a{char}b")
    else:
        assert names.checked_why(f"a{char}b") == "a\ufffdb"


@pytest.mark.parametrize("char", SPELLING, ids=ascii)
def test_what_texts_need_and_names_do_not(char: str) -> None:
    assert list(names.name_problems(f"a{char}"))
    assert list(names.unseen_problems(f"a{char}", "id"))
    assert names.checked_why(f"a{char}") == names.visible(f"a{char}") == f"a{char}"


@pytest.mark.parametrize("name", GOOD)
def test_good_names(name: str) -> None:
    assert not list(names.name_problems(name))
    assert names.visible(name) == name


def test_texts_of_several_lines() -> None:
    text = "one\n\ttwo\r\nthree"
    assert names.checked_why(text) == names.visible_lines(text) == text
    assert names.visible(text) == r"one\n\ttwo\r\nthree"


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("", "is empty"),
        (" \u3000", "is empty"),
        ("a/b", "holds a slash"),
        ("x" * 257, "257 characters"),
        ("..", "a URL"),
    ],
)
def test_names_that_cannot_be(name: str, sentence: str) -> None:
    assert sentence in " ".join(names.name_problems(name))


def test_a_long_reason() -> None:
    with pytest.raises(InvalidValueError, match=r"why has 2,001 characters; 2,000 is the most"):
        names.checked_why("x" * 2001)


def test_every_control_and_format_character_that_has_no_form() -> None:
    seen = {0x600, 0x601, 0x602, 0x603, 0x604, 0x605, 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD}
    seen |= set(range(0x13430, 0x13440))
    unseen = {"Cc", "Cf", "Cs", "Zl", "Zp"}
    passed = {
        code
        for code in range(0x110000)
        if unicodedata.category(chr(code)) in unseen and not list(names.name_problems(f"a{chr(code)}"))
    }
    assert passed <= seen
