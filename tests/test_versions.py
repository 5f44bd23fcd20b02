"""The versions that ``pyproject.toml`` allows, and those that continuous integration tests."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
EXTRAS = ("postgres", "server", "standalone")


def required() -> list[Requirement]:
    """What flowerapp needs, and what its extras for running it need."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [line for name in EXTRAS for line in project["optional-dependencies"][name]]
    return [Requirement(line) for line in [*project["dependencies"], *extras]]


def oldest() -> dict[str, Version]:
    """The versions of ``.ci/oldest.txt``."""
    pins = re.findall(r"^(\S+)==(\S+)$", (ROOT / ".ci" / "oldest.txt").read_text(), re.MULTILINE)
    return {canonicalize_name(name): Version(version) for name, version in pins}


@pytest.mark.parametrize("requirement", required(), ids=lambda requirement: requirement.name)
def test_the_oldest_allowed_version_is_the_oldest_tested(requirement: Requirement) -> None:
    lowest = max(Version(part.version) for part in requirement.specifier if part.operator == ">=")
    tested = oldest()[canonicalize_name(requirement.name)]
    assert (tested.major, tested.minor) == (lowest.major, lowest.minor)


def test_the_readme_names_the_versions() -> None:
    text = (ROOT / "README.md").read_text()
    assert "Python 3.11 or newer · Django 5.2 to 6.1 · Celery 5.5 to 5.7" in text
    limits = {requirement.name: str(requirement.specifier) for requirement in required()}
    assert (limits["django"], limits["celery"]) == ("<6.2,>=5.2", "<6,>=5.5")
