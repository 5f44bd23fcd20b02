"""Errors: what is wrong, where, and what was expected (LITTLEFLOW.md section 6)."""

from __future__ import annotations

import pickle

import pytest

from flowerapp.exceptions import InvalidError
from flowerapp.workflows import arrow
from flowerapp.workflows.arrow import ArrowError
from tests.workflows.arrow.support import error

# Syntax


@pytest.mark.parametrize(
    ("text", "place", "sentence"),
    [
        ("", "1:1", "expected a statement or @flow or @task, and here is the end"),
        ("  # nothing\n", "2:1", "expected a statement or @flow or @task, and here is the end"),
        ("→ A", "1:1", "expected a statement or @flow or @task, and here is →"),
        ("A →", "1:4", "expected a step, a label or <a resource>, and here is the end"),
        ("A → → B", "1:5", "expected a step, a label or <a resource>, and here is →"),
        ("A;;B", "1:3", "a semicolon stands once, between two statements"),
        ("{ }", "1:3", "expected a statement, and here is }"),
        ("{ A", "1:4", "expected a statement or }, and here is the end"),
        ("A }", "1:3", "and here is }"),
        ("A | → B", "1:5", "expected a name, and here is →"),
        ("A | {B}", "1:5", "expected a name, and here is {"),
        ("A : x", "1:3", "a label is a colon and a name, without a blank between them"),
        ("A ? B", "1:5", "expected a condition in back quotes, and here is B"),
        ("A → ? `$.a` > B", "1:13", "expected a step, and here is >"),
        ("A → ? `$.a", "1:7", "the condition is not closed; expected `"),
        ("A => B", "1:3", "an arrow is → or ->"),
        ("A - B", "1:3", "an arrow is → or ->"),
        ("A 2", "1:3", "and here is 2"),
        ("A = B", "1:3", "and here is ="),
        ("A // B", "1:3", "a comment begins with #"),
        ("A\u00a0→ B", "1:2", "and here is '\\xa0'"),
        ("A\u2028B", "1:2", "and here is '\\u2028'"),
        ("A (B)", "1:3", "parameters are ({ … }), ([ … ]) or (- … -); subflows are in { }"),
        ("(A)", "1:1", "parameters are"),
        ("A )", "1:3", "parameters begin with (, and subflows are in { }"),
        ("A → 'x'", "1:5", "a doc text is in three quotes"),
        ("@flow", "1:6", "expected a name, and here is the end"),
        ("@ flow A", "1:1", "a declaration is @flow or @task and a name"),
        ("@task a =", "1:10", "expected a name, and here is the end"),
        ("@task a '''doc", "1:9", "the text is not closed; expected '''"),
        ("{ @task a }", "1:3", "expected a statement, and here is @task"),
        ("@task a\n{ A } → B", "2:7", "a { right behind a declaration is its subflow, unless ; stands between them"),
        ("<u", "1:1", "the address of the resource is not closed; expected >"),
        ("<u\n>", "1:1", "the address of the resource is not closed; expected >"),
        ("< -u> → A", "1:1", "the address of a resource cannot begin with a hyphen"),
        ("A → :x → B", "1:8", "expected a statement, ;, the end or @flow or @task, and here is →"),
        ("A → <u> → B", "1:9", "and here is →"),
        ("<u> → <v> → A", "1:7", "expected a step, and here is <"),
        ("<u><v> → A", "1:4", "expected →, and here is <"),
        ("A → <[1]>", "1:5", "expected a step, a label or <a resource>, and here is <"),
        ("? `a`b` A", "1:7", "the condition is not closed; expected `"),
        ("A → > * B", "1:7", "expected a step, a label, <a resource> or ?, and here is *"),
        ("A → * > B", "1:7", "expected a step or ?, and here is >"),
        ("A → ? `$` :x B", "1:11", "expected a step, and here is :x"),
        ("A → ? `$` ? `$` B", "1:11", "expected a step, and here is ?"),
        ("A () ()", "1:6", "expected →, |, ;, the end or another statement, and here is ("),
        ("A :x :y", "1:8", "expected → or another statement, and here is the end"),
        ("A | ? `$` B", "1:5", "expected a name, and here is ?"),
        ("@task a '''d''' (- 1 -) A", "1:17", "and here is ("),
        ("@task a (- 1 -) = b A", "1:17", "and here is ="),
        ("@task a { B } '''d''' A", "1:15", "and here is '"),
        ("<u> A", "1:5", "expected →"),
        ("<{}> A", "1:6", "expected →, and here is A"),
        ("A → <{}>", "1:5", "expected a step, a label or <a resource>, and here is <"),
    ],
)
def test_errors_of_syntax(text: str, place: str, sentence: str) -> None:
    placed = error(text)
    assert (f"{placed.line}:{placed.column}", sentence in placed.message) == (place, True), str(placed)


