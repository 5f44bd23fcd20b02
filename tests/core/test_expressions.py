"""Expressions: the language of docs/expressions.md, its errors, and its limits."""

from __future__ import annotations

import copy
import json
import math
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from benchmarks import expressions as benchmark
from flowerapp.core import expressions
from flowerapp.core.expressions import ExpressionError, limits, parser, patterns
from flowerapp.exceptions import InvalidError
from tests.core.expression_texts import CONTEXT, HOSTILE, same


def evaluate(text: str, **names: Any) -> Any:
    """The value of an expression over the context of the documents and ``names``."""
    return expressions.parse(text).evaluate({**CONTEXT, **names})


def failure(text: str, **names: Any) -> ExpressionError:
    """The error of an expression that cannot be read or evaluated."""
    with pytest.raises(ExpressionError) as caught:
        evaluate(text, **names)
    return caught.value


# The language: the facts of expr-lang that users of YAML jobs rely on; docs/expressions.md has more examples


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1 + 2 * 3 - 4 / 2 % 3", 5),
        ("(1 + 2) * 3", 9),
        ("2 ** 10", 1024),
        ("2 ** 3 ** 2", 512),
        ("-2 ** 2", -4),
        ("2 ** -1", 0.5),
        ("0 ** 0", 1),
        ("10 ** 30 + 1", 10**30 + 1),
        ("10 ** 30 / 10 ** 29", 10),
        ("7 / 2", 3.5),
        ("-7 % 3", -1),
        ("7 % -3", 1),
        ("1 - -1", 2),
        ("+1", 1),
        ("1 == 1.0", True),
        ("1 == true", False),
        ("0 == false", False),
        ("null == false", False),
        ('"1" == 1', False),
        ("[true] == [1]", False),
        ('{"a": [1, {"b": null}]} == {"a": [1.0, {"b": nil}]}', True),
        ("[1, 2] == [1]", False),
        ('{"a": 1} == {"b": 1}', False),
        ('"a" != "b"', True),
        ("1 < 2", True),
        ("1 < 2 < 3 <= 3", True),
        ("1 < 3 < 2", False),
        ('"a" < "b"', True),
        ("!true || true && !false", True),
        ("true and not false or false", True),
        ("not 1 == 2", True),
        ("true == not false", True),
        ("!true == false", True),
        ("3 in [1, 2, 3]", True),
        ("true in [1]", False),
        ("1 not in [1]", False),
        ('"total" in input', True),
        ("1 in input", False),
        ("true ? 1 : 2", 1),
        ("false ? 1 : true ? 2 : 3", 2),
        ("false ? 1/0 : 2", 2),
        ("false && 1/0 == 1", False),
        ("true || 1/0 == 1", True),
        ("input.note ?? 5", 5),
        ("input.missing?.deeper ?? 5", 5),
        ("false ?? true", False),
        ("null ?? null ?? 3", 3),
        ("1 + input.note ?? 2", 3),
        ("(input.note ?? 2) + 1", 3),
        ("input.note ?? -1", -1),
        ("input.note ?? true ? 1 : 0", 1),
        ("input.note?.a.b[0].c", None),
        ("input.user?.name", "Ada"),
        ('input?.["total"]', 120),
        ('name contains "b_"', True),
        ('name startsWith "job" and name endsWith "7"', True),
        ('name not startsWith "job"', False),
        ('name matches "^job_\\\\d+$"', True),
        ("name matches `^JOB`", False),
        ("name matches `(?i)^JOB`", True),
        ("1..3", [1, 2, 3]),
        ("3..1", []),
        ("1..1 + 1", [1, 2]),
        ("2 in 1..3", True),
        ("-1..1", [-1, 0, 1]),
        ("name | upper()", "JOB_17"),
        ('name | split("_") | join("-") | len()', 6),
        ('name | split("_")[1]', "17"),
        ("1..9 | filter(# < 5) | map(# * 2)", [2, 4, 6, 8]),
        ("false || true | string()", "true"),
        ("rows | len() > 1 && true", True),
        ("rows | len() + 1 | string()", "4"),
        ("rows | len() * 2 - 1 == 5", True),
        ("rows | len() .. 4", [3, 4]),
        ("[] | first() ?? 7", 7),
        ("[] | first() ?? true ? 1 : 2", 1),
        ("2 + 1 | max(2) ** 2", 9),
        ("input.tags[0]", "new"),
        ("input.tags[-1]", "eu"),
        ('input["user"]["name"]', "Ada"),
        ("name[0]", "j"),
        ("[1, 2, 3][1:]", [2, 3]),
        ("[1, 2, 3][:-1]", [1, 2]),
        ("[1, 2, 3][:]", [1, 2, 3]),
        ("[1, 2, 3][5:9]", []),
        ("[1, 2, 3][true ? 1 : 2]", 2),
        ("map(rows, .n)", [1, 5, 3]),
        ("map(rows, #.n + #index)", [1, 6, 5]),
        ("map(rows, {.n})", [1, 5, 3]),
        ("map([1], {a: #})", [{"a": 1}]),
        ("map([1], {{a: #}})", [{"a": 1}]),
        ("map([[1, 2], [3]], map(#, # * 10))", [[10, 20], [30]]),
        ("map([1, 2], let x = #; map([10], x + #))", [[11], [12]]),
        ('filter(rows, .kind == "a" && .n > 1)[0].n', 3),
        ("let x = 1; let y = x + 1; x + y", 3),
        ("let rows = 5; rows", 5),
        ("{a: 1, a: 2}", {"a": 2}),
        ('{1: "x"}', {"1": "x"}),
        ("[1, 2,]", [1, 2]),
        ("{a: 1,}", {"a": 1}),
        ("max(1, 2,)", 2),
        ("[]", []),
        ("{}", {}),
        ('fromJSON("{\\"a\\": [1, 2.5, null]}").a', [1, 2.5, None]),
        ('int(fromJSON(`"7"`)) + 1', 8),
        ("len(sequence(1, 5))", 4),
        ("sequence(5, 1)", []),
        ('trim("  x ")', "x"),
        ("reduce(1..9, #acc + #)", 45),
        ("reduce(1..3, #acc + #index, 0)", 3),
        ("split('a,b', ',', 10 ** 30)", ["a", "b"]),
        ("split('ab', '', 10 ** 30)", ["a", "b"]),
        ("splitAfter('a,b', ',', 10 ** 30)", ["a,", "b"]),
        ("repeat('', 10 ** 30)", ""),
        ("take([1], 10 ** 30)", [1]),
        ("[1, 2][-(10 ** 30):10 ** 30]", [1, 2]),
        ("get([1], 10 ** 30)", None),
        ("bitshr(-1, 10 ** 30)", -1),
        (
            "uniq([0, -0.0, 1e22, 10 ** 22, 'a', '1', 1, 'null', null, 'true', true])",
            [0, 1e22, "a", "1", 1, "null", None, "true", True],
        ),
        ('"\\u00e9\\x41\\U0001F600\\n\\t\\\\"', "éA😀\n\t\\"),
        ('"\\ud83d\\ude00"', "😀"),
        ("1//2", 1),
        ("1 /* ** / */ + 1", 2),
        ("input.in", None),
        ("{matches: 1}.matches", 1),
        ("inside + notes", 3),
        ("Ünï", 4),
        ("1\n+\n1", 2),
    ],
)
def test_expressions_give_their_values(text: str, value: Any) -> None:
    result = evaluate(text, inside=1, notes=2, Ünï=4)
    assert same(result, value), result


