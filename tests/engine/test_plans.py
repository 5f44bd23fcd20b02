"""The statements of the hot path read rows by their key, however old PostgreSQL's statistics of the table are."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.db import connection

from flowerapp import engine
from flowerapp.core.identity import Process
from flowerapp.core.messages import FIRST_SENT, TaskRef
from flowerapp.models import Flow, Task
from flowerapp.querysets.claim import CLAIM
from flowerapp.querysets.finish import FINISH
from flowerapp.testing import InlineRunner
from tests.engine.support import define
from tests.plans import nodes

NUMBER = 2000
DEFERRED = "kr_task_stat_deferred"
FLOW_KEYS = {None, "kr_task_flow_pkey", "kr_task_flow_task_flow_id_d8f94f07_like"}
"""None for a scan of the whole table, which is small here; what matters is that no index of open flows is used."""

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(params=["never analyzed", "analyzed when empty", "analyzed"])
def backlog(request: pytest.FixtureRequest, runner: InlineRunner) -> Flow:
    """A flow of many ready tasks, on statistics of the age that the parameter names."""
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has no such statements")
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE kr_task_stat, kr_task_flow CASCADE")  # and with it what other tests have left behind
        if request.param == "analyzed when empty":
            cursor.execute("ANALYZE kr_task_stat")
        flow = engine.register(define({seq: [] for seq in range(1, NUMBER + 1)}, "Noop"))
        for seq in range(1, 11):
            assert Task.objects.claim(TaskRef(flow.pk, seq), Process("w", 1))
        if request.param == "analyzed":
            cursor.execute("ANALYZE kr_task_stat")
    return flow


@pytest.mark.parametrize(("statement", "seq"), [(CLAIM, 1000), (FINISH, 5)], ids=["claim", "finish"])
def test_claim_and_finish_read_tasks_by_their_key(backlog: Flow, statement: str, seq: int) -> None:
    values: dict[str, Any] = {
        "flow": backlog.pk,
        "seq": seq,
        "worker": "w",
        "pid": 1,
        "lease": 15,
        "attempt": 1,
        "output": "{}",
    }
    values |= {"first_sent": FIRST_SENT, "sent": True, "programs": ["Noop"], "keeps": [3]}
    values |= {"before": 1, "parked": False, "status": 3, "ignored_by": ""}
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (FORMAT JSON) {statement}", values)
        answer = cursor.fetchone()[0]
    (plan,) = answer if isinstance(answer, list) else json.loads(answer)
    scans = [node for node in nodes(plan["Plan"]) if "Relation Name" in node and node["Node Type"] != "ModifyTable"]
    used = {node.get("Index Name") for node in scans if node["Relation Name"] == "kr_task_stat"}
    assert used
    assert used <= {"kr_task_stat_key", "kr_task_stat_pkey"} | ({DEFERRED} if statement == FINISH else set()), scans
    assert statement == CLAIM or DEFERRED in used, scans
    of_flow = [node for node in scans if node["Relation Name"] == "kr_task_flow"]
    assert of_flow
    assert {node.get("Index Name") for node in of_flow} <= FLOW_KEYS, of_flow
