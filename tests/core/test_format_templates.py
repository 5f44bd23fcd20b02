"""Templates over a task's input: both spellings, what each refuses, and which of them a text has."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowerapp.core.expressions import ExpressionError
from flowerapp.core.format_templates import filled, template_problems
from tests.core.expression_texts import same
from tests.core.test_values import json_values
from tests.effort import examples

INPUT = {
    "id": 7,
    "name": "Ada",
    "price": 2.5,
    "whole": 3.0,
    "yes": True,
    "nothing": None,
    "items": [{"a": "x"}, [1, 2]],
    "a": {"b": {"c": "deep"}, "a key": 1, "0": "zero"},
    "it's": "quoted",
    "a]b}": "odd",
}
PARAMETERS = {"x": "given", "region": {"code": "eu"}}


def fill(template: str, value: Any = INPUT) -> Any:
    return filled(template, value, PARAMETERS)


@pytest.mark.parametrize(
    ("template", "result"),
    [
        ("", ""),
        ("plain", "plain"),
        ("my-{input[id]}", "my-7"),
        ('my-{input["id"]}', "my-7"),
        ("my-{input['id']}", "my-7"),
        ("{input[id]}", "7"),
        ("{input[a][b][c]}", "deep"),
        ("{input[a][\"b\"]['c']}", "deep"),
        ("{input[a][a key]}", "1"),
        ("{input[a][0]}", "zero"),
        ("{input[items][0][a]}{input[items][1][1]}", "x2"),
        ("{input[it's]}", "quoted"),
        ('{input["it\'s"]}', "quoted"),
        ('{input["a]b}"]}', "odd"),
        ("{parameters[x]}/{parameters[region][code]}", "given/eu"),
        ("{input[yes]} {input[nothing]} {input[price]} {input[whole]}", "true null 2.5 3"),
        ("{input[a]}", '{"b":{"c":"deep"},"a key":1,"0":"zero"}'),
        ("{input[items]}", '[{"a":"x"},[1,2]]'),
        ("{{}}", "{}"),
        ("{{{input[id]}}}", "{7}"),
        ('{{"id": {input[id]}, "name": "{input[name]}"}}', '{"id": 7, "name": "Ada"}'),
        ('{{"input": 1}}', '{"input": 1}'),
        ("a }} b {{", "a } b {"),
        (
            "{input[id]:03}|{input[price]:.2f}|{input[name]:>5}|{input[name]:*^7.2}|{input[id]:+,d}",
            "007|2.50|  Ada|**Ad***|+7",
        ),
        ("{input[name]!r} {input[name]!s:>4} {input[a][b]!r} {input[nothing]!s:>6}", "'Ada'  Ada {'c': 'deep'}   null"),
    ],
)
def test_fields_in_single_braces_are_filled_as_by_str_format(template: str, result: str) -> None:
    assert fill(template) == result
    assert template_problems(template) == []


@pytest.mark.parametrize(
    ("template", "result"),
    [
        ("{{ input.id }}", 7),
        ("{{ input }}", INPUT),
        ("{{input.items}}", INPUT["items"]),
        ("{{ input.missing }}", None),
        ("my-{{ input.id }}", "my-7"),
        ('my-{{ input["id"] }}/{{ parameters.x }}', "my-7/given"),
        ('{"id": {{ input.id }}, "all": [{{ toJSON(input.name) }}]}', '{"id": 7, "all": ["Ada"]}'),
        ("{{ input.missing ?? 'none' }}-{{ input.yes }}", "none-true"),
        ("{{ upper(input.name) }}!", "ADA!"),
        ("\\{{ {{ input.id }}", "{{ 7"),
        ("{{ {'a': input.id} }}", {"a": 7}),
        ("{{ 1 + 1 }}", 2),
    ],
)
def test_double_braces_are_expressions_where_they_can_be_read_as_such(template: str, result: Any) -> None:
    assert same(fill(template), result)
    assert template_problems(template) == []


def test_the_input_may_be_any_value() -> None:
    assert fill("{input[0][id]}-{input[1]}", [{"id": 5}, "b"]) == "5-b"
    assert fill("{{ input[0].id }}", [{"id": 5}]) == 5
    assert fill("{input}", "text") == "text"
    assert fill("{input}", {}) == "{}"
    assert filled("{input[a]}", {"a": 1}) == "1"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{input.id}", "line 1, column 1: a field reads keys, and no attributes: write {input[id]}, or {{ input.id }}"),
        ("{input.__class__}", "no attributes"),
        ("{input[id].__class__.__mro__}", "no attributes"),
        ('a{input["id"].real}', "line 1, column 2: a field reads keys"),
        ("{}", "a field begins with input or parameters, as in {input[id]}"),
        ("{0}", "as in {input[0]}"),
        ("{id}", "as in {input[id]}"),
        ("{inputs[id]}", "a field begins with input or parameters"),
        ('{"id": 1}', "{ begins no field such as {input[id]}; write {{ where a brace is meant"),
        ("{input[id]", "{ begins no field"),
        ("{input[]}", "{ begins no field"),
        ("{input[id}", "{ begins no field"),
        ("{input[id]!x}", "{ begins no field"),
        ("{input[id]:{input[width]}}", "{ begins no field"),
        ("a\nb } c", "line 2, column 3: } closes no field; write }} where a brace is meant"),
        ("{input[id]:2000}", "the format is wider than 1,000 characters"),
        ("{input[id]:.99999999999}", "the format is wider than 1,000 characters"),
        ("{input[id]:c}", "'c' is no format of a text or a number"),
        ("{input[id]:n}", "'n' is no format of a text or a number"),
        ("{{ input.id + }}", "line 1, column 1"),
        ("{{ upper(input.id }}", "line 1, column 1"),
        ("{{input[id]}}", "unknown name id"),
        ("{{ inptu.id }}", "unknown name inptu; did you mean input?"),
        ("{{ input.id }}-{input[id]}", "a template has one spelling: write {{ … }} for {input[id]}, too"),
        ("{input}" * 1001, "the template has more than 1,000 fields"),
        ("{{ input }}" * 1001, "the template has more than 1,000 expressions"),
        ("a" * 100_001, "the template has more than 100,000 characters"),
    ],
)
def test_what_cannot_be_read_is_said_before_it_is_filled(template: str, message: str) -> None:
    (problem,) = template_problems(template)
    assert message in problem
    assert "\n" not in problem
    with pytest.raises(ExpressionError) as error:
        fill(template)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("my-{input[idd]}", "line 1, column 10: input has no key 'idd'; there are: a, a]b}, id, it's, items, name, "),
        ("{input[a][b][d]}", "input[a][b] has no key 'd'; there are: c"),
        ("{parameters[y]}", "parameters has no key 'y'; there are: region, x"),
        ("{input[items][2]}", "input[items] has no item 2; it has 2, counted from 0"),
        ("{input[items][99999999999999999999]}", "input[items] has no item 99999999999999999999; it has 2"),
        ("{input[items][-1]}", "input[items] is a list, which has no key '-1'; write the number of an item, from 0"),
        ('{input[items]["0"]}', "input[items] is a list, which has no key '0'"),
        ("{input[id][x]}", "input[id] is an integer, which has no key 'x'"),
        ("{input[nothing][x]}", "input[nothing] is null, which has no key 'x'"),
        ("{input[a]:>5}", "an object cannot have the format '>5'; write !s before the colon"),
        ("{input[name]:d}", "a string cannot have the format 'd'"),
        ("{input[price]:d}", "a number cannot have the format 'd'"),
        ("my-{{ input.missing }}", "it is null; where that may be, write what else stands here"),
        ("{{ input.a.b.c.d }}", "line 1, column "),
        ("{{ input.items[5] }}", "line 1, column "),
    ],
)
def test_what_an_input_lacks_is_named_with_the_template_and_what_is_there(template: str, message: str) -> None:
    assert template_problems(template) == []
    with pytest.raises(ExpressionError) as error:
        fill(template)
    assert message in str(error.value)
    assert template in str(error.value)


def test_an_error_names_no_more_keys_than_can_be_read() -> None:
    with pytest.raises(ExpressionError) as error:
        fill("{input[x]}", {f"key{number:04}" * 50: 1 for number in range(1000)})
    assert "and 980 more" in str(error.value)
    assert len(str(error.value)) < 3000
    with pytest.raises(ExpressionError, match="input has no key 'x'; it is empty"):
        fill("{input[x]}", {})


@pytest.mark.parametrize("template", ["{input}{input}{input}", "{{ input }}{{ input }}{{ input }}", "{input!r:>999}"])
def test_the_text_that_is_given_is_bounded(template: str, settings: Any) -> None:
    settings.FLOWER = {"MAX_JSON_BYTES": 500}
    with pytest.raises(ExpressionError, match="the template gives a text of over 500 bytes"):
        fill(template, "x" * 200)


def test_a_short_template_cannot_fill_the_memory() -> None:
    with pytest.raises(ExpressionError, match="builds more than 16 MiB"):
        fill("{input}" * 1000, "x" * 1_000_000)


def test_what_an_input_contains_is_no_template() -> None:
    value = {"x": "{input[y]} {{ input.y }}"}
    assert fill("{input[x]}", value) == value["x"]
    assert fill("{{ input.x }}.", value) == value["x"] + "."


@pytest.mark.parametrize(
    "text",
    [
        "{" * 99_999,
        "{{" * 49_999,
        "{input[" * 14_000,
        '{{ "' * 20_000,
        "{input[a]" * 11_000,
        "{{ 'a" * 19_000,
        "}" * 99_999,
    ],
)
def test_long_texts_are_read_or_refused_at_once(text: str) -> None:
    start = time.process_time()
    template_problems(text)
    assert time.process_time() - start < 2


@settings(deadline=None, max_examples=examples(200))
@given(
    st.lists(st.sampled_from([*"{}[].:!\"'a0\\", "input", "parameters", "{{", "}}", "\n"]), max_size=15).map("".join)
)
def test_any_text_is_a_template_or_is_refused(text: str) -> None:
    problems = template_problems(text)
    with suppress(ExpressionError):
        fill(text)
        assert problems == []


@settings(deadline=None, max_examples=examples(200))
@given(st.text("{ab[\"'\\\n:é", max_size=20) | st.text("}ab[\"'\\\n:é", max_size=20))
def test_any_brace_can_be_doubled_beside_a_field(text: str) -> None:
    escaped = text.replace("{", "{{").replace("}", "}}")
    assert fill("{input[id]}{input[name]!r}" + escaped) == "7'Ada'" + text


@settings(deadline=None, max_examples=examples(100))
@given(json_values)
def test_both_spellings_give_one_text(value: Any) -> None:
    if value is not None:
        assert fill("-{input}", value) == fill("-{{ input }}", value)
