"""Where archives are kept: files, folders, and storages of Django."""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

from django.conf import settings
from django.core.exceptions import SuspiciousOperation
from django.core.files import File
from django.core.files.storage import storages

from flowerapp import conf
from flowerapp.core import archives
from flowerapp.engine.archive import Watch, write
from flowerapp.exceptions import InvalidArchiveError, InvalidError, StateConflictError
from flowerapp.models import Flow
from flowerapp.querysets.db import atomic
from flowerapp.selectors.flows import get_flow

STORAGE = "storage:"
"""How a place in a storage begins: ``storage:ALIAS/PATH``."""
PIECE = 1024 * 1024
LONGEST_PART = 120
"""Characters of a folder's or file's name that is made of a name or an id."""


@dataclass(frozen=True, slots=True)
class Archived:
    """An archive that was written."""

    place: str
    """A path, or ``storage:ALIAS/PATH``."""
    sha256: str
    """Of the bytes of the file, in hexadecimal."""
    size: int
    """Bytes."""


def archive_to(flow_id: str, target: str, *, with_secrets: bool = False, watch: Watch | None = None) -> Archived:
    """Write the archive of a flow to a file, a folder or a storage.

    ``target`` is a path, or ``storage:ALIAS/PATH`` with an alias of ``STORAGES``. In a folder, which exists or whose
    path ends with a slash, and in a storage without such a PATH, it is written as ``WORKFLOW/ID.json``. An earlier
    archive there is replaced. Raises as ``archive`` does, and InvalidError where nothing can be written.
    """
    flow = get_flow(flow_id)
    path = _path(target, flow)
    with tempfile.TemporaryFile() as spool:
        write(flow_id, spool, with_secrets=with_secrets, watch=watch)
        size = spool.tell()
        digest = _digest(spool)
        spool.seek(0)
        with _as_invalid(target):
            place = _save(path, spool)
    return Archived(place, digest, size)


def spooled(flow_id: str, *, with_secrets: bool = False) -> IO[bytes]:
    """The archive of a flow, at its beginning: in memory, or a large one in a temporary file. The caller closes it.

    Raises as ``archive`` does.
    """
    spool: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    try:
        write(flow_id, spool, with_secrets=with_secrets)
        is_large = spool.tell() > PIECE
        spool.seek(0)
        small = None if is_large else io.BytesIO(spool.read())
    except BaseException:
        spool.close()
        raise
    if small is None:
        return spool
    spool.close()
    return small


def is_folder(target: str) -> bool:
    """Whether archives are written into a target under names of their own."""
    if target.startswith(STORAGE):
        path = target.removeprefix(STORAGE).partition("/")[2]
        return not path or path.endswith("/")
    return target.endswith("/") or Path(target).is_dir()


def _path(target: str, flow: Flow) -> str:
    if not is_folder(target):
        return target
    return f"{target.rstrip('/')}/{default_name(flow)}"


def default_name(flow: Flow) -> str:
    """``WORKFLOW/ID.json``."""
    return f"{_part(flow.task_id)}/{file_name(flow.pk)}"


def file_name(flow_id: str) -> str:
    """``ID.json``."""
    return f"{_part(flow_id)}.json"


def _part(name: str) -> str:
    """A name as part of a path: other characters than letters, digits and ``_.-~`` are percent-encoded."""
    part = quote(name, safe="")
    if len(part) <= LONGEST_PART:
        return part
    return f"{part[: LONGEST_PART - 17]}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"


def _save(path: str, spool: IO[bytes]) -> str:
    if not path.startswith(STORAGE):
        return _save_file(Path(path), spool)
    alias, name = _in_storage(path)
    storage = _storage(alias)
    if storage.exists(name):
        storage.delete(name)
    return f"{STORAGE}{alias}/{storage.save(name, File(spool))}"


