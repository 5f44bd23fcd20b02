"""``flow logs``: the lines of a flow or task, filtered, followed, as JSON."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from typing import Any

import pytest

from flowerapp import engine
from flowerapp.management.cli import logs
from flowerapp.models import Flow, Log
from flowerapp.querysets import LogRow
from flowerapp.states import Status
from flowerapp.testing import InlineRunner
from tests.cli.support import flow as command
from tests.engine.support import define

pytestmark = pytest.mark.django_db(transaction=True)

Say = Callable[..., None]


def say(flow: Flow, message: str, seq: int = 1, level: int = logging.INFO) -> None:
    Log.objects.write([LogRow(flow.pk, seq, 1, time.time(), level, "shop", message)])


@pytest.fixture
def made(runner: InlineRunner) -> Flow:
    """A flow of two tasks with three lines."""
    flow = engine.register(define({1: [], 2: [1]}, "Noop"))
    say(flow, "first")
    say(flow, "it Failed\nwith \x1b[31m", level=logging.ERROR)
    say(flow, "of two", seq=2)
    return flow


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], Any]]:
    """What happens in the next pauses between two looks."""
    events: list[Callable[[], Any]] = []
    monkeypatch.setattr(logs, "LAST_LINES_SECONDS", 0)

    def pause(seconds: float) -> None:
        if events:
            events.pop(0)()

    monkeypatch.setattr("flowerapp.management.cli.logs.time.sleep", pause)
    return events


def test_all_lines_of_a_flow(made: Flow) -> None:
    answer = command("logs", made.pk)
    assert (answer.code, answer.err) == (0, "")
    lines = answer.out.splitlines()
    assert lines[0].endswith("INFO     task 1 attempt 1  shop: first")
    assert lines[1].endswith("ERROR    task 1 attempt 1  shop: it Failed")
    assert lines[2] == "    with \\x1b[31m"
    assert lines[3].endswith("task 2 attempt 1  shop: of two")


@pytest.mark.parametrize(
    ("arguments", "messages"),
    [
        (["2"], ["of two"]),
        (["--level", "warning"], ["it Failed\nwith \x1b[31m"]),
        (["--search", "failed"], ["it Failed\nwith \x1b[31m"]),
        (["--limit", "1"], ["of two"]),
        (["2", "--level", "ERROR"], []),
    ],
)
def test_filters(made: Flow, arguments: list[str], messages: list[str]) -> None:
    answer = command("logs", made.pk, *arguments, "--json")
    assert answer.code == 0
    assert [line["message"] for line in answer.json["lines"]] == messages
    assert answer.json["left_out"] == (2 if "--limit" in arguments else 0)


def test_earlier_lines_and_none_are_said(made: Flow) -> None:
    assert "2 earlier lines are left out; see more with --limit N" in command("logs", made.pk, "--limit", "1").err
    assert command("logs", made.pk, "--search", "nowhere").err == "no lines\n"


@pytest.mark.parametrize(
    "arguments",
    [["nothing"], ["ID", "9"], ["ID", "99999999999"], ["ID", "x"], ["ID", "--level", "loud"], ["ID", "--limit", "0"]],
)
def test_wrong_usage(made: Flow, arguments: list[str]) -> None:
    answer = command("logs", *[made.pk if argument == "ID" else argument for argument in arguments])
    assert answer.code in (1, 2)
    assert answer.err


def test_following_prints_each_line_once_until_the_flow_has_finished(
    made: Flow, runner: InlineRunner, pauses: list[Callable[[], Any]]
) -> None:

    def end() -> None:
        runner.run()
        say(made, "late")

    pauses += [lambda: say(made, "third"), lambda: None, end]
    answer = command("logs", made.pk, "-f")
    assert answer.code == 0
    assert [line.rpartition("shop: ")[2] for line in answer.out.splitlines() if "shop: " in line] == [
        "first",
        "it Failed",
        "of two",
        "third",
        "late",
    ]
    assert engine.get_flow(made.pk).status is Status.FINISH


def test_following_as_json_prints_one_document_a_line(
    made: Flow, runner: InlineRunner, pauses: list[Callable[[], Any]]
) -> None:
    pauses += [lambda: say(made, "third"), runner.run]
    answer = command("logs", made.pk, "1", "--follow", "--json")
    assert [json.loads(line)["message"] for line in answer.out.splitlines()][-1] == "third"
    assert answer.code == 0


def test_following_a_flow_that_was_cancelled_ends_with_1(made: Flow, pauses: list[Callable[[], Any]]) -> None:
    pauses.append(lambda: engine.cancel(made.pk))
    assert command("logs", made.pk, "-f").code == 1


def test_following_a_task_that_waits_ends_with_its_flow(made: Flow, pauses: list[Callable[[], Any]]) -> None:
    pauses.append(lambda: engine.suspend(made.pk))
    assert command("logs", made.pk, "2", "-f").code == 1


def test_ctrl_c_ends_the_reading_alone(made: Flow, pauses: list[Callable[[], Any]]) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    pauses.append(interrupt)
    assert command("logs", made.pk, "-f").code == 0
    assert engine.get_flow(made.pk).status is Status.WAIT
