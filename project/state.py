"""The state directory: a random secret key, and the SQLite database of a project without DATABASE_URL.

Only its owner may read it, whatever the umask is and its modes were: each start sees to that.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import stat
import tempfile
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

logger = logging.getLogger(__name__)

OTHERS = stat.S_IRWXG | stat.S_IRWXO
"""The permissions of others than the owner."""
FILE = stat.S_IRUSR | stat.S_IWUSR
"""The mode of a new file."""
KEY, DATABASE = "secret_key", "flower.sqlite3"
FILES = (KEY, DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm", f"{DATABASE}-journal", "flower.lock")
ELSEWHERE = "or set FLOWER_STATE_DIR to a directory of your own"


def prepare(directory: Path) -> None:
    """Make the directory if it is missing, and take it and its files from others.

    Raises ImproperlyConfigured where one belongs to another user, or cannot be made private.
    """
    try:
        directory.mkdir(mode=stat.S_IRWXU, parents=True)
        directory.chmod(stat.S_IRWXU)
    except FileExistsError:
        pass
    except OSError as error:
        raise ImproperlyConfigured(f"{directory} cannot be made: {error.strerror}; fix that, {ELSEWHERE}") from error
    if not directory.is_dir():
        raise ImproperlyConfigured(f"{directory} is no directory; remove it, {ELSEWHERE}")
    if directory.stat().st_mode & stat.S_ISVTX:
        raise ImproperlyConfigured(f"{directory} is shared by all users; make a directory in it, {ELSEWHERE}")
    if os.name == "nt":  # files there have no modes, and a directory of the user is private
        return
    if _make_private(directory):
        logger.warning("other users could reach %s until now; if one did, delete %s and start again", directory, KEY)
    for name in FILES:
        with contextlib.suppress(FileNotFoundError):
            _make_private(directory / name)


def _make_private(path: Path) -> bool:
    """Take a path from others; whether they could reach it. Raises FileNotFoundError and ImproperlyConfigured."""
    for facts in (path.lstat(), path.stat()):  # of a link, and of what it leads to
        if facts.st_uid != os.geteuid():
            owner = f"belongs to another user (id {facts.st_uid})"
            raise ImproperlyConfigured(f"{path} {owner}; start as that user, remove it, {ELSEWHERE}")
    mode = stat.S_IMODE(path.stat().st_mode)
    if not mode & OTHERS:
        return False
    with contextlib.suppress(OSError):
        path.chmod(mode & ~OTHERS)
    if path.stat().st_mode & OTHERS:
        why = "and its mode cannot be changed; move it to a file system with modes"
        raise ImproperlyConfigured(f"other users can reach {path}, {why}, {ELSEWHERE}")
    return True


def secret_key(directory: Path) -> str:
    """The key of a prepared directory, random and made by the first process that wants it."""
    path = directory / KEY
    if not path.exists():
        file, temporary = tempfile.mkstemp(dir=directory, prefix=f"{KEY}.")
        with open(file, "w", encoding="ascii") as writer:
            Path(temporary).chmod(FILE)
            writer.write(secrets.token_urlsafe(50))
        with contextlib.suppress(FileExistsError):  # another process was first, and its key is used
            os.link(temporary, path)
        Path(temporary).unlink()
    return path.read_text(encoding="ascii")


def database(directory: Path) -> str:
    """The path of the SQLite file in a prepared directory, made now; SQLite gives those beside it the same mode."""
    path = directory / DATABASE
    with contextlib.suppress(OSError):  # it exists, or SQLite says why it cannot
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, FILE))
        path.chmod(FILE)
    return str(path)