def test_the_latch_of_the_seed_lacks_its_end() -> None:
    text = "A\n→ wait:acquire(- name: 'my-{input[\"id\"]}')"
    assert str(error(text)) == (
        "line 2, column 42: what begins with (- ends with -), and here is ) alone; expected -)\n"
        "    → wait:acquire(- name: 'my-{input[\"id\"]}')\n"
        "                                             ^"
    )
    assert error(text).expected == "-)"
    assert error(f"{text}\n→ B(- c: 1 -)").message == error(text).message
    assert error(f"{text}\n→ B(- c: 1 -)").column == 42
    assert arrow.parse(text.replace("')", "' -)"))


# Literals


@pytest.mark.parametrize(
    ("text", "place", "sentence"),
    [
        ("A({)", "1:4", "the JSON is invalid: expecting property name enclosed in double quotes"),
        ('A({"a" 1})', "1:8", "the JSON is invalid: expecting ':' delimiter"),
        ("A({'a': 1})", "1:4", "the JSON is invalid: expecting property name enclosed in double quotes"),
        ("A([1, 2)", "1:8", "(- … -) takes YAML"),
        ('A({"a": 1)', "1:10", "the JSON is invalid: expecting ',' delimiter"),
        ('A({"a": 1}', "1:11", "the JSON value is complete; expected )"),
        ('A({"a": 1} x)', "1:12", "the JSON value is complete; expected )"),
        ("<[1]", "1:5", "the JSON value is complete; expected >"),
        ("A([NaN])", "1:3", "NaN is no JSON value"),
        ("A([1e999])", "1:3", "the JSON is invalid: the number is too large"),
        ('A(["\\ud800"])', "1:2", "the value holds a lone surrogate, which is not text"),
        ('A(["\\u0000"])', "1:2", "the value holds a NUL character"),
        ("A(- a", "1:2", "what begins with (- ends with -), which does not follow; expected -)"),
        ("A(- a)", "1:6", "what begins with (- ends with -), and here is ) alone; expected -)"),
        ("<- a", "1:1", "what begins with <- ends with ->, which does not follow; expected ->"),
        ("A(- a: b: c -)", "1:9", "the YAML is invalid: mapping values are not allowed here"),
        ("A(- [1 -)", "1:8", "the YAML is invalid"),
        ("A(- 1: a -)", "1:5", "a key must be text, as in JSON; put it in quotes"),
        ("A(- on: a -)", "1:5", "a key must be text"),
        ("A(- {? {a: 1} : b} -)", "1:8", "a key must be text"),
        ("A(- *a -)", "1:5", "the YAML alias *a has no complete value &a before it"),
        ("A(- &a [*a] -)", "1:9", "the YAML alias *a has no complete value &a before it"),
        ("A(- .inf -)", "1:5", "infinity and NaN are no JSON values"),
        ("A(- !!python/object/apply:os.system [ls] -)", "1:5", "is not allowed; write a plain value"),
        ("A(- !!python/name:os.system '' -)", "1:5", "is not allowed"),
        ("A(- !!binary aGk= -)", "1:5", "the YAML tag !!binary is not allowed"),
        ("A(- !!set {a, b} -)", "1:5", "the YAML tag !!set is not allowed"),
        ("A(- !!int x -)", "1:5", "the YAML value is not of the type int"),
        ("A(- !!int '' -)", "1:5", "the YAML value is not of the type int"),
        ("A(- {<<: 1} -)", "1:5", "the YAML key << needs an object"),
        ("A(- << -)", "1:4", "the YAML key << needs an object around it"),
        ("A(- a\n---\nb -)", "2:1", "the YAML has a second document"),
        ("A(- a\x07 -)", "1:6", "the YAML has a character that YAML does not allow"),
        (f"A(- {'9' * 4301} -)", "1:5", "the integer has more than 4,300 digits"),
        (f"A([{'9' * 4301}])", "1:3", "the JSON is invalid: the integer has more than 4,300 digits"),
        ("A({'a': 1})", "1:4", "in double quotes; (- … -) takes YAML"),
    ],
)
def test_errors_of_literals(text: str, place: str, sentence: str) -> None:
    placed = error(text)
    assert (f"{placed.line}:{placed.column}", sentence in placed.message) == (place, True), str(placed)


