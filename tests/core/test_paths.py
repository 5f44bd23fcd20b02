"""Paths: the dialect of JSONPath of guards (LITTLEFLOW.md section 5), and conditions, which may be either language."""

from __future__ import annotations

import copy
import sys
import threading
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowerapp.core.expressions import ExpressionError, condition, limits, parse_path, paths
from tests.core.test_expressions_random import TELLTALES
from tests.effort import examples

STATUS = {"status": 0}


def failure(text: str) -> ExpressionError:
    """The error of a condition that cannot be read."""
    with pytest.raises(ExpressionError) as caught:
        condition(text)
    return caught.value


@pytest.mark.parametrize(
    ("text", "value", "holds"),
    [
        # = is equality
        ("$[?(@.status=0)]", STATUS, True),
        ("$[?(@.status=1)]", STATUS, False),
        ("$[?(@.status==0)]", STATUS, True),
        ("$[?(@.status=0)]", {"status": "0"}, False),
        # other comparisons: a missing key never holds, also with !=; only numbers and texts have an order
        ("$[?(@.status!=1)]", STATUS, True),
        ("$[?(@.status!=0)]", STATUS, False),
        ("$[?(@.b!=1)]", STATUS, False),
        ('$[?(@.status!="0")]', STATUS, True),
        ("$[?(@.status!=null)]", STATUS, True),
        ("$[?(@.status<1)]", STATUS, True),
        ("$[?(@.status<=0)]", STATUS, True),
        ("$[?(@.status>0)]", STATUS, False),
        ("$[?(@.status>=0)]", STATUS, True),
        ("$[?(@.b<1)]", STATUS, False),
        ('$[?(@.status<"x")]', STATUS, False),
        ("$[?(@.a<null)]", {"a": None}, False),
        ("$[?(@.a<=@.b)]", {"a": [1], "b": [2]}, False),
        ('$[?(@.day>="2026-01-01")]', {"day": "2026-02-01"}, True),
        # and, or, not
        ("$[?(@.a=1 and @.b=2)]", {"a": 1, "b": 2}, True),
        ("$[?(@.a=1 and @.b=2)]", {"a": 1}, False),
        ("$[?(@.a=1 && @.b=2)]", {"a": 1, "b": 2}, True),
        ("$[?(@.a=1 or @.b=2)]", {"b": 2}, True),
        ("$[?(@.a=1 || @.b=2)]", {"b": 3}, False),
        ("$[?(not @.b)]", STATUS, True),
        ("$[?(!@.b)]", STATUS, True),
        ("$[?(not @.status=0)]", STATUS, False),
        ("$[?(not @.a and @.b)]", {"b": 1}, True),
        ("$[?(not not @.status)]", STATUS, True),
        ("$[?(@.a=1 or (@.b=1 and @.c=1))]", {"a": 1}, True),
        ("$[?((@.a=1 or @.b=1) and @.c=1)]", {"a": 1}, False),
        # a path alone asks whether the key exists
        ("$[?(@.b)]", {"b": False}, True),
        ("$[?(@.b)]", {"b": None}, True),
        ("$[?(@.b)]", STATUS, False),
        ("$[?(@.a.b)]", {"a": {"b": None}}, True),
        ("$[?(@)]", {}, True),
        # paths hold when they read anything
        ("$.b", {"b": 1}, True),
        ("$.b", {"b": None}, True),
        ("$.b", STATUS, False),
        ("$.b.c", {"b": {"c": 0}}, True),
        ("$.b.c", {"b": 1}, False),
        ("$..c", {"a": [{"b": {"c": 1}}]}, True),
        ("$..c", {"a": [{"b": {}}]}, False),
        ("$.items[0]", {"items": [0]}, True),
        ("$.items[0]", {"items": []}, False),
        ("$.items[0]", {"items": "text"}, False),
        ("$.items[-1]", {"items": [1]}, True),
        ("$.items[-2]", {"items": [1]}, False),
        ("$.items[1:]", {"items": [1]}, False),
        ("$.items[0:1]", {"items": [1]}, True),
        ("$.items[::2]", {"items": [1]}, True),
        ("$.items[0, 3]", {"items": [1]}, True),
        ('$["a-b"]', {"a-b": 1}, True),
        ("$['a-b']", {"a-b": 1}, True),
        ("$.a-b", {"a-b": 1}, True),
        ('$["x", "b"]', {"b": 1}, True),
        ("$.and", {"and": 1}, True),
        ("$ .b", {"b": 1}, True),
        ("$.*", {"a": 1}, True),
        ("$..*", {}, False),
        ("$..[0]", {"a": [1]}, True),
        ("$", {}, True),
        ("$", None, True),
        ("$[*]", [1], True),
        ("$[*]", [], False),
        ("$[*]", {"a": 1}, True),
        ("$[*]", {}, False),
        ("$[*]", "text", False),
        # strings
        ('$[?(@.a="x")]', {"a": "x"}, True),
        ("$[?(@.a='x')]", {"a": "x"}, True),
        ('$[?(@.a="\\u0041\\"")]', {"a": 'A"'}, True),
        # length(), two paths, constants
        ("$[?(@.a.length()=1)]", {"a": [1]}, True),
        ("$[?(@.a.length()=2)]", {"a": "xy"}, True),
        ("$[?(@.a.length()=1)]", {"a": {"x": 1}}, False),
        ("$.a.length()", {"a": 5}, False),
        ("$[?(@.a=@.b)]", {"a": [1, {"x": 2}], "b": [1, {"x": 2}]}, True),
        ("$[?(@.a=@.b)]", {"a": 1, "b": 2}, False),
        ("$[?(@.a=@.b)]", {}, False),
        ("$[?(@.a=true)]", {"a": True}, True),
        ("$[?(@.a=true)]", {"a": 1}, True),
        ("$[?(@.a=false)]", {"a": 0}, True),
        ("$[?(@.a=null)]", {"a": None}, True),
        ("$[?(@.a=1.0)]", {"a": 1}, True),
        ("$[?(@.a=-1)]", {"a": -1}, True),
        ("$[?(@.a=1e2)]", {"a": 100}, True),
        ('$[?(@.a=[1, {"b": 2}])]', {"a": [1, {"b": 2}]}, True),
        ("$[?(@.a={})]", {"a": {}}, True),
        ("$[?(@.a=[])]", {"a": {}}, False),
        ("$[?(true)]", {}, True),
        ("$[?(false)]", {}, False),
        ("$[?(1=1)]", {}, True),
        # a filter tests the value itself, never the items of a list
        ("$[?(@.status=0)]", [STATUS], False),
        ("$.items[?(@.a=1)]", {"items": [{"a": 1}]}, False),
        ("$.items[*][?(@.a=1)]", {"items": [{"a": 0}, {"a": 1}]}, True),
        ("$..[?(@.a=1)]", [{"a": 1}], True),
        ("$.a[?(@.b)][?(@.c)]", {"a": {"b": 1, "c": 2}}, True),
        ("$[*][?($.a=1)]", {"a": 1}, True),
        ("$[?(@.a[?(@.x)])]", {"a": {"x": 1}}, True),
        ("$[?@.a==1]", {"a": 1}, True),
        ("$[?(@=1)]", 1, True),
        # several values on a side: one that holds is enough
        ("$[?(@.items[*]=2)]", {"items": [1, 2]}, True),
        ("$[?(@.items[*]!=2)]", {"items": [1, 2]}, True),
        ("$[?(@.items[*]>5)]", {"items": [1, 2]}, False),
        ("$[?(2=@..n)]", {"a": {"n": 2}}, True),
    ],
)
def test_a_path_holds_as_in_littleflow(text: str, value: Any, holds: bool) -> None:
    before = copy.deepcopy(value)
    assert condition(text).holds(value) is holds
    assert parse_path(text).matches(value) is holds
    assert value == before


