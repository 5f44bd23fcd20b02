"""Forms of approvals: which schemas may be used, and what is said of data that does not fit."""

from __future__ import annotations

import time
from typing import Any

import pytest

from flowerapp.core import json_forms, masking
from flowerapp.exceptions import InvalidValueError


def form(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


TEXT = {"type": "string"}


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ([], "no schema of an object"),
        ({"type": "string"}, "no schema of an object"),
        ({"type": "object"}, "no schema of an object"),
        (form(a=[]), "form.a is no schema"),
        (form(a={}), "form.a needs a type: one of string"),
        (form(a={"type": ["string", "null"]}), "form.a needs a type"),
        (form(a={"type": "null"}), "form.a needs a type"),
        (form(a={"type": "string", "pattern": "(a+)+$"}), "form.a has 'pattern'"),
        (form(a={"type": "string", "$ref": "https://elsewhere/"}), "form.a has '$ref'"),
        (form(a={"type": "string", "format": "regex"}), "form.a.format must be one of date"),
        (form(a={"type": "string", "minLength": "two"}), "form.properties.a.minLength is no JSON schema"),
        (form(a={"type": "integer", "minLength": 1}), "form.a has 'minLength'"),
        (form(a={"type": "string", "enum": [{}]}), "form.a.enum must be a list"),
        (form(a={"type": "string", "enum": "a"}), "form.a.enum must be a list"),
        (form(a={"type": "string", "enum": ["a"] * 501}), "form.a.enum must be a list"),
        (form(a={"type": "array", "items": {"type": "object", "properties": []}}), "form.a[].properties is no object"),
        (form(**{"": TEXT}), "empty name"),
        (form(**{"a\u202eb": TEXT}), "U+202E"),
        (form(password={"type": "string", "default": "hunter2"}), "form.password is a secret by its name"),
        (form(token={"type": "array", "items": {"type": "string", "enum": ["x"]}}), "form.token[] is a secret"),
        (form(**{f"f{n}": TEXT for n in range(101)}), "over 100 fields"),
        (form(a={"type": "string", "description": "x" * 40_000}), "32,768 is the most"),
    ],
)
def test_a_schema_that_cannot_be_used_is_refused_with_its_place(schema: Any, says: str) -> None:
    with pytest.raises(InvalidValueError) as refusal:
        json_forms.checked(schema)
    assert says in str(refusal.value)
    assert "hunter2" not in str(refusal.value)


def test_a_schema_is_nested_five_deep_at_most() -> None:
    deep: dict[str, Any] = TEXT
    for _ in range(5):
        deep = {"type": "array", "items": deep}
    with pytest.raises(InvalidValueError, match="nested too deeply"):
        json_forms.checked(form(a=deep))


def test_objects_take_no_field_that_is_not_named_unless_they_say_so() -> None:
    schema = json_forms.checked(form(a={"type": "object", "properties": {"b": TEXT}}) | {"$schema": "https://x/"})
    assert "$schema" not in schema
    assert [str(one) for one in json_forms.problems(schema, {"a": {"c": 1}, "d": 1})] == [
        "a.c: is no field; there is b",
        "d: is no field; there is a",
    ] or {str(one) for one in json_forms.problems(schema, {"a": {"c": 1}, "d": 1})} == {
        "a.c: is no field; there is b",
        "d: is no field; there is a",
    }
    loose = json_forms.checked(form(a=TEXT) | {"additionalProperties": True})
    assert json_forms.problems(loose, {"d": 1}) == []


FIELDS = form(
    amount={"type": "number", "minimum": 1, "maximum": 9},
    count={"type": "integer", "exclusiveMinimum": 1, "exclusiveMaximum": 9},
    name={"type": "string", "minLength": 2, "maxLength": 4},
    color={"type": "string", "enum": ["red", "green"]},
    day={"type": "string", "format": "date"},
    mail={"type": "string", "format": "email"},
    yes={"type": "boolean", "const": True},
    items={"type": "array", "items": TEXT, "minItems": 1, "maxItems": 2},
) | {"required": ["amount"]}


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({}, "amount: is required; fill it in"),
        ({"amount": True}, "amount: must be a number"),
        ({"amount": 0}, "amount: must be 1 or more"),
        ({"amount": 10}, "amount: must be 9 or less"),
        ({"amount": 1, "count": 1}, "count: must be more than 1"),
        ({"amount": 1, "count": 9}, "count: must be less than 9"),
        ({"amount": 1, "count": 2.5}, "count: must be a whole number"),
        ({"amount": 1, "name": "a"}, "name: must have 2 characters or more"),
        ({"amount": 1, "name": "abcde"}, "name: must have 4 characters or fewer"),
        ({"amount": 1, "color": "blue"}, "color: must be one of red, green"),
        ({"amount": 1, "day": "tomorrow"}, "day: must be a date, as 2026-11-29"),
        ({"amount": 1, "mail": "me"}, "mail: must be an e-mail address"),
        ({"amount": 1, "yes": False}, "yes: must be true"),
        ({"amount": 1, "items": []}, "items: must have 1 items or more"),
        ({"amount": 1, "items": ["a", 2]}, "items[1]: must be text"),
        ({"amount": 1, "items": ["a", "b", "c"]}, "items: must have 2 items or fewer"),
        ([], "must be an object with the fields of the form"),
        ({"amount": 1, "name": "x" * 70_000}, "is larger than 65,536 bytes of JSON, which is the most"),
    ],
)
def test_data_that_does_not_fit_is_refused_field_by_field(data: Any, says: str) -> None:
    assert [str(problem) for problem in json_forms.problems(json_forms.checked(FIELDS), data)] == [says]


def test_data_that_fits() -> None:
    data = {"amount": 2.5, "count": 2, "name": "ab", "color": "red", "day": "2026-11-29", "mail": "a@b.example"}
    assert json_forms.problems(json_forms.checked(FIELDS), data | {"yes": True, "items": ["a"]}) == []


def test_problems_are_bounded_and_quote_no_value() -> None:
    schema = json_forms.checked(form(password={"type": "array", "items": {"type": "integer"}}))
    problems = json_forms.problems(schema, {"password": ["hunter2"] * 5_000})
    assert len(problems) == json_forms.MOST_PROBLEMS
    assert "hunter2" not in str(problems)


def test_a_check_takes_no_long_time() -> None:
    schema = json_forms.checked(form(a={"type": "array", "items": TEXT}, b={"type": "number"}))
    before = time.perf_counter()
    json_forms.problems(schema, {"a": ["x"] * 10_000, "b": 10**400})
    assert time.perf_counter() - before < 5


def test_texts_of_a_form_are_masked_and_a_default_that_is_secret_is_left_out() -> None:
    schema = form(url={"type": "string", "title": "not hunter2", "default": "https://bob:hunter2@h/"}, n=TEXT)
    shown = json_forms.masked(schema, masking.secrets_of({"password": "hunter2"}))
    assert "hunter2" not in str(shown)
    assert shown["properties"]["url"] == {"type": "string", "title": "not ••••"}
    assert shown["properties"]["n"] == TEXT
