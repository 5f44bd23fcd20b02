"""From text to tree: names, arrows, labels, literals, comments (LITTLEFLOW.md sections 1 and 2)."""

from __future__ import annotations

from typing import Any

import pytest

from flowerapp.workflows import arrow
from flowerapp.workflows.arrow.syntax import (
    Declaration,
    Destination,
    Guard,
    Label,
    Literal,
    Resource,
    Statement,
    Step,
    Subflow,
    Task,
    TaskList,
)


def items(text: str) -> tuple[Any, ...]:
    return arrow.parse(text).items


def chain(*names: str) -> Statement:
    return Statement(tuple(Step(Task(name)) for name in names))


def parameters(text: str) -> Any:
    """The parameters of the only task of a text."""
    (statement,) = items(text)
    return statement.steps[0].body.parameters.value


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("A → B", ["A", "B"]),
        ("A -> B", ["A", "B"]),
        ("A->B", ["A", "B"]),
        ("A→B", ["A", "B"]),
        ("A-→B", ["A-", "B"]),
        ("A-->B", ["A-", "B"]),
        ("A--->B", ["A--", "B"]),
        ("wait:delay → my-task_2", ["wait:delay", "my-task_2"]),
        ("A:x", ["A:x"]),
        ("A: → B", ["A:", "B"]),
        ("A::b->C", ["A::b", "C"]),
        ("Größe → été", ["Größe", "été"]),
        ("_ → _1", ["_", "_1"]),
        ("A\n→\n\tB", ["A", "B"]),
        ("A # → C\n→ B # D", ["A", "B"]),
        ("# only\nA", ["A"]),
        ("A # to the end", ["A"]),
        ("\ufeffA", ["A"]),
        ("A\r\n→ B\r\n", ["A", "B"]),
    ],
)
def test_names_and_arrows(text: str, names: list[str]) -> None:
    assert items(text) == (chain(*names),)


@pytest.mark.parametrize("text", ["A → B", "A\t→\r\n\fB\v", "\n\nA\n\n→\n\nB\n\n", "A→B", "A→B # c", "#\nA#→C\n→B#"])
def test_white_space_and_comments_have_no_meaning(text: str) -> None:
    assert items(text) == (chain("A", "B"),)


def test_a_number_sign_is_itself_in_literals_texts_guards_and_addresses() -> None:
    text = '<http://a/#b> → ? `$["#"]` A({"a": "# b"}) → B(- "# c" -) → C(- a#b -) @task D """# d""" # e'
    statement, declaration = items(text)
    first, *others = statement.steps
    assert statement.source == Resource("http://a/#b")
    assert first == Step(Task("A", Literal({"a": "# b"})), guard=Guard('$["#"]'))
    assert [step.body.parameters.value for step in others] == ["# c", "a#b"]
    assert declaration == Declaration("task", "D", doc="# d")


@pytest.mark.parametrize("text", ["A B", "A\nB", "A;B", "A ; B;", "A;\nB", "A # c\nB"])
def test_statements_need_no_end(text: str) -> None:
    assert items(text) == (chain("A"), chain("B"))


def labeled(name: str, before: str = "", after: str = "") -> Step:
    return Step(Task(name), input_label=Label(before) if before else None, output_label=Label(after) if after else None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A :x", (Statement((labeled("A", after="x"),)),)),
        ("A :x-y:z", (Statement((labeled("A", after="x-y:z"),)),)),
        (":x A", (Statement((labeled("A", "x"),)),)),
        (":x A :y", (Statement((labeled("A", "x", "y"),)),)),
        ("A :x :y B", (Statement((labeled("A", after="x"),)), Statement((labeled("B", "y"),)))),
        ("A; :y B", (chain("A"), Statement((labeled("B", "y"),)))),
        (":x → A", (Statement((Step(Task("A")),), source=Label("x")),)),
        ("A → :x", (Statement((Step(Task("A")),), destination=Destination(Label("x"))),)),
        ("A → :x B", (Statement((Step(Task("A")), labeled("B", "x"))),)),
        ("A → :x; B", (Statement((Step(Task("A")),), destination=Destination(Label("x"))), chain("B"))),
        ("A → > :x", (Statement((Step(Task("A")),), destination=Destination(Label("x"), merge=True)),)),
        ("A->:x", (Statement((Step(Task("A")),), destination=Destination(Label("x"))),)),
    ],
)
def test_labels(text: str, expected: tuple[Any, ...]) -> None:
    assert items(text) == expected


def test_what_may_stand_around_a_step() -> None:
    (statement,) = items(":i > ? `$.a` { A → B } :o → * ? `x\ny` A|B(- c -) → >C")
    first, second, third = statement.steps
    body = Subflow((chain("A", "B"),))
    assert first == Step(body, Label("i"), Label("o"), merge=True, guard=Guard("$.a"))
    tasks = TaskList((Task("A"), Task("B", Literal("c"))))
    assert second == Step(tasks, each=True, guard=Guard("x\ny"))
    assert third == Step(Task("C"), merge=True)


def test_sources_and_destinations() -> None:
    (statement,) = items('<https://a.b/c?d=é>({"e": 1}) → A → > <file.json>()')
    source = Resource("https://a.b/c?d=é", Literal({"e": 1}))
    target = Resource("file.json", Literal({}))
    assert statement == Statement((Step(Task("A")),), source, Destination(target, merge=True))