def test_random_integers_are_within_their_bounds() -> None:
    assert {evaluate("randomInt(3)") for _ in range(200)} == {0, 1, 2}
    assert 0 <= evaluate("randomInt()") < 2**63


def test_the_clock_is_the_callers() -> None:
    time_of_day = datetime(2026, 1, 31, 9, tzinfo=UTC)
    value = expressions.parse('[now(), now() > date("2026-01-31"), now() == date("2026-01-31T10:00+01:00")]')
    assert value.evaluate({}, lambda: time_of_day) == ["2026-01-31T09:00:00.000000Z", True, True]


def test_integers_stay_exact_whatever_their_size() -> None:
    large = 10**4200 + 7
    assert evaluate("large * 10 + 1", large=large) == large * 10 + 1
    assert evaluate("large % 10", large=large) == 7
    assert evaluate("large == large + 0 && large > 1.5", large=large) is True
    assert evaluate("string(large)", large=large) == str(large)
    assert evaluate("9" * 4300) == int("9" * 4300)


def test_a_namespace_is_asked_only_for_the_keys_that_an_expression_reads() -> None:
    asked: list[str] = []

    def lookup(key: str) -> str:
        asked.append(key)
        return {"mail": "a@b.c", "other": "never"}[key]

    secrets = expressions.Namespace(lookup)
    assert evaluate('secrets.mail + secrets["mail"] + (secrets?.mail)', secrets=secrets) == "a@b.c" * 3
    assert asked == ["mail"] * 3
    error = failure("1 +\n secrets.unknown", secrets=secrets)
    assert (error.message, error.line, error.column) == ("there is no such key", 2, 9)


