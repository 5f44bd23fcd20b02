"""Real services for the tests: a database and a broker of a test's own, and worker processes on them."""

from __future__ import annotations

import fcntl
import os
import runpy
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar
from unittest import mock
from urllib.parse import urlsplit, urlunsplit

from celery import Celery, _state
from celery.app import app_or_default
from django.core.management import call_command
from django.db import connections
from django.db.backends.signals import connection_created
from django.db.utils import ConnectionHandler

from flowerapp.executors.celery import memory_transport
from tests.processes import forget, spawn

ROOT = Path(__file__).resolve().parent.parent
SETTINGS = str(ROOT / "project" / "settings.py")
FIRST_REDIS_DB = 5
READY_SECONDS = 60.0
STOP_SECONDS = 40.0

Value = TypeVar("Value")


class Service(Enum):
    """A server that tests may need: the variable that names it, and where it is without one."""

    POSTGRES = ("FLOWER_TEST_DATABASE_URL", "postgres://postgres@127.0.0.1:5432/postgres")
    REDIS = ("FLOWER_TEST_REDIS_URL", "redis://127.0.0.1:6379")
    AMQP = ("FLOWER_TEST_AMQP_URL", "amqp://guest:guest@127.0.0.1:5672//")

    @property
    def required(self) -> bool:
        """Whether its absence is an error."""
        return os.environ.get("FLOWER_TEST_REQUIRE", "") not in ("", "0")


def address_of(service: Service) -> tuple[str | None, str]:
    """URL of a server that answers, or None and why not."""
    variable, default = service.value
    url = os.environ.get(variable) or default
    parts = urlsplit(url)
    try:
        with socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 0), timeout=2):
            return url, ""
    except OSError as error:
        return (
            None,
            f"{service.name.lower()} does not answer at {parts.hostname}:{parts.port} ({error}); set {variable}",
        )


def with_path(url: str, path: str) -> str:
    """``url`` with another path."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{path}"))


def until(
    condition: Callable[[], Value | None], seconds: float = 30, *, poll: float = 0.02, what: Callable[[], str] = str
) -> Value:
    """The first true value of ``condition``; AssertionError with ``what`` after ``seconds``."""
    deadline = time.monotonic() + seconds
    while True:
        if value := condition():
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not so within {seconds} s. {what()}")
        time.sleep(poll)


# Databases


@contextmanager
def fresh_database(server_url: str) -> Iterator[str]:
    """URL of a new PostgreSQL database, dropped at the end."""
    import psycopg

    name = f"h_acc_{secrets.token_hex(4)}"
    with closing(psycopg.connect(server_url, autocommit=True)) as server:
        server.execute(f"CREATE DATABASE {name}")
    try:
        yield with_path(server_url, name)
    finally:
        with closing(psycopg.connect(server_url, autocommit=True)) as server:
            server.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@contextmanager
def default_database(settings: dict[str, Any]) -> Iterator[None]:
    """Within the block, ``settings`` are those of this process's default database."""
    wrapper = ConnectionHandler({"default": settings}).create_connection("default")
    before, before_settings = connections["default"], connections.settings["default"]
    connections["default"] = wrapper
    connections.settings["default"] = wrapper.settings_dict
    try:
        yield
    finally:
        wrapper.close()
        connections.settings["default"] = before_settings
        connections["default"] = before


# Brokers


@contextmanager
def fresh_redis(server_url: str) -> Iterator[str]:
    """URL of a Redis database that is free, from the number in ``server_url`` on; emptied at the end.

    A database that a killed test run left behind is emptied and taken once no empty one is left.
    """
    import redis

    with closing(redis.Redis.from_url(server_url)) as client:
        first = int(urlsplit(server_url).path.strip("/") or FIRST_REDIS_DB)
        numbers = range(first, int(client.config_get("databases")["databases"] or 0))
        server = client.info("server")["run_id"]
    for reclaim in (False, True):
        for number in numbers:
            url = with_path(server_url, str(number))
            with RedisClaim(f"{server}-{number}") as claim, closing(redis.Redis.from_url(url)) as client:
                if not claim.held or (client.dbsize() and not (reclaim and claim.left_behind)):
                    continue
                client.flushdb()
                claim.mark()
                try:
                    yield url
                finally:
                    client.flushdb()
                    claim.unmark()
                return
    raise RuntimeError(f"no empty Redis database from {first} to {numbers[-1]} at {server_url}")


