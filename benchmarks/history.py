"""What a long history costs: plans, buffers and pages over few tasks and over a million finished ones.

``python -m benchmarks.history [--quick] [--json]``. A third look, at half of the history, separates trees that are
deeper, which stop growing at once, from scans that grow with it.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.settings"

import django

django.setup()

from django.contrib.auth.models import User  # noqa: E402 - Django first
from django.db import DatabaseError, connection, transaction  # noqa: E402
from django.test import Client  # noqa: E402
from django.test.utils import CaptureQueriesContext  # noqa: E402
from django.urls import reverse  # noqa: E402

from benchmarks.contenders import server_url  # noqa: E402
from benchmarks.past import DAYS, WORKER, Few, add_history, made_few, report_progress, vacuum  # noqa: E402
from benchmarks.plans import Cost, as_generic, explained  # noqa: E402
from flowerapp import conf  # noqa: E402
from flowerapp.core import executor  # noqa: E402
from flowerapp.core.executor import NoExecutor  # noqa: E402
from flowerapp.core.messages import FIRST_SENT, TaskRef  # noqa: E402
from flowerapp.engine.registration import uuid7  # noqa: E402
from flowerapp.models import Flow, Task  # noqa: E402
from flowerapp.querysets.claim import CLAIM  # noqa: E402
from flowerapp.querysets.finish import FINISH  # noqa: E402
from flowerapp.querysets.insert import INSERT  # noqa: E402
from flowerapp.states import Status  # noqa: E402
from flowerapp.watcher import duties  # noqa: E402
from flowerapp.watcher.duties.resend import Resend  # noqa: E402
from flowerapp.watcher.pages import PAGE  # noqa: E402
from tests.services import Service, site  # noqa: E402

TASKS, QUICK_TASKS = 1_000_000, 100_000
"""Finished tasks of the history, three to a flow."""
MOST_BUFFERS = 1.05
"""Bar of the ratio of buffers."""
MOST_MS = 100.0
"""Bar of a page."""
NOISE = 20
"""Buffers by which dead rows and a choice between small indexes move a statement; a scan of the history reads more."""
WARM = 10
"""Calls of a page that are timed."""
FEW, HALF, MANY = STATES = ("few", "half", "many")
RUNS = 4
"""Runs of a statement of the hot path."""


class Nowhere(NoExecutor):
    """An executor that drops all messages and claims to be connected, so that the duties send."""

    def connected(self) -> bool:
        """Always."""
        return True


# What is measured

Costs = dict[str, Cost]
"""By the text of the statement, without its values."""


def hot_path(few: Few) -> Iterator[tuple[str, str, Callable[[], dict[str, Any]]]]:
    """Name, statement and values of what each task runs."""
    ids = {"worker": WORKER, "pid": 1, "lease": 15}
    finish = {
        "attempt": 1,
        "output": "{}",
        "first_sent": FIRST_SENT,
        "programs": ["benchmarks.noop"],
        "keeps": [0],
        "before": int(Status.RUNNING),
        "parked": False,
        "status": int(Status.FINISH),
        "ignored_by": "",
        **ids,
    }
    yield "claim", CLAIM, lambda: {"flow": few.ready.pk, "seq": 1, "sent": True, **ids}
    yield "finish", FINISH, lambda: {"flow": few.begun.pk, "seq": 1, **finish}
    yield "finish, the last", FINISH, lambda: {"flow": few.ending.pk, "seq": 3, **finish}
    yield "register", INSERT, lambda: _new_flow(few)


def _new_flow(few: Few) -> dict[str, Any]:
    flow_id = str(uuid7())
    flow = {"task_flow_id": flow_id, "task_id": few.workflows[0], "task_priority": 0, "input": {}, "limited": False}
    flow |= {"admitted": True, "open_sinks": 1, "registered_by": "", "request_hash": ""}
    step = {"task_id": few.workflows[0], "program": "benchmarks.noop"}
    tasks = [
        {**step, "task_exec_seq": seq, "task_seq": seq, "depends_task_exec_seq": before or -1, "pending": int(seq > 1)}
        | {"depends_on": [before] if before else [], "dependents": [seq + 1] if seq < 3 else [], "sent": seq == 1}
        for before, seq in enumerate(range(1, 4))
    ]
    return {"flow_id": flow_id, "flow": json.dumps(flow), "tasks": json.dumps(tasks)}


def hot_costs(few: Few) -> dict[str, Costs]:
    """Costs of the hot path, planned for its values and for any.

    The least of ``RUNS`` runs: whether a page of the table has room for a new row does not depend on the history.
    """
    costs = {}
    for name, statement, values in hot_path(few):
        for kind, explain in (("", explained), (", generic", as_generic)):
            vacuum("kr_task_stat, kr_task_flow")
            runs = [Cost() for _ in range(RUNS)]
            for run in runs:
                run.add(explain(statement, values()))
            costs[f"{name}{kind}"] = {_without_values(statement): min(runs, key=lambda run: run.buffers)}
    return costs


def rota() -> dict[str, Callable[[], Any]]:
    """The leader's duties, and the queries of those that look at all tasks or flows."""
    actions: dict[str, Callable[[], Any]] = {name: duty for name, _, duty in duties.rota()}
    actions["resend"] = _looks(Resend())
    actions["resend's silent tasks"] = lambda: list(Task.objects.silent(conf.get().RESEND_AFTER))
    actions["archive"] = lambda: list(Flow.objects.ended_before(10 * DAYS).values_list("pk", flat=True)[:20])
    actions["prune"] = lambda: list(Flow.objects.ended_before(10 * DAYS).values_list("pk", flat=True)[:PAGE])
    return actions