@pytest.mark.parametrize(
    "text", ["secrets", "toJSON(secrets)", "[secrets]", "secrets == 1", "keys(secrets)", "let s = secrets; s.mail"]
)
def test_a_namespace_cannot_be_used_as_a_whole(text: str) -> None:
    error = failure(text, secrets=expressions.Namespace({"mail": "x"}.__getitem__))
    assert "name one of its keys, as in secrets.key" in error.message


# Types


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('"1" + 1', "+ needs two numbers or two strings; here it has a string and an integer; int(…), float(…) and"),
        ("1 + true", "+ needs two numbers; here it has an integer and a boolean"),
        ("[1] + [2]", "+ needs two numbers; here it has a list and a list"),
        ('"a" * 3', "* needs two numbers"),
        ("[1] * 1000", "* needs two numbers"),
        ("null - 1", "- needs two numbers; here it has null and an integer"),
        ("1.5 % 2", "% needs two integers"),
        ('-"a"', "- needs a number, and this is a string"),
        ("+true", "+ needs a number, and this is a boolean"),
        ("1 && true", "each side of && must be true or false, and this is an integer"),
        ("false || null", "each side of || must be true or false"),
        ("!0", "what ! negates must be true or false, and this is an integer"),
        ('"" ? 1 : 2', "what stands before ? must be true or false, and this is a string"),
        ('"5" > 3', "> needs two numbers or two strings; here it has a string and an integer; int(…)"),
        ("null < 1", "< needs two numbers or two strings; here it has null and an integer"),
        ("true <= false", "<= needs two numbers or two strings"),
        ('"a" in "abc"', "in needs a list or an object at its right, and this is a string; contains searches in a"),
        ("1 contains 1", "contains needs two strings; here it has an integer and an integer"),
        ("1 matches 'a'", "matches needs two strings"),
        ("1.0..2", ".. needs two integers; here it has a number and an integer"),
        ("input.note.text", "only objects have keys, and this is null; ?. gives null here"),
        ("input.tags.first", "only objects have keys, and this is a list; [0] reads the first item"),
        ("name.length", "only objects have keys, and this is a string"),
        ("input.tags[2]", "the index is beyond the end: there are 2"),
        ("input.tags[-3]", "the index is beyond the end"),
        ('input.tags["0"]', "an index must be an integer, and this is a string"),
        ("input.tags[true]", "an index must be an integer, and this is a boolean"),
        ("input[0]", "[ ] needs a list or an object before it, and this is an object, with an integer inside"),
        ("null[0]", "[ ] needs a list or an object before it, and this is null"),
        ("input[1:2]", "[:] needs a list or a string, and this is an object"),
        ("name['a':]", "[:] needs integers, and this is a string"),
        ("{(1): 2}", "a key must be a string, and this is an integer"),
        ("filter(rows, .n)", "the condition must be true or false, and this is an integer"),
        ("len(5)", "len() needs a string, a list or an object, and this is an integer"),
        ("upper(1)", "upper() needs a string, and this is an integer"),
        ("split(1, 2)", "split() needs a string as argument 1, and this is an integer"),
        ("repeat('a', true)", "repeat() needs an integer as argument 2, and this is a boolean"),
        ("map(input, #)", "map() needs a list as argument 1, and this is an object"),
        ("sum(['a'])", "+ needs two numbers or two strings"),
        ("sort([1, 'a'])", "sort() needs numbers alone or strings alone"),
        ("sort([true])", "sort() needs numbers alone or strings alone"),
        ("sort([1], 'up')", 'sort() sorts in the order "asc" or "desc"'),
        ("join([1])", "join() needs a list of strings; map(list, string(#)) makes one"),
        ("max()", "max() takes 1 or more arguments, and here it has 0"),
        ("max([])", "max() needs at least one number"),
        ("max(1, 'a')", "max() needs numbers, and one of them is a string"),
        ("mean([null])", "mean() needs numbers, and one of them is null"),
        ("reduce([], #acc)", "reduce() of an empty list needs an initial value"),
        ("fromPairs([[1, 2]])", "fromPairs() needs a list of pairs such as ['key', 1]"),
        ("int('1.5')", "int() cannot read this string as a number"),
        ("int('1_000')", "int() cannot read this string as a number"),
        ("int('')", "int() cannot read this string as a number"),
        ("int(null)", "int() needs a number or a string, and this is null"),
        ("float('nan')", "float() cannot read this string as a number"),
        ("float('1e999')", "the result is not a finite number"),
        ("fromJSON('[NaN]')", "fromJSON(): NaN is not JSON"),
        ("fromJSON('{')", "fromJSON(): Expecting property name enclosed in double quotes at its line 1, column 2"),
        ("fromBase64('é')", "fromBase64() needs the Base64 of text in UTF-8"),
        ("fromBase64('/w==')", "fromBase64() needs the Base64 of text in UTF-8"),
        ("fromBase64('AA==')", "a string must not have a NUL character"),
        (r"""fromJSON('["\\u0000"]')""", "a string must not have a NUL character"),
        (r"""fromJSON('{"\\ud800": 1}')""", "a string must not have half of a surrogate pair"),
        ("date('tomorrow')", "date() needs a date or time such as 2026-01-31"),
        ("duration('1 h')", "duration() needs a text such as 1h30m"),
        ("duration('90')", "duration() needs a text such as 1h30m"),
        ("randomInt(0)", "randomInt() needs a number of at least 1"),
        ("take([], -1)", "take() needs a number of at least 0"),
        ("repeat('a', -1)", "repeat() needs a number of at least 0"),
        ("bitshl(1, -1)", "bitshl() shifts by 0 to 14,285 bits"),
        ("bitshr(1, -1)", "bitshr() shifts by at least 0 bits"),
        ("1 / 0", "division by zero"),
        ("1 % 0", "division by zero"),
        ("0 ** -1", "division by zero"),
        ("(-8) ** 0.5", "the result is not a finite number"),
        ("1e308 * 10", "the result is not a finite number"),
        ("10 ** 400 * 1.5", "the result is too large for a number"),
        ("float(10 ** 400)", "the result is too large for a number"),
        ("10 ** 400 / 3", "the result is too large for a number"),
        ("2.5 ** 10 ** 4", "the result is too large for a number"),
    ],
)
def test_values_of_the_wrong_type_are_refused_with_the_cure(text: str, message: str) -> None:
    assert failure(text).message.startswith(message)