# Meaning


@pytest.mark.parametrize(
    ("text", "place", "sentence"),
    [
        ("A :x → B :x", "1:10", "two steps of the same flow or subflow have the output label :x"),
        ("A :x\nB :x → C :x → D", "2:3", "output label :x"),
        ("A :x → B → C :x → D", "1:14", "output label :x"),
        (":x A; :x B", "1:7", "two steps of the same flow or subflow have the input label :x"),
        ("A :start", "1:3", "the label :start is reserved"),
        (":end A", "1:1", "the label :end is reserved"),
        (":end → A", "1:1", "a statement cannot begin with :end"),
        ("A → :start", "1:5", "a statement cannot lead to :start"),
        (":x → A", "1:1", "no step of this flow or subflow has the output label :x"),
        ("A → :x", "1:5", "no step of this flow or subflow has the input label :x"),
        ("A :a → B → :a", "1:12", "there is an output of that name, but a label before a step"),
        (":a A; :a → B", "1:7", "there is an input of that name, but a label behind a step"),
        ("A :x → { :x → B }", "1:10", "no step of this flow or subflow has the output label :x"),
        ("{ A :x } → B; :x → C", "1:15", "no step of this flow or subflow has the output label :x"),
        ("A → ? `$.` B", "1:10", "the guard cannot be read: expected a key or *, and here is the end"),
        ("A →\n? `input.a >` B", "2:13", "the guard cannot be read"),
        ("? `output.a` B", "1:4", "the guard cannot be read: unknown name output"),
        ("? `` B", "1:4", "the guard cannot be read"),
        ("@task A = B { C } A", "1:11", "@task A has an alias and a subflow; drop one of them"),
        ("@task A @task A B", "1:9", "@task A is declared twice"),
        ("@task A (- x: 1 -) { C } A", "1:9", "A is a declared subflow, which takes no parameters"),
        ("@task A { C } A(- x: 1 -)", "1:16", "A is a declared subflow, which takes no parameters"),
        ("@task A ([1]) A(- x: 1 -)", "1:16", "the parameters of A are an object and the declared ones a list"),
        ('@task A ({"a": 1}) A(- 1 -)', "1:21", "the parameters of A are a number and the declared ones an object"),
        ("@flow f = g A", "1:11", "@flow takes no alias"),
        ("@flow f ([1]) A", "1:9", "the parameters of @flow are an object"),
        ("@flow f (- max_rounds: 0 -) A", "1:9", "max_rounds must be a whole number from 1 to 100"),
        ("@flow f (- max_rounds: 101 -) A", "1:9", "max_rounds must be a whole number from 1 to 100"),
        ("@flow f (- max_rounds: true -) A", "1:9", "max_rounds must be a whole number from 1 to 100"),
        ("@flow f", "1:8", "there are declarations only; write at least one step"),
        (f"A → {'n' * 257}", "1:5", "the name has 257 characters; 256 is the most"),
        (f"@flow {'n' * 257} A", "1:1", "the name of the flow has 257 characters"),
        ("A → B\u115f", "1:5", "the name holds U+115F"),
        ("@task A = B\u115f A", "1:11", "the alias holds U+115F"),
        ("@task A '''\0''' A", "1:1", "the doc holds U+0000"),
        ("@flow A '''\ud800''' A", "1:1", "the doc holds U+D800"),
        ('? `$[?(@.a="\u202e")]` A', "1:4", "the guard holds U+202E"),
        ("A → <a\0>", "1:5", "the address holds U+0000"),
        ("@task A { B → A } A", "1:15", "the declared subflow contains itself: A → A"),
        ("@task A { B } @task B { C|A } A", "1:27", "the declared subflow contains itself: A → B → A"),
    ],
)
def test_errors_of_meaning(text: str, place: str, sentence: str) -> None:
    placed = error(text)
    assert (f"{placed.line}:{placed.column}", sentence in placed.message) == (place, True), str(placed)


