"""What lists, pages, counts and duties read: rows that they show or act on, never the whole history."""

# ruff: noqa: S608 - numbers of ours
from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.urls import reverse

from flowerapp import engine
from flowerapp.models import Flow, Pool, Task, TaskDefinition
from flowerapp.selectors.pools import PoolUse, with_use
from flowerapp.selectors.wait_reasons import wait_reasons
from flowerapp.testing import inline
from flowerapp.watcher import duties
from tests.cli.support import flow as call
from tests.engine.support import define
from tests.plans import analyze, rows_read, scans_of

FLOWS = 10_000
"""Ended flows of the history."""
TASKS = 3
"""Tasks of each."""
MOST_ROWS = 7000
"""Rows that a list may read: it counts to 1,000, and shows up to 200 with what belongs to them."""
HISTORY = ("kr_task_stat", "kr_task_flow", "kr_task_history", "kr_task_log", "kr_hook")

pytestmark = pytest.mark.django_db(transaction=True)

_FLOWS = f"""
INSERT INTO kr_task_flow (task_flow_id, task_id, exec_status, registered_ts, started_ts, finished_ts)
SELECT 'old' || n, 'etl' || n % 3, CASE WHEN n % 10 = 0 THEN 9 ELSE 3 END, at, at, at
  FROM (SELECT n, NOW() - n * INTERVAL '1 minute' AS at FROM generate_series(1, {FLOWS}) n) made
"""
_TASKS = f"""
INSERT INTO kr_task_stat (task_flow_id, task_exec_seq, depends_task_exec_seq, task_id, task_seq, exec_status,
                          task_priority, parameters, program, queue, pool, ignored_by, output, registered_ts,
                          started_ts, finished_ts, worker, attempt)
SELECT f.task_flow_id, seq, -1, f.task_id, seq, f.exec_status, 0, '{{}}', 'Noop', 'default', 'narrow',
       CASE WHEN f.exec_status = 9 THEN 'cancel' ELSE '' END, '{{}}', f.registered_ts, f.started_ts,
       f.finished_ts, 'w', 1
  FROM kr_task_flow f, generate_series(1, {TASKS}) seq WHERE f.task_flow_id LIKE 'old%'
"""
_HISTORY = """
INSERT INTO kr_task_history (task_flow_id, task_exec_seq, verb, worker, actor, reason, details, ts)
SELECT task_flow_id, task_exec_seq, 'skip', '', '', '', '{}', finished_ts
  FROM kr_task_stat WHERE task_flow_id LIKE 'old%'
"""
_LOG = """
INSERT INTO kr_task_log (task_flow_id, task_exec_seq, attempt, message, ts)
SELECT task_flow_id, task_exec_seq, 1, 'done', finished_ts FROM kr_task_stat WHERE task_flow_id LIKE 'old%'
"""


@pytest.fixture
def flow() -> Iterator[Flow]:
    """A flow that waits for slots of pools and for tasks before it, beside a long history."""
    if connection.vendor != "postgresql":
        pytest.skip("only PostgreSQL says how many rows it reads")
    Pool.objects.bulk_create([Pool(name="narrow", slots=1), Pool(name="closed", slots=0)])
    name = define({1: [], 2: [], 3: [1, 2], 4: []}, "Noop")
    for seq, pool in ((1, "narrow"), (2, "narrow"), (4, "closed")):
        TaskDefinition.objects.filter(task_id=name, task_seq=seq).update(pool=pool)
    with connection.cursor() as cursor:
        for statement in (_FLOWS, _TASKS, _HISTORY, _LOG):
            cursor.execute(statement)
    analyze(*HISTORY)
    with inline():
        yield engine.register(name)


@pytest.fixture
def client() -> Client:
    """A client of the admin and of the API."""
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    return client


