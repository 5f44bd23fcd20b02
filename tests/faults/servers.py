"""Servers of a test's own, on ports of their own, that may be killed and started again."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.processes import forget, keep, spawn
from tests.services import until

LOOPBACK = "127.0.0.1"


class MissingProgramError(Exception):
    """A server's program is not installed."""


def free_port() -> int:
    """A free port of loopback."""
    with closing(socket.socket()) as listening:
        listening.bind((LOOPBACK, 0))
        return int(listening.getsockname()[1])


class Breakable:
    """How a server of a test's own becomes unreachable for a while."""

    def start(self) -> None:
        """Start it, and wait until it answers."""
        raise NotImplementedError

    def stop(self) -> None:
        """End all its processes at once."""
        raise NotImplementedError

    def processes(self) -> Iterable[int]:
        """Its processes, the one that starts others first."""
        raise NotImplementedError

    def hang(self) -> None:
        """Stop all its processes where they are: a client that asks, or connects, waits for an answer."""
        for pid in self.processes():
            _signal(pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let its processes continue."""
        for pid in tuple(self.processes()):
            _signal(pid, signal.SIGCONT)

    @contextmanager
    def unreachable(self, how: str) -> Iterator[None]:
        """Within the block it refuses connections (``how`` is "refusing"), or hangs ("hanging")."""
        refusing = how == "refusing"
        (self.stop if refusing else self.hang)()
        try:
            yield
        finally:
            (self.start if refusing else self.resume)()


def _signal(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process, if it has not just ended."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)


class RedisServer(Breakable):
    """A Redis server without persistence: whatever ends it, it comes back empty."""

    def __init__(self) -> None:
        if shutil.which("redis-server") is None:
            raise MissingProgramError("redis-server is not installed")
        self.port = free_port()
        self.directory = tempfile.mkdtemp(prefix="flowerapp-redis-")
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """URL of its first database."""
        return f"redis://{LOOPBACK}:{self.port}/0"

    @property
    def client(self) -> Any:
        """A client of it."""
        import redis

        return redis.Redis.from_url(self.url)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = ["--port", str(self.port), "--bind", LOOPBACK, "--save", "", "--dir", self.directory]
        self.process = spawn(["redis-server", *options], stdout=subprocess.DEVNULL)
        until(self._answers, 20)

    def _answers(self) -> bool:
        from redis.exceptions import ConnectionError as RedisConnectionError

        try:
            return bool(self.client.ping())
        except RedisConnectionError:
            return False

    def processes(self) -> Iterable[int]:
        """The one it has, if it runs."""
        return [self.process.pid] if self.process is not None else []

    def stop(self) -> None:
        """End it at once; all it held is lost."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(10)
            forget(self.process.pid)
            self.process = None

    kill = stop
    """What ends it is always a kill."""

    def close(self) -> None:
        """End it, and remove its files."""
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)


class PostgresServer(Breakable):
    """A PostgreSQL cluster that is run by the user of that name where this process is root's."""

    def __init__(self) -> None:
        self.programs = _postgres_programs()
        self.port = free_port()
        self.user = "postgres" if os.geteuid() == 0 else None
        self.directory = Path(tempfile.mkdtemp(prefix="flowerapp-postgres-"))
        if self.user:
            entry = pwd.getpwnam(self.user)
            os.chown(self.directory, entry.pw_uid, entry.pw_gid)
        self._call("initdb", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--no-sync")

    @property
    def url(self) -> str:
        """URL of its first database."""
        return f"postgres://postgres@{LOOPBACK}:{self.port}/postgres"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._call("pg_ctl", "-w", "-o", self._options, "-l", str(self.directory / "log"), "start")
        keep(self._postmaster)

    def restart(self) -> None:
        """End all its processes at once, as a crash would, and start it again."""
        forget(self._postmaster)
        self._call("pg_ctl", "-w", "-m", "immediate", "-o", self._options, "-l", str(self.directory / "log"), "restart")
        keep(self._postmaster)

    def stop(self) -> None:
        """End all its processes at once."""
        forget(self._postmaster)
        self._call("pg_ctl", "-w", "-m", "immediate", "stop")

    @property
    def _postmaster(self) -> int:
        return int((self.directory / "data" / "postmaster.pid").read_text().split()[0])

    def processes(self) -> Iterable[int]:
        """The postmaster, then its children as they are once it can make no more."""
        postmaster = self._postmaster
        yield postmaster
        listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], check=True, capture_output=True, text=True).stdout
        for pid, parent in (line.split() for line in listed.splitlines()):
            if int(parent) == postmaster:
                yield int(pid)

    @property
    def _options(self) -> str:
        return f"-p {self.port} -h {LOOPBACK} -k {self.directory} -c max_connections=50 -c shared_buffers=16MB"

    def close(self) -> None:
        """End it, and remove its files."""
        try:
            self.resume()
            self.stop()
        finally:
            shutil.rmtree(self.directory, ignore_errors=True)

    def _call(self, program: str, *arguments: str) -> None:
        command = [str(self.programs / program), "-D", str(self.directory / "data"), *arguments]
        subprocess.run(command, check=True, user=self.user, cwd=self.directory, stdout=subprocess.DEVNULL, timeout=60)


def _postgres_programs() -> Path:
    """Where ``initdb`` is: on the path, or where Debian keeps it."""
    program = shutil.which("initdb")
    places = [Path(program).parent] if program else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not places or not (places[-1] / "initdb").exists():
        raise MissingProgramError("PostgreSQL's initdb is not installed")
    return places[-1]
