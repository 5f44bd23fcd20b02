"""Templates: values that stand alone keep their type, others become text; escapes, places, limits."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowerapp.core import expressions
from flowerapp.core.expressions import ExpressionError
from tests.core.expression_texts import CONTEXT, same
from tests.core.test_values import json_values
from tests.effort import examples


def render(value: Any, **names: Any) -> Any:
    """A template over the context of the documents and ``names``."""
    return expressions.template(value).render({**CONTEXT, **names})


@pytest.mark.parametrize(
    ("value", "result"),
    [
        ("plain", "plain"),
        ("", ""),
        (5, 5),
        (None, None),
        ("{{ input.total }}", 120),
        ("{{input.total}}", 120),
        ("{{\n  input.total\n}}", 120),
        ("{{ input.tags }}", ["new", "eu"]),
        ("{{ null }}", None),
        ("{{ 6 / 4 }}", 1.5),
        (" {{ input.total }}", " 120"),
        ("{{ input.total }}\n", "120\n"),
        ("{{ 1 }}{{ 2 }}", "12"),
        ("{{ name }}-{{ input.total + 1 }}", "job_17-121"),
        ("a {{ true }} {{ null }} {{ 3.0 }} {{ 0.5 }} {{ 10 ** 20 }}", "a true null 3 0.5 100000000000000000000"),
        ("a {{ input.tags }} {{ {a: 'é'} }}", 'a ["new","eu"] {"a":"é"}'),
        ("a {{ input.note ?? 'none' }}", "a none"),
        ("{{ {'a': {'b': 1}} }}", {"a": {"b": 1}}),
        ("{{ {'a': {'b': 1}}}}", {"a": {"b": 1}}),
        ("{{ '}}' }}", "}}"),
        ('{{ "}}{{" + `}}` }}', "}}{{}}"),
        ("{{ '{{' }} name }}", "{{ name }}"),
        ("{{ 1 /* }} */ }}", 1),
        ("{{ '\\'}}' }}", "'}}"),
        ("\\{{ name }}", "{{ name }}"),
        ("\\{{ name }} {{ name }}", "{{ name }} job_17"),
        ("C:\\\\{{ name }}", "C:\\job_17"),
        ("C:\\\\\\{{ name }}", "C:\\{{ name }}"),
        ("C:\\dir\\ {{ name }}", "C:\\dir\\ job_17"),
        ("\\ no {braces} } }}", "\\ no {braces} } }}"),
        ([1, "{{ name }}", ["{{ 1 }}"]], [1, "job_17", [1]]),
        ({"a": {"b": "x{{ 1 }}"}, "{{ name }}": 2}, {"a": {"b": "x1"}, "{{ name }}": 2}),
    ],
)
def test_templates_give_their_values(value: Any, result: Any) -> None:
    rendered = render(value)
    assert same(rendered, result), rendered


def test_what_a_context_contains_is_never_a_template() -> None:
    assert render("{{ x }} {{ x }}", x="{{ name }}") == "{{ name }} {{ name }}"
    assert render({"a": "{{ x }}"}, x=["{{ name }}"]) == {"a": ["{{ name }}"]}


def test_a_template_may_write_values_as_go_does() -> None:
    value = expressions.template(
        "{{ nil }} {{ true }} {{ 3 }} {{ 2.5 }} {{ 'a' }} {{ [1, [nil, 'b']] }} {{ {b: 1, a: {}} }}"
    )
    assert value.render({}, text=expressions.go_text) == "<nil> true 3 2.5 a [1 [<nil> b]] map[a:map[] b:1]"
    assert expressions.template("{{ nil }}").render({}, text=expressions.go_text) is None


@pytest.mark.parametrize(
    ("condition", "skipped"),
    [
        ("false", True),
        (" false\n", True),
        ("{{ false }}", True),
        (" {{ input.total > 500 }} ", True),
        ("{{ 'false' }}", True),
        ("{{ input.total > 100 }}", False),
        ("", False),
        ("0", False),
        ("{{ 0 }}", False),
        ("{{ null }}", False),
        ("False", False),
        ("input.total > 500", False),
    ],
)
def test_only_the_text_false_skips_a_task_of_yaml(condition: str, skipped: bool) -> None:
    assert expressions.template(condition).is_false(CONTEXT) is skipped


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("rows", 3),
        ("{{ rows }}", 3),
        ("{{ rows }} and {{ input }}", 3),
        ("sequence(1, 5)", 4),
        ("filter(rows, .n > 2)", 2),
    ],
)
def test_a_list_stands_with_or_without_braces(text: str, value: int) -> None:
    assert len(expressions.parse_either(text).evaluate(CONTEXT)) == value


def test_the_clock_of_a_template_is_the_callers() -> None:
    clock = datetime(2026, 1, 31, tzinfo=UTC)
    assert expressions.template(["{{ now() }}"]).render({}, lambda: clock) == ["2026-01-31T00:00:00.000000Z"]


def test_names_are_those_of_all_expressions() -> None:
    value = expressions.template({"a": ["{{ b }} {{ c.d }}"], "e": "{{ map(f, # + g) }} \\{{ h }}"})
    assert value.names == {"b", "c", "f", "g"}
    assert expressions.template({"a": "b"}).names == frozenset()
    assert [part.path for part in value.expressions] == ["a[0]", "a[0]", "e"]
    value.check_names({"b", "c", "f", "g"})
    with pytest.raises(ExpressionError, match="unknown name c") as caught:
        value.check_names({"b", "f", "g"})
    assert (caught.value.path, caught.value.line, caught.value.column) == ("a[0]", 1, 12)


@pytest.mark.parametrize(
    ("value", "path", "line", "column", "message"),
    [
        ("{{ 1", "", 1, 1, "{{ is not closed; expected }}, or \\{{ where braces are meant"),
        ("a\nb {{ {a: 1 }}", "", 2, 3, "{{ is not closed; expected }}, or \\{{ where braces are meant"),
        ("{{ 'a }}", "", 1, 4, "the string is not closed; expected '"),
        ("{{ /* }}", "", 1, 4, "the comment is not closed; expected */"),
        ("{{ }}", "", 1, 4, "expected a value, and here is the end"),
        ("{{}}", "", 1, 3, "expected a value, and here is the end"),
        ("x {{ 1 }} {{ 1 + }}", "", 1, 18, "expected a value, and here is the end"),
        ({"a": [0, {"b": "x\n  {{ 1 2 }}"}]}, "a[1].b", 2, 8, "expected an operator or the end, and here is 2"),
        (["{{ zzz }}"], "[0]", 1, 4, "unknown name zzz; there are: input, name, rows"),
        ({"a": "n: {{ 'x' + 1 }}"}, "a", 1, 11, "+ needs two numbers or two strings; here it has a string and"),
        ("{{" + " " * 20_000, "", 1, 1, "{{ is not closed within 10,000 characters"),
        ("{{ 1 }}" * 1_001, "", 1, 1, "the template has more than 1,000 expressions"),
        (["{{ 1 }}"] * 1_001, "[1000]", 1, 1, "the template has more than 1,000 expressions"),
        ("{{ 1..10**9 }}", "", 1, 5, "the evaluation builds more than 16 MiB of values"),
    ],
)
def test_errors_name_the_path_and_the_place(value: Any, path: str, line: int, column: int, message: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        render(value)
    error = caught.value
    assert (error.path, error.line, error.column) == (path, line, column)
    assert error.message.startswith(message)
    assert str(error).startswith(f"{path}: line {line}" if path else f"line {line}")


def test_all_expressions_of_a_template_share_its_limits() -> None:
    big = "a" * 300_000
    assert len(render("{{ s + '' }}" * 15, s=big)) == 15 * len(big)
    with pytest.raises(ExpressionError, match="builds more than 16 MiB"):
        render("{{ s + '' }}" * 30, s=big)
    with pytest.raises(ExpressionError, match="builds more than 16 MiB"):
        render(["{{ s }}"] * 100, s=big)
    with pytest.raises(ExpressionError, match="takes more than 1,000,000 steps"):
        render(["{{ count(1..50000, # > 1) }}"] * 100)


def test_values_that_are_too_deep_are_refused() -> None:
    value: Any = "{{ 1 }}"
    for _ in range(201):
        value = [value]
    with pytest.raises(ExpressionError, match="more than 200 lists and objects inside one another"):
        render(value)


@pytest.mark.parametrize(
    "text", ["{{" * 100_000, '{{ "' + '\\"' * 100_000, "{{ " + "/*" * 100_000, "\\" * 500_000, "{{ 1 }} {" * 100_000]
)
def test_long_texts_are_read_or_refused_at_once(text: str) -> None:
    start = time.process_time()
    with suppress(ExpressionError):
        assert render(text) == text
    assert time.process_time() - start < 2


@settings(deadline=None, max_examples=examples(100))
@given(json_values)
def test_values_without_braces_are_left_as_they_are(value: Any) -> None:
    if "{{" not in str(value):
        assert same(render(value), value)


@settings(deadline=None, max_examples=examples(200))
@given(st.lists(st.sampled_from(["{{", "}}", "{", "}", "\\", "a", "\n", "'"]), max_size=12).map("".join))
def test_any_text_can_be_escaped(text: str) -> None:
    parts = text.split("{{")
    escaped = "{{".join(
        part + "\\" * (1 + len(part) - len(part.rstrip("\\"))) if index < len(parts) - 1 else part
        for index, part in enumerate(parts)
    )
    assert render(escaped) == text


@settings(deadline=None, max_examples=examples(100))
@given(json_values, st.text("ab{}\\ \n", max_size=5))
def test_a_value_keeps_its_type_alone_and_becomes_text_with_others(value: Any, before: str) -> None:
    assert same(render("{{ x }}", x=value), value)
    if "{{" not in before and not before.endswith(("\\", "{")):
        text = before + expressions.parse("string(x)").evaluate({"x": value}) + "."
        assert render(before + "{{ x }}.", x=value) == text
