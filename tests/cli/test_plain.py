"""The command line without rich: the same words in plain text."""

from __future__ import annotations

import io
import re

import pytest

from flowerapp import engine
from flowerapp.management.cli import display, output, plain
from flowerapp.models import Flow, Pool
from flowerapp.testing import InlineRunner
from tests.cli.support import define, flow

pytestmark = pytest.mark.django_db(transaction=True)

RULE = re.compile(r"[-─━╶╴ ]+")
ESCAPE = re.compile(r"\x1b\[[\d;]*m")


def words(text: str) -> list[str]:
    """The words of what was printed, without the rules of tables and the time of day."""
    lines = (line for line in ESCAPE.sub("", text).splitlines() if not RULE.fullmatch(line))
    return re.sub(r"\d\d:\d\d:\d\d|\d+(\.\d+)? (ms|s)\b", "TIME", "\n".join(lines)).split()


@pytest.fixture
def failed(runner: InlineRunner) -> Flow:
    """A flow with wide characters in it that stopped at its second task."""
    Pool.objects.create(name="eins", slots=2, description="für die Übung")
    define(
        "流れ",
        {"program": "Noop"},
        {"program": "FailWhile", "parameters": {"path": "/"}},
        {"program": "Noop"},
    )
    begun = engine.register("流れ", input={"a": 1})
    runner.run()
    return begun


@pytest.mark.parametrize(
    "arguments", ["list", "show ID", "show ID --traceback", "task ID 2", "programs", "pools", "workflows"]
)
def test_says_the_same_as_with_rich(failed: Flow, arguments: str) -> None:
    call = arguments.replace("ID", failed.pk).split()
    rich = flow(*call, force_color=True)
    assert ESCAPE.search(rich.out)
    answer = flow(*call)
    assert not ESCAPE.search(answer.out)
    assert (answer.code, answer.err) == (0, "")
    assert words(answer.out) == words(rich.out)
    assert len(answer.out.splitlines()) == len(rich.out.splitlines())


def test_follows_line_by_line_even_on_a_terminal(busy: InlineRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    define("pair", {"program": "Noop"}, {"program": "Noop"})
    monkeypatch.setattr(display, "REDRAWS", False)
    monkeypatch.setattr(output, "REDRAWS", False)
    monkeypatch.setattr(output, "is_terminal", lambda stream: True)
    answer = flow("run", "pair", "--follow")
    assert answer.code == 0
    assert "task 1 Noop ✓ Finished" in answer.err
    assert "flow ✓ Finished" in answer.err


def test_columns_stand_below_each_other() -> None:
    table = plain.Table()
    table.add_column("Name")
    table.add_column("Steps", justify="right")
    table.add_row("流れ", "7")
    table.add_row(plain.Text("etl"), "120")
    assert str(table).splitlines() == ["Name  Steps", "----  -----", "流れ      7", "etl     120"]


def test_a_reader_that_left_ends_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr("os.dup2", lambda *_: None)
    with pytest.raises(SystemExit):
        plain.Console(file=Closed()).print("text")
