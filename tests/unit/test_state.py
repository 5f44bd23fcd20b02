"""The reference project's state directory is its owner's alone, at each start."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from project import state
from tests.services import ROOT

pytestmark = pytest.mark.skipif(os.name == "nt", reason="files have no modes there")

FILES = ["secret_key", "flower.sqlite3", "flower.sqlite3-wal", "flower.sqlite3-shm", "flower.lock"]


@pytest.fixture(params=[0o022, 0o000, 0o077, 0o777], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    """Each umask that users have, and some that they should not."""
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_directory_is_private(tmp_path: Path, umask: int) -> None:
    directory = tmp_path / "state"
    state.prepare(directory)
    key = state.secret_key(directory)
    with closing(sqlite3.connect(state.database(directory))) as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("CREATE TABLE one (id int)")
        names = {path.name for path in directory.iterdir()}
        assert {mode(path) for path in directory.iterdir()} == {0o600}
    assert mode(directory) == 0o700
    assert names >= {"secret_key", "flower.sqlite3", "flower.sqlite3-wal", "flower.sqlite3-shm"}
    assert len(key) > 50
    assert state.secret_key(directory) == key
    state.prepare(directory)


def test_what_others_could_read_is_made_private(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in FILES:
        (tmp_path / name).write_text("x")
        (tmp_path / name).chmod(0o666)
    tmp_path.chmod(0o777)
    state.prepare(tmp_path)
    assert mode(tmp_path) == 0o700
    assert {mode(tmp_path / name) for name in FILES} == {0o600}
    assert "could reach" in caplog.text
    caplog.clear()
    state.prepare(tmp_path)
    assert caplog.text == ""


def test_modes_that_are_narrower_stay(tmp_path: Path) -> None:
    (tmp_path / "secret_key").write_text("x")
    (tmp_path / "secret_key").chmod(0o400)
    state.prepare(tmp_path)
    assert mode(tmp_path / "secret_key") == 0o400


def give_away(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give a path, or the link itself, to another user; where only root may, let it look so."""
    if os.geteuid() == 0:
        os.chown(path, 12345, -1, follow_symlinks=False)
        return
    real = Path.lstat

    def lstat(self: Path) -> os.stat_result:
        facts = real(self)
        return os.stat_result((*facts[:4], 12345, *facts[5:])) if self == path else facts

    monkeypatch.setattr(Path, "lstat", lstat)


@pytest.mark.parametrize("name", ["", *FILES])
def test_what_belongs_to_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    path = tmp_path / name
    if name:
        path.write_text("x")
    give_away(path, monkeypatch)
    with pytest.raises(ImproperlyConfigured, match=r"belongs to another user \(id 12345\); start as that user"):
        state.prepare(tmp_path)


def test_links(tmp_path: Path) -> None:
    there, link = tmp_path / "there", tmp_path / "link"
    there.mkdir(mode=0o755)
    link.symlink_to(there)
    key, elsewhere = there / "secret_key", tmp_path / "key"
    elsewhere.write_text("x")
    elsewhere.chmod(0o644)
    key.symlink_to(elsewhere)
    state.prepare(link)
    assert mode(there) == 0o700
    assert mode(elsewhere) == 0o600


def test_links_of_another_user_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there, link = tmp_path / "there", tmp_path / "link"
    there.mkdir(mode=0o700)
    link.symlink_to(there)
    give_away(link, monkeypatch)
    with pytest.raises(ImproperlyConfigured, match="belongs to another user"):
        state.prepare(link)


def test_a_link_that_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "flower.sqlite3").symlink_to(tmp_path / "nothing")
    state.prepare(tmp_path)


def test_what_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    for name in ("file", "link"):
        with pytest.raises(ImproperlyConfigured, match="is no directory"):
            state.prepare(tmp_path / name)
    with pytest.raises(ImproperlyConfigured, match="cannot be made"):
        state.prepare(tmp_path / "file" / "state")


def test_a_directory_that_is_shared_by_all_users(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    with pytest.raises(ImproperlyConfigured, match="is shared by all users; make a directory in it"):
        state.prepare(tmp_path)
    assert mode(tmp_path) == 0o1777


def test_a_file_system_without_modes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o755)
    monkeypatch.setattr(Path, "chmod", lambda self, mode: None)
    with pytest.raises(ImproperlyConfigured, match="mode cannot be changed"):
        state.prepare(tmp_path)


def test_a_directory_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, mode: int) -> None:
        raise PermissionError

    state.prepare(tmp_path)
    monkeypatch.setattr(Path, "chmod", refuse)
    state.prepare(tmp_path)
    tmp_path.joinpath("secret_key").touch(mode=0o644)
    with pytest.raises(ImproperlyConfigured, match="can reach"):
        state.prepare(tmp_path)


def test_each_start_prepares_it(tmp_path: Path) -> None:
    kept = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "DJANGO_SECRET_KEY")}
    directory = tmp_path / "state"
    directory.mkdir()
    directory.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", "import project.settings as settings; print(settings.SECRET_KEY)"],
        cwd=ROOT,
        env={**kept, "FLOWER_STATE_DIR": str(directory)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert len(done.stdout.strip()) > 50
    assert "other users could reach" in done.stderr
    assert mode(directory) == 0o700
    assert {mode(path) for path in directory.iterdir()} == {0o600}


def test_nothing_is_made_where_nothing_is_kept(tmp_path: Path) -> None:
    own = {"DATABASE_URL": "postgres://localhost/x", "DJANGO_SECRET_KEY": "x" * 60}
    subprocess.run(
        [sys.executable, "-c", "import project.settings"],
        cwd=ROOT,
        env={**os.environ, **own, "FLOWER_STATE_DIR": str(tmp_path / "state")},
        check=True,
        timeout=60,
    )
    assert not (tmp_path / "state").exists()
