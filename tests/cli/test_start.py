"""How little a call imports: what it does not need would be most of its time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings

from benchmarks import start

CALLS = {"--help": 0, "list": 0, "show nothing": 2, "list -o ids": 0}
"""Call → its exit code with a database that has no flows."""
NOT_NEEDED = (
    *("rich", "rest_framework.views", "drf_spectacular.views", "drf_spectacular.openapi", "flowerapp.api.base"),
    *("project.urls", "flowerapp.standalone"),
)
"""Modules that a call whose output goes to a pipe does without."""
MOST_OF_OURS = 20
"""Modules of flowerapp that a call imports beside those that Django's start does."""
LOADED = """
import json, sys
import django
django.setup()
before = set(sys.modules)
from django.core.management import execute_from_command_line
code = 0
try:
    execute_from_command_line(["manage.py", "flow", *sys.argv[1:]])
except SystemExit as error:
    code = error.code or 0
print(json.dumps([code, sorted(set(sys.modules) - before), sorted(sys.modules)]), file=sys.stderr)
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The reference project with a database that has no flows."""
    environment = start.environment(tmp_path_factory.mktemp("start"))
    migrate = [sys.executable, "manage.py", "migrate", "-v", "0"]
    subprocess.run(migrate, env=environment, cwd=settings.BASE_DIR, timeout=300, check=True)
    return environment


@pytest.mark.parametrize("call", CALLS)
def test_imports_only_what_it_needs(call: str, environment: dict[str, str]) -> None:
    command = [sys.executable, "-c", LOADED, *call.split()]
    ran = subprocess.run(
        command, env=environment, cwd=settings.BASE_DIR, capture_output=True, text=True, timeout=300, check=True
    )
    code, added, loaded = json.loads(ran.stderr.splitlines()[-1])
    assert code == CALLS[call], ran.stderr
    assert not {name for name in loaded if any(f"{name}.".startswith(f"{other}.") for other in NOT_NEEDED)}
    ours = [name for name in added if name.startswith("flowerapp")]
    assert "flowerapp.management.commands.flow" in ours
    assert len(ours) <= MOST_OF_OURS, ours
    assert not [name for name in added if name.split(".")[0] in {"celery", "kombu", "redis", "httpx2", "pydantic"}]


def test_the_benchmark_measures_calls_against_the_start_of_django(environment: dict[str, str]) -> None:
    result = start.compared(["--help"], environment, pairs=1)
    assert result.base > 0
    assert result.call > 0
    assert "flow --help" in str(result)
    assert Path(environment["FLOWER_STATE_DIR"]).is_dir()
    assert os.environ.get("FLOWER_STATE_DIR") != environment["FLOWER_STATE_DIR"]
