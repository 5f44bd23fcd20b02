"""``manage.py standalone``: server, worker and watcher in one process."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from argparse import ArgumentParser
from typing import IO, Any, NoReturn

from django.apps import apps
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, connections, router
from django.db.migrations.executor import MigrationExecutor

from flowerapp import conf, engine
from flowerapp.api.loopback import published
from flowerapp.exceptions import FlowerError
from flowerapp.management.cli import follow
from flowerapp.management.cli.output import Output
from flowerapp.models import Flow, Worker
from flowerapp.standalone import lock, samples
from flowerapp.standalone.access import allow_callers
from flowerapp.standalone.processes import WorkerProcess
from flowerapp.standalone.server import WebServer, is_loopback
from flowerapp.standalone.worker import WorkerThread, app_name, recover_tasks, uses_memory
from flowerapp.states import Status

USAGE = 2
"""Exit code for wrong usage."""
INTERRUPTED = 130
"""Exit code after a second Ctrl-C."""
OPEN = "programs on this machine register and read without a login; put no proxy in front, or set FLOWER_OPEN_API=0"
READY_SECONDS = 30.0
"""Longest time that the worker may take to start."""
LOG_LEVELS = {"django.request": logging.ERROR, "django.server": logging.CRITICAL}
"""Loggers that would otherwise report each request for a page that does not exist."""


class Command(BaseCommand):
    """Prepares the database, starts worker and web server, and serves until Ctrl-C."""

    help = "Run the server, a worker and the watcher in one process, with nothing but Python."
    requires_migrations_checks = False

    _lock: IO[str] | None = None
    """The lock on the SQLite file; None if the database is on a server."""
    _server: WebServer
    _worker: WorkerThread | WorkerProcess
    _admin: tuple[str, str | None]
    """Name and new password of the admin user, as ``samples.make_admin`` returns them."""

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add ``--host``, ``--port``, ``--run`` and ``--exit``."""
        parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
        parser.add_argument("--port", type=int, default=8000, help="port to listen on (default: 8000)")
        parser.add_argument("--run", metavar="WORKFLOW", help="register this workflow at start and follow its flow")
        parser.add_argument("--exit", action="store_true", help="with --run: exit when the flow has ended")

    def handle(self, *, host: str, port: int, run: str | None, exit: bool, **_: Any) -> None:
        """Prepare, start, serve and stop; raises CommandError for what prevents the start."""
        if exit and run is None:
            raise CommandError("--exit goes with --run WORKFLOW", returncode=USAGE)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler)
        for name, level in LOG_LEVELS.items():
            logging.getLogger(name).setLevel(level)
        try:
            self._prepare(host, port, run)
        except KeyboardInterrupt:
            sys.exit(1)
        self._stop(self._run(run, exit))

    # Prepare: everything that can refuse to start

    def _prepare(self, host: str, port: int, run: str | None) -> None:
        try:
            self._lock = lock.take()
        except lock.AlreadyRunningError as error:
            raise CommandError(str(error), returncode=USAGE) from error
        self._server = self._bind(host, port)
        allow_callers(self._server, host)
        try:
            self._migrate()
            samples.make_workflows(self._server.echo_url)
            self._admin = samples.make_admin()
        except DatabaseError as error:
            raise CommandError(f"the database cannot be used: {error}") from error
        if run is not None:
            self._check(run)
        self._worker = self._make_worker()

    def _bind(self, host: str, port: int) -> WebServer:
        try:
            return WebServer(host, port)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            message = f"cannot listen on port {port} of {host} ({reason}); choose another port with --port"
            raise CommandError(message, returncode=USAGE) from error

    def _migrate(self) -> None:
        for alias in sorted({router.db_for_write(model) for model in apps.get_models()}):
            executor = MigrationExecutor(connections[alias])
            if executor.migration_plan(executor.loader.graph.leaf_nodes()):
                self._say("creating the database's tables")
                call_command("migrate", database=alias, verbosity=0, interactive=False)

    def _check(self, workflow: str) -> None:
        try:
            engine.plan_of(workflow).check()
        except FlowerError as error:
            raise CommandError(str(error), returncode=USAGE) from error

    def _make_worker(self) -> WorkerThread | WorkerProcess:
        if not uses_memory():
            allowed = ",".join(conf.get().HTTP_ALLOW_PRIVATE)
            return WorkerProcess(app_name(), {"FLOWER_HTTP_ALLOW_PRIVATE": allowed})
        worker = WorkerThread()
        if self._lock is not None and (count := recover_tasks()):
            self._say(f"{count} task{'s' * (count > 1)} ran when the server ended, and will run again")
        return worker

    # Run: the exit code is that of the flow, if there is one

    def _run(self, workflow: str | None, exit: bool) -> int:
        code = 1 if exit else 0
        try:
            self._start()
            self._greet()
            if workflow is not None:
                code = self._follow(workflow)
            return code if exit else self._serve()
        except KeyboardInterrupt:
            self._say("stopping")
            return code

    def _start(self) -> None:
        self._worker.start()
        self._server.start()
        self._await_worker()
        connections.close_all()

    def _await_worker(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not Worker.objects.alive(conf.get().LEASE_SECONDS).filter(pid=self._worker.pid).exists():
            if self._worker.ended() is not None or time.monotonic() > deadline:
                self._say("the worker did not start; see the log above")
                self._stop(1)
            time.sleep(0.02)

    def _follow(self, workflow: str) -> int:
        flow = engine.register(workflow, actor="standalone")
        self._say(f"flow {flow.pk} of workflow {workflow}")
        ended: Flow = follow.wait(flow.pk, Output(None, None, color=None, as_json=False), follow=True)
        connections.close_all()
        return 0 if ended.status is Status.FINISH else 1

    def _serve(self) -> int:
        self._say("Ctrl-C stops the server; flows that have not ended continue at the next start")
        while True:
            time.sleep(1)
            if self._worker.ended() is not None:
                self._say("the worker has ended; see the log above")
                return 1

    def _stop(self, code: int) -> NoReturn:
        """Stop within 5 s and exit; a second Ctrl-C exits at once."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: os._exit(INTERRUPTED))
        self._server.stop()
        self._worker.stop()
        connections.close_all()
        sys.stdout.flush()
        sys.stderr.flush()
        if self._worker.ended() is None:
            os._exit(code)  # a normal exit would wait for the programs that run in threads, which cannot be stopped
        sys.exit(code)

    # Messages

    def _say(self, sentence: str) -> None:
        self.stderr.write(sentence, self.style.HTTP_INFO)
        self.stderr.flush()

    def _greet(self) -> None:
        self._say(f"flowerapp serves {self._server.url}  (admin: {self._server.url}admin/)")
        name, password = self._admin
        if password:
            self._say(f"log in as {name} with password {password}  (shown once)")
        elif name:
            self._say(f"log in as {name}; to set a new password: python manage.py changepassword {name}")
        else:
            self._say("make an admin user with: python manage.py createsuperuser")
        if conf.get().OPEN_API:
            why = published()
            self._say(f"register and read need a login: {why}" if why else OPEN)
        if not is_loopback(self._server.host):
            self._say("reachable from other machines, so register and read need a login (OPEN_API is off)")
            self._say("to reach the server by a host name, add the name to DJANGO_ALLOWED_HOSTS")
        if isinstance(self._worker, WorkerProcess):
            self._say(f"worker process {self._worker.pid}")
