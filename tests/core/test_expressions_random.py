"""Random expressions against a plain model in Python, and texts of all kinds: they end in a value or a placed error."""

from __future__ import annotations

import json
import math
import operator
import time
from collections.abc import Callable
from fractions import Fraction
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from flowerapp.core import expressions
from flowerapp.core.expressions import FUNCTIONS, ExpressionError, Namespace
from tests.core.expression_grammar import RULES, expression
from tests.core.expression_texts import CONTEXT, HOSTILE, same
from tests.effort import examples, quick, seeds

# A model: trees of tuples, their value in Python, and their text with as few parentheses as the precedence allows

Tree = Any
LOOSEST = 0
LEVELS = {"?": 1, "||": 2, "&&": 3, "not": 4, "==": 5, "!=": 5, "<": 5, "<=": 5, "in": 5, "..": 6}
LEVELS |= {"+": 7, "-": 7, "*": 8, "/": 8, "%": 8, "neg": 9, "!": 9, "**": 10}
PRIMARY = 12


class ModelError(Exception):
    """The model has no value."""


def _numbers(*values: Any) -> None:
    if not all(type(value) in {int, Fraction} for value in values):
        raise ModelError


def _exact(value: Fraction) -> Any:
    return value.numerator if value.denominator == 1 else value


def _add(left: Any, right: Any) -> Any:
    if type(left) is str and type(right) is str:
        return left + right
    _numbers(left, right)
    return left + right


def _divide(left: Any, right: Any) -> Any:
    _numbers(left, right)
    if right == 0:
        raise ModelError
    return _exact(Fraction(left) / Fraction(right))


def _rest(left: Any, right: Any) -> Any:
    if type(left) is not int or type(right) is not int or right == 0:
        raise ModelError
    rest = abs(left) % abs(right)
    return -rest if left < 0 else rest


