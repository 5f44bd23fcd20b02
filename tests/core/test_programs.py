"""Programs: their parameters, how they are called, and their retry policy."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from pydantic import Field

from flowerapp import registry
from flowerapp.core import programs
from flowerapp.exceptions import InvalidPlanError, RetryTask, UnknownProgramError
from flowerapp.registry import Program


class FakeContext:
    """Stands in for the context."""


CONTEXT: Any = FakeContext()


def call(function: Any, **parameters: Any) -> Any:
    return Program(name="P", function=function).call(parameters, CONTEXT)


def typed(count: int, ratio: float = 0.5, names: list[str] = [], options: dict[str, int] = {}, on: bool = False) -> Any:  # noqa: B006
    return count, ratio, names, options, on


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"count": "3"}, (3, 0.5, [], {}, False)),
        ({"count": 3, "ratio": "1.5"}, (3, 1.5, [], {}, False)),
        ({"count": "3", "names": '["a"]', "options": '{"a": 1}', "on": "true"}, (3, 0.5, ["a"], {"a": 1}, True)),
        ({"count": 3, "names": ["a"], "options": {"a": "1"}}, (3, 0.5, ["a"], {"a": 1}, False)),
    ],
)
def test_text_of_a_row_becomes_what_the_signature_asks_for(parameters: dict[str, Any], expected: Any) -> None:
    assert call(typed, **parameters) == expected


@pytest.mark.parametrize(
    ("parameters", "key", "message"),
    [
        ({}, "count", "P needs it"),
        ({"count": "three"}, "count", "valid integer"),
        ({"count": 1, "size": 1}, "size", "no such parameter; it takes: count, ratio, names, options, on"),
        ({"count": 1, "names": "[1"}, "names", "valid list"),
        ({"count": None}, "count", "valid integer"),
        ({"count": 1, "ctx": 1}, "ctx", "no such parameter"),
    ],
)
def test_a_wrong_parameter_is_named(parameters: dict[str, Any], key: str, message: str) -> None:
    entry = Program(name="P", function=typed)
    ((name, sentence),) = entry.parameter_problems(parameters)
    assert name == key
    assert message in sentence
    with pytest.raises(InvalidPlanError, match=f"parameter {key}"):
        entry.call(parameters, CONTEXT)


def test_every_kind_of_parameter() -> None:
    def function(first: int, /, ctx: Any, second: str = "b", *args: int, third: int = 3, **more: Any) -> Any:
        return first, ctx, second, args, third, more

    assert call(function, first="1", third="4", other=[1]) == (1, CONTEXT, "b", (), 4, {"other": [1]})


def test_context_may_be_positional_only() -> None:
    assert call(lambda ctx, /: ctx) is CONTEXT


def test_an_alias_is_the_name_in_rows() -> None:
    def function(url: Annotated[str, Field(alias="URL")], body: Annotated[Any, Field(alias="BODY")] = "") -> Any:
        return url, body

    assert call(function, URL="x", BODY='{"id": "test"}') == ("x", '{"id": "test"}')
    assert Program(name="P", function=function).parameter_problems({"url": "x"})
    assert set(Program(name="P", function=function).schema["properties"]) == {"URL", "BODY"}


def test_without_annotations_anything_goes() -> None:
    assert call(lambda a, b=2: (a, b), a="3") == ("3", 2)


@pytest.mark.parametrize(
    "name", ["_hidden", "__dunder", "json", "copy", "schema", "model_config", "model_fields", "self", "validate"]
)
def test_parameters_of_any_name(name: str) -> None:
    namespace: dict[str, Any] = {}
    exec(f"def function({name}: int = 1): return {name}", namespace)  # noqa: S102 - names made by the test
    assert call(namespace["function"], **{}) == 1
    entry = Program(name="P", function=namespace["function"])
    assert entry.call({name: "2"}, CONTEXT) == 2
    assert list(entry.fields) == [name]


def test_decorator_keeps_the_function_and_refuses_a_taken_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "_programs", {})

    @registry.program
    def plain() -> int:
        """Do it.

        More.
        """
        return 1

    @registry.program("Named", max_retries=7)
    def other() -> int:
        return 2

    assert (plain(), other()) == (1, 2)
    assert registry.get("plain").description == "Do it."
    assert registry.get("Named").max_retries == 7
    with pytest.raises(ValueError, match="'Named' is registered twice"):
        registry.program("Named")(plain)
    registry.program("Named", max_retries=8)(other)
    with pytest.raises(UnknownProgramError, match="did you mean Named"):
        registry.get("named")
    with pytest.raises(UnknownProgramError, match="flow programs"):
        registry.get("Zzz")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [180, 180, 180]),
        ({"default_retry_delay": 5}, [5, 5, 5]),
        ({"retry_backoff": True}, [1, 2, 4]),
        ({"retry_backoff": 3}, [3, 6, 12]),
        ({"retry_backoff": True, "retry_backoff_max": 3}, [1, 2, 3]),
        ({"retry_backoff": 0.5}, [1, 2, 4]),
    ],
)
def test_delays_are_celerys(options: dict[str, Any], expected: list[float]) -> None:
    entry = Program(name="P", function=typed, retry_jitter=False, **options)
    assert [entry.delay(retries) for retries in range(3)] == expected


def test_jitter_stays_within_the_backoff_and_huge_counts_do_no_harm() -> None:
    entry = Program(name="P", function=typed, retry_backoff=True)
    assert all(0 <= entry.delay(5) <= 32 for _ in range(100))
    assert entry.delay(10**6) <= 600


@pytest.mark.parametrize(
    ("error", "listed", "excluded", "limit_given", "expected"),
    [
        (OSError(), (OSError,), (), False, True),
        (FileNotFoundError(), (OSError,), (FileNotFoundError,), False, False),
        (KeyError(), (OSError,), (), False, False),
        (KeyError(), (OSError,), (), True, False),
        (KeyError(), (), (), False, False),
        (KeyError(), (), (), True, True),
        (RetryTask(), (), (), False, True),
    ],
)
def test_what_is_retried(error: Exception, listed: Any, excluded: Any, limit_given: bool, expected: bool) -> None:
    entry = Program(name="P", function=typed, autoretry_for=listed, dont_autoretry_for=excluded)
    assert entry.retries_on(error, limit_given=limit_given) is expected