@pytest.mark.parametrize("value", [[10**4300], {"a": -(10**5000)}])
@pytest.mark.parametrize("text", ["x", "[x]", "toJSON(x)", "string(x)"])
def test_integers_that_json_cannot_carry_do_not_pass(text: str, value: Any) -> None:
    assert failure(text, x=value).message == "the integer has more than 4,300 digits"


@pytest.mark.parametrize(
    "value",
    [Decimal(1), (1, 2), {1}, object(), float, datetime(2026, 1, 1), b"x", {"a": (1,)}, {1: 2}, math.nan, [math.inf]],
)
@pytest.mark.parametrize("text", ["x", "[x]", "toJSON(x)", "x | string()", "{a: x}"])
def test_what_is_not_json_does_not_pass(text: str, value: Any) -> None:
    error = failure(text, x=value)
    assert "not a JSON value" in error.message or "key that is not a string" in error.message
    assert "<" not in str(error)


def test_a_condition_must_be_a_boolean() -> None:
    condition = expressions.parse("input.total > 100")
    assert condition.test(CONTEXT) is True
    with pytest.raises(ExpressionError, match="a condition must be true or false, and this is an integer"):
        expressions.parse("input.total").test(CONTEXT)


def test_errors_show_no_values() -> None:
    secret = "hunter2-hunter2"
    secrets: dict[str, str] = {}
    namespace = expressions.Namespace(secrets.__getitem__)
    texts = [
        "s + 1",
        "s < 1",
        "s.x",
        "int(s)",
        "s in s",
        "x[s]",
        "sort([s, 1])",
        "fromJSON(s)",
        "fromBase64(s)",
        "s && true",
    ]
    texts += ["n[s]", "1 matches s", "'a' matches '\\\\p{' + s + '}'", "'a' matches '\\\\' + s", "'a' matches s + '['"]
    texts += ["date(s)", "duration(s)", "s matches s + '('", "max(s)", "join([1], s)", "1..s", "{(1): s}", "y[s]"]
    for text in texts:
        with pytest.raises(ExpressionError) as caught:
            expressions.parse(text).evaluate({"s": secret, "x": [], "y": 1, "n": namespace})
        assert "hunter" not in str(caught.value), text


