"""``flow run -e``, ``lint``, ``format`` and ``graph`` of texts of the arrow language."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flowerapp.models import Flow
from flowerapp.states import Status
from flowerapp.testing import InlineRunner
from tests.cli.support import flow

pytestmark = pytest.mark.django_db(transaction=True)

TEXT = 'Echo → { Echo Echo } → Return({"value": 7})\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "w.flow"
    path.write_text(TEXT, encoding="utf-8")
    return path


def test_a_text_is_run_and_its_id_printed_alone(runner: InlineRunner) -> None:
    answer = flow("run", "-e", TEXT, "--input", '{"n": 1}', "--priority", -2)
    assert (answer.code, answer.err) == (0, "")
    row = Flow.objects.get(pk=answer.out.strip())
    assert (row.source, row.input, row.task_priority) == (TEXT, {"n": 1}, -2)
    runner.run()
    row.refresh_from_db()
    assert (row.status, row.output) == (Status.FINISH, 7)


@pytest.mark.parametrize("suffix", [".flow", ".lf"])
def test_a_file_is_run(runner: InlineRunner, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"w{suffix}"
    path.write_bytes(b"\xef\xbb\xbf@flow nightly\nEcho")
    answer = flow("run", path, "--json")
    assert answer.json["task_id"] == "nightly"
    shown = flow("show", f"workflow:{answer.json['task_flow_id']}", "--json")
    assert shown.json["source"].endswith("Echo")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["-e", "A →"], "line 1, column 4"),
        (["-e", 'Echo → Return({"no": 1})'], "line 1, column 8: parameter no"),
        (["-e", "A", "name"], "not two of them"),
        (["-e", "A", "--set", "1.a=1"], "--set is for stored workflows"),
        (["-e", "A", "--entrance", "1"], "--entrance is for stored workflows"),
        (["nowhere/w.flow"], "nowhere/w.flow: No such file"),
        ([], "give the name of a workflow, a file of the arrow language, or -e TEXT"),
    ],
)
def test_what_cannot_be_run_is_refused_and_nothing_is_written(arguments: list[str], error: str) -> None:
    answer = flow("run", *arguments)
    assert answer.code == 2
    assert error in answer.err
    assert not Flow.objects.exists()


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.flow"
    path.write_bytes(b"A \xff")
    assert "is not UTF-8" in flow("run", path).err


def test_a_file_is_drawn_without_being_run(file: Path) -> None:
    nodes = json.loads(flow("graph", file, "--format", "json").out)["nodes"]
    assert len(nodes) == 7
    assert "<svg" in flow("graph", file, "--format", "svg").out
    assert not Flow.objects.exists()


def test_lint_says_what_may_not_be_meant(tmp_path: Path, file: Path) -> None:
    assert (flow("lint", file).code, flow("lint", file).out) == (0, "")
    doubtful = tmp_path / "doubtful.flow"
    doubtful.write_text("A > B", encoding="utf-8")
    answer = flow("lint", file, doubtful)
    assert answer.code == 1
    assert answer.out.startswith(f"{doubtful}: line 1, column 3: ")
    (note,) = flow("lint", doubtful, "--json").json
    assert (note["file"], note["line"], note["column"]) == (str(doubtful), 1, 3)


def test_format_prints_writes_or_checks(tmp_path: Path) -> None:
    path = tmp_path / "w.flow"
    path.write_text("A->B", encoding="utf-8")
    assert flow("format", path).out == "A → B\n"
    assert (flow("format", path, "--check").code, path.read_text()) == (1, "A->B")
    assert flow("format", path, "--write").out == ""
    assert path.read_text(encoding="utf-8") == "A → B\n"
    assert flow("format", path, "--check").code == 0
