"""The parts of the metadata that depend on where the repository is published; all else is in ``pyproject.toml``.

``PROJECT_URL`` is the address of the repository, such as ``https://code.example/team/flowerapp``. With it the links of
the description lead there, and an index shows where source, documentation and changes are. Without it the description
has no links to files, because they would lead nowhere.
"""

import os
import re
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).resolve().parent
URL = os.environ.get("PROJECT_URL", "").rstrip("/")
VERSION = re.search(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)[1]
RELATIVE = re.compile(r"(!?)\[([^\]]*)\]\((?![a-z]+:|#)([^)\s]+)\)")
ELSEWHERE = "The pages that this text names are in the directory `docs` of the source distribution.\n"


def absolute(link: re.Match) -> str:
    """A link to a file of the repository, as it is for readers who do not have the repository."""
    image, label, path = link.groups()
    if not URL:
        return "" if image else label
    return f"{image}[{label}]({URL}/{'raw' if image else 'blob'}/v{VERSION}/{path})"


def description() -> str:
    """README, with links that work on an index's page."""
    text = RELATIVE.sub(absolute, (ROOT / "README.md").read_text(encoding="utf-8"))
    return text if URL else f"{text}\n{ELSEWHERE}"


def urls() -> dict[str, str]:
    """The links beside the description."""
    files = f"{URL}/blob/v{VERSION}"
    pages = {"Source": URL, "Documentation": f"{files}/docs/index.md", "Changelog": f"{files}/CHANGELOG.md"}
    return pages if URL else {}


setup(long_description=description(), long_description_content_type="text/markdown", project_urls=urls())