# Errors have a place


@pytest.mark.parametrize(
    ("text", "line", "column", "message"),
    [
        ("", 1, 1, "expected a value, and here is the end"),
        ("  ", 1, 3, "expected a value, and here is the end"),
        ("1 +", 1, 4, "expected a value, and here is the end"),
        ("1 +\n  * 2", 2, 3, "expected a value, and here is *"),
        ("(1", 1, 3, "expected ), and here is the end"),
        ("[1, 2", 1, 6, "expected , or ], and here is the end"),
        ("{a 1}", 1, 4, "expected :, and here is 1"),
        ("{a: 1", 1, 6, "expected , or }, and here is the end"),
        ("f(1", 1, 4, "expected ) or ,, and here is the end"),
        ("a ? 1", 1, 6, "expected :, and here is the end"),
        ("a b", 1, 3, "expected an operator or the end, and here is b"),
        ("a.", 1, 3, "expected a name, and here is the end"),
        ("a.1", 1, 3, "expected a name, and here is 1"),
        ("a[1", 1, 4, "expected : or ], and here is the end"),
        ("a[]", 1, 3, "expected a value or :, and here is ]"),
        ("1 = 1", 1, 3, "expected an operator or the end, and here is =; write == to compare"),
        ("a & b", 1, 3, "expected an operator or the end, and here is &; write && or and"),
        ("a | b", 1, 6, "expected (, and here is the end"),
        ("a | 1", 1, 5, "expected a name, and here is 1"),
        ("a @ b", 1, 3, "expected an operator or the end, and here is @"),
        ("input.tags()", 1, 11, "expected an operator or the end, and here is ("),
        ("a )", 1, 3, "expected the end, and here is )"),
        ("let x = 1", 1, 10, "expected ;, and here is the end"),
        ("let 1 = 1; 1", 1, 5, "expected a name, and here is 1"),
        ("'abc", 1, 1, "the string is not closed; expected '"),
        ('1 + "a\nb"', 1, 5, 'the string is not closed; expected "'),
        ("`a", 1, 1, "the string is not closed; expected `"),
        ('"a\\q"', 1, 3, "a string has no escape \\q; write \\\\ for a backslash"),
        ('"\\u12"', 1, 2, "a string has no escape \\u; write \\\\ for a backslash"),
        ('"\\u0000"', 1, 1, "a string must not have a NUL character"),
        ('"\\ud800"', 1, 1, "a string must not have half of a surrogate pair"),
        ("1 + lenn(a)", 1, 5, "there is no function lenn(); did you mean len?"),
        ("trim()", 1, 1, "trim() takes 1 to 2 arguments, and here it has 0"),
        ("now(1)", 1, 1, "now() takes no arguments, and here it has 1"),
        ("a | upper(1)", 1, 5, "upper() takes 1 argument, and here it has 2"),
        ("replace(a)", 1, 1, "replace() takes 3 arguments, and here it has 1"),
        ("len({#})", 1, 5, "argument 1 of len() is a value, not { }"),
        ("#", 1, 1, "# and .key have a meaning only in what a function like filter() does"),
        ("map(#, 1)", 1, 5, "# and .key have a meaning only in what a function like filter() does"),
        ("1 + .a", 1, 5, "# and .key have a meaning only in what a function like filter() does"),
        ("a ?? b + 1", 1, 3, "?? before + needs parentheses around it"),
        ("a ?? b == c", 1, 3, "?? before == needs parentheses around it"),
        ("a ?? b && c", 1, 3, "?? before && needs parentheses around it"),
        ("a ?? b || c", 1, 3, "?? before || needs parentheses around it"),
        ("a ?? 1 .. 2", 1, 3, "?? before .. needs parentheses around it"),
        ("a ?? 2 ** 2", 1, 3, "?? before ** needs parentheses around it"),
        ("0x", 1, 2, "expected an operator or the end, and here is x"),
        ("0x_", 1, 1, "the integer has no digits, or more than 4,300"),
        ("1e999", 1, 1, "the number is too large"),
        ("a matches '['", 1, 11, "the pattern has an unexpected end at its character 2"),
        ("1; 2", 1, 2, "expected the end, and here is ;"),
    ],
)
def test_what_cannot_be_read_has_a_place_and_says_what_was_expected(
    text: str, line: int, column: int, message: str
) -> None:
    with pytest.raises(ExpressionError) as caught:
        expressions.parse(text)
    error = caught.value
    assert (error.line, error.column, error.message) == (line, column, message)


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("1 +\n input.total.x", 2, 13),
        ("unknown", 1, 1),
        ("true &&\n\n 5", 3, 2),
        ("map(rows, .n + .kind)", 1, 14),
        ("map(rows, upper(.n))", 1, 11),
        ("input.tags | map(# * 2)", 1, 20),
        ("1 + 2 +\n'a'", 1, 7),
        ("1 < 2 < 'a'", 1, 7),
        ("rows[0]\n[1]", 2, 1),
        ("{a: [1/0]}", 1, 7),
        ("{'b': 1, (1): 2}", 1, 11),
    ],
)
def test_what_cannot_be_evaluated_has_a_place(text: str, line: int, column: int) -> None:
    error = failure(text)
    assert (error.line, error.column) == (line, column)