def _looks(duty: Callable[[], int]) -> Callable[[], Any]:
    return lambda: [duty() for _ in range(3)]


def pages(few: Few, client: Client) -> dict[str, str]:
    """Name of a page → its address."""
    ended, name = few.ended[-1].pk, few.workflows[0]
    return {
        "api flows": "/api/flows/",
        "api flows, next page": client.get("/api/flows/").json()["next"],
        **{f"api flows, {word}": f"/api/flows/?status={word}" for word in ("finish", "suspend", "ignore")},
        "api flows of a workflow": f"/api/flows/?task_id={name}",
        "api flows of it, suspend": f"/api/flows/?task_id={name}&status=suspend",
        "api flow": f"/api/flows/{ended}/",
        "api tasks of a flow": f"/api/flows/{ended}/tasks/",
        "api task": f"/api/flows/{ended}/tasks/2/",
        "api workflows": "/api/workflows/",
        "api queues": "/api/queues/",
        **_admin_pages(few),
    }


def _admin_pages(few: Few) -> dict[str, str]:
    ended, failed, name = few.ended[-1].pk, few.failed.pk, few.workflows[0]
    flows, tasks = (reverse(f"admin:flowerapp_{model}_changelist") for model in ("flow", "task"))
    task = Task.objects.at(TaskRef(ended, 2)).values_list("pk", flat=True).get()
    last = (Flow.objects.count() + 49) // 50
    return {
        "admin flows": flows,
        "admin flows, last page": f"{flows}?p={last}",
        "admin flows, finish": f"{flows}?status=3",
        "admin flows, suspend": f"{flows}?status=2",
        "admin flows, ignore": f"{flows}?status=9",
        "admin flows of a workflow": f"{flows}?task_id={name}",
        "admin flows, an id": f"{flows}?q={ended}",
        "admin flows, a name": f"{flows}?q=3-b",
        "admin flows by status": f"{flows}?o=1",
        "admin flow, ended": reverse("admin:flowerapp_flow_change", args=[ended]),
        "admin flow, failed": reverse("admin:flowerapp_flow_change", args=[failed]),
        "admin tasks": tasks,
        "admin tasks of a flow": f"{tasks}?task_flow={ended}",
        "admin tasks by status": f"{tasks}?o=2",
        "admin tasks, wait": f"{tasks}?status=0",
        "admin tasks, running": f"{tasks}?status=1",
        "admin tasks, suspend": f"{tasks}?status=2",
        "admin tasks, ignore": f"{tasks}?status=9",
        "admin tasks of a workflow": f"{tasks}?task_id={name}",
        "admin tasks, children": f"{tasks}?parent_seq=any",
        "admin tasks, a program": f"{tasks}?q=tell",
        "admin task": reverse("admin:flowerapp_task_change", args=[task]),
        "admin workflows": reverse("admin:flowerapp_workflow_changelist"),
    }