def test_declarations() -> None:
    text = """@flow f (- max_rounds: 2 -) '''About
    it''' { A } @task B = c:d ({"e": 1}) \"\"\"It's\"\"\"; @task C { A } @note D"""
    flow, statement, *tasks = items(text)
    assert flow == Declaration("flow", "f", parameters=Literal({"max_rounds": 2}), doc="About\n    it")
    subflow = Subflow((chain("A"),))
    assert statement == Statement((Step(subflow),))
    assert tasks == [
        Declaration("task", "B", "c:d", Literal({"e": 1}), "It's"),
        Declaration("task", "C", subflow=subflow),
        Declaration("note", "D"),
    ]


# Literals


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("A()", {}),
        ("A ( )", {}),
        ("A({})", {}),
        ("A([])", []),
        ('A({"a": {"b": 1}})', {"a": {"b": 1}}),
        ("A([[1],[2]])", [[1], [2]]),
        ('A({"a": {"b": {}}})', {"a": {"b": {}}}),
        ('A({"a": "})", "b": "])"})', {"a": "})", "b": "])"}),
        ('A( { "a": [1, 2.5, null, true, "\\u00e9"] } )', {"a": [1, 2.5, None, True, "é"]}),
        ("A(- -)", {}),
        ("A(--)", {}),
        ("A(- null -)", None),
        ("A(- 60 -)", 60),
        ("A(- a: 1 -)", {"a": 1}),
        ("A(-a: 1-)", {"a": 1}),
        ("A(- {a: 1, b: [x, 'y']} -)", {"a": 1, "b": ["x", "y"]}),
        ("A(-\na: 1\nb:\n  - c\n-)", {"a": 1, "b": ["c"]}),
        ('A(- text: "a -) b" -)', {"text": "a -) b"}),
        ("A(- text: 'a -) b' -)", {"text": "a -) b"}),
        ("A(- text: it's -)", {"text": "it's"}),
        ("A(- 'it''s -)' -)", "it's -)"),
        ('A(- "\\"-)" -)', '"-)'),
        ("A(- a: 1 # it's a comment -)", {"a": 1}),
        ("A(- a: b#c'd -)", {"a": "b#c'd"}),
        ("A(- [a, 'b -)'] -)", ["a", "b -)"]),
        ("A(- {a: 'b -)'} -)", {"a": "b -)"}),
        ('A(- {"a":"b -)"} -)', {"a": "b -)"}),
        ("A(- !!str 'b -)' -)", "b -)"),
        ("A(- a: |\n  b's\n  c\n-)", {"a": "b's\nc\n"}),
        ("A(- call: me (maybe) -)", {"call": "me (maybe)"}),
        ("A(- smile: :) -)", {"smile": ":)"}),
        ("A(- a, 'b -)\n", "a, 'b"),
        ("A(- day: 2026-01-31, -)", {"day": "2026-01-31,"}),
        ("A(- day: 2026-01-31 -)", {"day": "2026-01-31"}),
        ("A(- at: 2026-01-31T10:00:00Z -)", {"at": "2026-01-31T10:00:00Z"}),
        ("A(- [yes, off, ~, 0x10, 1_000, 1e3, 1.5e+3, .5] -)", [True, False, None, 16, 1000, "1e3", 1500.0, 0.5]),
        ("A(- [&a {b: 1}, *a] -)", [{"b": 1}, {"b": 1}]),
        ("A(- {a: &a {b: 1, c: 2}, d: {<<: *a, c: 3}} -)", {"a": {"b": 1, "c": 2}, "d": {"b": 1, "c": 3}}),
        ("A(- {<<: [{a: 1, b: 1}, {a: 2, c: 2}]} -)", {"a": 1, "b": 1, "c": 2}),
        ("A(-\n? a\n: b\n-)", {"a": "b"}),
        ("A(- ! 12 -)", "12"),
    ],
)
def test_literals_of_parameters(text: str, value: Any) -> None:
    assert parameters(text) == value
    assert type(parameters(text)) is type(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("<>", {}),
        ("< >", {}),
        ('<{"a": {"b": ">"}}>', {"a": {"b": ">"}}),
        ("<[[1]]>", [[1]]),
        ("< [1] >", [1]),
        ("<- a: 1 ->", {"a": 1}),
        ("<- [1, '->'] ->", [1, "->"]),
        ("<- 5 ->", 5),
        ("<- ->", {}),
        ("<-\n- a\n- b -> c\n->", "error"),
    ],
)
def test_literals_as_sources(text: str, value: Any) -> None:
    if value == "error":
        with pytest.raises(arrow.ArrowError):
            arrow.parse(f"{text} → A")
        return
    (statement,) = items(f"{text} → A")
    assert statement.source == Literal(value)


def test_literals_end_where_they_end() -> None:
    assert items("A(- a -) → B(- c -)") == (Statement((Step(Task("A", Literal("a"))), Step(Task("B", Literal("c"))))),)


def test_a_tree_keeps_how_literals_were_written() -> None:
    (statement,) = items("A(- a: 1 # one\n-)")
    assert statement.steps[0].body.parameters.written == "(- a: 1 # one\n-)"