def test_an_error_shows_its_line_with_a_caret() -> None:
    error = failure("1 +\n  rows.n +\n3")
    assert str(error) == (
        "line 2, column 7: only objects have keys, and this is a list; [0] reads the first item\n"
        "      rows.n +\n"
        "          ^"
    )
    assert isinstance(error, InvalidError)
    assert error.code == "invalid_expression"
    pickled = copy.copy(error)  # by what pickle uses
    assert (str(pickled), pickled.line, pickled.column) == (str(error), 2, 7)


def test_an_error_in_a_long_line_shows_what_is_around_its_place() -> None:
    lines = str(failure("1 + " * 500 + "'a'" + " + 1" * 500)).split("\n")
    assert all(len(line) <= 130 for line in lines[1:])
    assert lines[1][lines[2].index("^") :].startswith("+ 'a'")


# Names


def test_names_are_those_that_the_context_must_have() -> None:
    expression = expressions.parse(
        "let a = b; map(c.d, # + a + e?.[f]) | len() + len(g) > 1 ? {h: (let i = 1; i)} : secrets.x"
    )
    assert expressions.names(expression) == {"b", "c", "e", "f", "g", "secrets"}
    assert expression.names == expressions.names(expression)


def test_unknown_names_are_refused_before_anything_runs() -> None:
    expression = expressions.parse("input.total > 1 &&\n inputs.total > 2")
    expression.check_names(["input", "inputs"])
    with pytest.raises(ExpressionError, match=r"unknown name inputs; did you mean input\?") as caught:
        expression.check_names(["input", "tasks"])
    assert (caught.value.line, caught.value.column) == (2, 2)
    with pytest.raises(ExpressionError, match="unknown name zzz; there are: input, tasks"):
        expressions.parse("zzz").check_names(["tasks", "input"])


# No way out


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_of_python_is_reached(text: str) -> None:
    try:
        value = evaluate(text)
    except ExpressionError:
        return
    assert value is None, "a key that the object lacks"
    assert text.startswith("input.")


def test_nothing_changes_the_context() -> None:
    before = json.dumps(CONTEXT)
    for text in ["reverse(rows)", "sort(map(rows, .n))", "concat(rows, rows)", "let input = 1; input", "uniq(rows)"]:
        evaluate(text)
    assert json.dumps(CONTEXT) == before


# Limits


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("(" * 100_000, 10_001, "the expression has 100,000 characters; the limit is 10,000"),
        ("(" * 9_999, 10_000, "expected a value, and here is the end"),
        ("[" * 200 + "]" * 200, 100, "the expression has more than 100 parts inside one another"),
        ("!" * 200 + "true", 101, "the expression has more than 100 parts inside one another"),
        ("f(" * 3_000, 6_001, "expected a value or ), and here is the end"),
        ("2**" * 200 + "2", 302, "the expression has more than 100 parts inside one another"),
        ("len([" * 60 + "])" * 60, 50, "the expression has more than 100 parts inside one another"),
        ("true ? 1 : " * 200 + "1", 0, "the expression has more than 100 parts inside one another"),
        ("let x = 1; " * 200 + "1", 0, "the expression has more than 100 parts inside one another"),
        ("9" * 4_301, 1, "the integer has no digits, or more than 4,300"),
        ("0x" + "f" * 4_000, 1, "the integer has more than 4,300 digits"),
    ],
)
def test_texts_that_are_too_large_or_too_deep_are_refused_at_once(text: str, column: int, message: str) -> None:
    expressions.parse("1")
    start = time.process_time()
    with pytest.raises(ExpressionError) as caught:
        expressions.parse(text)
    assert time.process_time() - start < 2
    assert caught.value.message == message
    assert (column == 0 and caught.value.column > 1) or caught.value.column == column


