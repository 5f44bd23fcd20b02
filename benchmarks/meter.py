"""Processor time and memory of other processes, from the operating system's own accounting."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path


def of_group(leader: int) -> list[int]:
    """Processes of a process group."""
    return [pid for pid in _pids() if _group(pid) == leader]


def named(name: str) -> list[int]:
    """Processes whose program has that name."""
    return [pid for pid in _pids() if _name(pid) == name]


def cpu_seconds(pids: Iterable[int]) -> float:
    """Processor time that these processes have used so far."""
    return sum(map(_used, pids))


def memory_bytes(pids: Iterable[int]) -> int:
    """The most memory that any of these processes ever had resident."""
    return max((_peak(pid) for pid in pids), default=0)


def _pids() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def _read(pid: int, name: str) -> str:
    try:
        return (Path("/proc") / str(pid) / name).read_text()
    except OSError:  # it has ended meanwhile
        return ""


def _group(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except OSError:
        return None


def _name(pid: int) -> str:
    return _read(pid, "comm").strip()


def _used(pid: int) -> float:
    """As the scheduler counts it; the clock ticks of ``stat`` miss processes that run for less than one at a time."""
    try:
        threads = list((Path("/proc") / str(pid) / "task").iterdir())
    except OSError:  # it has ended meanwhile
        return 0.0
    counts = (_read(pid, f"task/{thread.name}/schedstat").split() for thread in threads)
    return sum(int(count[0]) for count in counts if count) / 1e9


def _peak(pid: int) -> int:
    lines = _read(pid, "status").splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


class Meter:
    """Processor time of several kinds of processes since the last look; what has ended meanwhile does not count."""

    def __init__(self, kinds: dict[str, Callable[[], list[int]]]) -> None:
        self._kinds = kinds
        self._before: dict[int, float] = {}
        self.look()

    def look(self) -> dict[str, float]:
        """Seconds by kind since the last look."""
        spent, now = {}, {}
        for kind, pids in self._kinds.items():
            used = {pid: cpu_seconds([pid]) for pid in pids()}
            spent[kind] = sum(seconds - self._before.get(pid, 0.0) for pid, seconds in used.items())
            now |= used
        self._before = now
        return spent
