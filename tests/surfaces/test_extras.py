"""A project that installed flowerapp without its extras."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

from tests.services import ROOT

SETTINGS = """
    SECRET_KEY = "a test's"
    INSTALLED_APPS = [
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.admin",
        "django.contrib.messages",
        "django.contrib.sessions",
        "rest_framework",
        "rest_framework.authtoken",
        "django_celery_results",
        "flowerapp",
    ]
    DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "host.sqlite3"}}
    USE_TZ = True
    """

USE = """
    import sys

    EXTRAS = ("django_environ", "environ", "gunicorn", "psycopg", "rich", "whitenoise")
    sys.modules.update(dict.fromkeys(EXTRAS))  # as if they were not installed
    import importlib, pkgutil
    import django

    django.setup()
    import flowerapp
    from django.core.management import call_command

    for module in pkgutil.walk_packages(flowerapp.__path__, "flowerapp."):
        if module.name != "flowerapp.management.cli.terminal":  # what rich draws, imported only where there is rich
            importlib.import_module(module.name)
    call_command("migrate", verbosity=0)
    call_command("flow", "programs")
    """


def test_starts_and_its_commands_work(tmp_path: Path) -> None:
    (tmp_path / "settings.py").write_text(dedent(SETTINGS))
    (tmp_path / "use.py").write_text(dedent(USE))
    environment = {"PYTHONPATH": f"{tmp_path}:{ROOT}", "DJANGO_SETTINGS_MODULE": "settings"}
    done = subprocess.run(
        [sys.executable, "use.py"],
        cwd=tmp_path,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-5000:]
    assert "EchoParamTimeSleep" in done.stdout
