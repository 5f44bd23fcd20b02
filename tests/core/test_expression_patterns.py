"""Patterns of ``matches``: as Python's ``re`` finds them, but in linear time."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowerapp.core.expressions import patterns
from flowerapp.core.expressions.errors import Failure
from flowerapp.core.expressions.limits import Evaluation
from tests.effort import examples

ATOMS = [
    "a",
    "b",
    ".",
    "[ab]",
    "[^a]",
    "[a-c]",
    r"\d",
    r"\w",
    r"\W",
    r"\b",
    r"\B",
    "^",
    "$",
    "1",
    " ",
    "\n",
    r"\.",
    "[]a]",
]


def search(pattern: str, text: str) -> bool:
    """Whether our pattern matches."""
    return patterns.Pattern(pattern).search(Evaluation(), text)


def _repeat(part: str, sign: str) -> str:
    return f"(?:{part}){sign}"


parts = st.recursive(
    st.sampled_from(ATOMS),
    lambda inner: (
        st.lists(inner, min_size=1, max_size=3).map("".join)
        | st.lists(inner, min_size=2, max_size=3).map(lambda items: f"({'|'.join(items)})")
        | st.builds(_repeat, inner, st.sampled_from(["*", "+", "?", "{2}", "{1,3}", "{0,}", "*?", "+?"]))
        | st.builds(lambda flags, item: f"(?{flags}:{item})", st.sampled_from(["i", "s", "is"]), inner)
    ),
    max_leaves=6,
)


def _python(pattern: str) -> re.Pattern[str]:
    """The same pattern for ``re``, whose ``$`` also matches before a last line feed unless it is in ``(?m:…)``."""
    outside = re.sub(r"(?<!\\)\$", r"\\Z", pattern)
    return re.compile(outside, re.ASCII)


@settings(deadline=None, max_examples=examples(300))
@given(parts, st.lists(st.text("abAB1. \n", min_size=1, max_size=8), min_size=3, max_size=3))
def test_patterns_match_where_those_of_python_do(pattern: str, texts: list[str]) -> None:
    expected = _python(pattern)
    for text in texts:
        assert search(pattern, text) == bool(expected.search(text)), (pattern, text)


@settings(deadline=None, max_examples=examples(100))
@given(parts, st.text("ab1\n", min_size=1, max_size=8))
def test_patterns_of_several_lines_match_where_those_of_python_do(pattern: str, text: str) -> None:
    assert search(f"(?m){pattern}", text) == bool(re.search(f"(?m){pattern}", text, re.ASCII)), (pattern, text)


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        ("", "", True),
        ("", "a", True),
        ("a", "", False),
        ("^$", "", True),
        ("^$", "\n", False),
        ("(?m)^$", "a\n", True),
        ("(?m)^b$", "a\nb\nc", True),
        ("^b$", "a\nb\nc", False),
        ("a$", "a\n", False),
        (r"\Aa\z", "a", True),
        ("(?i)straße", "STRAßE", True),
        ("(?i)[^a]", "a", False),
        ("(?i)[^A-C]", "b", False),
        (r"(?i)[^\W_]", "_", False),
        (r"(?i)\P{Lu}", "a", False),
        (r"(?i)\w", "\N{KELVIN SIGN}", False),
        ("(?i)[k]", "\N{KELVIN SIGN}", True),
        ("(?i)[a-c]+x", "ABCX", True),
        ("a(?i)b", "aB", True),
        ("a(?i)b", "AB", False),
        ("(a(?i)b)c", "aBC", False),
        ("(?i:a)b", "Ab", True),
        ("(?i)(?-i:a)b", "aB", True),
        ("(?i)(?-i:a)b", "AB", False),
        ("a.b", "a\nb", False),
        ("(?s)a.b", "a\nb", True),
        ("(?P<year>[0-9]{4})-(?<month>[0-9]{2})", "2026-11", True),
        (r"^\p{L}+$", "Übung", True),
        (r"^\pL\PL$", "ä1", True),
        (r"\p{Lu}", "abc", False),
        (r"\d", "٣", False),
        (r"^\w+$", "é", False),
        (r"\x41\x{1F600}\t", "A😀\t", True),
        (r"[\]\-\\x]+", "]-\\x", True),
        ("[]]", "]", True),
        ("[^]]", "]", False),
        ("[a-]", "-", True),
        (r"[\d.]+$", "1.5", True),
        ("{", "{", True),
        ("a{,2}", "a{,2}", True),
        ("x{2}y", "xxy", True),
        ("^x{2,3}$", "xxxx", False),
        ("(|a)b", "b", True),
        ("(a*)*b", "aab", True),
        (r"\bfoo\b", "a foo b", True),
        (r"\bfoo\b", "afoo", False),
    ],
)
def test_patterns_are_those_of_re2(pattern: str, text: str, matches: bool) -> None:
    assert search(pattern, text) is matches


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("(", "a ( without a ) at its character 2"),
        (")", "a ) without a ( at its character 1"),
        ("a)b", "a ) without a ( at its character 2"),
        ("[a", "an unexpected end at its character 3"),
        ("*", "a * that repeats nothing at its character 1"),
        ("a**", "a repetition of a repetition at its character 3"),
        ("a|+", "a + that repeats nothing"),
        ("\\", "an unexpected end"),
        (r"\1", "an unknown escape at its character 3"),
        (r"\q", "an unknown escape at its character 3"),
        (r"\xZZ", r"a \x without its digits"),
        (r"\x{110000}", r"a \x without its digits"),
        (r"\p{Latin}", "an unknown class of characters at its character 10"),
        ("(?=a)", "a look ahead or behind, which is not supported,"),
        ("(?!a)", "a look ahead or behind"),
        ("(?<=a)", "a look ahead or behind"),
        ("(?<n", "a name without its >"),
        ("(?x:a)", "an unknown group (?"),
        ("(?", "(? without its :"),
        ("[[:alpha:]]", "a class like [:alpha:], which is not supported,"),
        ("[b-a]", "a range without order"),
        (r"[a-\d]", "a range without order"),
        ("a{2000}", "a repetition that is not between 0 and 1,000"),
        ("a{3,2}", "a repetition that is not between 0 and 1,000"),
        ("(" * 26 + ")" * 26, "more than 25 groups inside one another"),
    ],
)
def test_patterns_that_cannot_be_read_are_refused_with_the_place(pattern: str, message: str) -> None:
    with pytest.raises(Failure) as caught:
        patterns.compiled(pattern)
    assert message in caught.value.message


@pytest.mark.parametrize(
    "pattern", ["((a{1000}){1000}){1000}", "((){1000}){1000}", "((a?){100}){100}", "(((a*)*)*){1000}{1}", "a" * 1_001]
)
def test_patterns_that_are_too_large_are_refused_at_once(pattern: str) -> None:
    start = time.process_time()
    with pytest.raises(Failure, match=r"the pattern (is too large|has)"):
        patterns.compiled(pattern)
    assert time.process_time() - start < 1


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("(a+)+$", "a" * 5_000 + "!"),
        ("(a|aa)+$", "a" * 5_000 + "!"),
        ("(a|a?)+!$", "a" * 5_000),
        ("(.*)*(.*)*x", "a" * 5_000),
        ("(x+x+)+y", "x" * 5_000),
        ("^(([a-z])+.)+[A-Z]([a-z])+$", "a" * 5_000),
        ("(a?){300}a{300}$", "a" * 299),
        (".*.*.*.*=.*", "a" * 5_000),
    ],
)
def test_no_pattern_takes_more_than_linear_time(pattern: str, text: str) -> None:
    evaluation = Evaluation()
    start = time.process_time()
    assert patterns.Pattern(pattern).search(evaluation, text) is False
    assert evaluation.steps < len(text) + 700_000
    assert time.process_time() - start < 3


def test_a_new_character_costs_what_it_takes() -> None:
    letters = "".join(chr(0x4E00 + number * 2) for number in range(900))
    text = "".join(chr(0x10000 + number) for number in range(100_000))
    for pattern in (f"[^{letters}]x", f"(?i)[{letters}]", f"[^{letters}]{{1000}}x", "a|" * 400 + "b"):
        start = time.process_time()
        with pytest.raises(Failure, match="more than 1,000,000 steps"):
            patterns.Pattern(pattern).search(Evaluation(), text * 9)
        assert time.process_time() - start < 3
