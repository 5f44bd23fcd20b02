"""What the tests take of the machine, and how they give it back: Redis databases and processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import redis

from tests.faults.servers import RedisServer
from tests.services import ROOT, fresh_redis, until, with_path

KILLED = """
import os, sys
import redis
from tests.services import fresh_redis
with fresh_redis(sys.argv[1]) as url:
    redis.Redis.from_url(url).set("left", "behind")
    os._exit(1)
"""


SPAWNING = """
import os, sys
from tests.processes import forget, spawn
ended = spawn(["true"])
ended.wait()
forget(ended.pid)
print(spawn(["sleep", "60"]).pid, flush=True)
os.kill(os.getpid(), 9)
"""


@pytest.fixture
def last_database(redis_server: RedisServer) -> str:
    """URL of the one database of a server that ``fresh_redis`` may take."""
    return with_path(redis_server.url, "15")


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a script as another test run would be."""
    command = [sys.executable, "-c", script, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def test_a_database_that_a_killed_run_left_behind_is_emptied_and_taken(last_database: str) -> None:
    run(KILLED, last_database)
    with closing(redis.Redis.from_url(last_database)) as client:
        assert client.get("left") == b"behind"
        with fresh_redis(last_database) as url:
            assert (url, client.dbsize()) == (last_database, 0)


def test_a_database_of_another_user_is_not_taken(last_database: str) -> None:
    with closing(redis.Redis.from_url(last_database)) as client:
        client.set("theirs", "1")
        with pytest.raises(RuntimeError, match="no empty Redis database from 15 to 15"), fresh_redis(last_database):
            pass
        assert client.get("theirs") == b"1"


def test_two_at_once_do_not_share_a_database(last_database: str) -> None:
    with fresh_redis(last_database), pytest.raises(RuntimeError, match="no empty"), fresh_redis(last_database):
        pass


def test_processes_end_with_a_killed_test_run() -> None:
    done = run(SPAWNING)
    assert done.returncode == -signal.SIGKILL
    pid = int(done.stdout)
    until(lambda: not Path(f"/proc/{pid}").exists() or _is_zombie(pid), 10)


def _is_zombie(pid: int) -> bool:
    return " Z " in Path(f"/proc/{pid}/stat").read_text()
