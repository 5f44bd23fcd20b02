"""What breaks things at random moments, by a seed."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

from django.db import Error as DatabaseError
from django.db import connection

from flowerapp import conf
from flowerapp.models import Lease, Task, Worker
from flowerapp.states import Status
from flowerapp.watcher.leader import LEASE
from tests.faults.servers import PostgresServer, RedisServer
from tests.faults.support import kill_worker, signal_group
from tests.services import Site, WorkerProcess, until

WORKERS = 2
PROCESSES = 2
HANG_SECONDS = 3.0
PAUSE = (0.5, 2.0)
"""Seconds between two faults, at least and at most."""


class Gremlin(threading.Thread):
    """Makes every fault ``rounds`` times in random order, and starts another worker for each that has ended."""

    def __init__(self, site: Site, redis: RedisServer, postgres: PostgresServer, seed: int, rounds: int) -> None:
        super().__init__(name="gremlin", daemon=True)
        self.site, self.redis, self.postgres = site, redis, postgres
        self.random = Random(seed)  # noqa: S311 - it is to be repeatable
        self.rounds = rounds
        self.quiet = threading.Lock()
        self.made: list[tuple[float, str]] = []
        """Seconds since the start, and the fault that was made then."""
        self.error: BaseException | None = None
        self.stopping = threading.Event()
        self.begun = time.monotonic()
        self._told: set[WorkerProcess] = set()
        self._asleep: tuple[float, WorkerProcess] | None = None

    @property
    def faults(self) -> dict[str, Callable[[], bool]]:
        """Each fault by its name; a call returns whether it could be made."""
        return {
            "a pool process is killed": self.kill_child,
            "a worker is killed": self.kill_worker,
            "the leader is killed": self.kill_leader,
            "a worker is asked to stop": self.stop_worker,
            "a worker is frozen for longer than its lease": self.freeze_worker,
            "Redis is restarted empty": self.restart_redis,
            "Redis is flushed": self.flush_redis,
            "Redis hangs": self.hang_redis,
            "PostgreSQL crashes and is restarted": self.restart_postgres,
            "the waiting messages are doubled": self.double_messages,
            "half of the waiting messages are deleted": self.delete_messages,
        }

    def prepare(self) -> None:
        """Start the workers, and wait until they consume."""
        self._keep_workers()
        for worker in self._victims:
            worker.wait_ready()

    def run(self) -> None:
        """Make the faults; leave everything in order, whatever happens."""
        self.begun = time.monotonic()
        try:
            for _ in range(self.rounds):
                self._play(deque(self.random.sample(list(self.faults), len(self.faults))))
            while self._asleep is not None:
                self._pause(0.2)
        except BaseException as error:  # the test reports it
            self.error = error
        finally:
            self._wake()
            connection.close()

    def _play(self, deck: deque[str]) -> None:
        """Make each of these faults; one that cannot be made now comes later."""
        while deck and not self.stopping.is_set():
            self._pause(self.random.uniform(*PAUSE))
            name = deck.popleft()
            begun = time.monotonic() - self.begun
            if self._make(name):
                self.made.append((begun, name))
            else:
                deck.append(name)

    def _make(self, name: str) -> bool:
        try:
            return self.faults[name]()
        except DatabaseError:
            connection.close()
            return False

    def _pause(self, seconds: float) -> None:
        self.stopping.wait(seconds)
        self._keep_workers()
        if self._asleep is not None and (time.monotonic() > self._asleep[0] or self.stopping.is_set()):
            self._wake()

    @contextmanager
    def peace(self) -> Iterator[None]:
        """Within the block PostgreSQL does not crash, so that a verb is either made or refused."""
        with self.quiet:
            connection.close()
            yield

    @property
    def report(self) -> str:
        """The faults made so far, each with its time."""
        return "\n".join(f"{seconds:6.1f} s  {name}" for seconds, name in self.made)

    def finish(self) -> None:
        """Wait until it has made all its faults and repaired what it broke."""
        until(lambda: not self.is_alive(), 60, what=lambda: self.report)
        if self.error is not None:
            raise self.error

    def stop(self) -> None:
        """End it early."""
        self.stopping.set()
        if self.is_alive():
            self.join(60)

    def died(self) -> list[WorkerProcess]:
        """Workers that had been ready and ended by themselves."""
        return [worker for worker in self.site.workers if self._gone(worker) and " ready." in worker.text]

    def _gone(self, worker: WorkerProcess) -> bool:
        return worker.process.poll() is not None and worker not in self._told

    # Workers

    @property
    def _victims(self) -> list[WorkerProcess]:
        """Workers that are at work."""
        asleep = self._asleep and self._asleep[1]
        return [
            worker
            for worker in self.site.workers
            if worker.process.poll() is None and worker not in self._told and worker is not asleep
        ]

    def _keep_workers(self) -> None:
        for _ in range(WORKERS - len(self._victims)):
            self.site.start("-c", str(PROCESSES), app="tests.faults.planned")

    def _ready(self) -> list[WorkerProcess]:
        """Those at work that consume."""
        return [worker for worker in self._victims if " ready." in worker.text]

    def kill_child(self) -> bool:
        """Kill a pool process that runs a task."""
        parents = {worker.process.pid for worker in self._victims}
        running = Task.objects.filter(exec_status=Status.RUNNING).values_list("pid", flat=True)
        ours = [pid for pid in running if pid and pid not in parents and _group(pid) in parents]
        if ours:
            os.kill(self.random.choice(ours), signal.SIGKILL)
        return bool(ours)

    def kill_worker(self) -> bool:
        """Kill a worker with all its processes."""
        workers = self._ready()
        return bool(workers) and self._kill(self.random.choice(workers))

    def kill_leader(self) -> bool:
        """Kill the worker whose watcher leads."""
        held = Lease.objects.filter(pk=LEASE).values_list("holder", flat=True)
        name = Worker.objects.filter(pk__in=held).values_list("name", flat=True).first() or ""
        leads = [worker for worker in self._ready() if name.startswith(f"{worker.name}@")]
        return bool(leads) and self._kill(leads[0])

    def _kill(self, worker: WorkerProcess) -> bool:
        self._told.add(worker)
        kill_worker(worker)
        return True

    def stop_worker(self) -> bool:
        """Ask a worker to stop."""
        workers = self._ready()
        if workers:
            worker = self.random.choice(workers)
            self._told.add(worker)
            worker.process.send_signal(signal.SIGTERM)
        return bool(workers)

    def freeze_worker(self) -> bool:
        """Freeze a worker with its processes; they continue when others have taken them for dead."""
        workers = self._ready()
        if workers and self._asleep is None:
            worker = self.random.choice(workers)
            signal_group(worker, signal.SIGSTOP)
            self._asleep = time.monotonic() + conf.get().LEASE_SECONDS + 3, worker
            return True
        return False

    def _wake(self) -> None:
        if self._asleep is not None:
            worker, self._asleep = self._asleep[1], None
            if worker.process.poll() is None:
                signal_group(worker, signal.SIGCONT)

    # Servers

    def restart_redis(self) -> bool:
        """It loses all it holds."""
        self.redis.kill()
        self.redis.start()
        return True

    def flush_redis(self) -> bool:
        """It loses all it holds, and no connection breaks."""
        with self.redis.client as client:
            return bool(client.flushall())

    def hang_redis(self) -> bool:
        """It answers no client for a while."""
        process = self.redis.process
        assert process is not None
        process.send_signal(signal.SIGSTOP)
        try:
            self.stopping.wait(HANG_SECONDS)
        finally:
            process.send_signal(signal.SIGCONT)
        return True

    def restart_postgres(self) -> bool:
        """All its processes end at once."""
        with self.quiet:
            self.postgres.restart()
        return True

    # Messages

    def double_messages(self) -> bool:
        """Each message that waits comes twice."""
        return self._rewrite(lambda messages: [message for message in messages for _ in range(2)])

    def delete_messages(self) -> bool:
        """Of the messages that wait, each second is lost."""
        return self._rewrite(lambda messages: messages[::2])

    def _rewrite(self, wanted: Callable[[list[bytes]], list[bytes]]) -> bool:
        """Write the waiting messages anew; False if there are none."""
        count = 0
        with self.redis.client as client:
            for key in _lists(client):
                messages = client.lrange(key, 0, -1)
                count += len(messages)
                with client.pipeline() as pipeline:
                    for message in messages:
                        pipeline.lrem(key, 1, message)
                    pipeline.rpush(key, *wanted(messages))
                    pipeline.execute()
        return count > 1


def _lists(client: Any) -> list[bytes]:
    """The waiting messages of the queue, one list for each priority in use."""
    return [key for key in client.keys("default*") if client.type(key) == b"list"]


def _group(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None
