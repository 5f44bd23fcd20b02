"""A Python with a given version of Celery, and all that the hosts need."""

from __future__ import annotations

import hashlib
import importlib.metadata
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

from tests.services import ROOT

OWN = ["django-celery-beat>=2.8,<3", "djangorestframework-simplejwt>=5.5,<6"]
"""What the hosts use besides flowerapp."""
EXTRAS = ("postgres", "server")


def requirements(celery: str) -> list[str]:
    """What flowerapp needs, with a version of Celery such as ``5.5``."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    return [*project["dependencies"], *(line for name in EXTRAS for line in extras[name]), *OWN, f"celery=={celery}.*"]


def python_with(celery: str) -> str:
    """A Python with a version of Celery: this one, if it has it, or that of an environment kept in the temporary
    directory."""
    if importlib.metadata.version("celery").startswith(f"{celery}."):
        return sys.executable
    wanted = requirements(celery)
    key = hashlib.sha256("\n".join([sys.version, *wanted]).encode()).hexdigest()[:12]
    directory = Path(tempfile.gettempdir()) / f"flowerapp-hosts-{key}"
    python, complete = directory / "bin" / "python", directory / "complete"
    if not complete.exists():
        venv.create(directory, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *wanted], check=True, timeout=900)
        complete.touch()
    return str(python)
