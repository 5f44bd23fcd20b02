"""Brokers beside plain Redis and RabbitMQ: flows with retries, queues and priorities run, and nothing is repaired."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from flowerapp import engine
from flowerapp.executors.celery import queues
from flowerapp.states import Status
from tests.acceptance.live import define, starts
from tests.faults.servers import LOOPBACK, free_port
from tests.processes import forget, spawn
from tests.services import Site, fresh_database, fresh_rabbitmq, until

READY_SECONDS = 30.0
Environment = dict[str, str]


@contextmanager
def program(*command: str, cwd: Path) -> Iterator[int]:
    """A program that runs within the block; its process id."""
    process = spawn(command, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()
        forget(process.pid)


def answers(*client: str) -> bool:
    """Whether a Redis server answers a client with these options."""
    done = subprocess.run(["redis-cli", *client, "ping"], capture_output=True, text=True)
    return done.stdout.strip() == "PONG"


@contextmanager
def redis_server(directory: Path, *options: str, client: tuple[str, ...]) -> Iterator[int]:
    """A Redis server with these options; its process id."""
    command = ("redis-server", "--bind", LOOPBACK, "--save", "", *options)
    with program(*command, cwd=directory) as pid:
        until(lambda: answers(*client), READY_SECONDS)
        yield pid


@contextmanager
def unix_socket(directory: Path) -> Iterator[Environment]:
    """Redis at a Unix socket."""
    path = directory / "redis.sock"
    with redis_server(directory, "--port", "0", "--unixsocket", str(path), client=("-s", str(path))):
        yield {"CELERY_BROKER_URL": f"redis+socket://{path}"}


@contextmanager
def tls(directory: Path) -> Iterator[Environment]:
    """Redis over TLS, with a certificate of the test's own."""
    files = {name: str(directory / f"{name}.pem") for name in ("key", "cert")}
    certificate = ["-keyout", files["key"], "-out", files["cert"], "-subj", "/CN=localhost"]
    names = ["-addext", f"subjectAltName=IP:{LOOPBACK}", "-days", "2"]
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *certificate, *names], check=True)
    port = str(free_port())
    options = ["--port", "0", "--tls-port", port, "--tls-auth-clients", "no", "--tls-key-file", files["key"]]
    options += ["--tls-cert-file", files["cert"], "--tls-ca-cert-file", files["cert"]]
    with redis_server(directory, *options, client=("-p", port, "--tls", "--insecure")):
        query = f"ssl_cert_reqs=required&ssl_ca_certs={files['cert']}"
        yield {"CELERY_BROKER_URL": f"rediss://{LOOPBACK}:{port}/0?{query}"}


@contextmanager
def sentinel(directory: Path) -> Iterator[Environment]:
    """Redis Sentinel with a master and a replica."""
    master, replica, watcher = (str(free_port()) for _ in range(3))
    lines = [
        f"port {watcher}",
        f"sentinel monitor main {LOOPBACK} {master} 1",
        "sentinel down-after-milliseconds main 2000",
        "sentinel failover-timeout main 6000",
    ]
    (directory / "sentinel.conf").write_text("\n".join(lines))
    with (
        redis_server(directory, "--port", master, client=("-p", master)) as pid,
        redis_server(directory, "--port", replica, "--replicaof", LOOPBACK, master, client=("-p", replica)),
        program("redis-server", "sentinel.conf", "--sentinel", cwd=directory),
    ):
        until(lambda: answers("-p", watcher) and _knows_replica(watcher), READY_SECONDS)
        yield {
            "CELERY_BROKER_URL": f"sentinel://{LOOPBACK}:{watcher}/0",
            "REDIS_SENTINEL_MASTER": "main",
            "MASTER_PID": str(pid),
        }


def _knows_replica(port: str) -> bool:
    """A failover needs one, and Sentinel asks the master for it every 10 s."""
    command = ["redis-cli", "-p", port, "sentinel", "replicas", "main"]
    return "name" in subprocess.run(command, capture_output=True, text=True).stdout


BROKERS: dict[str, Callable[[Path], AbstractContextManager[Environment]]] = {
    "sentinel": sentinel,
    "tls": tls,
    "unix-socket": unix_socket,
}


@pytest.fixture(params=[*BROKERS, "quorum"])
def site(request: pytest.FixtureRequest, postgres_url: str, tmp_path: Path, django_db_blocker: Any) -> Iterator[Site]:
    """A site with such a broker, and a worker of two processes for two queues."""
    with ExitStack() as stack:
        if request.param == "quorum":
            url = stack.enter_context(fresh_rabbitmq(request.getfixturevalue("amqp_url")))
            environment = {"CELERY_BROKER_URL": url, "CELERY_TASK_DEFAULT_QUEUE_TYPE": "quorum"}
        elif shutil.which("redis-server") is None:
            pytest.skip("redis-server is not installed")
        else:
            environment = stack.enter_context(BROKERS[request.param](tmp_path))
        stack.enter_context(django_db_blocker.unblock())
        made = Site(stack.enter_context(fresh_database(postgres_url)), environment["CELERY_BROKER_URL"])
        stack.callback(made.close)
        made.environment.update(environment)
        stack.enter_context(made.entered())
        made.migrate()
        made.start("-c", "2", "-Q", "default,transcoding").wait_ready()
        yield made


def test_runs_flows(site: Site) -> None:
    steps: dict[int, dict[str, Any]] = {
        2: {"queue": "transcoding"},
        3: {"program": "FailUntil", "parameters": {"start": 2}},
        4: {"task_priority": -20},
    }
    workflow = define({1: [], 2: [1], 3: [1], 4: [1], 5: [2, 3, 4], 6: [5]}, steps)
    flows = [engine.register(workflow) for _ in range(10)]
    for flow in flows:
        assert flow.wait(timeout=60).status is Status.FINISH, site.logs[-5000:]
        assert [start.seq for start in starts(flow)].count(3) == 2
        verbs = flow.history.exclude(verb="retry").values_list("verb", "reason")
        assert list(verbs) == []
    sizes = queues.sizes(["default", "transcoding"])
    assert {name: size.messages for name, size in sizes.items()} == {"default": 0, "transcoding": 0}
    if "MASTER_PID" in site.environment:
        _survives_a_failover(site)


def _survives_a_failover(site: Site) -> None:
    os.kill(int(site.environment["MASTER_PID"]), signal.SIGKILL)
    flows = [engine.register(define({1: [], 2: [1], 3: [2]})) for _ in range(5)]
    for flow in flows:
        assert flow.wait(timeout=90).status is Status.FINISH, site.logs[-5000:]


def test_a_cluster_is_refused_before_the_worker_starts(tmp_path: Path) -> None:
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed")
    port = str(free_port())
    environment = {
        "CELERY_BROKER_URL": f"redis://{LOOPBACK}:{port}/0",
        "DATABASE_URL": f"sqlite:///{tmp_path}/flower.sqlite3",
        "FLOWER_STATE_DIR": str(tmp_path),
    }
    options = ("--port", port, "--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    with redis_server(tmp_path, *options, client=("-p", port)):
        done = subprocess.run(
            [sys.executable, "-m", "celery", "-A", "project", "worker"],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.returncode == 2, done.stderr
    assert "the broker is a Redis Cluster" in done.stderr
    assert "Use a single Redis server" in done.stderr
    assert not (tmp_path / "flower.sqlite3").exists()
