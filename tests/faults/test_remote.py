"""Remote workers that are killed, frozen, or cut off while they do remote tasks over HTTP."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from rest_framework.authtoken.models import Token

from flowerapp import engine
from flowerapp.core.plan import Node, Plan
from flowerapp.models import Flow, HistoryEntry
from flowerapp.states import Status
from tests.acceptance.live import Live, task
from tests.effort import LONG
from tests.faults import remote_worker
from tests.faults.servers import free_port
from tests.faults.support import assert_sound, rescues, timed, wait_finished
from tests.ledger import LEDGER
from tests.processes import forget, spawn
from tests.services import ROOT, Site, until

SECONDS = remote_worker.LEASE + 7.0
"""A remote worker is lost: another has its task within this. The lease, a look of the watcher, and a claim."""
TIMES = 10 if LONG else 2


class Running:
    """A process with a log."""

    def __init__(self, log: Path, *command: str, environment: dict[str, str]) -> None:
        self.log = log
        with log.open("ab") as file:
            self.process = spawn(
                [sys.executable, *command], env={**os.environ, **environment}, cwd=ROOT, stdout=file, stderr=file
            )

    @property
    def lines(self) -> list[dict[str, Any]]:
        """What a worker said."""
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]

    def has_said(self, what: str) -> bool:
        """Whether a worker said so."""
        return any(line["what"] == what for line in self.lines)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to it and its children."""
        os.killpg(self.process.pid, number)

    def kill(self) -> None:
        """End it at once."""
        if self.process.poll() is None:
            self.signal(signal.SIGKILL)
            self.process.wait(10)
        forget(self.process.pid)


class Remote:
    """A web server, and remote workers that know nothing but its address and a token."""

    def __init__(self, site: Site, directory: Path, stack: ExitStack) -> None:
        self.site, self.directory, self.stack, self.port = site, directory, stack, free_port()
        user = User.objects.create_user("printer")
        user.user_permissions.set(Permission.objects.filter(codename="remote_worker"))
        self.token = str(Token.objects.create(user=user).key)
        self.number = 0

    def serve(self) -> Running:
        """Start the web server, and wait until it answers."""
        options = ("--bind", f"127.0.0.1:{self.port}", "--threads", "8", "--log-level", "warning")
        started = self._start("web", "-m", "gunicorn", "project.wsgi", *options)
        until(self._answers, 60, what=started.log.read_text)
        return started

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/livez", timeout=10):
                return True
        except OSError:
            return False

    def work(self) -> Running:
        """Start a worker."""
        self.number += 1
        name = f"printer-{self.number}"
        return self._start(name, remote_worker.__file__, f"http://127.0.0.1:{self.port}", self.token, name)

    def _start(self, name: str, *command: str) -> Running:
        started = Running(self.directory / f"{name}.log", *command, environment=self.site.environment)
        self.stack.callback(started.kill)
        return started

    def runner_of(self, flow: Flow, seq: int, *workers: Running) -> Running:
        """The worker that has claimed a task."""
        claimed = lambda: task(flow, seq).status is Status.RUNNING and task(flow, seq).worker  # noqa: E731
        name = until(claimed, 3 * SECONDS, what=lambda: "\n".join(worker.log.read_text() for worker in workers))
        return next(worker for worker in workers if worker.log.stem == str(name).removeprefix("remote:"))


@pytest.fixture
def remote(live: Live, tmp_path: Path) -> Iterator[Remote]:
    """A worker of Celery with its watcher, and a web server."""
    with ExitStack() as stack:
        live.site.start_all(2)
        made = Remote(live.site, tmp_path, stack)
        made.web = made.serve()  # type: ignore[attr-defined]
        yield made


