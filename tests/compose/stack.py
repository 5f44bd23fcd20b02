"""A stack of ``docker compose`` in a fresh copy of the repository."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from tests.compose.engine import BUILD_SECONDS, Engine, done, run
from tests.services import ROOT, until

FINISH = 3
README_LINE = "    docker compose up"


def copy_repository(target: Path) -> None:
    """What a clone would hold, with the changes that are not committed yet."""
    listed = done("git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target / name)


def readme_block() -> list[str]:
    """The lines of the README's block of commands that starts the stack."""
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith(README_LINE))
    block = []
    for line in lines[first:]:
        if not line.startswith("    "):
            break
        block.append(line.strip())
    return block


class Stack:
    """One copy of the repository, its environment, and the commands that a user gives there."""

    def __init__(self, engine: Engine, directory: Path, port: int, **environment: str) -> None:
        self.engine = engine
        self.directory = directory
        self.port = port
        kept = {name: value for name, value in os.environ.items() if not name.startswith("COMPOSE_")}
        self.environment = {**kept, "FLOWER_PORT": str(port), **environment}
        copy_repository(directory)
        if override := engine.override(directory.parent):
            (directory / "docker-compose.override.yml").write_text(override, encoding="utf-8")

    def compose(self, *arguments: str, seconds: float = 180, **environment: str) -> str:
        """What ``docker compose`` prints; AssertionError if it fails."""
        return done("docker", "compose", *arguments, seconds=seconds, **self._options(environment))

    def try_compose(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """The same, which may fail."""
        return run("docker", "compose", *arguments, **self._options(environment))

    def _options(self, environment: dict[str, str]) -> dict[str, Any]:
        return {"cwd": self.directory, "env": {**self.environment, **environment}}

    def up(self, *arguments: str, **environment: str) -> None:
        """Start it, and wait until all of it is healthy."""
        self.compose("up", "--detach", "--wait", *arguments, seconds=BUILD_SECONDS, **environment)

    def type(self, line: str) -> str:
        """What a line prints that a user types in the copy, on this stack's port."""
        line = line.replace("localhost:8000", f"localhost:{self.port}")
        return self.engine.shell(line, seconds=BUILD_SECONDS, **self._options({}))

    def get(self, path: str) -> dict[str, Any]:
        """JSON of a path of the web server, asked from the machine."""
        answer: dict[str, Any] = json.loads(self.engine.shell(f"curl --silent localhost:{self.port}{path}"))
        return answer

    def register(self, workflow: str) -> str:
        """The id of a new flow."""
        answer = json.loads(self.type(f"curl --silent -X POST localhost:8000/register/{workflow}"))
        assert answer["status"] == "succeeded", answer
        return str(answer["taskFlowId"])

    def sql(self, statement: str) -> list[list[str]]:
        """Rows of a statement on the stack's database."""
        command = ["exec", "-T", "db", "psql", "-U", "flower", "-A", "-t", "-q", "-F", "\t", "-c", statement]
        return [line.split("\t") for line in self.compose(*command).splitlines()]

    def define_sleep(self, workflow: str, seconds: int) -> None:
        """Write a workflow of one step that sleeps, as the original does."""
        columns = "task_id, task_seq, program, task_priority, param1_key, param1_value"
        values = f"'{workflow}', 1, 'EchoParamTimeSleep', 0, 'SLEEP_TIME_SECOND', '{seconds}'"
        self.sql(f"INSERT INTO ms_task_definition({columns}) VALUES ({values})")  # noqa: S608 - our own values

    def tasks(self, flow_id: str) -> list[list[str]]:
        """Status, attempt and rescues of a flow's tasks."""
        columns = "exec_status, attempt, rescues"
        query = f"SELECT {columns} FROM kr_task_stat WHERE task_flow_id = '{flow_id}' ORDER BY task_exec_seq"  # noqa: S608
        return self.sql(query)

    def await_running(self, flow_id: str, attempt: int = 1) -> None:
        """Wait until the first task of a flow runs."""
        until(lambda: self.tasks(flow_id)[0][:2] == ["1", str(attempt)], 60, poll=0.5, what=self.log)

    def await_finish(self, *flow_ids: str, seconds: float = 90) -> None:
        """Wait until flows are Finish."""
        for flow_id in flow_ids:
            path = f"/api/flows/{flow_id}/"
            until(lambda: self.get(path)["exec_status"] == FINISH, seconds, poll=0.5, what=self.log)  # noqa: B023 - used at once

    def log(self, *services: str) -> str:
        """What services have logged."""
        return self.compose("logs", "--no-color", "--no-log-prefix", *services)

    def id_of(self, service: str) -> str:
        """The id of a service's first container."""
        return self.compose("ps", "--all", "--quiet", service).split()[0]

    def inspect(self, service: str, template: str) -> str:
        """A fact about a service's first container."""
        return done("docker", "inspect", "--format", template, self.id_of(service)).strip()

    def close(self) -> None:
        """Remove its containers, volumes and image."""
        self.try_compose("down", "--volumes", "--timeout", "1", "--remove-orphans")
        run("docker", "rmi", f"{self.directory.name}-app")