@pytest.mark.parametrize(
    ("text", "column", "sentence"),
    [
        ("$.", 3, "expected a key or *, and here is the end"),
        ("$x", 2, "expected .key, [ ] or the end, and here is x"),
        ("$.0", 3, "expected a key or *, and here is 0"),
        ("$[", 3, "expected *, a string, an index, ?( … ) or :, and here is the end"),
        ("$[a]", 3, "and here is a"),
        ("$[?(@.a", 8, "expected .key, [ ], a comparison such as =, and, or or ), and here is the end"),
        ("$[?(@.a=)]", 9, "expected a value, @ or $, and here is )"),
        ("$[?()]", 5, "expected a condition, and here is )"),
        ("$[?(@.a in @.b)]", 9, "and here is in"),
        ("$[?(a=1)]", 5, "expected a condition, and here is a"),
        ("$[?('a)]", 5, "the string is not closed; expected '"),
        ('$[?(@.a="\\q")]', 10, "a string has no escape"),
        ('$[?("x")]', 5, "a value alone is no condition; compare it"),
        ("$[0:1:0]", 3, "the step of a section cannot be 0"),
        ("$.keys()", 3, "there is no keys() here, only length()"),
        ("$[99999999999999999999]", 3, "the index is too large"),
        ("$[?(@.a=1 or @.b=1 and @.c=1)]", 20, "and beside or needs parentheses around one of them"),
        ("$ $", 3, "expected .key, [ ] or the end, and here is $"),
        (f"${'.a' * 101}", 1, "the path has more than 100 steps"),
        (f"$[?({'(' * 200}@.a{')' * 200})]x", 410, "expected .key, [ ] or the end"),
        (f"$[?({'not ' * 101}@.a)]", 21, "the path has more than 100 parts inside one another"),
        (f"${'[?(@' * 60}{')]' * 60}", 1, "inside one another"),
        (f"$.{'a' * limits.MAX_TEXT}", limits.MAX_TEXT + 1, "the path has 10,002 characters; the limit is 10,000"),
    ],
)
def test_a_path_that_cannot_be_read_is_placed(text: str, column: int, sentence: str) -> None:
    error = failure(text)
    assert (error.line, sentence in error.message) == (1, True), error.message
    assert error.column == column or sentence == "inside one another", (error.column, error.message)


