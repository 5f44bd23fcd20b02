"""``flow run NAME --many FILE``."""

from __future__ import annotations

import io
import json
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flowerapp import engine
from flowerapp.management.cli import run_many
from flowerapp.management.cli.output import Output
from flowerapp.models import Flow, Workflow
from flowerapp.states import Status
from flowerapp.testing import InlineRunner
from tests.cli.support import define, flow

pytestmark = pytest.mark.django_db(transaction=True)

FORMS: dict[str, tuple[str, list[Any]]] = {
    "list": ('[{"n": 1}, 2, null]', [{"n": 1}, 2, {}]),
    "list over lines": ('\n[\n  {"n": 1},\n  [2]\n]\n', [{"n": 1}, [2]]),
    "lines": ('{"n": 1}\n\n"two"\r\n3', [{"n": 1}, "two", 3]),
    "lines of lists": ("[1, 2]\n[3]\n", [[1, 2], [3]]),
    "one line": ('{"n": 1}', [{"n": 1}]),
}


@pytest.fixture
def etl(runner: InlineRunner) -> str:
    define("etl", {"program": "Return", "parameters": {"value": 0}}, {"program": "Return"})
    return "etl"


@pytest.mark.parametrize("form", FORMS)
def test_a_flow_for_each_input(etl: str, runner: InlineRunner, tmp_path: Path, form: str) -> None:
    text, inputs = FORMS[form]
    file = tmp_path / "inputs"
    file.write_text(text)
    answer = flow("run", etl, "--many", file)
    assert answer.code == 0, answer.err
    flows = list(Flow.objects.order_by("task_flow_id"))
    assert [row.input for row in flows] == inputs
    assert answer.out.split() == [row.pk for row in flows]
    assert f"registered {len(inputs)} flows" in answer.err
    runner.run()
    assert {row.status for row in Flow.objects.all()} <= {Status.FINISH}


def test_options_are_those_of_each(etl: str, tmp_path: Path) -> None:
    file = tmp_path / "inputs"
    file.write_text("1\n2\n")
    answer = flow("run", etl, "--many", file, "--priority", 3, "--entrance", 2, "--set", "2.value:=7", "--json")
    assert [(row["input"], row["task_priority"], row["created"]) for row in answer.json] == [(1, 3, True), (2, 3, True)]
    assert [row["task_flow_id"] for row in answer.json] == list(
        Flow.objects.order_by("task_flow_id").values_list("pk", flat=True)
    )
    for row in Flow.objects.all():
        assert row.tasks.get(task_seq=2).parameters == {"value": 7}
        assert row.tasks.get(task_seq=1).status is Status.IGNORE


def test_standard_input(etl: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"[1, 2, 3]")))
    assert len(flow("run", etl, "--many", "-").out.split()) == 3


WRONG: dict[str, tuple[bytes, str]] = {
    "empty list": (b"[]", "the list is empty"),
    "empty file": (b"\n\n", "the list is empty"),
    "no JSON": (b'{"n": 1}\n{n}\n', "line 2"),
    "broken list": (b"[1, 2", "line 1"),
    "NaN": (b"1\nNaN\n", "NaN"),
    "NaN in a list": (b"[1, NaN]", "NaN"),
    "no text": (b"\xff\xfe\n", "line 1"),
    "over several lines": (b'{\n "n": 1\n}', "line 1"),
    "mask": ('[1, "••••"]'.encode(), "item 1"),
    "large": (b'"%s"' % (b"x" * 2_000_000), "MAX_JSON_BYTES"),
    "large item": (b'[1, "%s"]' % (b"x" * 2_000_000), "item 1"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_files_are_refused_with_their_place(etl: str, tmp_path: Path, case: str) -> None:
    content, word = WRONG[case]
    file = tmp_path / "inputs"
    file.write_bytes(content)
    answer = flow("run", etl, "--many", file)
    assert (answer.code, answer.out) == (2, "")
    assert word in answer.err
    assert not Flow.objects.exists()


def test_bounds(etl: str, tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.FLOWER = {**settings.FLOWER, "MAX_REGISTRATIONS": 2}
    file = tmp_path / "inputs"
    for text in ("[1, 2, 3]", "1\n2\n3\n"):
        file.write_text(text)
        answer = flow("run", etl, "--many", file)
        assert (answer.code, "the limit is 2" in answer.err) == (2, True)
    monkeypatch.setattr(run_many, "MOST_BYTES", 4)
    answer = flow("run", etl, "--many", file)
    assert (answer.code, "over 4 bytes" in answer.err) == (2, True)
    assert not Flow.objects.exists()


def test_a_file_that_is_not_there(etl: str, tmp_path: Path) -> None:
    answer = flow("run", etl, "--many", tmp_path / "none")
    assert answer.code == 2
    assert "No such file" in answer.err


@pytest.mark.parametrize("option", [["--wait"], ["--follow"], ["--input", "1"]])
def test_options_about_one_flow(etl: str, tmp_path: Path, option: list[str]) -> None:
    file = tmp_path / "inputs"
    file.write_text("1\n")
    answer = flow("run", etl, "--many", file, *option)
    assert (answer.code, option[0] in answer.err) == (2, True)
    assert not Flow.objects.exists()


def test_what_is_wrong_with_the_workflow_is_said_once(runner: InlineRunner, tmp_path: Path) -> None:
    file = tmp_path / "inputs"
    file.write_text("1\n2\n3\n")
    answer = flow("run", "none", "--many", file)
    assert answer.code == 2
    assert answer.err.count("'none'") == 1


def test_a_unique_workflow(etl: str, tmp_path: Path) -> None:
    Workflow.objects.create(task_id=etl, unique=True)
    file = tmp_path / "inputs"
    file.write_text("1\n2\n")
    answer = flow("run", etl, "--many", file)
    assert len(set(answer.out.split())) == 1
    assert "registered 1 flows; 1 were registered before" in answer.err


def test_a_note_if_it_takes_long(etl: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "inputs"
    file.write_text(json.dumps([1, 2]))
    noted = threading.Event()
    usual, register = Output.note, engine.register_many

    def note(out: Output, text: str, style: str = "") -> None:
        usual(out, text, style)
        noted.set()

    def slow(*arguments: Any, **options: Any) -> list[Flow]:
        assert noted.wait(20)
        return register(*arguments, **options)

    monkeypatch.setattr(run_many, "QUIET_SECONDS", 0.05)
    monkeypatch.setattr(Output, "note", note)
    monkeypatch.setattr(engine, "register_many", slow)
    assert "registering 2 flows of workflow 'etl'" in flow("run", etl, "--many", file).err