def _arithmetic(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def calculate(left: Any, right: Any) -> Any:
        _numbers(left, right)
        return function(left, right)

    return calculate


def _ordered(function: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def compare(left: Any, right: Any) -> bool:
        if not (type(left) is str and type(right) is str):
            _numbers(left, right)
        return function(left, right)

    return compare


def _equal(left: Any, right: Any) -> bool:
    if type(left) is list and type(right) is list:
        return len(left) == len(right) and all(map(_equal, left, right))
    return (type(left) is bool) == (type(right) is bool) and bool(left == right)


def _within(left: Any, right: Any) -> bool:
    if type(right) is not list:
        raise ModelError
    return any(_equal(left, item) for item in right)


def _range(left: Any, right: Any) -> list[int]:
    if type(left) is not int or type(right) is not int:
        raise ModelError
    if right - left > 2**20:
        raise ModelError
    return list(range(left, right + 1))


BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "+": _add,
    "-": _arithmetic(operator.sub),
    "*": _arithmetic(operator.mul),
    "/": _divide,
    "%": _rest,
    "==": _equal,
    "!=": lambda left, right: not _equal(left, right),
    "<": _ordered(operator.lt),
    "<=": _ordered(operator.le),
    "in": _within,
    "..": _range,
}


def _truth(value: Any) -> bool:
    if type(value) is not bool:
        raise ModelError
    return value


def model(tree: Tree) -> Any:
    """The value of a tree; raises ModelError if it has none."""
    kind, *parts = tree
    if kind == "value":
        return parts[0]
    if kind == "list":
        return [model(part) for part in parts]
    if kind == "?":
        return model(parts[1]) if _truth(model(parts[0])) else model(parts[2])
    if kind in {"not", "!"}:
        return not _truth(model(parts[0]))
    if kind == "neg":
        _numbers(value := model(parts[0]))
        return -value
    if kind in {"&&", "||"}:
        first = _truth(model(parts[0]))
        return first if first == (kind == "||") else _truth(model(parts[1]))
    return BINARY[kind](model(parts[0]), model(parts[1]))


def text(tree: Tree, least: int = LOOSEST) -> str:
    """A tree as an expression, in parentheses if it is looser than ``least``."""
    kind, *parts = tree
    level = LEVELS.get(kind, PRIMARY)
    inner = _text(kind, parts, level)
    return f"({inner})" if level < least else inner


def _text(kind: str, parts: list[Tree], level: int) -> str:
    if kind == "value":
        return json.dumps(parts[0])
    if kind == "list":
        return f"[{', '.join(map(text, parts))}]"
    if kind == "?":
        return f"{text(parts[0], level + 1)} ? {text(parts[1])} : {text(parts[2], level)}"
    if kind in {"not", "!", "neg"}:
        return f"{'-' if kind == 'neg' else kind} {text(parts[0], level)}"
    left = level + 1 if kind in {"==", "!=", "<", "<=", "in", ".."} else level
    return f"{text(parts[0], left)} {kind} {text(parts[1], level + 1)}"


leaves = st.builds(
    lambda value: ("value", value),
    st.integers(0, 5) | st.sampled_from([10**25, True, False, None, "", "a", "b"]) | st.integers(0, 3),
)
trees = st.recursive(
    leaves,
    lambda inner: (
        st.tuples(st.sampled_from([*BINARY, "+", "-", "*", "<", "&&", "||"]), inner, inner)
        | st.tuples(st.sampled_from(["not", "!", "neg"]), inner)
        | st.tuples(st.just("?"), inner, inner, inner)
        | st.lists(inner, max_size=3).map(lambda items: ("list", *items))
    ),
    max_leaves=8,
)


integers = st.builds(lambda value: ("value", value), st.integers(0, 9) | st.just(10**25))
numbers = st.recursive(
    integers,
    lambda inner: (
        st.tuples(st.sampled_from("+-*"), inner, inner)
        | st.tuples(st.sampled_from("+-*/%"), inner, inner)
        | st.tuples(st.just("neg"), inner)
    ),
    max_leaves=6,
)
comparisons = st.tuples(st.sampled_from(["==", "!=", "<", "<="]), numbers, numbers)
booleans = st.recursive(
    comparisons | st.sampled_from([("value", True), ("value", False)]),
    lambda inner: (
        st.tuples(st.sampled_from(["&&", "||"]), inner, inner)
        | st.tuples(st.sampled_from(["not", "!"]), inner)
        | st.tuples(st.just("?"), inner, inner, inner)
    ),
    max_leaves=6,
)
"""Trees of one type, which nearly all have a value, so that they show how tight each operator is."""


def _plain(value: Any) -> Any:
    """A value of the model as JSON has it."""
    if type(value) is list:
        return [_plain(item) for item in value]
    return float(value) if type(value) is Fraction else value


def _divisions(tree: Tree) -> int:
    """How often a tree divides: the model is exact where floats are not."""
    return int(tree[0] == "/") + sum(_divisions(part) for part in tree[1:] if type(part) is tuple)


def _modeled(tree: Tree) -> Any:
    try:
        return _plain(model(tree))
    except ModelError:
        return ModelError


def _evaluated(source: str) -> Any:
    try:
        return expressions.parse(source).evaluate({})
    except ExpressionError:
        return ModelError


@settings(deadline=None, max_examples=examples(400))
@given(trees | numbers | booleans | st.tuples(st.just("?"), booleans, numbers, numbers))
def test_expressions_give_what_a_plain_model_gives(tree: Tree) -> None:
    source = text(tree)
    expected, value = _modeled(tree), _evaluated(source)
    if _divisions(tree) < 2:
        assert (expected is ModelError) == (value is ModelError), (source, expected, value)
    if ModelError not in (expected, value) and not _divisions(tree):
        assert same(value, expected), (source, expected, value)


@settings(deadline=None, max_examples=examples(100))
@given(st.lists(st.integers(-9, 9)), st.integers(-9, 9))
def test_functions_of_lists_give_what_python_gives(items: list[int], limit: int) -> None:
    names = {"l": items, "n": limit}
    expected = {
        "filter(l, # > n)": [item for item in items if item > limit],
        "map(l, # * n + #index)": [item * limit + index for index, item in enumerate(items)],
        "sum(l)": sum(items),
        "sort(l)": sorted(items),
        "sort(l, 'desc')": sorted(items, reverse=True),
        "reverse(l)": items[::-1],
        "uniq(l)": list(dict.fromkeys(items)),
        "n in l": limit in items,
        "l[n:]": items[limit:],
        "l[:n]": items[:limit],
        "any(l, # == n)": limit in items,
        "all(l, # > n)": all(item > limit for item in items),
        "findIndex(l, # == n)": items.index(limit) if limit in items else -1,
        "get(l, n)": items[limit] if -len(items) <= limit < len(items) else None,
        "reduce(l, #acc - #, n)": limit - sum(items),
        "map(sortBy(l, -#), -#)": sorted(-item for item in items),
        "fromJSON(toJSON(l))": items,
    }
    for source, value in expected.items():
        assert same(expressions.parse(source).evaluate(names), value), source


# Texts without sense

WORDS = r"""
+ - * / % ** ^ == != < <= > >= && || ! ? : ?? ?. . .. | , ; = ( ) [ ] { } # #acc #index ' " ` \ /* */ //
and or not in contains startsWith endsWith matches let true false null nil
input rows name x __class__ __globals__ len map filter reduce repeat toJSON fromJSON sort join split
0 1 7 9999999999 1e308 0.5 .5 0x 1_0 1e 1..9 10**9 'a' "b" `c` "\u00e9" '(a+)+$' '[' repeat('a',99) 1..999
map(rows,.n) input.tags rows[0] (1) {a:1} [1] $ @ {{ }} %s £ let\tx=1;
"""
TOKENS = [*WORDS.split(), " ", "\n", "\t", "é", "\0", "\ud800", "\u2028", "\x7f", "? 1 : 2", "let x = 1;"]
SOURCES = [
    'input.total > 100 && "new" in input.tags',
    "filter(rows, {.n > 1 and .kind matches '^[a-c]$'}) | map(.n) | sum()",
    "let t = input.total; t > 100 ? {size: 'large', n: t} : [t, -t ** 2]",
    "reduce(1..50, #acc + [#, #index][0], 0) / 3",
    "input.note?.text[1:-1] ?? (name | upper() | split('_'))[0]",
    "join(map(rows, string(.n) + toJSON(#)), ', ') contains '1'",
    "fromJSON('{\"a\": [1, 2]}').a[0] in 1..3 || not (2 < 3 <= 4)",
    *HOSTILE,
]
SCALARS = {str, int, bool, type(None)}
TELLTALES = ("object at 0x", "<class", "<function", "<built-in", "Traceback", "NoneType")


SECRET = "ada@example.com"
EVERYTHING = {**CONTEXT, "secrets": Namespace({"mail": SECRET}.__getitem__)}
"""The context of the documents, and a name whose keys are looked up."""


def _outcome(source: str) -> Any:
    """The value of a text, or the error that it ends in."""
    try:
        return expressions.parse(source).evaluate(EVERYTHING)
    except ExpressionError as error:
        return error


def _is_json(value: Any) -> bool:
    """Whether a value consists of what JSON has, and of these types themselves."""
    if type(value) is list:
        return all(map(_is_json, value))
    if type(value) is dict:
        return all(type(key) is str for key in value) and all(map(_is_json, value.values()))
    return type(value) in SCALARS or (type(value) is float and math.isfinite(value))


def check(source: str) -> Any:
    """Reading and evaluating a text ends soon, in a JSON value or a placed error that shows nothing of Python."""
    start = time.process_time()
    outcome = _outcome(source)
    assert time.process_time() - start < 5, source
    if isinstance(outcome, ExpressionError):
        assert 0 <= outcome.position <= len(source), source
        assert SECRET not in str(outcome), source
        assert not any(telltale in outcome.message for telltale in TELLTALES), (source, outcome.message)
    else:
        assert _is_json(outcome), source
        assert "\0" not in json.dumps(outcome, ensure_ascii=False).encode().decode(), source
    return outcome


TEXTS = 40
"""Texts that are made of one seed: more than 20,000 in all, or 200,000."""


@settings(quick, max_examples=examples(200))
@given(seeds)
def test_expressions_of_the_grammar_end_in_a_value_or_a_placed_error(seed: int) -> None:
    random = Random(seed)  # noqa: S311 - of texts
    for _ in range(TEXTS):
        check(expression(random))


def test_the_grammar_makes_all_that_there_is_and_mostly_values() -> None:
    rules = " ".join(rule for rules in RULES.values() for rule in rules)
    assert [name for name in FUNCTIONS if f"{name}(" not in rules] == []
    random = Random(0)  # noqa: S311 - of texts
    outcomes = [check(expression(random)) for _ in range(400)]
    assert sum(not isinstance(outcome, ExpressionError) for outcome in outcomes) > 200


@settings(quick, max_examples=examples(200))
@given(seeds)
def test_mutated_expressions_end_in_a_value_or_a_placed_error(seed: int) -> None:
    random = Random(seed)  # noqa: S311 - of texts
    source = ""
    for number in range(TEXTS):
        if number % 5 == 0:
            source = random.choice(SOURCES) if number % 10 else expression(random)
        start = random.randrange(len(source) + 1)
        source = source[:start] + random.choice(TOKENS) + source[start + random.randrange(5) :]
        check(source)


@settings(quick, max_examples=examples(100))
@given(seeds)
def test_random_tokens_end_in_a_value_or_a_placed_error(seed: int) -> None:
    random = Random(seed)  # noqa: S311 - of texts
    for number in range(TEXTS):
        check((" " * (number % 2)).join(random.choices(TOKENS, k=1 + number // 4)))


@settings(quick, max_examples=examples(200))
@given(st.text(max_size=40))
def test_random_texts_end_in_a_value_or_a_placed_error(source: str) -> None:
    check(source)
    try:
        expressions.template(f"{source}{{{{ {source} }}}}").render(EVERYTHING)
    except ExpressionError as error:
        message = error.message
        assert not any(telltale in message for telltale in TELLTALES), message
