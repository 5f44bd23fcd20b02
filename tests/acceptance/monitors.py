"""What hosts look at their workers with: Sentry's SDK, sending to a sink of this process, the Flower monitor, and what
Flower is made of: a receiver of Celery's events and a state that it feeds."""

from __future__ import annotations

import gzip
import json
import os
import socket
import sys
import threading
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from celery import Celery

from flowerapp.core.messages import TaskRef
from flowerapp.executors.celery.routes import ref_of
from tests.processes import forget, spawn
from tests.services import ROOT, Site, until


class SentrySink:
    """A server on loopback that keeps the events that Sentry's SDK sends to its DSN."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        sink = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                sink.events += [item for item in map(json.loads, body.splitlines()) if "exception" in item]
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *_: Any) -> None:
                """Log nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def dsn(self) -> str:
        """What the SDK is given."""
        return f"http://key@127.0.0.1:{self.server.server_port}/1"

    def of(self, flow_id: str) -> list[dict[str, Any]]:
        """The events that name a flow, in order."""
        return [event for event in self.events if flow_id in json.dumps(event)]


@contextmanager
def sentry_sink() -> Iterator[SentrySink]:
    """A sink that serves within the block."""
    sink = SentrySink()
    threading.Thread(target=sink.server.serve_forever, daemon=True).start()
    try:
        yield sink
    finally:
        sink.server.shutdown()
        sink.server.server_close()


class FlowerMonitor:
    """The Flower monitor beside the workers of a site, read by its REST API."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    def get(self, path: str) -> Any:
        """The JSON of a page; None while it does not answer."""
        try:
            with urllib.request.urlopen(f"{self.url}{path}", timeout=5) as answer:  # noqa: S310 - our own
                return json.load(answer)
        except OSError:
            return None

    def tasks(self, flow_id: str) -> dict[int, list[dict[str, Any]]]:
        """What it shows of a flow: task_exec_seq → the messages about it, the first one first."""
        shown: dict[int, list[dict[str, Any]]] = defaultdict(list)
        messages = (self.get("/api/tasks?limit=10000") or {}).items()
        for celery_id, message in sorted(messages, key=lambda item: item[1].get("received") or item[1]["timestamp"]):
            ref = ref_of(celery_id) or TaskRef("", 0)
            if ref.flow_id == flow_id:
                shown[ref.seq].append(message)
        return dict(shown)

    def states(self, flow_id: str) -> dict[int, list[str]]:
        """``{task_exec_seq: the state of each message about it}``."""
        return {seq: [message["state"] for message in shown] for seq, shown in sorted(self.tasks(flow_id).items())}


@contextmanager
def flower_monitor(site: Site) -> Iterator[FlowerMonitor]:
    """A monitor that listens to the workers of a site within the block."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "celery", "-A", "project", "flower", "--address=127.0.0.1", f"--port={port}"]
    environment = {**os.environ, **site.environment, "FLOWER_UNAUTHENTICATED_API": "true"}
    log = (site.state / "flower.log").open("wb")
    with log, spawn(command, env=environment, cwd=ROOT, stdout=log, stderr=log) as process:
        monitor = FlowerMonitor(port)
        try:
            until(lambda: monitor.get("/api/workers") is not None, 60, poll=0.2, what=lambda: log.name)
            yield monitor
        finally:
            process.kill()
            process.wait()
            forget(process.pid)


class EventMonitor:
    """All events of the workers of an app, as they came, and the state that Celery makes of them."""

    def __init__(self, app: Celery, connection: Any) -> None:
        self.events: list[dict[str, Any]] = []
        self.state = app.events.State()
        self.messages = 0
        """Messages that brought them."""
        self.ready = threading.Event()
        self._receiver = app.events.Receiver(connection, handlers={"*": self._take})
        self._receiver.on_consume_ready = lambda *_, **__: self.ready.set()

    def run(self) -> None:
        """Receive until it is ended."""
        receive = self._receiver._receive

        def count(*message: Any) -> None:
            self.messages += 1
            receive(*message)

        self._receiver._receive = count
        self._receiver.capture(limit=None, timeout=None, wakeup=False)

    def _take(self, event: dict[str, Any]) -> None:
        self.events.append(event)
        self.state.event(event)

    def end(self) -> None:
        """Receive no more."""
        self._receiver.should_stop = True

    def tasks(self, flow_id: str) -> dict[int, list[Any]]:
        """What it shows of a flow: task_exec_seq → the Celery tasks about it, the first one first."""
        shown: dict[int, list[Any]] = defaultdict(list)
        for celery_id, task in sorted(self.state.itertasks(), key=lambda item: item[1].clock):
            if (ref := ref_of(celery_id)) and ref.flow_id == flow_id:
                shown[ref.seq].append(task)
        return dict(shown)

    def states(self, flow_id: str) -> dict[int, list[str]]:
        """``{task_exec_seq: the state of each Celery task about it}``."""
        return {seq: [task.state for task in tasks] for seq, tasks in sorted(self.tasks(flow_id).items())}

    def kinds(self, flow_id: str) -> dict[str, list[str]]:
        """``{Celery's id: the events about it, as they came}``."""
        kinds: dict[str, list[str]] = defaultdict(list)
        for event in list(self.events):
            if (ref := ref_of(event.get("uuid"))) and ref.flow_id == flow_id:
                kinds[event["uuid"]].append(event["type"])
        return dict(kinds)


@contextmanager
def event_monitor(app: Celery) -> Iterator[EventMonitor]:
    """A receiver of events in a thread of this process within the block."""
    with app.connection_for_read() as connection:
        monitor = EventMonitor(app, connection)
        thread = threading.Thread(target=monitor.run, daemon=True)
        thread.start()
        try:
            assert monitor.ready.wait(30)
            yield monitor
        finally:
            monitor.end()
            thread.join(30)
