"""docs/coming-from.md: its calls on a server, and its processes."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests import coming_from
from tests.coming_from import Command
from tests.compose.stack import readme_block
from tests.hosts.host import free_port, get
from tests.processes import forget, spawn
from tests.services import ROOT, fresh_database, fresh_redis, until
from tests.standalone.conftest import Server

ADDRESS = ("http://127.0.0.1:8000", "localhost:8000")
"""The server's, as the page writes it."""


class Called:
    """A server, and what calls of it need."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.token = server.command("flow", "token", "admin").stdout.strip()

    def shell(self, line: str, flow_id: str = "") -> str:
        """What a line of the page prints in a terminal; AssertionError if it fails, or its answer says so."""
        line = coming_from.named(line, ID=flow_id, TOKEN=self.token)
        for address in ADDRESS:
            line = line.replace(address, self.server.url)
        line = line.replace("curl ", "curl --fail-with-body ", 1)
        done = subprocess.run(["bash", "-o", "pipefail", "-c", line], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        return done.stdout

    def flow_for(self, line: str) -> str:
        """The id of a flow that a call can be tried on."""
        if re.search(r"/tasks/1/(?!end|fail)", line):
            ended = str(self.call("POST", "/register/sample")["taskFlowId"])
            self.server.await_states(ended, 3, 3, 3)
            return ended
        begun = str(self.call("POST", "/workflows/start", {"workflow": "A → B"})["workflow"]).removeprefix("workflow:")
        if "restart" in line or "DELETE" in line:
            self.call("POST", f"/workflows/{begun}/terminate")
        return begun

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """The JSON of a call with the token."""
        data = [] if body is None else ["-H", "Content-Type: application/json", "-d", json.dumps(body)]
        login = ["-H", f"Authorization: Token {self.token}"]
        words = ["curl", "-sS", "--fail-with-body", "-X", method, *login, *data, f"{self.server.url}{path}"]
        return json.loads(subprocess.run(words, check=True, capture_output=True, timeout=60).stdout)


@pytest.fixture(scope="module")
def called(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Called]:
    """A server that all calls share."""
    state = tmp_path_factory.mktemp("called")
    shutil.copytree(migrated, state, dirs_exist_ok=True)
    server = Server(state).start()
    yield Called(server)
    server.end(signal.SIGKILL)


@pytest.mark.parametrize("command", coming_from.commands("curl"), ids=str)
def test_a_call_of_the_page_is_answered_as_it_says(command: Command, called: Called) -> None:
    flow_id = called.flow_for(command.text)
    printed = called.shell(command.text, flow_id)
    assert printed
    assert command.holds(printed), printed


def test_a_second_answer_of_a_worker_is_refused(called: Called) -> None:
    (end,) = (command.text for command in coming_from.commands("curl") if "/end/" in command.text)
    flow_id = called.flow_for(end)
    called.shell(end, flow_id)
    with pytest.raises(AssertionError, match="409"):
        called.shell(end, flow_id)
    tasks = called.call("GET", f"/api/flows/{flow_id}/tasks/")["results"]
    assert [(task["remote"], task["status"], task["pending"]) for task in tasks[:2]] == [
        *(("A", "Finish", 0), ("B", "Wait", 0))
    ]


STANDALONE = [command for command in coming_from.commands("python") if "standalone" in command.text]
OTHERS = [command for command in coming_from.commands("python") if command not in STANDALONE]


@pytest.mark.parametrize("command", STANDALONE, ids=str)
def test_a_server_of_the_page_serves_at_the_port_that_it_names(command: Command, server: Server) -> None:
    words = shlex.split(command.text)
    port = str(free_port())
    server.start(*words[3:-1], port) if "--port" in words else server.start(*words[3:])
    assert "--port" not in words or server.url.endswith(f":{port}")
    assert get(f"{server.url}/livez")[0] == 200


@pytest.mark.parametrize("command", OTHERS, ids=str)
def test_a_command_of_the_page_ends_well(command: Command, fresh: Server) -> None:
    done = fresh.command(*shlex.split(command.text)[2:])
    assert done.returncode == 0, done.stderr


@contextmanager
def started(command: Command, server: Server, **environment: str) -> Iterator[None]:
    """Within the block the command runs in the repository."""
    with (server.state / "process.log").open("wb") as log:
        variables = {**server.environment, **environment}
        process = spawn(shlex.split(command.text), cwd=ROOT, env=variables, stdout=log, stderr=log)
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)
        forget(process.pid)


@pytest.fixture(scope="module")
def distributed(tmp_path_factory: pytest.TempPathFactory, postgres_url: str, redis_url: str) -> Iterator[Server]:
    """The environment of processes on PostgreSQL and Redis; nothing is started."""
    server = Server(tmp_path_factory.mktemp("distributed"))
    with fresh_database(postgres_url) as database, fresh_redis(redis_url) as broker:
        server.services = {"DATABASE_URL": database, "CELERY_BROKER_URL": broker}
        done = server.command("migrate", "--verbosity", "0")
        assert done.returncode == 0, done.stderr
        yield server


@pytest.mark.parametrize("command", coming_from.commands("celery"), ids=str)
def test_a_worker_of_the_page_serves_what_it_names(command: Command, distributed: Server) -> None:
    words = shlex.split(command.text)

    def serves() -> bool:
        workers = json.loads(distributed.command("flow", "workers", "--json").stdout)
        queue = words[words.index("-Q") + 1] if "-Q" in words else "default"
        size = int(words[words.index("-c") + 1]) if "-c" in words else os.cpu_count()
        served = [(worker["queues"], worker["concurrency"]) for worker in workers if worker["alive"]]
        return ([queue], size) in served

    with started(command, distributed):
        until(serves, 60, what=(distributed.state / "process.log").read_text)


@pytest.mark.parametrize("command", coming_from.commands("gunicorn"), ids=str)
def test_the_web_server_of_the_page_serves(command: Command, distributed: Server) -> None:
    address = f"127.0.0.1:{free_port()}"
    with started(command, distributed, GUNICORN_CMD_ARGS=f"--bind {address}"):
        until(lambda: get(f"http://{address}/livez")[0] == 200, 60, what=(distributed.state / "process.log").read_text)


def test_the_stack_of_the_page_is_the_one_that_is_tested() -> None:
    (command,) = coming_from.commands("docker")
    assert readme_block()[0].startswith(f"{command.text} &&")
