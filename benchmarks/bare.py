"""Bare Celery, configured as flowerapp asks for: late acknowledgement, no prefetching, JSON.

``celery -A benchmarks.bare worker``. With Redis, header tasks of a chord store their results and others ignore them;
with django-celery-results all store theirs, because people use it for its rows.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from typing import Any
from unittest import mock

from celery import Celery, chain, group

from benchmarks import signals, work
from benchmarks.work import NOTHING, Work

BACKEND = "BENCHMARK_BACKEND"
"""Environment variable with the result backend: a Redis URL, or ``django-db``."""
TRANSPORT = {
    "priority_steps": list(range(10)),
    "queue_order_strategy": "priority",
    "visibility_timeout": 3600,
    "socket_timeout": 5,
    "socket_connect_timeout": 5,
    "socket_keepalive": True,
}


class Bare:
    """A Celery app with the tasks of the workloads, and the workloads as canvas."""

    def __init__(self, broker: str | None, backend: str | None) -> None:
        self.broker = broker
        self.app = Celery("bare", broker=broker, backend=backend, set_as_current=False)
        self.app.conf.update(
            task_acks_late=True,
            task_ignore_result=backend != "django-db",
            worker_prefetch_multiplier=1,
            task_default_queue="default",
            broker_connection_retry_on_startup=True,
            broker_transport_options=TRANSPORT,
        )
        self.app.conf["CELERY_DB_REUSE_MAX"] = 1_000_000
        self.step: Any = self.app.task(name="bare.step")(work.do)
        self.branch: Any = self.app.task(name="bare.branch", ignore_result=False)(work.do)
        self.tell: Any = self.app.task(name="bare.tell")(_tell)

    def submitting(self) -> AbstractContextManager[Any]:
        """Within the block Celery, which takes the variable before its configuration, publishes to this broker."""
        return mock.patch.dict(os.environ, {"CELERY_BROKER_URL": self.broker or ""})

    def chain(self, length: int, key: str, work: Work = NOTHING) -> None:
        """Tasks one after the other."""
        steps = [self.step.si(*work) for _ in range(length - 1)]
        chain(*steps, self.tell.si(key, 1, *work), app=self.app).apply_async()

    def fan_out(self, width: int, key: str, work: Work = NOTHING) -> None:
        """One task, ``width`` that follow it, and one that waits for them."""
        header = group([self.branch.si(*work) for _ in range(width)], app=self.app)
        chain(self.step.si(*work), header, self.tell.si(key, 1, *work), app=self.app).apply_async()

    def forks(self, number: int, width: int, key: str, work: Work) -> None:
        """Flows of one task, ``width`` that follow it, and one that waits for them."""
        for _ in range(number):
            header = group([self.branch.si(*work) for _ in range(width)], app=self.app)
            chain(self.step.si(*work), header, self.tell.si(key, number, *work), app=self.app).apply_async()

    def many(self, number: int, key: str) -> None:
        """Chains of three."""
        for _ in range(number):
            steps = [self.step.si(*NOTHING) for _ in range(2)]
            chain(*steps, self.tell.si(key, number), app=self.app).apply_async()


def _tell(key: str, of: int = 1, kind: str = "noop", seconds: float = 0.0) -> None:
    work.do(kind, seconds)
    signals.send(key, of)


if os.environ.get(BACKEND) == "django-db":
    import django

    django.setup()

app = Bare(os.environ.get("CELERY_BROKER_URL"), os.environ.get(BACKEND)).app
