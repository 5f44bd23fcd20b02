"""The worker of a standalone server in a project that has a broker: ``celery worker`` with its own processes."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress

GRACE_SECONDS = 3.0
"""Seconds that running tasks may take to end."""
END_SECONDS = 10.0
"""Seconds that the worker may then take to hand back what still runs, and to end."""


class WorkerProcess:
    """``celery worker`` as a child process; ``stop`` ends it. ``WorkerThread`` has the same interface.

    ``app`` is the argument of ``celery -A``; ``environment`` is added to this process's environment variables.
    """

    def __init__(self, app: str, environment: dict[str, str]) -> None:
        self._command = [sys.executable, "-m", "celery", "--quiet", "-A", app, "worker", "--loglevel", "WARNING"]
        self._environment = {**os.environ, **environment}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process id; None before the start."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start the process, in a group of its own so that Ctrl-C on the terminal does not reach it."""
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and fixed arguments
            self._command, env=self._environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, process_group=0
        )

    def ended(self) -> int | None:
        """The exit code once the process has ended; None while it runs."""
        return self._process.poll() if self._process else None

    def stop(self) -> None:
        """Ask it to stop, then to hand back what still runs, then kill the process."""
        if self._process is None:
            return
        for seconds in (GRACE_SECONDS, END_SECONDS):
            if self._process.poll() is None:
                self._process.terminate()
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(seconds)
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
