"""``flow archive`` and ``flow restore``."""

from __future__ import annotations

import io
import json
import sys
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from flowerapp import engine
from flowerapp.core import archives
from flowerapp.models import Flow
from flowerapp.querysets import clock
from flowerapp.testing import InlineRunner
from tests.cli.support import define, flow

pytestmark = pytest.mark.django_db(transaction=True)
SECRET = "hunter2-hunter2"


@pytest.fixture
def ended(runner: InlineRunner) -> Flow:
    """A flow that has ended, and holds a secret."""
    define("etl", {"program": "Return", "parameters": {"value": {"password": SECRET}}}, {"program": "Noop"})
    made = engine.register("etl")
    runner.run()
    return made


def give(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Standard input."""
    stdin: Any = io.TextIOWrapper(io.BytesIO(text.encode()), encoding="utf-8")
    monkeypatch.setattr(sys, "stdin", stdin)


def test_one_flow_is_printed_and_restored(ended: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = flow("archive", ended.pk[:20])
    assert (answer.code, answer.err) == (0, "")
    assert SECRET not in answer.out
    engine.delete([ended.pk])
    give(monkeypatch, answer.out)
    restored = flow("restore", "-")
    assert (restored.code, restored.out.strip()) == (0, ended.pk)
    assert Flow.objects.get(pk=ended.pk).masked


def test_to_a_file_with_secrets_and_deleted(ended: Flow, tmp_path: Path) -> None:
    path = tmp_path / "flow.json"
    answer = flow("archive", ended.pk, "--to", path, "--with-secrets", "--delete", "--json")
    (result,) = answer.json
    assert result == {
        "task_flow_id": ended.pk,
        "place": str(path),
        "bytes": path.stat().st_size,
        "sha256": result["sha256"],
        "deleted": True,
        "error": "",
    }
    assert not Flow.objects.exists()
    assert SECRET in path.read_text(encoding="utf-8")
    restored = flow("restore", path, "--json")
    assert restored.json["task_flow_id"] == ended.pk
    assert restored.json["created"] is True
    again = flow("restore", path)
    assert again.code == 0
    assert "there already" in again.err


def test_several_to_a_folder(ended: Flow, runner: InlineRunner, tmp_path: Path) -> None:
    still_open = engine.register("etl")
    answer = flow("archive", ended.pk, still_open.pk, "nothing", "--to", tmp_path, "--delete", "--json")
    assert answer.code == 1
    assert [bool(result["error"]) for result in answer.json] == [False, True, True]
    assert [path.name for path in (tmp_path / "etl").iterdir()] == [f"{ended.pk}.json"]
    assert set(Flow.objects.values_list("pk", flat=True)) == {still_open.pk}
    place = tmp_path / "etl" / f"{ended.pk}.json"
    restored = flow("restore", place, tmp_path / "missing.json", "--json")
    assert restored.code == 1
    assert [bool(result["error"]) for result in restored.json] == [False, True]


def test_older_than(ended: Flow, runner: InlineRunner, tmp_path: Path) -> None:
    engine.register("etl")
    runner.run()
    then = clock.now() - timedelta(days=11)
    Flow.objects.filter(pk=ended.pk).update(registered_ts=then, finished_ts=then)
    answer = flow("archive", "--older-than", 10, "--to", f"{tmp_path}/")
    assert (answer.code, answer.out.split()[0]) == (0, ended.pk)
    assert len(list((tmp_path / "etl").iterdir())) == 1
    answer = flow("archive", "--older-than", 100, "--to", f"{tmp_path}/")
    assert (answer.code, answer.out) == (0, "")
    assert "no such flow" in answer.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give ids"),
        (["abc", "--older-than", "3", "--to", "/srv/"], "not both"),
        (["abc", "def"], "--to FOLDER/"),
        (["-"], "--to FOLDER/"),
        (["abc", "def", "--to", "/srv/flow.json"], "--to FOLDER/"),
        (["--older-than", "3"], "--to FOLDER/"),
        (["abcdefgh", "--delete"], "--delete needs --to"),
        (["abcdefgh"], "there is no flow"),
    ],
)
def test_wrong_usage(db: None, arguments: list[str], words: str) -> None:
    answer = flow("archive", *arguments)
    assert answer.code == 2
    assert words in answer.err


def test_a_place_that_cannot_be_written(ended: Flow) -> None:
    answer = flow("archive", ended.pk, "--to", "storage:none/x.json", "--delete")
    assert answer.code == 2
    assert "'none'" in answer.err
    assert Flow.objects.exists()


def test_restore_refuses_with_code_2(ended: Flow, tmp_path: Path, runner: InlineRunner) -> None:
    path = tmp_path / "flow.json"
    flow("archive", ended.pk, "--to", path)
    engine.rerun(ended.pk, all_tasks=True, why="once more")
    runner.run()
    answer = flow("restore", path)
    assert answer.code == 2
    assert "differs from the archive" in answer.err
    assert flow("restore", path, "--replace").code == 0
    damaged = json.loads(path.read_text(encoding="utf-8")) | {"version": 9}
    path.write_text(json.dumps(damaged), encoding="utf-8")
    answer = flow("restore", path)
    assert answer.code == 2
    assert "version 9" in answer.err


def test_a_rerun_names_what_to_set(ended: Flow, tmp_path: Path, runner: InlineRunner) -> None:
    path = tmp_path / "flow.json"
    flow("archive", ended.pk, "--to", path, "--delete")
    flow("restore", path)
    answer = flow("rerun", ended.pk, "--all")
    assert answer.code == 2
    assert "--set 1.value=" in answer.err
    assert flow("rerun", ended.pk, "--all", "--set", "1.value=new").code == 0
    runner.run()
    assert engine.get_task(ended.pk, 1).output == "new"


def test_long_archives_say_how_far_they_are(ended: Flow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_module("flowerapp.engine.archive"), "WATCH_SECONDS", -1.0)
    answer = flow("archive", ended.pk, "--to", tmp_path / "flow.json")
    assert "1 of 2 tasks are archived" in answer.err
    printed = flow("archive", ended.pk)
    assert "2 of 2 tasks are archived" in printed.err
    assert archives.loads(printed.out)["flow"]["task_flow_id"] == ended.pk
