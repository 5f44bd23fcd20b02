"""The lines of docs/littleflow-api.md, pasted as they are into a new project."""

from __future__ import annotations

from pathlib import Path

from tests.hosts.host import Host, get
from tests.hosts.readme import blocks
from tests.hosts.shop import pasted
from tests.services import ROOT

PAGE = ROOT / "docs" / "littleflow-api.md"


def test_the_routes_work_as_pasted(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.paste(*(block for block in pasted() if block.file != "urls.py"))
    host.paste(*(block for block in blocks(PAGE) if block.file))
    host.manage("migrate", "--verbosity", "0")
    host.manage("check", "--fail-level", "ERROR")
    with host.served() as address:
        for path, status in (("workflows/", 401), ("workflows", 401), ("apispec.json", 401), ("flows/livez", 200)):
            assert get(f"http://{address}{path}")[0] == status, path
