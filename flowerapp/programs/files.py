"""Files that a workflow may name: those in the directory ``FLOWER["RESOURCE_ROOT"]``."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path
from urllib.parse import unquote, urlsplit

from flowerapp import conf
from flowerapp.core import values
from flowerapp.exceptions import FlowerError

LONGEST = 400
"""Most characters of an address."""
NOT_SET = "files are not allowed here: FLOWER['RESOURCE_ROOT'] names no directory"


class FileError(FlowerError):
    """A file cannot be read or written."""

    code = "file"


def read(address: str) -> str:
    """The text of a file; raises FileError for one that cannot be read, is too large, or is no text in UTF-8."""
    limit = conf.get().MAX_JSON_BYTES
    try:
        with os.fdopen(_opened(_path(address)), "rb") as file:
            content = file.read(limit + 1)
    except OSError as error:
        raise FileError(f"{address} cannot be read: {error.strerror}") from None
    if len(content) > limit:
        raise FileError(f"{address} is over {limit:,} bytes (FLOWER['MAX_JSON_BYTES'])")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FileError(f"{address} is no text in UTF-8, at byte {error.start}") from None


def _opened(path: Path) -> int:
    """A descriptor of a plain file; what is none is not waited for."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(0, "it is no plain file")
    return descriptor


def write(address: str, text: str) -> None:
    """Replace a file, or make it with the directories around it; a reader never sees half of it. Raises FileError."""
    path = _path(address)
    draft = path.with_name(f".{secrets.token_hex(16)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file():
            raise OSError(0, "it is no plain file")
        try:
            draft.write_text(text, encoding="utf-8", newline="")
            if path.exists():
                draft.chmod(path.stat().st_mode)
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise FileError(f"{address} cannot be written: {error.strerror}") from None


def check(address: str) -> None:
    """Raise FileError for an address that names no file in the directory for resources."""
    _path(address)


def _path(address: str) -> Path:
    """The file that is meant; links are followed before it is looked where it lies."""
    if len(address) > LONGEST:
        raise FileError(f"an address of a file has at most {LONGEST:,} characters")
    root = conf.get().RESOURCE_ROOT
    if not root:
        raise FileError(NOT_SET)
    base = Path(root).resolve()
    try:
        path = (base / _local(address)).resolve()
    except (OSError, RuntimeError, ValueError):
        raise FileError(f"{address} cannot be a file: its name, or a link in its place, leads nowhere") from None
    if base not in path.parents:
        raise FileError(f"{address} is not in the directory for resources (FLOWER['RESOURCE_ROOT'])")
    return path


def _local(address: str) -> str:
    """The path in an address: ``file:`` addresses are written as URLs, others as they are."""
    if not address.lower().startswith("file:"):
        return address
    parts = urlsplit(address)
    if parts.query or parts.fragment:
        raise FileError(f"{address} has a query or fragment, as no file has; write %3F for ? and %23 for #")
    if parts.netloc not in ("", "localhost"):
        raise FileError(f"{address} names another machine; write file:{parts.path}")
    path = unquote(parts.path)
    if "\0" in path:
        raise FileError(f"{values.text(address)} cannot be a file")
    return path