class RedisClaim:
    """The right of one process to one Redis database: a locked file, so that it ends with the process.

    ``held`` says whether the right was free, ``left_behind`` whether its last holder ended without ``unmark``.
    """

    def __init__(self, name: str) -> None:
        self._path = Path(tempfile.gettempdir()) / f"flowerapp-tests-redis-{name}.lock"

    def __enter__(self) -> RedisClaim:
        self._file = self._path.open("a+")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.held = False
        else:
            self.held = True
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def left_behind(self) -> bool:
        return self._path.stat().st_size > 0

    def mark(self) -> None:
        self._file.write(f"{os.getpid()}\n")
        self._file.flush()

    def unmark(self) -> None:
        self._file.truncate(0)


@contextmanager
def fresh_rabbitmq(server_url: str) -> Iterator[str]:
    """URL of a new virtual host where ``rabbitmqctl`` may make one; else the given one, its queue emptied."""
    name = f"h_acc_{secrets.token_hex(4)}"
    if not _rabbitmqctl("add_vhost", name):
        _delete_queues(server_url)
        yield server_url
        _delete_queues(server_url)
        return
    try:
        user = urlsplit(server_url).username or "guest"
        _rabbitmqctl("set_permissions", "-p", name, user, ".*", ".*", ".*")
        yield with_path(server_url, name)
    finally:
        _rabbitmqctl("delete_vhost", name)


def _rabbitmqctl(*arguments: str) -> bool:
    command = shutil.which("rabbitmqctl")
    return bool(command) and subprocess.run([str(command), "-q", *arguments], capture_output=True).returncode == 0


def _delete_queues(url: str) -> None:
    from kombu import Connection

    with Connection(url) as connection:
        channel: Any = connection.channel()
        for name in ("default", "transcoding"):
            channel.queue_delete(name)


@contextmanager
def celery_app(environment: dict[str, str]) -> Iterator[Celery]:
    """Within the block, the current Celery app is the reference project's under ``environment``.

    The variables themselves stand too, for Celery reads CELERY_BROKER_URL before any configuration.
    """
    with mock.patch.dict(os.environ, environment):
        app = Celery("acceptance", set_as_current=False)
        app.config_from_object(SimpleNamespace(**runpy.run_path(SETTINGS)), namespace="CELERY")
        app.finalize()
        before, default = app_or_default(), _state.default_app  # type: ignore[attr-defined] # no public name
        app.set_current()
        app.set_default()
        try:
            yield app
        finally:
            before.set_current()
            _state.set_default_app(default)
            app.close()


# Workers