def _save_file(path: Path, spool: IO[bytes]) -> str:
    """Write a file, or nothing of it; only its owner may read it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=".archive-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            while piece := spool.read(PIECE):
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return str(path)


def _in_storage(place: str) -> tuple[str, str]:
    """Alias and name of a place in a storage."""
    alias, _, name = place.removeprefix(STORAGE).partition("/")
    return alias, name


def _storage(alias: str) -> Any:
    if alias not in settings.STORAGES:
        raise InvalidError(f"STORAGES has no storage {alias[:100]!r}")
    return storages[alias]


@contextmanager
def _as_invalid(place: str) -> Iterator[None]:
    """What a file system or a storage refuses is InvalidError."""
    try:
        yield
    except SuspiciousOperation:
        raise InvalidError(f"{place}: the path leads out of its storage") from None
    except OSError as error:
        raise InvalidError(f"{place}: {error.strerror or error}; name a place that can be used") from None


def _digest(stream: Any) -> str:
    stream.seek(0)
    digest = hashlib.sha256()
    while piece := stream.read(PIECE):
        digest.update(piece)
    return digest.hexdigest()


@contextmanager
def _opened(place: str) -> Iterator[Any]:
    with _as_invalid(place), _open(place) as stream:
        yield stream


def _open(place: str) -> Any:
    if not place.startswith(STORAGE):
        return Path(place).open("rb")
    alias, name = _in_storage(place)
    return _storage(alias).open(name, "rb")


def read_archive(place: str, most: int | None = None) -> dict[str, Any]:
    """The document in a file, or at ``storage:ALIAS/PATH``; one of over ``most`` bytes is refused.

    Raises InvalidError where it cannot be read, and InvalidArchiveError where it is no JSON object.
    """
    with _opened(place) as stream:
        raw = stream.read(-1 if most is None else most + 1)
    if most is not None and len(raw) > most:
        raise InvalidArchiveError(f"{place} has over {most:,} bytes; restore it with `flow restore`")
    return archives.loads(raw)


def must_be_free(place: str, flow_id: str) -> None:
    """Raise StateConflictError if there is something else at a place than an archive of the flow."""
    with _as_invalid(place):
        alias, name = _in_storage(place) if place.startswith(STORAGE) else ("", place)
        exists = _storage(alias).exists(name) if alias else Path(place).exists()
    if exists and not _is_archive_of(place, flow_id):
        raise StateConflictError(f"{place} is there already, and is no archive of flow {flow_id}; take another path")


def _is_archive_of(place: str, flow_id: str) -> bool:
    try:
        flow = read_archive(place).get("flow")
    except InvalidError:
        return False
    return isinstance(flow, dict) and flow.get("task_flow_id") == flow_id


def archive_and_delete(
    flow_id: str, target: str, *, with_secrets: bool = False, watch: Watch | None = None
) -> Archived:
    """Write the archive of a flow that has ended, read it back, and delete the flow if it is as it was.

    Raises as ``archive_to`` does, and StateConflictError for a flow that has not ended or has changed meanwhile.
    """
    flow = get_flow(flow_id)
    if not flow.ended:
        raise StateConflictError(f"flow {flow_id} has not ended; cancel it before it is deleted")
    archived = archive_to(flow_id, target, with_secrets=with_secrets, watch=watch)
    with _opened(archived.place) as stream:
        if _digest(stream) != archived.sha256:
            raise InvalidArchiveError(f"{archived.place} is not what was written; flow {flow_id} is kept")
    with atomic():
        present = Flow.objects.for_update(flow_id)
        if present is None or not present.ended or present.finished_ts != flow.finished_ts:
            raise StateConflictError(f"flow {flow_id} was started again while it was archived; it is kept")
        present.delete()
    return archived


# The place of the setting RETENTION_ARCHIVE


def retention_target() -> str | None:
    """The target of ``FLOWER["RETENTION_ARCHIVE"]``, a folder of the file system or of a storage; None without it."""
    place = conf.get().RETENTION_ARCHIVE
    if not place:
        return None
    return f"{STORAGE}{place}/" if place in settings.STORAGES else f"{place.rstrip('/')}/"


def place_in_archive(uri: str) -> str:
    """The place of a uri in the archive of the setting: ``storage:ALIAS/PATH``, or a path in its folder.

    ``s3://ALIAS/PATH`` is the same as ``storage:ALIAS/PATH``. Raises InvalidError for any other place.
    """
    target = retention_target()
    if target is None:
        raise InvalidError("there is no archive here: FLOWER['RETENTION_ARCHIVE'] is not set")
    name = uri.removeprefix(target)
    for scheme in ("storage://", "s3://"):
        if target.startswith(STORAGE) and uri.startswith(scheme):
            name = f"{STORAGE}{uri.removeprefix(scheme)}".removeprefix(target)
    if not target.startswith(STORAGE):
        name = name.removeprefix(f"{STORAGE}{Path(target).name}/")
    parts = name.split("/")
    if not name or {"", ".", ".."} & set(parts) or "\\" in name or ":" in name or "\0" in name:
        raise InvalidError(f"{uri[:200]!r} is no place in {target}; write {target}WORKFLOW/ID.json")
    place = f"{target}{name}"
    if not target.startswith(STORAGE) and not _is_inside(Path(place), Path(target)):
        raise InvalidError(f"{uri[:200]!r} leads out of {target}")
    return place


def _is_inside(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())