def planned(gate: Path | None = None, **options: Any) -> Flow:
    """``docs:a → Record → docs:c`` beside ``docs:b``, all joined; the first waits for ``gate``."""
    parameters = {"gate": str(gate)} if gate else {}
    nodes = (
        Node(seq=1, program="", remote="docs:a", parameters=parameters, **options),
        Node(seq=2, program="", remote="docs:b"),
        Node(seq=3, program="Record", depends_on=(1,)),
        Node(seq=4, program="", remote="docs:c", depends_on=(3,)),
        Node(seq=5, program="Record", depends_on=(2, 4)),
    )
    return engine.register_plan(Plan("printed", nodes))


def taken_over(flow: Flow, attempt: int) -> None:
    """Wait until task 1 runs as this attempt, and enter in the ledger how long that took."""

    def again() -> bool:
        row = task(flow, 1)
        return row.status is Status.RUNNING and row.attempt == attempt

    LEDGER.recovered(timed(again, 2 * SECONDS, flow))


@pytest.mark.fault("a remote worker is killed", within=SECONDS)
def test_a_remote_worker_is_killed(live: Live, remote: Remote, gate: Path) -> None:
    workers = [remote.work(), remote.work()]
    for number in range(TIMES):
        at = gate.with_name(f"gate-{number}")
        flow = planned(at)
        victim = remote.runner_of(flow, 1, *workers)
        until(lambda: victim.has_said("claimed"), SECONDS)  # noqa: B023 - used at once
        victim.kill()
        workers.append(remote.work())
        taken_over(flow, 2)
        at.touch()
        wait_finished(live, flow, seconds=30)
        assert_sound(flow)
        assert task(flow, 1).output["attempt"] == 2
        assert rescues(flow) >= 1


@pytest.mark.fault("a remote worker is frozen for longer than its lease", within=SECONDS)
def test_a_frozen_remote_worker_ends_too_late(live: Live, remote: Remote, gate: Path) -> None:
    frozen = remote.work()
    flow = planned(gate)
    assert remote.runner_of(flow, 1, frozen) is frozen
    until(lambda: frozen.has_said("claimed"), SECONDS)
    frozen.signal(signal.SIGSTOP)
    other = remote.work()
    taken_over(flow, 2)
    gate.touch()
    until(lambda: task(flow, 1).status is Status.FINISH, SECONDS)
    frozen.signal(signal.SIGCONT)
    until(lambda: frozen.has_said("refused") or frozen.has_said("lost"), SECONDS)
    wait_finished(live, flow, seconds=30)
    assert_sound(flow)
    assert task(flow, 1).output == {"by": other.log.stem, "attempt": 2}


@pytest.mark.fault("the web server of remote workers is killed")
def test_the_web_server_of_remote_workers_is_killed(live: Live, remote: Remote, gate: Path) -> None:
    workers = [remote.work(), remote.work()]
    flows = [planned(gate) for _ in range(2)] + [planned() for _ in range(5)]
    remote.runner_of(flows[0], 1, *workers)
    for _ in range(TIMES):
        remote.web.kill()  # type: ignore[attr-defined]
        time.sleep(random.uniform(0, 1))  # noqa: S311 - how long it is down, not a wait for something
        remote.web = remote.serve()  # type: ignore[attr-defined]
        until(lambda: HistoryEntry.objects.filter(verb="end").exists(), 30)
    gate.touch()
    wait_finished(live, *flows, seconds=60)
    assert_sound(*flows)


@pytest.mark.fault("remote workers are killed at random")
def test_remote_workers_are_killed_at_random(live: Live, remote: Remote) -> None:
    workers = [remote.work() for _ in range(3)]
    flows = [planned() for _ in range(30 * TIMES)]
    keys = [flow.pk for flow in flows]
    for _ in range(5 * TIMES):
        ended = Flow.objects.filter(pk__in=keys).open().count()
        workers.pop(random.randrange(len(workers))).kill()  # noqa: S311 - which one
        workers.append(remote.work())
        until(lambda: Flow.objects.filter(pk__in=keys).open().count() in range(ended), 30)  # noqa: B023 - used at once
        if not Flow.objects.filter(pk__in=keys).open().exists():
            break
    wait_finished(live, *flows, seconds=90)
    assert_sound(*flows)