def answer(text: str, value: Any) -> Any:
    """Whether a condition holds, or the error that it ends in."""
    try:
        return condition(text).holds(value)
    except ExpressionError as error:
        return error


# Conditions of both languages


@pytest.mark.parametrize(
    ("text", "value", "holds"),
    [
        ("input.status == 0", STATUS, True),
        ("input.status > 0", STATUS, False),
        ('"status" in input && input.status in [0, 1]', STATUS, True),
        ("true", None, True),
        ("  $.status  ", STATUS, True),
        ("\n$.status", STATUS, True),
    ],
)
def test_a_text_without_the_sign_is_an_expression_over_input(text: str, value: Any, holds: bool) -> None:
    assert condition(text).holds(value) is holds


@pytest.mark.parametrize("text", ["input.status", "0", "input"])
def test_an_expression_must_be_true_or_false(text: str) -> None:
    with pytest.raises(ExpressionError, match="a condition must be true or false"):
        condition(text).holds(STATUS)


def test_an_expression_has_no_other_names() -> None:
    assert failure("inputs.a == 1").message == "unknown name inputs; did you mean input?"


# Bounds


def deep(levels: int) -> Any:
    """Lists inside one another."""
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def test_deep_values_need_no_recursion() -> None:
    value = deep(sys.getrecursionlimit() * 10)
    assert parse_path("$..*").matches(value)
    assert not parse_path("$..key").matches(value)
    assert parse_path("$[?(@=@)]").matches(value)
    assert not parse_path("$..[?(@.a=1)]").matches(value)


@pytest.mark.parametrize("text", ["$..*..*..*..x", "$..[?(@..n=@..m)]", "$[?($..*=$..x)]", "$..[?(@=$ and @.x)]"])
def test_an_evaluation_has_a_bound_of_steps(text: str) -> None:
    value = {"m": 1, "items": [{"n": [number, deep(20)]} for number in range(300)]}
    outcome = answer(text, value)
    assert outcome is False or "takes more than 1,000,000 steps" in str(outcome)


def test_a_path_stops_at_its_first_match() -> None:
    assert parse_path("$[*]").matches([1] * (limits.MAX_STEPS + 1))
    assert parse_path("$..n").matches([{"n": 1}] * (limits.MAX_STEPS + 1))


def test_a_path_serves_several_threads() -> None:
    path, answers = parse_path("$[?(@.a=1)]"), []
    threads = [threading.Thread(target=lambda: answers.append(path.matches({"a": 1}))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [True] * 8
    assert repr(path) == "Path('$[?(@.a=1)]')"


WORDS = r"""
$ @ . .. * [ ] ( ) ? = == != < <= > >= and or not ! && || : , { } " ' 0 -1 1.5 "a" 'b' a b true false null
.a ..b [0] [*] [?( )] .length() \ é
"""
PIECES = [*WORDS.split(), " ", "\n", "\0", "\ud800"]
SOURCES = ["$[?(@.a=1 and not @.b)]", "$..a[0:2]['b', *]", '$[?(@.a.length()>=2 or @.c="x")]', "input.a == 1"]
VALUE = {"a": [1, {"b": "x"}], "c": "x", "b": None}


@settings(deadline=None, max_examples=examples(200))
@given(st.integers(0, 2**32))
def test_mutated_conditions_end_in_an_answer_or_a_placed_error(seed: int) -> None:
    random = Random(seed)  # noqa: S311 - of texts
    text = ""
    for number in range(20):
        text = text if number % 4 else random.choice(SOURCES)
        start = random.randrange(len(text) + 1)
        text = text[:start] + random.choice(PIECES) + text[start + random.randrange(4) :]
        outcome = answer(text, VALUE)
        if isinstance(outcome, ExpressionError):
            assert 0 <= outcome.position <= len(text), text
            assert not any(telltale in outcome.message for telltale in TELLTALES), (text, outcome.message)
        else:
            assert outcome in (True, False)


def test_a_path_too_deep_for_its_place_is_an_error() -> None:
    path = parse_path("$" + ".a" * 100)

    def at_depth(levels: int) -> bool:
        return at_depth(levels - 1) if levels else path.matches({})

    def deeper_and_deeper() -> None:
        for levels in range(sys.getrecursionlimit()):
            at_depth(levels)

    with pytest.raises(ExpressionError, match=paths.TOO_DEEP):
        deeper_and_deeper()
