"""``manage.py standalone``: server, worker and watcher in one process."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from argparse import ArgumentParser
from typing import IO, Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor

from flowerapp import conf, engine
from flowerapp.embedded.worker import EmbeddedWorker, app_name, take_up, uses_memory
from flowerapp.exceptions import FlowerError, NotFoundError
from flowerapp.management.cli import follow
from flowerapp.management.cli.output import Output
from flowerapp.models import Flow, Worker
from flowerapp.standalone import lock, samples
from flowerapp.standalone.processes import WorkerProcess
from flowerapp.standalone.server import WebServer, is_loopback
from flowerapp.states import Status

USAGE = 2
"""Exit code for wrong usage."""
STOP_SECONDS = 3.0
"""Seconds that running tasks get to end when the server is stopped."""
READY_SECONDS = 30.0
CLOSED = ("", "0", "false", "no", "off")
"""Values of FLOWER_OPEN_API that close the open door of a server on loopback."""
QUIET = ("django.request", "django.server")
"""Loggers that would tell of every wrong address."""


class Command(BaseCommand):
    """Runs it until Ctrl-C."""

    help = "Run the server, a worker and the watcher in one process, with nothing but Python."
    requires_migrations_checks = False

    _lock: IO[str] | None = None
    _server: WebServer
    _worker: EmbeddedWorker | WorkerProcess
    _admin: tuple[str, str | None]

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The options of DESIGN.md section 7."""
        parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
        parser.add_argument("--port", type=int, default=8000, help="port to listen on (default: 8000)")
        parser.add_argument("--run", metavar="WORKFLOW", help="register this workflow at start and show it run")
        parser.add_argument("--exit", action="store_true", help="with --run: end when the flow has ended")

    def handle(self, *, host: str, port: int, run: str | None, exit: bool, **_: Any) -> None:
        """Start, serve, stop."""
        if exit and run is None:
            raise CommandError("--exit goes with --run WORKFLOW", returncode=USAGE)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler)
        for name in QUIET:
            logging.getLogger(name).setLevel(logging.CRITICAL if name == "django.server" else logging.ERROR)
        try:
            self._prepare(host, port, run)
        except KeyboardInterrupt:
            sys.exit(1)
        code = 1 if exit else 0
        try:
            self._start()
            self._greet()
            if run is not None:
                code = self._follow(run)
            if not exit:
                code = self._serve()
        except KeyboardInterrupt:
            self._say("stopping")
        self._stop(code)

    # Start

    def _prepare(self, host: str, port: int, run: str | None) -> None:
        try:
            self._lock = lock.take()
        except lock.AlreadyRunningError as error:
            raise CommandError(str(error), returncode=USAGE) from error
        self._server = self._bind(host, port)
        self._open_door(host)
        try:
            self._migrate()
            samples.make_workflows(self._server.echo_url)
            self._admin = samples.make_admin()
        except DatabaseError as error:
            raise CommandError(f"the database does not answer as it should: {error}") from error
        if run is not None:
            self._check(run)

    def _bind(self, host: str, port: int) -> WebServer:
        try:
            return WebServer(host, port)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            message = f"cannot listen on port {port} of {host} ({reason}); choose another port with --port"
            raise CommandError(message, returncode=USAGE) from error

    def _open_door(self, host: str) -> None:
        """Loopback alone: no login to register and read. The HTTP program may call our echo page."""
        flower = dict(conf.raw())
        loopback = is_loopback(self._server.host)
        closed = os.environ.get("FLOWER_OPEN_API", "1").lower() in CLOSED
        flower["OPEN_API"] = loopback and not closed
        flower["HTTP_ALLOW_PRIVATE"] = [*flower.get("HTTP_ALLOW_PRIVATE", ()), self._server.place]
        settings.FLOWER = flower
        names = {"localhost", "127.0.0.1", "[::1]"} if loopback else {self._server.place.rpartition(":")[0], host}
        settings.ALLOWED_HOSTS = [*settings.ALLOWED_HOSTS, *sorted(names - set(settings.ALLOWED_HOSTS))]

    def _migrate(self) -> None:
        executor = MigrationExecutor(connection)
        if executor.migration_plan(executor.loader.graph.leaf_nodes()):
            self._say("making the database's tables")
            call_command("migrate", verbosity=0, interactive=False)

    def _check(self, workflow: str) -> None:
        try:
            engine.plan_of(workflow).check()
        except NotFoundError as error:
            raise CommandError(str(error), returncode=USAGE) from error
        except FlowerError as error:
            raise CommandError(f"{error}", returncode=USAGE) from error

    def _start(self) -> None:
        if uses_memory():
            self._start_embedded()
        else:
            allowed = ",".join(conf.get().HTTP_ALLOW_PRIVATE)
            self._worker = WorkerProcess(app_name(), {"FLOWER_HTTP_ALLOW_PRIVATE": allowed})
            self._worker.start()
        self._server.start()
        self._await_worker()
        connection.close()

    def _start_embedded(self) -> None:
        self._worker = EmbeddedWorker()
        if self._lock is not None and (running := take_up()):
            self._say(f"{running} task{'s' * (running > 1)} ran when the server ended, and will run again")
        self._worker.start()

    def _await_worker(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not Worker.objects.living(conf.get().LEASE_SECONDS).filter(pid=self._worker.pid).exists():
            if self._worker.ended() is not None or time.monotonic() > deadline:
                self._say("the worker did not start; see the log above")
                self._stop(1)
            time.sleep(0.02)

    # Serve

    def _follow(self, workflow: str) -> int:
        flow = engine.register(workflow, actor="standalone")
        self._say(f"flow {flow.pk} of workflow {workflow}")
        ended: Flow = follow.wait(flow.pk, Output(None, None, colour=None, as_json=False), follow=True)
        connection.close()
        return 0 if ended.status is Status.FINISH else 1

    def _serve(self) -> int:
        self._say("Ctrl-C stops it; what runs then goes on at the next start")
        while True:
            time.sleep(1)
            if self._worker.ended() is not None:
                self._say("the worker has ended; see the log above")
                return 1

    def _stop(self, code: int) -> None:
        """Stop within five seconds; a second Ctrl-C ends it at once."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: os._exit(130))
        self._server.stop()
        if isinstance(self._worker, WorkerProcess):
            self._worker.stop()
        else:
            self._worker.stop(STOP_SECONDS)
        connection.close()
        sys.stdout.flush()
        sys.stderr.flush()
        if isinstance(self._worker, EmbeddedWorker) and self._worker.is_alive():
            os._exit(code)  # threads cannot be stopped, and an ordinary exit would wait for their programs
        sys.exit(code)

    # Words

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
        if not is_loopback(self._server.host):
            self._say("reachable from other machines, so register and read need a login (OPEN_API is off)")
            self._say("other names for it than the address go into DJANGO_ALLOWED_HOSTS")
        if isinstance(self._worker, WorkerProcess):
            self._say(f"worker process {self._worker.pid}")