def statements_of(action: Callable[[], Any]) -> list[str]:
    """The statements of ``action`` that can be repeated by themselves; what it changes is rolled back."""
    with CaptureQueriesContext(connection) as queries, transaction.atomic():
        action()
        transaction.set_rollback(True)
    sent = [str(query["sql"]) for query in queries.captured_queries]
    return [sql for sql in sent if re.match(r"\W*(SELECT|UPDATE|DELETE)\b", sql) and not re.search(r"\$\d", sql)]


def _without_values(sql: str) -> str:
    sql = re.sub(r"'(?:[^']|'')*'", "?", sql)
    sql = re.sub(r"(?<![\w\"$])-?\d+(\.\d+)?\b", "?", sql)
    return re.sub(r"\(\?(, ?\?)*\)", "(?)", " ".join(sql.split()))


def costs_of(statements: list[str]) -> Costs:
    """What each of these costs while its pages are in memory."""
    costs: Costs = {}
    for sql in statements:
        explained(sql)
        costs.setdefault(_without_values(sql), Cost()).add(explained(sql))
    return costs


def milliseconds(client: Client, url: str) -> tuple[float, int]:
    """The median time of a page that was read before, and the status of its response."""
    took = []
    for _ in range(WARM + 1):
        begun = time.perf_counter()
        answer = client.get(url)
        took.append(1000 * (time.perf_counter() - begun))
    return round(statistics.median(took[1:]), 1), int(answer.status_code)


def levels() -> dict[str, int]:
    """Index → levels of its tree above the leaves, where PostgreSQL has the extension pageinspect."""
    tables = "('kr_task_stat', 'kr_task_flow')"
    try:
        with connection.cursor() as cursor:
            cursor.execute("CREATE EXTENSION IF NOT EXISTS pageinspect")
            cursor.execute(
                "SELECT indexname, (BT_METAP(indexname)).level FROM pg_indexes "  # noqa: S608 - names of ours
                f"WHERE tablename IN {tables} ORDER BY indexname"
            )
            return {name: int(level) for name, level in cursor.fetchall()}
    except DatabaseError:
        return {}


@dataclass(frozen=True, slots=True)
class Look:
    """Everything in one state."""

    costs: dict[str, Costs]
    pages: dict[str, tuple[float, int]]
    """Milliseconds and status."""
    levels: dict[str, int]


def look(state: str, few: Few, client: Client) -> Look:
    """Measure everything once."""
    report_progress(f"{state}: vacuum")
    vacuum()
    report_progress(f"{state}: statements")
    costs = hot_costs(few)
    for name, duty in rota().items():
        costs[name] = costs_of(statements_of(duty))
    addresses = pages(few, client)
    seen: dict[str, tuple[float, int]] = {}
    report_progress(f"{state}: {len(addresses)} pages")
    for name, url in addresses.items():
        begun = time.monotonic()
        seen[name] = milliseconds(client, url)
        costs[name] = costs_of(statements_of(lambda url=url: client.get(url)))  # type: ignore[misc] # bound at once
        if time.monotonic() - begun > 2:
            report_progress(f"{state}: {name}, {seen[name][0]:.0f} ms")
    return Look(costs, seen, levels())


# The report


@contextmanager
def started() -> Iterator[None]:
    """A database and a Redis number of our own, and no worker."""
    logging.disable(logging.ERROR)
    before = executor.use(NoExecutor())
    try:
        with site(server_url(Service.POSTGRES), "redis", server_url(Service.REDIS)) as made, made.entered():
            yield
    finally:
        executor.use(before)
        logging.disable(logging.NOTSET)


