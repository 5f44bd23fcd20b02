"""A standalone server as its own process, with its state in a temporary directory."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.processes import forget, spawn
from tests.services import ROOT, until

if not os.environ.get("FLOWER_TEST_FAULTS"):
    collect_ignore = ["test_crashes.py"]

OTHERS = ("DATABASE_URL", "CELERY_BROKER_URL", "REDIS_HOST", "REDIS_PORT", "FLOWER_OPEN_API")
START_SECONDS = 60.0


class Server:
    """``manage.py standalone`` on one state directory; it may be started again and again."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.log = state / "log"
        self.process: subprocess.Popen[bytes] | None = None
        self.services: dict[str, str] = {}
        """Addresses of real servers, for the environment."""

    @property
    def environment(self) -> dict[str, str]:
        """Nothing but the state directory and the tests' programs."""
        kept = {name: value for name, value in os.environ.items() if name not in OTHERS}
        own = {"FLOWER_STATE_DIR": str(self.state), "DJANGO_SETTINGS_MODULE": "tests.settings"}
        return {**kept, **own, **self.services}

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a management command beside the server to its end."""
        command = [sys.executable, "manage.py", *arguments]
        return subprocess.run(command, cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=90)

    def start(self, *arguments: str) -> Server:
        """Start it and wait until it serves."""
        command = [sys.executable, "-W", "error::ResourceWarning", "manage.py", "standalone", "--port", "0", *arguments]
        with self.log.open("wb") as log:
            self.process = spawn(command, cwd=ROOT, env=self.environment, stdout=log, stderr=log)
        until(self._serves, START_SECONDS, what=lambda: self.text)
        return self

    def _serves(self) -> bool:
        if self.process is not None and self.process.poll() is not None:
            raise AssertionError(f"ended with {self.process.returncode}: {self.text}")
        return "flowerapp serves" in self.text

    @property
    def text(self) -> str:
        """What it has said."""
        return self.log.read_text(errors="replace")

    @property
    def url(self) -> str:
        """Its address, without a slash at the end."""
        match = re.search(r"flowerapp serves (http://\S+)/ ", self.text)
        assert match, self.text
        return match[1]

    def end(self, number: int = signal.SIGTERM) -> int:
        """End it with a signal; its exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(20)
        forget(self.process.pid)
        return code

    def sql(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Run a statement on its database."""
        with closing(sqlite3.connect(self.state / "flower.sqlite3", timeout=20)) as database, database:
            return database.execute(statement, values).fetchall()

    def define(self, task_id: str, seq: int, program: str, key: str = "", value: str = "", **columns: Any) -> None:
        """Write one step of a workflow, as the original does."""
        row = {"task_id": task_id, "task_seq": seq, "program": program, "param1_key": key, "param1_value": value}
        row |= columns
        names, marks = ", ".join(row), ", ".join("?" * len(row))
        self.sql(f"INSERT INTO ms_task_definition ({names}) VALUES ({marks})", *row.values())  # noqa: S608 - our names

    def run(self, task_id: str) -> str:
        """Register a flow from another process; its id."""
        done = self.command("flow", "run", task_id)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def states(self, flow_id: str) -> list[int]:
        """``exec_status`` of a flow's tasks."""
        rows = self.sql("SELECT exec_status FROM kr_task_stat WHERE task_flow_id = ? ORDER BY task_exec_seq", flow_id)
        return [row[0] for row in rows]

    def await_states(self, flow_id: str, *states: int, seconds: float = 30) -> None:
        """Wait until a flow's tasks have these states."""
        until(lambda: self.states(flow_id) == list(states), seconds, what=lambda: f"{self.states(flow_id)} {self.text}")


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state directory whose database has its tables."""
    made = Server(tmp_path_factory.mktemp("migrated"))
    done = made.command("migrate", "--verbosity", "0")
    assert done.returncode == 0, done.stderr
    return made.state


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Server]:
    """A server on an empty directory, not started yet."""
    made = Server(tmp_path)
    yield made
    if made.process is not None and made.process.poll() is None:
        made.end(signal.SIGKILL)


@pytest.fixture
def server(fresh: Server, migrated: Path) -> Server:
    """A server whose database has its tables already, not started yet."""
    shutil.copytree(migrated, fresh.state, dirs_exist_ok=True)
    return fresh
