"""A host project: what ``django-admin startproject`` makes, and what a test pastes into it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent
from typing import Any
from urllib.parse import urlsplit

from django.core.management import call_command

from tests.hosts.readme import Block
from tests.processes import forget, spawn
from tests.services import ROOT, until

OURS = ("FLOWER_", "DJANGO_", "CELERY_", "REDIS_", "DATABASE_URL", "PYTHONPATH")
"""Beginnings of the variables of this process that a host must not see."""

CELERY = """
    import os

    from celery import Celery

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")
    app = Celery("mysite")
    app.config_from_object("django.conf:settings", namespace="CELERY")
    app.autodiscover_tasks()
    """
"""The Celery app of a project, as Celery's first steps with Django show it."""


class Host:
    """A project named ``mysite`` with the app ``shop``, in a directory of its own."""

    def __init__(
        self, directory: Path, *, python: str = sys.executable, environment: Mapping[str, str] | None = None
    ) -> None:
        self.directory = directory
        self.python = python
        library = directory / "library"
        library.mkdir()
        (library / "flowerapp").symlink_to(ROOT / "flowerapp")  # it alone, without the reference project
        own = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
        self.environment = {
            **own,
            "PATH": f"{Path(python).parent}{os.pathsep}{own['PATH']}",
            "PYTHONPATH": f"{directory}{os.pathsep}{library}",
            "DJANGO_SETTINGS_MODULE": "mysite.settings",
            **(environment or {}),
        }
        call_command("startproject", "mysite", str(directory))
        (directory / "shop").mkdir()
        call_command("startapp", "shop", str(directory / "shop"))
        self.write("mysite/celery.py", CELERY)
        self.write("mysite/__init__.py", "from mysite.celery import app as celery_app\n")
        self.add("mysite/settings.py", 'INSTALLED_APPS += ["shop"]\nCELERY_BROKER_URL = "memory://"\n')

    def write(self, name: str, text: str) -> None:
        """Write a file of the project."""
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text))

    def add(self, name: str, text: str) -> None:
        """Append to a file of the project."""
        path = self.directory / name
        before = path.read_text() if path.exists() else ""
        path.write_text(f"{before}\n{dedent(text)}")

    def paste(self, *blocks: Block) -> None:
        """Append each block to the file that its first line names: of the project, or else of the app."""
        for block in blocks:
            package = "mysite" if block.file in ("settings.py", "urls.py", "celery.py") else "shop"
            self.add(f"{package}/{block.file}", block.text)

    def run(self, *arguments: str, fails: bool = False) -> str:
        """Run Python in the project; what it printed. AssertionError unless it succeeds, or with ``fails``, fails."""
        command = [self.python, *arguments]
        done = subprocess.run(
            command, cwd=self.directory, env=self.environment, capture_output=True, text=True, timeout=180
        )
        assert bool(done.returncode) == fails, f"{command}: {done.stdout[-3000:]}{done.stderr[-5000:]}"
        return done.stderr if fails else done.stdout

    def manage(self, *arguments: str, fails: bool = False) -> str:
        """Run ``manage.py``; what it printed."""
        return self.run("manage.py", *arguments, fails=fails)

    def shell(self, script: str) -> str:
        """Run lines of a terminal as they are written; what they printed. AssertionError if one of them fails."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.directory,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=180,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout[-3000:]}{done.stderr[-5000:]}"
        return done.stdout

    def ask(self, script: str) -> Any:
        """Run Python lines after ``django.setup()``; the JSON of the name ``answer`` that they set."""
        head = "import django, json, sys\ndjango.setup()\n"
        tail = "\nsys.stdout.write('\\n' + json.dumps(answer))\n"
        return json.loads(self.run("-c", f"{head}{dedent(script)}{tail}").splitlines()[-1])

    @contextmanager
    def started(self, name: str, *arguments: str) -> Iterator[Path]:
        """Within the block a process of Python runs in the project; its log."""
        log = self.directory / f"{name}.log"
        with log.open("wb") as out:
            process = spawn([self.python, *arguments], cwd=self.directory, env=self.environment, stdout=out, stderr=out)
        try:
            yield log
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(30)
            forget(process.pid)

    @contextmanager
    def served(self, server: str = "runserver") -> Iterator[str]:
        """Within the block ``runserver`` or ``gunicorn`` answers; its address, without ``http://``."""
        address = f"localhost:{free_port()}"
        commands = {
            "runserver": ("manage.py", "runserver", "--noreload", address),
            "gunicorn": ("-m", "gunicorn", "mysite.wsgi", "--bind", address, "--threads", "2"),
        }
        with self.started(server, *commands[server]) as log:
            until(lambda: get(f"http://{address}/")[0], 60, what=log.read_text)
            yield f"{address}/"

    @contextmanager
    def working(self, *arguments: str) -> Iterator[Path]:
        """Within the block a Celery worker with two processes consumes; its log."""
        command = ("-m", "celery", "-A", "mysite", "worker", "-c", "2", "-l", "INFO", *arguments)
        with self.started("worker", *command) as log:
            until(lambda: " ready." in log.read_text(errors="replace"), 60, what=log.read_text)
            yield log


def database(url: str) -> dict[str, Any]:
    """Django's settings of a database."""
    parts = urlsplit(url)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.path.strip("/"),
        "USER": parts.username or "",
        "PASSWORD": parts.password or "",
        "HOST": parts.hostname,
        "PORT": parts.port or 5432,
    }


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return int(free.getsockname()[1])


def get(url: str, **headers: str) -> tuple[int, str]:
    """Status and body of an answer; 0 if there is none."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as answer:  # noqa: S310
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError as error:
        return 0, str(error)
