"""Flows past their retention are archived and then deleted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import storages
from django.test import override_settings

from flowerapp import checks, engine
from flowerapp.core import archives
from flowerapp.engine import archive_files
from flowerapp.exceptions import InvalidArchiveError, InvalidError, StateConflictError
from flowerapp.models import Flow, Task
from flowerapp.querysets import clock
from flowerapp.testing import InlineRunner
from flowerapp.watcher.duties import archive
from flowerapp.watcher.duties.archive import Archive
from flowerapp.watcher.duties.prune import prune
from tests.engine.support import define

pytestmark = pytest.mark.django_db(transaction=True)

DAYS = 30
STORAGES: dict[str, Any] = {
    "default": {"BACKEND": "django.core.files.storage.InMemoryStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    "old": {"BACKEND": "django.core.files.storage.InMemoryStorage"},
}


@pytest.fixture(params=["folder", "storage"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The setting RETENTION_ARCHIVE: a folder, or a storage."""
    value = str(tmp_path) if request.param == "folder" else "old"
    with override_settings(FLOWER={"RETENTION_DAYS": DAYS, "RETENTION_ARCHIVE": value}, STORAGES=STORAGES):
        yield value


def ended(runner: InlineRunner, *, days: float = 0, name: str = "") -> Flow:
    """A flow that ended so many days ago."""
    flow = engine.register(define({1: None}, name=name))
    runner.run()
    then = clock.now() - timedelta(days=days)
    Flow.objects.filter(pk=flow.pk).update(registered_ts=then, finished_ts=then)
    return flow


def stored(place: str, flow: Flow) -> str:
    """Where its archive is."""
    target = "storage:old/" if place == "old" else f"{place}/"
    return f"{target}{flow.task_id}/{flow.pk}.json"


def left() -> set[str]:
    return set(Flow.objects.values_list("pk", flat=True))


def test_old_flows_are_archived_and_deleted(runner: InlineRunner, place: str) -> None:
    old, new = ended(runner, days=DAYS + 1), ended(runner, days=DAYS - 1)
    still_open = engine.register(define({1: None}))
    Flow.objects.filter(pk=still_open.pk).update(registered_ts=clock.now() - timedelta(days=DAYS + 1))
    assert Archive()() == 1
    assert left() == {new.pk, still_open.pk}
    assert not Task.objects.filter(task_flow_id=old.pk).exists()
    document = engine.read_archive(stored(place, old))
    assert document["flow"]["task_flow_id"] == old.pk
    assert Archive()() == 0
    restored = engine.restore(document)
    assert Archive()() == 0, "its days count from when it was restored"
    Flow.objects.filter(pk=restored.pk).update(restored_ts=clock.now() - timedelta(days=DAYS + 1))
    assert Archive()() == 1


def test_what_is_archived_is_not_pruned_before(runner: InlineRunner, place: str) -> None:
    flow = ended(runner, days=DAYS + 1)
    assert prune() == 0
    assert left() == {flow.pk}


def test_without_an_archive_old_flows_are_deleted(runner: InlineRunner) -> None:
    ended(runner, days=DAYS + 1)
    with override_settings(FLOWER={"RETENTION_DAYS": DAYS}):
        assert Archive()() == 0
        assert prune() == 1


def test_an_archive_alone_deletes_nothing(runner: InlineRunner, tmp_path: Path) -> None:
    ended(runner, days=DAYS + 1)
    with override_settings(FLOWER={"RETENTION_ARCHIVE": str(tmp_path)}):
        assert [Archive()(), prune()] == [0, 0]


