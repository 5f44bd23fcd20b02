"""Processes of the tests, which do not outlive them: a keeper ends those that a killed test run leaves behind."""

from __future__ import annotations

import atexit
import functools
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

KEEPER = """
import os, signal, sys
groups = set()
for line in sys.stdin:
    (groups.add if line[0] == "+" else groups.discard)(int(line[1:]))
for group in groups:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        pass
"""
"""What the keeper runs: it reads which process groups there are until the tests end, however they end."""


def spawn(command: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
    """Start a process in a group of its own, which ends with the tests at the latest; ``options`` are Popen's."""
    process = subprocess.Popen(command, start_new_session=True, **options)
    keep(process.pid)
    return process


def keep(group: int) -> None:
    """Let a process group end with the tests at the latest."""
    _tell(f"+{group}")


def forget(group: int) -> None:
    """Say that a process group has ended, because its number may soon be another's."""
    _tell(f"-{group}")


def _tell(line: str) -> None:
    pipe = _keeper().stdin
    assert pipe is not None
    pipe.write(f"{line}\n".encode())
    pipe.flush()


@functools.cache
def _keeper() -> subprocess.Popen[bytes]:
    keeper = subprocess.Popen([sys.executable, "-c", KEEPER], stdin=subprocess.PIPE, start_new_session=True)
    atexit.register(keeper.communicate)
    return keeper
