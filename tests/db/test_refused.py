"""Databases that cannot hold flowerapp's tables: refused by check, by migrate and by workers, with nothing made."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from tests.services import ROOT

SETTINGS = """
    SECRET_KEY = "a test's"
    INSTALLED_APPS = [
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "rest_framework",
        "rest_framework.authtoken",
        "django_celery_results",
        "flowerapp",
    ]
    DATABASES = {
        "default": {"ENGINE": "foreign", "NAME": "foreign.sqlite3"},
        "flows": {"ENGINE": "django.db.backends.sqlite3", "NAME": "flows.sqlite3"},
    }
    USE_TZ = True
    CELERY_BROKER_URL = "redis://127.0.0.1:1/0"
    """
BACKEND = """
    from django.db.backends.sqlite3 import base

    class DatabaseWrapper(base.DatabaseWrapper):
        vendor = "{vendor}"
        display_name = "{name}"
    """
HOST = """
    import os
    from celery import Celery

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
    app = Celery("host")
    app.config_from_object("django.conf:settings", namespace="CELERY")
    """
ROUTER = """
    class Router:
        def db_for_read(self, model, **hints):
            return "flows" if model._meta.app_label == "flowerapp" else None

        db_for_write = db_for_read
    """
KEEPING = """\
    def allow_migrate(self, db, app_label, **hints):
        return (db == "flows") == (app_label == "flowerapp")
"""


class Host:
    """A project whose default database is of a kind that is refused."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.write("settings.py", SETTINGS)
        self.write("host.py", HOST)
        (directory / "foreign").mkdir()
        self.write("foreign/__init__.py", "")
        self.use_database("mysql", "MySQL")

    def write(self, name: str, text: str) -> None:
        """Write a module of the project."""
        (self.directory / name).write_text(dedent(text))

    def use_database(self, vendor: str, name: str) -> None:
        """Let the default database be of this kind."""
        self.write("foreign/base.py", BACKEND.format(vendor=vendor, name=name))

    def use_router(self, text: str) -> None:
        """Give the app to the other database."""
        self.write("settings.py", f'{dedent(SETTINGS)}\nDATABASE_ROUTERS = ["routers.Router"]\n')
        (self.directory / "routers.py").write_text(text)

    def run(self, *arguments: str) -> tuple[int, str]:
        """Run Python in the project: its exit code, and what it printed."""
        environment = {"PYTHONPATH": f"{self.directory}:{ROOT}", "DJANGO_SETTINGS_MODULE": "settings"}
        inherited = {name: value for name, value in os.environ.items() if name != "CELERY_BROKER_URL"}
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.directory,
            env=inherited | environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        return done.returncode, done.stdout + done.stderr

    def tables(self, name: str) -> set[str]:
        """The tables of a database."""
        with sqlite3.connect(self.directory / name) as database:
            return {row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """The project."""
    return Host(tmp_path)


@pytest.mark.parametrize(("vendor", "name"), [("mysql", "MySQL"), ("oracle", "Oracle"), ("microsoft", "SQL Server")])
def test_check_says_what_to_do(host: Host, vendor: str, name: str) -> None:
    host.use_database(vendor, name)
    code, text = host.run("-m", "django", "check")
    assert code == 1
    assert f"(flowerapp.E014) flowerapp's tables cannot be in the database 'default': it is {name}" in text
    assert "HINT: Use PostgreSQL or SQLite for 'default', or let DATABASE_ROUTERS give the app" in text


@pytest.mark.parametrize("options", [(), ("--skip-checks",), ("flowerapp", "--skip-checks")])
def test_migrate_makes_no_table(host: Host, options: tuple[str, ...]) -> None:
    code, text = host.run("-m", "django", "migrate", *options)
    assert code == 1
    assert "flowerapp's tables cannot be in the database 'default': it is MySQL or MariaDB" in text
    assert "Traceback" not in text
    assert host.tables("foreign.sqlite3") == set()


def test_a_worker_does_not_start(host: Host) -> None:
    code, text = host.run("-m", "celery", "-A", "host", "worker")
    assert code == 2
    assert "flowerapp's tables cannot be in the database 'default': it is MySQL or MariaDB. Use PostgreSQL" in text


def test_a_router_gives_the_app_another_database(host: Host) -> None:
    host.use_router(f"{dedent(ROUTER)}\n{KEEPING}")
    assert "flowerapp.E" not in host.run("-m", "django", "check")[1]
    for options in ([], ["--database", "flows"]):
        code, text = host.run("-m", "django", "migrate", "-v0", *options)
        assert code == 0, text
    assert "kr_task_flow" in host.tables("flows.sqlite3")
    assert "kr_task_flow" not in host.tables("foreign.sqlite3")
    assert "auth_user" in host.tables("foreign.sqlite3")


def test_a_router_that_does_not_keep_the_app_out_is_named(host: Host) -> None:
    host.use_router(dedent(ROUTER))
    assert "flowerapp.E" not in host.run("-m", "django", "check")[1]
    code, text = host.run("-m", "django", "migrate")
    assert code == 1
    assert "Let allow_migrate of your DATABASE_ROUTERS answer False for the app 'flowerapp' there." in text
    assert host.tables("foreign.sqlite3") == set()