def test_parentheses_and_long_chains_are_not_depth() -> None:
    assert evaluate("(" * 4_000 + "1" + ")" * 4_000) == 1
    assert evaluate(" + ".join(["1"] * 2_000)) == 2_000
    assert evaluate(" || ".join(["false"] * 1_000)) is False
    assert evaluate("x" + ".a" * 3_999, x=_chained()) is None


def _chained() -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(3_998):
        value = {"a": value}
    return value


BUILT = "the evaluation builds more than 16 MiB of values"
STEPS = "the evaluation takes more than 1,000,000 steps"
DIGITS = "the integer has more than 4,300 digits"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1..10**12", BUILT),
        ("sequence(0, 10**12)", BUILT),
        ("-(10**4000)..10**4000", BUILT),
        ("repeat('a', 10**9)", BUILT),
        ("repeat('a', 10**4000)", BUILT),
        ("reduce(1..100, #acc + #acc, 'a')", BUILT),
        ("reduce(1..100, concat(#acc, #acc), [1])", BUILT),
        ("reduce(1..100, [#acc, #acc], 1)", BUILT),
        ("reduce(1..100, {a: #acc, b: #acc}, 1) | toJSON()", BUILT),
        ("reduce(1..100, replace(#acc, 'a', 'aa'), 'a')", BUILT),
        ("reduce(1..100, join([#acc, #acc], #acc), 'a')", BUILT),
        ("map(1..100000, repeat('a', 1000))", BUILT),
        ("map(1..1000, 1..1000)", BUILT),
        ("let s = repeat('a', 10**6); map(1..1000, s + 'b')", BUILT),
        ("let s = repeat('a', 10**6); map(1..1000, s[1:])", BUILT),
        ("let s = repeat('a', 10**6); map(1..1000, upper(s))", BUILT),
        ("let s = repeat('a', 10**6); map(1..1000, trim(s))", BUILT),
        ("let s = repeat('a', 10**6); map(1..1000, split(s, 'a'))", BUILT),
        ("let s = repeat('a', 10**6); map(1..1000, toBase64(s))", BUILT),
        ("let s = repeat('[],', 10**6); fromJSON('[' + s + '1]')", BUILT),
        ("let s = repeat('a', 10**6); join(map(1..100, s), s)", BUILT),
        ("let s = repeat('a', 10**6); groupBy(map(1..100, s), #)", BUILT),
        ("let s = repeat('a', 10**6); map(1..100, s)", BUILT),
        ("let l = 1..100000; map(1..100, reverse(l))", BUILT),
        ("let l = 1..100000; map(1..100, take(l, 90000))", BUILT),
        ("flatten(map(1..300, 1..3000))", BUILT),
        ("map(1..10000, map(1..10000, 1))", BUILT),
        ("any(1..1000, any(1..1000, false))", STEPS),
        ("let l = 1..100000; filter(l, # in l)", STEPS),
        ("let l = 1..100000; filter(l, l == l)", STEPS),
        ("let s = repeat('a', 10**6); filter(1..1000, s == s)", STEPS),
        ("let s = repeat('a', 10**6); filter(1..1000, s contains 'b')", STEPS),
        ("let s = repeat('a', 10**6); filter(1..1000, s matches 'b')", STEPS),
        ("let s = repeat('a', 10**6); filter(1..1000, indexOf(s, 'b') > 0)", STEPS),
        ("let s = repeat('a', 10**6); sort(map(1..10000, s))", STEPS),
        ("trim(repeat('a', 10**6), repeat('b', 10**6) + 'a')", STEPS),
        ("let l = map(1..1000, [#]); uniq(l)", STEPS),
        ("let n = 7 ** 2000; map(1..100000, n * n)", STEPS),
        ("let l = 1..100000; map(1..100, max(l))", STEPS),
        ("let l = 1..100000; map(1..100, sum(l))", STEPS),
        ("10 ** 10 ** 10", DIGITS),
        ("2 ** 14285", DIGITS),
        ("(-2) ** 99999", DIGITS),
        ("(7 ** 4000) * (7 ** 4000)", DIGITS),
        ("bitshl(10 ** 4000, 10000)", DIGITS),
        ("bitshl(1, 10 ** 9)", "bitshl() shifts by 0 to 14,285 bits"),
        ("int(repeat('9', 5000))", DIGITS),
        ("fromJSON(repeat('9', 5000))", "fromJSON(): it is nested too deeply, or a number has more than 4,300 digits"),
        (
            "fromJSON(repeat('[', 100000))",
            "fromJSON(): it is nested too deeply, or a number has more than 4,300 digits",
        ),
        ("fromJSON(repeat('[', 300) + repeat(']', 300))", "the value has more than 200 lists and objects inside one"),
        ("reduce(1..1000, [#acc], 1)", "the value has more than 200 lists and objects inside one another"),
        (
            "reduce(1..1000, {a: #acc}, 1) | string()",
            "the value has more than 200 lists and objects inside one another",
        ),
    ],
)
def test_what_takes_or_builds_too_much_is_stopped(text: str, message: str) -> None:
    start = time.process_time()
    error = failure(text)
    assert time.process_time() - start < 3
    assert error.message.startswith(message)


