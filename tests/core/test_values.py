"""Strict JSON and the rule of inputs."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowerapp.core import values
from flowerapp.exceptions import InvalidValueError

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(deadline=None)
@given(json_values)
def test_json_goes_through_unchanged(value: Any) -> None:
    assert values.check(value) == value
    assert values.loads(values.dumps(value)) == value


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        float("inf"),
        -float("inf"),
        [{"a": float("nan")}],
        "\0",
        {"\0": 1},
        {"a": ["b\0"]},
        {1, 2},
        b"x",
        "\ud800",
        {"\udfff": 1},
        {(1, 2): 1},
        object(),
        "x" * (1024 * 1024 - 1),
        pytest.param(10**5000, id="huge"),
    ],
)
def test_what_is_not_strict_json_is_refused(value: Any) -> None:
    with pytest.raises(InvalidValueError, match="it"):
        values.dumps(value, "it")


def test_what_holds_itself_and_what_is_too_deep_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    for value in (loop, deep):
        with pytest.raises(InvalidValueError):
            values.dumps(value)
    with pytest.raises(InvalidValueError):
        values.loads("[" * 100_000)


@pytest.mark.parametrize(
    "text",
    [
        "NaN",
        "[Infinity]",
        "-Infinity",
        "",
        "{",
        "{'a': 1}",
        '"\\u0000"',
        '"\\ud800"',
        "1e400",
        "9" * 5000,
        b"\xff\xfe\x00",
        "[1,]",
    ],
)
def test_what_is_not_strict_json_text_is_refused(text: str | bytes) -> None:
    with pytest.raises(InvalidValueError):
        values.loads(text, "body")


def test_an_error_names_line_and_column() -> None:
    with pytest.raises(InvalidValueError, match="line 2, column 6"):
        values.loads('{\n"a": }')


def test_an_escaped_backslash_before_u0000_is_text() -> None:
    assert values.check("\\u0000") == "\\u0000"


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        ([], {}),
        ([{}], {}),
        ([None], None),
        ([{}, {}], {}),
        ([{}, {"a": 1}, {}], {"a": 1}),
        ([{}, None], None),
        ([None, {}, []], [None, []]),
        (["", 0, [], False], ["", 0, [], False]),
        ([[1], {"a": 1}], [[1], {"a": 1}]),
    ],
)
def test_the_input_rule(outputs: list[Any], expected: Any) -> None:
    assert values.merge(outputs) == expected


@settings(deadline=None)
@given(st.text(st.characters()))
def test_any_text_becomes_storable(text: str) -> None:
    stored = values.text(text)
    stored.encode()
    assert "\0" not in stored
    assert values.storable(stored)
    assert values.storable(text) is (stored == text)
