"""One rule for retries: a written ``max_retries`` retries any error, unless ``autoretry_for`` lists the errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from flowerapp import engine, registry
from flowerapp.core import programs
from flowerapp.engine import completion
from flowerapp.exceptions import TimeLimitError
from flowerapp.management.cli.tables import retry_sentence
from flowerapp.models import Flow, Task
from flowerapp.querysets.clock import Now
from flowerapp.states import Status
from flowerapp.testing import InlineRunner, context_for
from flowerapp.watcher.duties.send import send_unsent
from flowerapp.workflows import Workflow, task
from tests.engine.support import define

pytestmark = pytest.mark.django_db(transaction=True)

Options = Mapping[str, Any]
RULE: list[tuple[Options, int]] = [
    ({}, 1),
    ({"max_retries": 2}, 3),
    ({"max_retries": 2, "autoretry_for": ()}, 3),
    ({"max_retries": 2, "autoretry_for": (OSError,)}, 1),
    ({"max_retries": 2, "autoretry_for": (OSError, KeyError)}, 3),
    ({"max_retries": 2, "autoretry_for": KeyError}, 3),
    ({"max_retries": 2, "dont_autoretry_for": (KeyError,)}, 1),
    ({"max_retries": 0}, 1),
    ({"autoretry_for": (KeyError,)}, 4),
]
"""What is written, and how often a program starts that always raises KeyError."""


def fails() -> None:
    raise KeyError("always")


@pytest.fixture(autouse=True)
def _registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "_programs", dict(programs._programs))


def starts(runner: InlineRunner, name: str, most: int = 10) -> int:
    """How often the only task of a workflow starts before it fails, where each retry is due at once."""
    flow: Flow = engine.register(name)
    runner.run()
    for _ in range(most):
        if not Task.objects.filter(task_flow=flow, exec_status=Status.WAIT).update(due_ts=Now()):
            break
        assert send_unsent()
        runner.run()
    only = Task.objects.get(task_flow=flow)
    assert only.exec_status == Status.SUSPEND
    return int(only.attempt)


@pytest.mark.parametrize(("options", "expected"), RULE, ids=str)
def test_a_program(runner: InlineRunner, options: Options, expected: int) -> None:
    registry.program("Ruled", **options)(fails)
    assert starts(runner, define({1: []}, "Ruled")) == expected


@pytest.mark.parametrize(("options", "expected"), RULE, ids=str)
def test_a_method_of_a_class(runner: InlineRunner, options: Options, expected: int) -> None:
    class Ruled(Workflow):
        task_id = "ruled-class"

        @task(**options)
        def only(self) -> None:
            fails()

    Ruled.store()
    assert starts(runner, "ruled-class") == expected


@pytest.mark.parametrize(
    ("program", "row", "expected"),
    [
        ({}, {}, 1),
        ({}, {"max_retries": 2}, 3),
        ({}, {"max_retries": 0}, 1),
        ({"max_retries": 1}, {}, 2),
        ({"max_retries": 1}, {"max_retries": 3}, 4),
        ({"max_retries": 3}, {"max_retries": 0}, 1),
        ({"autoretry_for": (KeyError,)}, {"max_retries": 1}, 2),
        ({"autoretry_for": (OSError,)}, {"max_retries": 1}, 1),
    ],
)
def test_a_row_overrides_the_number_and_not_the_errors(
    runner: InlineRunner, program: Options, row: Options, expected: int
) -> None:
    registry.program("Ruled", **program)(fails)
    assert starts(runner, define({1: []}, "Ruled", **row)) == expected


@pytest.mark.parametrize(("row", "expected"), [({}, 1), ({"max_retries": 2}, 3), ({"max_retries": 0}, 1)])
def test_a_celery_task_of_the_host_keeps_celerys_rule(runner: InlineRunner, row: Options, expected: int) -> None:
    name = define({1: []}, "tests.probe.tasks.watched", parameters={"x": 1, "fail": "error"}, **row)
    assert registry.get("tests.probe.tasks.watched").max_retries == 3
    assert starts(runner, name) == expected


@pytest.mark.parametrize(
    ("options", "retried"),
    [({}, False), ({"max_retries": 1}, True), ({"max_retries": 0}, False), ({"autoretry_for": (OSError,)}, True)],
)
def test_a_time_out_follows_the_rule(options: Options, retried: bool) -> None:
    registry.program("Ruled", **options)(fails)
    claim = context_for("Ruled").claim
    result = completion.errored(claim, TimeLimitError("timed out after 1 s"))
    assert (result.delay is not None) is retried


def test_without_a_limit_any_error_is_retried_for_ever() -> None:
    registry.program("Ruled", max_retries=None)(fails)
    assert registry.get("Ruled").next_delay(KeyError(), 10_000) == 180


@pytest.mark.parametrize("wrong", [-1, "2", 1.5, True, [2]])
def test_what_is_no_number_of_retries_is_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"program 'Ruled': max_retries must be a whole number, 0 or more, or None"):
        registry.program("Ruled", max_retries=wrong)(fails)
    assert registry.find("Ruled") is None


@pytest.mark.parametrize("wrong", ["2", 1.5, True])
def test_a_method_refuses_it_too(wrong: Any) -> None:
    with pytest.raises(TypeError, match="option max_retries"):
        task(max_retries=wrong)(lambda self: None)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({}, "no retries"),
        ({"max_retries": 0}, "no retries"),
        ({"max_retries": 2}, "up to 2 retries on any error, after 180 s"),
        ({"max_retries": 2, "autoretry_for": OSError}, "up to 2 retries on OSError, after 180 s"),
        ({"max_retries": None}, "any number of retries on any error, after 180 s"),
    ],
)
def test_the_command_line_says_what_is_retried(options: Options, sentence: str) -> None:
    registry.program("Ruled", **options)(fails)
    assert retry_sentence(registry.get("Ruled")) == sentence