def test_numbers_with_equal_hashes_take_no_longer() -> None:
    start = time.process_time()
    assert evaluate("len(uniq(map(1..100000, # * 2305843009213693951)))") == 100_000
    assert time.process_time() - start < 3


@pytest.mark.parametrize("text", benchmark.CONDITIONS)
def test_a_typical_condition_takes_few_steps(text: str) -> None:
    """A step takes about 0.3 µs, and a condition may take 100 µs."""
    evaluation = limits.Evaluation()
    assert expressions.parse(text).evaluate_in(benchmark.CONTEXT, evaluation) is True
    assert evaluation.steps < 300


def test_random_looking_work_within_the_limits_is_done() -> None:
    assert evaluate("len(1..100000)") == 100_000
    assert evaluate("count(1..100000, # % 2 == 0)") == 50_000
    assert len(evaluate("repeat('a', 10**6)")) == 10**6


def test_an_evaluation_deep_in_the_stack_ends_with_an_error_not_a_crash() -> None:
    def descend(levels: int, use: Callable[[str], Any]) -> Any:
        return descend(levels - 1, use) if levels else use(deep)

    deep = "[" * 99 + "1" + "]" * 99
    frame, used = sys._getframe(), 0
    while frame := frame.f_back:  # type: ignore[assignment]
        used += 1
    for use in (expressions.parse, evaluate, lambda text: expressions.template(f"a {{{{ {text} }}}}").render({})):
        with pytest.raises(ExpressionError, match="nested too deeply for the place where it is used"):
            descend(sys.getrecursionlimit() - used - 60, use)
        expressions.parse(deep)


def test_an_expression_is_read_once() -> None:
    assert expressions.parse("1 + cached") is expressions.parse("1 + cached")
    long = "1 + " * 1_000 + "cached"
    assert expressions.parse(long) is expressions.parse(long)


def test_the_texts_that_are_kept_are_bounded() -> None:
    for number in range(600):
        expressions.parse(f"{number}")
    kept = parser._short.cache_info()
    assert kept.currsize == kept.maxsize == 512


def test_threads_may_share_an_expression() -> None:
    expression = expressions.parse("sum(map(1..n, # * n)) + (let x = n; x)")
    results: dict[int, set[int]] = {}

    def run(number: int) -> None:
        results[number] = {expression.evaluate({"n": number}) for _ in range(200)}

    threads = [threading.Thread(target=run, args=(number,)) for number in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {n: {n * n * (n + 1) // 2 + n} for n in range(1, 5)}


def test_what_patterns_remember_is_bounded() -> None:
    pattern = patterns.Pattern("(a|b)*a(a|b){12}c")
    evaluation = limits.Evaluation()
    for number in range(2**12):
        pattern.search(evaluation, f"{number:012b}".replace("0", "a").replace("1", "b"))
        assert pattern._remembered <= patterns.MAX_REMEMBERED
        evaluation.steps = 0