# Loops


@pytest.mark.parametrize(
    ("text", "place", "sentence"),
    [
        (":a A → B → :a", "1:4", "the steps form a loop: A (1:4) → B (1:8) → A; declare a bound"),
        (":a A → :a", "1:4", "the steps form a loop: A (1:4) → A; declare a bound"),
        ("A → :b B →\n{ C } → D → :b", "1:8", "the steps form a loop: B (1:8) → { } (2:1) → D (2:9) → B"),
        ("A → { B → :c C → :c }", "1:14", "the steps form a loop: C (1:14) → C"),
        ("@task X { :a A → :a } X", "1:14", "the steps form a loop: A (1:14) → A"),
    ],
)
def test_a_loop_without_a_bound_is_refused_with_its_path(text: str, place: str, sentence: str) -> None:
    placed = error(text)
    assert (f"{placed.line}:{placed.column}", sentence in placed.message) == (place, True), str(placed)


@pytest.mark.parametrize(
    ("text", "name", "sentence"),
    [
        (":a A → B → :a", "B", "B leads back to A; put a guard before it"),
        (":a → A → ? `$.g` B → :a", "A", "nothing leads into this loop; label its first step as in :a A"),
        (":a A → :b B → ? `$.g` C → :a; Z → :b", "B", "the loop can be entered here too, not only at A"),
        (":a A :x → ? `$.g` B → :a; :x → ? `$.h` C → :a", "C", "this step leads back to A like B"),
        (":a A → :b B :x → ? `$.g` C → :a; :x → ? `$.h` D → :b", "C", "this loop has another loop in it"),
        (":a A :x → B → ? `$.g` C → :a; :x → D", "A", "this step leads out of a loop, which only C or the one step"),
        (":a A :x → B :y → > ? `$.g` C → :a; :x → D → :c; :y → E; :c F", "A", "this step leads out of a loop"),
    ],
)
def test_other_shapes_of_loops_are_refused_with_what_to_change(text: str, name: str, sentence: str) -> None:
    placed = error(f"@flow f (- max_rounds: 3 -)\n{text}")
    assert sentence in placed.message, str(placed)
    assert text[placed.column - 1 :].startswith(name), str(placed)


# The error itself


def test_an_error_is_an_invalid_error_that_travels() -> None:
    placed = error("A →\n→ B")
    assert isinstance(placed, InvalidError)
    assert (placed.code, placed.position, placed.text) == ("invalid_arrow", 4, "A →\n→ B")
    assert placed.expected == "a step, a label or <a resource>"
    assert str(placed).endswith("\n    → B\n    ^")
    copy: ArrowError = pickle.loads(pickle.dumps(placed))  # noqa: S301 - our own
    assert (str(copy), copy.expected, copy.column) == (str(placed), placed.expected, placed.column)


def test_a_long_line_is_cut_around_the_place() -> None:
    placed = error("A → " * 100 + "} " + "B " * 100)
    shown, caret = str(placed).splitlines()[1:]
    assert len(shown) < 130
    assert shown[caret.index("^")] == "}"
