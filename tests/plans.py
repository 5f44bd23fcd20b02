"""How many rows PostgreSQL reads for a statement."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

_READS = re.compile(r"\W*(SELECT|WITH)\b")


class Scan(NamedTuple):
    """A scan of a table, as it was executed."""

    table: str
    by: str | None
    """The index; None for a scan of the whole table."""
    rows: int
    """Rows that it looked at, those that did not fit included."""


def scans_of(read: Callable[[], object]) -> list[Scan]:
    """The scans of the statements that ``read`` executes; skips where the database is not PostgreSQL."""
    if connection.vendor != "postgresql":
        pytest.skip("only PostgreSQL says how many rows it reads")
    with CaptureQueriesContext(connection) as captured:
        read()
    statements = [query["sql"] for query in captured.captured_queries]
    return [scan for sql in statements if _READS.match(sql) and "$1" not in sql for scan in _scans(sql)]


def rows_read(read: Callable[[], object], *tables: str) -> int:
    """How many rows of these tables, or of all, ``read`` looks at."""
    return sum(scan.rows for scan in scans_of(read) if not tables or scan.table in tables)


def _scans(sql: str) -> Iterator[Scan]:
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, TIMING FALSE, FORMAT JSON) {sql}")
        answer = cursor.fetchone()[0]
    (plan,) = answer if isinstance(answer, list) else json.loads(answer)
    for node in nodes(plan["Plan"]):
        if "Relation Name" in node:
            read = (
                node["Actual Rows"]
                + node.get("Rows Removed by Filter", 0)
                + node.get("Rows Removed by Index Recheck", 0)
            )
            yield Scan(node["Relation Name"], node.get("Index Name"), round(read * node["Actual Loops"]))


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A plan's nodes."""
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


def analyze(*tables: str) -> None:
    """Let PostgreSQL look at how many rows there are."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE " + ", ".join(tables))