def measure(quick: bool) -> dict[str, Any]:
    """The report, over a tenth of the history where it is to be quick."""
    tasks = QUICK_TASKS if quick else TASKS
    flows = -(-tasks // 3)
    with started():
        few = made_few()
        executor.use(Nowhere())
        client = Client(raise_request_exception=False, SERVER_NAME="localhost")
        client.force_login(User.objects.create_superuser("history"))
        looks = {FEW: look(FEW, few, client)}
        add_history(few, 1, flows // 2, flows)
        looks[HALF] = look(HALF, few, client)
        add_history(few, flows // 2 + 1, flows, flows)
        looks[MANY] = look(MANY, few, client)
    return {
        "workload": "HISTORY",
        "tasks": 3 * flows,
        "flows": flows,
        "levels": {name: [looks[state].levels[name] for state in STATES] for name in looks[MANY].levels},
        "rows": [_row(name, looks) for name in looks[FEW].costs],
    }


def _row(name: str, looks: Mapping[str, Look]) -> dict[str, Any]:
    costs = {state: looks[state].costs[name] for state in STATES}
    buffers = {state: sum(cost.buffers for cost in costs[state].values()) for state in STATES}
    statements = [_statement(sql, costs) for sql in dict.fromkeys(sql for part in costs.values() for sql in part)]
    return {
        "name": name,
        "same_plan": all(statement["same_plan"] for statement in statements),
        "settled": all(statement["settled"] for statement in statements),
        "buffers": buffers,
        "ratio": _ratio(buffers[MANY], buffers[FEW]),
        "growth": _ratio(buffers[MANY], buffers[HALF]),
        "ms": {state: look.pages[name][0] for state, look in looks.items()} if name in looks[MANY].pages else None,
        "answers": looks[MANY].pages.get(name, (0, 200))[1],
        "statements": statements,
    }


def _statement(sql: str, costs: Mapping[str, Costs]) -> dict[str, Any]:
    by_state = {state: costs[state].get(sql, Cost()) for state in STATES}
    return {
        "sql": sql,
        "same_plan": by_state[FEW].plan == by_state[MANY].plan,
        "settled": by_state[HALF].plan == by_state[MANY].plan,
        **{state: {**asdict(cost), "text": cost.text} for state, cost in by_state.items()},
    }


def _ratio(value: int, base: int) -> float:
    return round(value / base, 3) if base else 1.0 if not value else float(value)


def kind(row: Mapping[str, Any]) -> str:
    """Why a row is over the bar of buffers: it grows on with the history, or levels off, as the depth of trees does."""
    if row["ratio"] <= MOST_BUFFERS:
        return ""
    more = row["buffers"][MANY] - row["buffers"][HALF]
    return "grows" if row["growth"] > MOST_BUFFERS and more > NOISE else "levels off"


def plan(row: Mapping[str, Any]) -> str:
    """Whether the plan over many tasks is the one over few, or over half of them."""
    return "same" if row["same_plan"] else "settled" if row["settled"] else "changed"


def lines(report: Mapping[str, Any]) -> list[str]:
    """The report as text."""
    text = [f"few tasks against {report['tasks']:,} more of {report['flows']:,} flows, all finished"]
    text.append(f"{'':28}{'plan':>8}{'few':>8}{'half':>8}{'many':>8}{'ratio':>8}  {'':11}{'few':>7}{'many':>7} ms")
    text += [_line(row) for row in report["rows"]]
    deeper = [
        f"{name} {'→'.join(map(str, depths))}" for name, depths in report["levels"].items() if len(set(depths)) > 1
    ]
    text.append(f"levels above the leaves: {', '.join(deeper)}")
    text.append("plan: as over few, or (settled) as over half, because PostgreSQL reads small tables from end to end")
    for row in report["rows"]:
        if kind(row) == "grows" or not row["settled"]:
            text += _culprits(row)
    return text


def _line(row: Mapping[str, Any]) -> str:
    buffers = "".join(f"{row['buffers'][state]:>8}" for state in STATES)
    text = f"{row['name']:28}{plan(row):>8}{buffers}{row['ratio']:>8.2f}  {kind(row):11}"
    if row["ms"] is None:
        return text.rstrip()
    late = " over" if row["ms"][MANY] > MOST_MS else ""
    late += f" answers {row['answers']}" if row["answers"] != 200 else ""
    return f"{text}{row['ms'][FEW]:>7.0f}{row['ms'][MANY]:>7.0f}{late}"


def _culprits(row: Mapping[str, Any]) -> Iterator[str]:
    for statement in row["statements"]:
        few, many = statement[FEW], statement[MANY]
        grows = many["buffers"] > NOISE + MOST_BUFFERS * max(few["buffers"], statement[HALF]["buffers"])
        if grows or not statement["settled"]:
            yield f"{row['name']}: {_brief(statement['sql'])}"
            yield f"  few {few['buffers']}: {few['text']}"
            yield f"  many {many['buffers']}: {many['text']}"
            yield f"  most: {many['heaviest'][:300]}"


def _brief(sql: str) -> str:
    return re.sub(r"SELECT (?:DISTINCT )?.{80,}? FROM", "SELECT … FROM", sql, count=1)[:400]


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.history", description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_TASKS:,} finished tasks")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    report = measure(options.quick)
    print(json.dumps(report, indent=1) if options.json else "\n".join(lines(report)))


if __name__ == "__main__":
    main()
