"""What a package index shows about the wheel."""

from __future__ import annotations

import os
import re
import shutil
from email.message import Message
from pathlib import Path
from typing import cast
from unittest import mock

import pytest
from build.util import project_wheel_metadata

from tests.services import ROOT

ADDRESS = "https://code.example/team/flowerapp"
LINK = re.compile(r"\]\(([^)]+)\)")


def built(directory: Path, **environment: str) -> Message:
    """The metadata that a build makes from the files of the repository."""
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE", "MANIFEST.in"):
        shutil.copy(ROOT / name, directory)
    (directory / "flowerapp").mkdir()
    (directory / "flowerapp/__init__.py").touch()
    variables = {name: value for name, value in os.environ.items() if name != "PROJECT_URL"}
    with mock.patch.dict(os.environ, {**variables, **environment}, clear=True):
        return cast(Message, project_wheel_metadata(directory))


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Message:
    """Built where the repository's address is known."""
    return built(tmp_path_factory.mktemp("published"), PROJECT_URL=f"{ADDRESS}/")


@pytest.fixture(scope="module")
def private(tmp_path_factory: pytest.TempPathFactory) -> Message:
    """Built where it is not."""
    return built(tmp_path_factory.mktemp("private"))


def links(metadata: Message) -> list[str]:
    """What the description links to."""
    return LINK.findall(str(metadata.get_payload()))


def test_author_license_and_classifiers(private: Message) -> None:
    assert private["Author"] == "The flowerapp authors"
    assert private["License-Expression"] == "MIT"
    classifiers = private.get_all("Classifier", [])
    assert {"Framework :: Celery", "Framework :: Django :: 5.2", "Programming Language :: Python :: 3.11"} <= {
        *classifiers
    }
    assert private["Description-Content-Type"] == "text/markdown"


def test_links_lead_to_the_repository(published: Message) -> None:
    assert f"{ADDRESS}/blob/v{published['Version']}/docs/installation.md" in links(published)
    assert f"{ADDRESS}/raw/v{published['Version']}/docs/flow-page.png" in links(published)
    assert all(link.startswith(("https://", "#")) for link in links(published))
    urls = dict(value.split(", ", 1) for value in published.get_all("Project-URL", []))
    assert urls["Source"] == ADDRESS
    assert set(urls) == {"Source", "Documentation", "Changelog"}


def test_without_an_address_no_link_leads_nowhere(private: Message) -> None:
    assert links(private) == []
    assert private.get_all("Project-URL") is None
    assert "source distribution" in str(private.get_payload())
    assert "Installation says" in str(private.get_payload())