class WorkerProcess:
    """A real ``celery worker`` process whose log is kept."""

    def __init__(
        self,
        *arguments: str,
        environment: dict[str, str],
        app: str = "project",
        cwd: Path = ROOT,
        level: str = "INFO",
    ) -> None:
        self.name = f"w{secrets.token_hex(3)}"
        self.log = Path(tempfile.gettempdir()) / f"flowerapp-{self.name}.log"
        command = [
            sys.executable,
            "-m",
            "celery",
            "-A",
            app,
            "worker",
            "-n",
            f"{self.name}@%h",
            "-l",
            level,
            *arguments,
        ]
        with self.log.open("wb") as log:
            self.process = spawn(command, env={**os.environ, **environment}, cwd=cwd, stdout=log, stderr=log)

    @property
    def text(self) -> str:
        """What it has logged."""
        return self.log.read_text(errors="replace")

    def wait_ready(self) -> None:
        """Wait until it consumes, which it logs at the level INFO."""
        until(self._ready, READY_SECONDS, what=lambda: self.text[-5000:])

    def _ready(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(f"worker ended with {self.process.returncode}: {self.text[-5000:]}")
        return f"{self.name}@" in self.text and " ready." in self.text

    def stop(self) -> None:
        """End it with its processes at once, and delete its log; nothing on its site is needed any more."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(STOP_SECONDS)
        forget(self.process.pid)
        self.log.unlink(missing_ok=True)


class InProcessWorker:
    """A worker of threads inside this process, with its watcher, as standalone has."""

    def __init__(self, app: Celery, concurrency: int = 4, pool: str = "threads") -> None:
        from celery import signals

        self.ready = threading.Event()

        def on_ready(consumer: Any) -> None:
            signals.worker_ready.send(sender=consumer)
            self.ready.set()

        self.controller = app.WorkController(
            app=app,
            pool=pool,
            concurrency=concurrency,
            ready_callback=on_ready,
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,
        )
        self.thread = threading.Thread(target=self._run, args=[app], name="worker", daemon=True)

    def _run(self, app: Celery) -> None:
        app.set_current()
        self.controller.start()

    def start(self) -> None:
        """Start it and wait until it consumes."""
        self.thread.start()
        if not self.ready.wait(READY_SECONDS):
            raise AssertionError("the worker of threads did not start")

    def stop(self) -> None:
        """End it and its watcher."""
        from celery import signals
        from celery.worker import state

        state.should_stop = 0  # type: ignore[assignment] # an exit code
        self.thread.join(STOP_SECONDS)
        state.should_stop = None
        signals.worker_shutdown.send(sender=self.controller)
        if self.thread.is_alive():
            raise AssertionError("the worker of threads did not stop")


@contextmanager
def threads(app: Celery, **options: Any) -> Iterator[InProcessWorker]:
    """A worker of threads in this process, on a broker in its memory that is empty at the end."""
    serving = memory_transport._serving
    memory_transport.serve()
    worker = InProcessWorker(app, **options)
    try:
        with thread_connections_closed():
            worker.start()
            try:
                yield worker
            finally:
                worker.stop()
    finally:
        memory_transport.Transport.forget()
        memory_transport._serving = serving


@contextmanager
def thread_connections_closed() -> Iterator[None]:
    """Close the database connections that other threads open in the block and leave behind."""
    opened: list[Any] = []

    def on_connection(connection: Any, **_: Any) -> None:
        if threading.current_thread() is not threading.main_thread():
            connection.inc_thread_sharing()
            opened.append(connection)

    connection_created.connect(on_connection)
    try:
        yield
    finally:
        connection_created.disconnect(on_connection)
        for connection in opened:
            connection.close()


class Site:
    """A migrated database, a broker, and the workers on them."""

    def __init__(self, database_url: str, broker_url: str) -> None:
        self.state = Path(tempfile.mkdtemp(prefix="flowerapp-"))
        self.messages = self.state / "messages"
        self.environment = {
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            "DATABASE_URL": database_url,
            "CELERY_BROKER_URL": broker_url,
            "FLOWER_STATE_DIR": str(self.state),
            "FLOWER_PROBE_MESSAGES": str(self.messages),
            "FLOWER_HTTP_ALLOW_PRIVATE": "127.0.0.1",
            "DJANGO_SECRET_KEY": secrets.token_urlsafe(40),
        }
        self.workers: list[WorkerProcess] = []

    @property
    def in_process(self) -> bool:
        """Whether its broker is in this process's memory."""
        return memory_transport.is_memory(self.environment["CELERY_BROKER_URL"])

    @property
    def database_settings(self) -> dict[str, Any]:
        """``DATABASES["default"]`` of the reference project on this site."""
        with mock.patch.dict(os.environ, self.environment):
            return dict(runpy.run_path(SETTINGS)["DATABASES"]["default"])

    @contextmanager
    def entered(self) -> Iterator[Celery]:
        """Within the block this process works on the site's database and broker."""
        with (
            default_database(self.database_settings),
            celery_app(self.environment) as app,
        ):
            yield app

    def migrate(self) -> None:
        """Make the tables; within ``entered``."""
        call_command("migrate", verbosity=0)

    def start(self, *arguments: str, **options: Any) -> WorkerProcess:
        """Start a worker process; wait for it with ``wait_ready``."""
        worker = WorkerProcess(*arguments, environment=self.environment, **options)
        self.workers.append(worker)
        return worker

    def start_all(self, *processes: int) -> None:
        """Start a worker for each number of pool processes, and wait until all consume."""
        started = [self.start("-c", str(number)) for number in processes]
        for worker in started:
            worker.wait_ready()

    def stop(self, *workers: WorkerProcess) -> None:
        """Stop these workers, or all."""
        for worker in workers or tuple(self.workers):
            worker.stop()
            self.workers.remove(worker)

    @property
    def logs(self) -> str:
        """What the workers have logged."""
        return "\n".join(f"== {worker.name}\n{worker.text}" for worker in self.workers)

    def close(self) -> None:
        """Stop the workers and remove the files."""
        self.stop()
        shutil.rmtree(self.state, ignore_errors=True)


@contextmanager
def site(database_url: str, broker: str, broker_url: str) -> Iterator[Site]:
    """A site on a new database of the server at ``database_url``, and ``broker`` ("redis" or "amqp")."""
    with ExitStack() as stack:
        database = stack.enter_context(fresh_database(database_url))
        fresh = fresh_redis if broker == "redis" else fresh_rabbitmq
        made = Site(database, stack.enter_context(fresh(broker_url)))
        stack.callback(made.close)
        with made.entered():
            made.migrate()
        yield made


@contextmanager
def sqlite_site() -> Iterator[Site]:
    """A site on a new SQLite file and a broker in this process's memory, as standalone has."""
    made = Site("sqlite:///", memory_transport.URL)
    made.environment["DATABASE_URL"] = f"sqlite:///{made.state}/flower.sqlite3"
    try:
        with made.entered():
            made.migrate()
        yield made
    finally:
        made.close()
