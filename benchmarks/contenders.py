"""Who is compared: flowerapp, bare Celery with Redis, and Celery with django-celery-results on kept connections."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

from celery import Celery
from celery.app import app_or_default

from benchmarks import meter, signals
from benchmarks.bare import BACKEND, Bare
from tests.services import ROOT, Service, Site, WorkerProcess, address_of, fresh_database, fresh_redis, until

FLOWERAPP, REDIS, DJANGO = "flowerapp", "Celery, Redis", "Celery, django-db"
KINDS = {
    FLOWERAPP: ("worker", "redis", "postgres"),
    REDIS: ("worker", "redis"),
    DJANGO: ("worker", "redis", "postgres"),
}
"""Kinds of processes that work for each, beside its monitor."""
SECONDS = 300.0
"""Longest wait for one run."""
LEVEL = "WARNING"
"""Log level of all workers: Celery's default."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of one workload."""

    seconds: float
    """From submitting to the end of the last task."""
    cpu: dict[str, float]
    """Processor seconds by kind of process: worker, redis, postgres, and monitor where one listens."""

    @property
    def cpu_total(self) -> float:
        """Processor seconds of all processes together."""
        return sum(self.cpu.values())


class Contender:
    """Workers on a broker of their own, and how to submit to them."""

    def __init__(
        self,
        name: str,
        workers: list[WorkerProcess],
        kinds: tuple[str, ...],
        monitor: subprocess.Popen[bytes] | None = None,
    ) -> None:
        self.name = name
        self.workers = workers
        kinds = (*kinds, *(["monitor"] if monitor else []))
        processes: dict[str, Callable[[], list[int]]] = {
            "worker": lambda: [pid for worker in workers for pid in meter.of_group(worker.process.pid)],
            "redis": lambda: meter.named("redis-server"),
            "postgres": lambda: meter.named("postgres"),
            "monitor": lambda: [monitor.pid] if monitor else [],
        }
        self.meter = meter.Meter({kind: processes[kind] for kind in kinds})

    @staticmethod
    def new_key() -> str:
        """A key for the signal of one run."""
        return f"run-{secrets.token_hex(6)}"

    def run(self, submit: Callable[[str], Any], after: Callable[[Any], None] | None = None, key: str = "") -> Run:
        """Submit, wait for the signal of the last task, and for what comes ``after``."""
        key = key or self.new_key()
        self.meter.look()
        began = time.time()
        submitted = submit(key)
        ended = signals.wait(key, SECONDS)
        if after is not None:
            after(submitted)
            ended = time.time()
        return Run(ended - began, self.meter.look())


@dataclass(frozen=True, slots=True)
class Bench:
    """Servers' own databases, and all contenders with their workers up."""

    site: Site
    contenders: dict[str, Contender]
    bare: dict[str, Bare]
    """What to submit with, by contender."""

    def run(self, name: str, submit: Callable[[str], Any], after: Callable[[Any], None] | None = None) -> Run:
        """One run of one contender."""
        return self.contenders[name].run(submit, after)


def server_url(service: Service) -> str:
    """Where a server answers; ends the program if it does not."""
    url, reason = address_of(service)
    if url is None:
        raise SystemExit(reason)
    return url


@contextmanager
def started(processes: int, *, monitored: bool = False) -> Iterator[Bench]:
    """A bench whose contenders have a worker with ``processes`` processes each.

    Where it is ``monitored``, the workers send task events (``-E``), and a monitor of each receives them.
    """
    urls = {service: server_url(service) for service in (Service.POSTGRES, Service.REDIS)}
    with ExitStack() as stack:
        redis = [stack.enter_context(fresh_redis(urls[Service.REDIS])) for _ in range(4)]
        database = stack.enter_context(fresh_database(urls[Service.POSTGRES]))
        site = Site(database, redis[0])
        stack.callback(site.close)
        common = {signals.VARIABLE: redis[3], "DJANGO_SETTINGS_MODULE": "benchmarks.settings"}
        site.environment |= common
        stack.enter_context(mock.patch.dict(os.environ, common))
        stack.enter_context(site.entered())
        site.migrate()
        bare = {REDIS: Bare(redis[1], redis[1]), DJANGO: Bare(redis[2], "django-db")}
        arguments = ("-c", str(processes), *(["-E"] if monitored else []))
        workers = {FLOWERAPP: site.start(*arguments, level=LEVEL)}
        for name, backend in ((REDIS, redis[1]), (DJANGO, "django-db")):
            environment = {**site.environment, "CELERY_BROKER_URL": bare[name].broker or "", BACKEND: backend}
            # With Redis there is no Django, because Celery would check its connections at each task.
            environment["DJANGO_SETTINGS_MODULE"] = "benchmarks.bare_settings" if name == DJANGO else ""
            workers[name] = WorkerProcess(*arguments, environment=environment, app="benchmarks.bare", level=LEVEL)
            stack.callback(workers[name].stop)
        monitors = dict(zip(workers, redis, strict=False)) if monitored else {}
        listening = {name: stack.enter_context(_monitor(broker)) for name, broker in monitors.items()}
        _wait_ready(app_or_default(), workers[FLOWERAPP])
        for name, contender in bare.items():
            with contender.submitting():
                _wait_ready(contender.app, workers[name])
        yield Bench(
            site,
            {name: Contender(name, [worker], KINDS[name], listening.get(name)) for name, worker in workers.items()},
            bare,
        )


def _wait_ready(app: Celery, worker: WorkerProcess) -> None:
    """Wait until a worker answers, as it logs nothing at its level."""

    def answers() -> bool:
        if worker.process.poll() is not None:
            raise SystemExit(f"a worker ended with {worker.process.returncode}: {worker.text[-5000:]}")
        return any(name.startswith(f"{worker.name}@") for reply in app.control.ping(timeout=0.5) for name in reply)

    until(answers, 60, what=lambda: worker.text[-5000:])


@contextmanager
def _monitor(broker: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "benchmarks.monitor", broker]
    environment = {**os.environ, "CELERY_BROKER_URL": broker}
    with subprocess.Popen(command, cwd=ROOT, env=environment) as process:
        try:
            yield process
        finally:
            process.kill()