def test_a_flow_whose_archive_cannot_be_read_back_is_kept(
    runner: InlineRunner, place: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    flow = ended(runner, days=DAYS + 2)
    ended(runner, days=DAYS + 1)
    duty = Archive()
    monkeypatch.setattr(archive_files, "_opened", _cut(archive_files._opened, flow.pk))
    assert duty() == 1
    assert left() == {flow.pk}
    assert "is kept" in caplog.text
    monkeypatch.undo()
    with override_settings(FLOWER={"RETENTION_DAYS": DAYS, "RETENTION_ARCHIVE": place}, STORAGES=STORAGES):
        assert duty() == 0, "it is tried again an hour later"
        monkeypatch.setattr(archive, "LATER", 0.0)
        assert duty() == 1
    assert not left()


def _cut(opened: Any, flow_id: str) -> Any:
    """Reading back the archive of one flow, the first half of it is missing."""

    @contextmanager
    def read(place: str) -> Iterator[Any]:
        with opened(place) as stream:
            if flow_id in place:
                stream.read(20)
                stream = _Rest(stream)
            yield stream

    return read


class _Rest:
    """A stream that cannot go back."""

    def __init__(self, stream: Any) -> None:
        self.read = stream.read

    def seek(self, place: int) -> None:
        """Stay."""


def test_a_flow_that_was_started_again_is_kept(
    runner: InlineRunner, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow = ended(runner, days=DAYS + 1)
    write = archive_files.archive_to

    def meanwhile(*arguments: Any, **options: Any) -> Any:
        written = write(*arguments, **options)
        engine.rerun(flow.pk, all_tasks=True)
        runner.run()
        return written

    monkeypatch.setattr(archive_files, "archive_to", meanwhile)
    with pytest.raises(StateConflictError, match="started again"):
        archive_files.archive_and_delete(flow.pk, f"{place}/" if place != "old" else "storage:old/")
    assert left() == {flow.pk}


def test_a_crash_between_archive_and_deletion_is_repaired(runner: InlineRunner, place: str) -> None:
    flow = ended(runner, days=DAYS + 1)
    engine.archive_to(flow.pk, "storage:old/" if place == "old" else f"{place}/")
    assert Archive()() == 1
    assert not left()
    assert engine.read_archive(stored(place, flow))["flow"]["task_flow_id"] == flow.pk


def test_a_run_archives_a_few(runner: InlineRunner, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        ended(runner, days=DAYS + 1)
    monkeypatch.setattr(archive, "FEW", 2)
    duty = Archive()
    assert [duty(), duty(), duty()] == [2, 1, 0]


def test_names_become_parts_of_a_path(runner: InlineRunner, place: str) -> None:
    flow = ended(runner, days=DAYS + 1, name="Übung: " + "ä" * 100)
    target = "storage:old/" if place == "old" else f"{place}/"
    written = engine.archive_to(flow.pk, target)
    assert written.place.isascii()
    assert all(len(part) < 200 for part in written.place.split("/"))
    assert engine.read_archive(written.place)["flow"]["task_id"] == flow.task_id


# Places


def test_a_file_is_replaced_whole_and_is_its_owners_alone(runner: InlineRunner, tmp_path: Path) -> None:
    flow = ended(runner)
    path = tmp_path / "deep" / "flow.json"
    for _ in range(2):
        written = engine.archive_to(flow.pk, str(path))
    assert written.place == str(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["flow.json"]
    document = json.loads(path.read_bytes())
    assert archives.checksum_of(document) == document["checksum"]


@override_settings(STORAGES=STORAGES)
def test_a_storage_keeps_one_archive_of_a_flow(runner: InlineRunner) -> None:
    flow = ended(runner)
    places = {engine.archive_to(flow.pk, "storage:old").place for _ in range(2)}
    assert places == {f"storage:old/{flow.task_id}/{flow.pk}.json"}
    assert storages["old"].listdir(flow.task_id)[1] == [f"{flow.pk}.json"]


@pytest.mark.parametrize("target", ["storage:none/x.json", "storage:old/../x.json", "/dev/null/x.json", "/proc/x.json"])
@override_settings(STORAGES=STORAGES)
def test_a_place_that_cannot_be_written_is_refused(runner: InlineRunner, target: str) -> None:
    with pytest.raises(InvalidError):
        engine.archive_to(ended(runner).pk, target)


@override_settings(STORAGES=STORAGES)
def test_a_place_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    for place in ("storage:none/x", "storage:old/missing.json", "storage:old/../x", str(tmp_path), f"{tmp_path}/x"):
        with pytest.raises(InvalidError):
            engine.read_archive(place)
    (tmp_path / "x").write_bytes(b"[" * 100)
    with pytest.raises(InvalidArchiveError):
        engine.read_archive(f"{tmp_path}/x")
    with pytest.raises(InvalidArchiveError, match="over 10 bytes"):
        engine.read_archive(f"{tmp_path}/x", 10)


@pytest.mark.parametrize(
    "uri",
    [
        *("/etc/passwd", "file:///etc/passwd", "http://localhost/x.json", "s3://other/x.json", "storage:default/x"),
        *("../x.json", "a/../../x.json", "a//x", "a\\..\\x", "", ".", "storage:old", "storage:old/", "a\0b"),
    ],
)
def test_the_api_reads_and_writes_in_the_archive_alone(place: str, uri: str) -> None:
    with pytest.raises(InvalidError):
        archive_files.place_in_archive(uri)


def test_a_link_does_not_lead_out_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive" / "out").symlink_to(tmp_path)
    with override_settings(FLOWER={"RETENTION_ARCHIVE": f"{tmp_path}/archive"}):
        assert archive_files.place_in_archive("etl/x.json") == f"{tmp_path}/archive/etl/x.json"
        assert archive_files.place_in_archive("storage:archive/x.json") == f"{tmp_path}/archive/x.json"
        with pytest.raises(InvalidError, match="leads out"):
            archive_files.place_in_archive("out/x.json")


def test_without_an_archive_the_api_has_no_place() -> None:
    with pytest.raises(InvalidError, match="RETENTION_ARCHIVE"):
        archive_files.place_in_archive("x.json")


@override_settings(STORAGES=STORAGES)
def test_a_wrong_setting_is_found(tmp_path: Path) -> None:
    def ids(value: Any) -> list[str | None]:
        with override_settings(FLOWER={"RETENTION_ARCHIVE": value}):
            return [message.id for message in checks.check_retention_archive()]

    assert [ids(value) for value in (None, "old", str(tmp_path))] == [[], [], []]
    wrong = ("staticfiles", "none", "relative/path", f"{tmp_path}/missing", "")
    assert [ids(value) for value in wrong] == [["flowerapp.E033"]] * len(wrong)
