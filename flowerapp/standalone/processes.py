"""A worker of real processes, for a project that has a broker of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

TERM_SECONDS = 3.0
"""Seconds for a warm shutdown, and again for a cold one."""


class WorkerProcess:
    """``celery worker`` as a child of this process, ended with it."""

    def __init__(self, app: str, environment: dict[str, str]) -> None:
        self._command = [sys.executable, "-m", "celery", "--quiet", "-A", app, "worker", "--loglevel", "WARNING"]
        self._environment = {**os.environ, **environment}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Its process id, once started."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start it; Ctrl-C on this terminal is left to us."""
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and fixed arguments
            self._command, env=self._environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, process_group=0
        )

    def ended(self) -> int | None:
        """Its exit code; None while it runs."""
        return self._process.poll() if self._process else None

    def stop(self) -> None:
        """End it: warmly, then coldly, then by force."""
        if self._process is None:
            return
        for number in (signal.SIGTERM, getattr(signal, "SIGQUIT", signal.SIGTERM)):
            if self._process.poll() is None:
                self._process.send_signal(number)
                try:
                    self._process.wait(TERM_SECONDS)
                except subprocess.TimeoutExpired:
                    continue
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
