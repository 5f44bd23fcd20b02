"""Hosts with several databases: the tests of ``in_databases.py`` in a process that has the settings of such a host."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.services import ROOT


@pytest.mark.parametrize("host", ["split", "nodefault", "replica", "atomic"])
def test_flowerapp_works_on_a_host_with_several_databases(host: str) -> None:
    """On SQLite, or on PostgreSQL where ``DATABASE_URL`` says so, as the tests of the engine."""
    own = {"DJANGO_SETTINGS_MODULE": "tests.hosts.databases", "FLOWER_TEST_HOST": host, "PYTHONPATH": str(ROOT)}
    if "DATABASE_URL" in os.environ:
        own["DATABASE_URL"] = f"{os.environ['DATABASE_URL'].rpartition('/')[0]}/hosts_{host}_{os.getpid()}"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "tests.hosts.databases"]
    run = subprocess.run(
        [*command, "tests/hosts/in_databases.py"],
        cwd=ROOT,
        env={**os.environ, **own},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-10_000:] + run.stderr[-2000:]
