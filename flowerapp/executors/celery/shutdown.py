"""Ends a worker that is asked to stop: running tasks may end for ``STOP_GRACE`` seconds, then they are handed back.

Celery's warm shutdown, by SIGTERM or one SIGINT, takes no new messages and waits for the running tasks, however long
they take. So at the end of the grace, what still runs of flows goes back to Wait, without counting as a rescue; its
processes are ended; and it is sent again. A second signal ends the grace. Tasks of the host that run outside of flows
are Celery's: the worker waits for them as ever.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from celery.worker import state as worker_state
from django.db import connections

from flowerapp.core import identity, logs
from flowerapp.core.identity import Process
from flowerapp.core.messages import Message, TaskRef
from flowerapp.engine import dispatching, recovery
from flowerapp.executors.celery import stopping
from flowerapp.executors.celery.routes import ref_of
from flowerapp.executors.celery.stopping import Phase
from flowerapp.models import Task
from flowerapp.runtimes import process
from flowerapp.watcher.loop import Loop, stop_all

logger = logs.logger(__name__)

STEP_SECONDS = 3.0
"""Longest time that the database or the broker may take while the worker ends."""
TERM_SECONDS = 2.0
"""Seconds between the request to a process to end and its kill."""
LEAVE_SECONDS = 3.0
"""Seconds that Celery may take to end once nothing runs any more."""

REASON = "its worker was asked to stop"


class Shutdown(Loop):
    """The thread of a worker's parent that ends it, once it was asked to stop."""

    def __init__(self, consumer: Any, others: Sequence[Loop]) -> None:
        super().__init__("shutdown")
        self.consumer = consumer
        self.others = others
        """The threads that are to give back their leases."""
        self._ends: float | None = None
        self._handed_back = threading.Event()
        self._precede_soft_shutdown(consumer.controller)

    def ask(self, grace: float) -> None:
        """Stop in ``grace`` seconds, or, if it was asked before, now; for signal handlers."""
        before, self._ends = self._ends, time.monotonic() + grace
        if before is not None:
            self._ends = time.monotonic()
        elif stopping.phase() is Phase.RUNNING:
            stopping.enter(Phase.GRACE)

    def _precede_soft_shutdown(self, controller: Any) -> None:
        """A cold shutdown, by SIGQUIT or a second SIGINT, begins with this method of the controller's."""
        wait = getattr(controller, "wait_for_soft_shutdown", None)

        def ask_and_wait() -> None:
            first = self._ends is None
            self.ask(controller.app.conf.worker_soft_shutdown_timeout)
            if first and wait is not None:
                wait()
            if self.is_alive():  # Celery then ends the pool's processes, and not every version says so
                self._handed_back.wait(2 * STEP_SECONDS)
                stop_all(self.others, STEP_SECONDS)

        controller.wait_for_soft_shutdown = ask_and_wait

    def look(self) -> None:
        """End what still runs when the grace is over."""
        if self._ends is not None and time.monotonic() >= self._ends and stopping.phase() is not Phase.ENDING:
            self.end()

    def on_stop(self) -> None:
        """Celery has ended by itself."""

    def end(self) -> None:
        """Hand back what still runs, end its processes, and send it again; then leave."""
        stopping.enter(Phase.ENDING)
        messages: list[Message] = []
        _within(STEP_SECONDS, lambda: messages.extend(hand_back()))
        own = self._end_processes()
        if not own:
            self._handed_back.set()
        _within(STEP_SECONDS, lambda: dispatching.send(messages))
        self._leave(0 if own else LEAVE_SECONDS)

    def _end_processes(self) -> bool:
        """End the processes of the pool that run tasks of flows; whether this one, which must end too, runs any."""
        pids = {request.worker_pid for request in _active() if ref_of(request.id) and request.worker_pid}
        process.kill_all()
        children = pids - {os.getpid()}
        _signal(children, signal.SIGTERM)
        deadline = time.monotonic() + TERM_SECONDS
        while any(map(identity.is_alive, children)) and time.monotonic() < deadline:
            time.sleep(0.05)
        _signal(children, getattr(signal, "SIGKILL", signal.SIGTERM))
        return children != pids

    def _leave(self, seconds: float) -> None:
        """End this process, unless Celery does within ``seconds`` or waits for tasks of the host's own."""
        deadline = time.monotonic() + seconds
        while not self.stopping.wait(0.05):
            if any(ref_of(request.id) is None for request in _active()):
                deadline = time.monotonic() + seconds
            elif time.monotonic() >= deadline:
                self._exit()

    def _exit(self) -> None:
        """End this process, whose main thread cannot: give back leases and messages first."""
        stop_all(self.others, STEP_SECONDS / 2)
        _within(STEP_SECONDS / 2, self.consumer.shutdown)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def hand_back() -> Iterator[Message]:
    """Give back what this worker runs; the messages to send."""
    running = Task.objects.run_by(Process(identity.worker(), None)).order_by("pk")
    for flow_id, seq, pid in running.values_list("task_flow_id", "task_exec_seq", "pid"):
        try:
            yield from recovery.hand_back(TaskRef(flow_id, seq), REASON, Process(identity.worker(), pid)).released
        except Exception:
            logger.exception("could not hand back flow %s task %s; it will be rescued", flow_id, seq)


def _active() -> list[Any]:
    """The messages whose tasks run now."""
    while True:
        try:
            return list(worker_state.active_requests)
        except RuntimeError:  # it changed while it was read
            continue


def _signal(pids: set[Any], number: int) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _within(seconds: float, action: Callable[[], object]) -> None:
    """Do something that may hang, in a thread of its own; wait for at most ``seconds``."""

    def act() -> None:
        try:
            action()
        except Exception:
            logger.warning("the worker could not end cleanly", exc_info=True)
        finally:
            connections.close_all()

    thread = threading.Thread(target=act, name="flowerapp-shutdown-step", daemon=True)
    thread.start()
    thread.join(seconds)
