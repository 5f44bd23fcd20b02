"""The statements of the hot path read rows by their key, whatever PostgreSQL believes of the table."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection

from flowerapp import engine
from flowerapp.dispatch import FIRST
from flowerapp.models import Flow, Task
from flowerapp.querysets.statements import CLAIM, FINISH
from flowerapp.testing import InlineRunner
from tests.engine.support import define

NUMBER = 2000
LEFT_OVER = "kr_task_stat_left_over"
KEYS_OF_FLOW = {None, "kr_task_flow_pkey", "kr_task_flow_task_flow_id_d8f94f07_like"}
"""None for the whole table, which is small here; what matters is that it is no index of open flows."""

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(params=["never analysed", "analysed when empty", "analysed"])
def backlog(request: pytest.FixtureRequest, runner: InlineRunner) -> Flow:
    """A flow of many ready tasks, on statistics of that age."""
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has no such statements")
    with connection.cursor() as cursor:
        if request.param == "analysed when empty":
            cursor.execute("ANALYZE kr_task_stat")
        flow = engine.register(define({seq: [] for seq in range(1, NUMBER + 1)}, "Noop"))
        for seq in range(1, 11):
            assert Task.objects.claim(flow.pk, seq, "w", 1)
        if request.param == "analysed":
            cursor.execute("ANALYZE kr_task_stat")
    return flow


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A plan and all below it."""
    yield plan
    for each in plan.get("Plans", ()):
        yield from nodes(each)


@pytest.mark.parametrize(("statement", "seq"), [(CLAIM, 1000), (FINISH, 5)], ids=["claim", "finish"])
def test_tasks_are_found_by_their_key(backlog: Flow, statement: str, seq: int) -> None:
    values = {"flow": backlog.pk, "seq": seq, "worker": "w", "pid": 1, "lease": 15, "attempt": 1, "output": "{}"}
    values |= {"first": FIRST, "sent": True, "programs": ["Noop"]}
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (FORMAT JSON) {statement}", values)
        found = cursor.fetchone()[0]
    (plan,) = found if isinstance(found, list) else json.loads(found)
    scans = [node for node in nodes(plan["Plan"]) if "Relation Name" in node and node["Node Type"] != "ModifyTable"]
    used = {node.get("Index Name") for node in scans if node["Relation Name"] == "kr_task_stat"}
    assert used
    assert used <= {"kr_task_stat_key", "kr_task_stat_pkey"} | ({LEFT_OVER} if statement == FINISH else set()), scans
    assert statement == CLAIM or LEFT_OVER in used, scans
    of_flow = [node for node in scans if node["Relation Name"] == "kr_task_flow"]
    assert of_flow
    assert {node.get("Index Name") for node in of_flow} <= KEYS_OF_FLOW, of_flow