API = {
    "flows": "/api/flows/",
    "flows, 500": "/api/flows/?page_size=500",
    **{f"flows, {word}": f"/api/flows/?status={word}" for word in ("wait", "running", "suspend", "finish", "ignore")},
    "open flows": "/api/flows/?status=wait,running,suspend",
    "flows of a workflow": "/api/flows/?task_id=etl1",
    "failed flows of a workflow": "/api/flows/?task_id=etl1&status=suspend",
    "flows of no workflow": "/api/flows/?task_id=none",
    "flows of a time": "/api/flows/?registered_after=2020-01-01T00:00:00Z&registered_before=2020-01-02T00:00:00Z",
    "flow": "/api/flows/{flow}/",
    "tasks": "/api/flows/{flow}/tasks/",
    "history": "/api/flows/{flow}/history/",
    "logs": "/api/flows/{flow}/logs/?level=INFO&after=0",
    "logs of a task": "/api/flows/{flow}/tasks/2/logs/",
    "graph": "/api/flows/{flow}/graph/",
    "task": "/api/flows/{flow}/tasks/2/",
    "old flow": "/api/flows/old1/",
    "old task": "/api/flows/old1/tasks/1/",
    "workflows": "/api/workflows/",
    "pools": "/api/pools/",
    "pool": "/api/pools/narrow/",
    "closed pool": "/api/pools/closed/",
    "queues": "/api/queues/",
    "workers": "/api/workers/",
    "programs": "/api/programs/",
    "readyz": "/readyz",
    "livez": "/livez",
}
ADMIN = {
    "index": "",
    "flows": "flowerapp/flow/",
    **{f"flows in status {status}": f"flowerapp/flow/?status={status}" for status in (0, 1, 2, 3, 9)},
    "flows of a workflow": "flowerapp/flow/?task_id=etl1",
    "flows of a workflow in a status": "flowerapp/flow/?task_id=etl1&status=2",
    "flows of today": "flowerapp/flow/?registered_ts__gte=2026-01-01+00:00:00%2B00:00",
    "flows, last page": "flowerapp/flow/?p=20",
    "flows, all": "flowerapp/flow/?all=",
    "flows, an id": "flowerapp/flow/?q=old1",
    "flows, a name": "flowerapp/flow/?q=etl",
    "flows, nothing": "flowerapp/flow/?q=nothing-of-that-name",
    "tasks, a flow": "flowerapp/task/?q=old1",
    "tasks, nothing": "flowerapp/task/?q=nothing-of-that-name",
    "tasks": "flowerapp/task/",
    **{f"tasks in status {status}": f"flowerapp/task/?status={status}" for status in (0, 1, 2, 3, 9)},
    "tasks of a workflow": "flowerapp/task/?task_id=etl1",
    "tasks of a workflow in a status": "flowerapp/task/?task_id=etl1&status=9",
    "children": "flowerapp/task/?parent_seq=any",
    "tasks of a flow": "flowerapp/task/?task_flow={flow}",
    "workflows": "flowerapp/workflow/",
    "workers": "flowerapp/worker/",
    "pools": "flowerapp/pool/",
    "pool": "flowerapp/pool/narrow/change/",
    "flow": "flowerapp/flow/{flow}/change/",
    "old flow": "flowerapp/flow/old1/change/",
}
COMMANDS = {
    "list": ["list"],
    "list of a workflow": ["list", "--workflow", "etl1"],
    "list of a status": ["list", "--status", "suspend"],
    "list as json": ["list", "--json"],
    "show": ["show", "{flow}"],
    "show as json": ["show", "{flow}", "--json"],
    "show old": ["show", "old1"],
    "pools": ["pools"],
    "workflows": ["workflows"],
    "programs": ["programs"],
}


def over(reads: Mapping[str, Callable[[], object]]) -> dict[str, int]:
    """Rows that each of these reads too many of."""
    rows = {name: rows_read(read, *HISTORY) for name, read in reads.items()}
    return {name: number for name, number in rows.items() if number > MOST_ROWS}


def _getting(client: Client, url: str) -> Callable[[], object]:
    def get() -> None:
        assert client.get(url).status_code == 200, url

    return get


def test_routes(flow: Flow, client: Client) -> None:
    assert not over({name: _getting(client, url.format(flow=flow.pk)) for name, url in API.items()})


def test_pages(flow: Flow, client: Client) -> None:
    root = reverse("admin:index")
    assert not over({name: _getting(client, root + url.format(flow=flow.pk)) for name, url in ADMIN.items()})


def test_commands(flow: Flow) -> None:
    filled = {name: [word.format(flow=flow.pk) for word in words] for name, words in COMMANDS.items()}
    assert not over({name: partial(call, *words) for name, words in filled.items()})


def _thrice(duty: Callable[[], int]) -> None:
    for _ in range(3):
        duty()


def test_duties(flow: Flow) -> None:
    assert not over({name: partial(_thrice, duty) for name, _, duty in duties.rota()})


def test_reasons(flow: Flow) -> None:
    waiting = list(Task.objects.filter(task_flow=flow))
    assert len(wait_reasons(waiting)) == 3
    assert rows_read(lambda: wait_reasons(waiting), *HISTORY) <= 100


def test_slots_of_pools(flow: Flow) -> None:
    """A million tasks that had a slot once made the list of pools take 9 s."""
    use = PoolUse(Pool.objects.get(pk="narrow"))
    assert [(pool.held, pool.waiting) for pool in with_use()] == [(0, 1), (1, 1)]
    for read in (lambda: list(with_use()), lambda: list(use.holders), use.holders.count, use.waiters.count):
        scans = [scan for scan in scans_of(read) if scan.table == "kr_task_stat"]
        assert scans
        assert sum(scan.rows for scan in scans) <= 10, scans
        assert all(scan.by for scan in scans), scans
