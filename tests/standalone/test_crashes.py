"""A server that is killed again and again, or frozen, in the middle of several flows."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from flowerapp import conf
from tests.effort import LONG
from tests.faults.support import CHILD_SECONDS, WORKER_SECONDS
from tests.ledger import LEDGER
from tests.probe.crash import VARIABLE, Step, Wish
from tests.services import until
from tests.standalone.conftest import Server
from tests.standalone.test_server import post

STEPS = [*Step] * (4 if LONG else 1)
"""Where the server is killed, one time after the other."""
LENGTH = 3 * len(STEPS)
"""Tasks of a chain: a few for each life of the server."""
STILL = 60 if LONG else 20
"""Seconds that a server is frozen; more than the lease."""

SUCCESSES = (
    """CREATE TABLE probe_success (
        flow_id text, seq int, run int, ts text DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now'))
    )""",
    """CREATE TRIGGER probe_success AFTER UPDATE OF exec_status ON kr_task_stat WHEN NEW.exec_status = 3 BEGIN
        INSERT INTO probe_success (flow_id, seq, run) VALUES (NEW.task_flow_id, NEW.task_exec_seq, NEW.run);
    END""",
)
"""Each success that the database accepts leaves a row, also a second one of the same task."""

Place = tuple[str, int]


class Books:
    """What a server's database says of its flows."""

    def __init__(self, server: Server) -> None:
        self.server = server
        for statement in SUCCESSES:
            server.sql(statement)

    def register(self, *names: str) -> list[str]:
        """Register flows; their ids."""
        return [post(f"{self.server.url}/register/{name}")[1]["taskFlowId"] for name in names]

    def starts(self, flow_id: str | None = None) -> list[tuple[Place, str]]:
        """Each start with its time, in order of time; those of one flow, or all."""
        rows = self.server.sql(
            "SELECT flow_id, seq, ts FROM probe_start WHERE ? IN (flow_id, '') ORDER BY ts", flow_id or ""
        )
        return [((flow, seq), ts) for flow, seq, ts in rows]

    def successes(self) -> list[tuple[Place, str]]:
        """Each accepted success with its time, in order of time."""
        rows = self.server.sql("SELECT flow_id, seq, ts FROM probe_success ORDER BY ts")
        return [((flow, seq), ts) for flow, seq, ts in rows]

    def tasks(self, *statuses: int) -> list[Place]:
        """The tasks in these states."""
        marks = ", ".join("?" * len(statuses))
        query = f"SELECT task_flow_id, task_exec_seq FROM kr_task_stat WHERE exec_status IN ({marks})"  # noqa: S608
        return self.server.sql(query, *statuses)

    def has_finished(self) -> bool:
        """Whether all flows have finished."""
        return self.server.sql("SELECT DISTINCT exec_status FROM kr_task_flow") == [(3,)]

    def await_finished(self, seconds: float) -> None:
        """Wait until all flows have finished."""
        until(self.has_finished, seconds, what=lambda: f"open: {self.tasks(0, 1, 2)} {self.server.text}")

    def recovered(self, flow_id: str, since: str, seconds: float) -> None:
        """Wait until a task of a flow is started after ``since``, and enter in the ledger how long that took."""
        later = until(
            lambda: [ts for _, ts in self.starts(flow_id) if ts > since], 2 * seconds, what=lambda: self.server.text
        )
        LEDGER.recovered((datetime.fromisoformat(later[0]) - datetime.fromisoformat(since)).total_seconds())

    def assert_sound(self) -> None:
        """All flows have finished, nothing was lost, doubled or started too early; also enter it in the ledger."""
        places = self.tasks(0, 1, 2, 3)
        accepted = Counter(place for place, _ in self.successes())
        doubled = [place for place, count in accepted.items() if count > 1]
        open_flows = self.server.sql("SELECT task_flow_id FROM kr_task_flow WHERE exec_status <> 3")
        mended = "SELECT count(*) FROM kr_task_history WHERE verb IN ('resend', 'rescue')"
        LEDGER.count(
            tasks=len(places), lost=len(open_flows), doubled=len(doubled), interventions=self.server.sql(mended)[0][0]
        )
        assert not open_flows
        assert not doubled
        assert sorted(accepted) == sorted(self.tasks(3)) == sorted(places)
        self._assert_order()
        self._assert_effects()
        odd = "SELECT task_exec_seq, attempt, rescues FROM kr_task_stat WHERE attempt <> rescues + 1"
        assert self.server.sql(odd) == []

    def _assert_order(self) -> None:
        """No start before the success of what a task depends on, and none after its own."""
        satisfied = dict(self.successes())
        rows = self.server.sql("SELECT task_flow_id, task_exec_seq, depends_on FROM kr_task_stat")
        needed = {(flow, seq): [(flow, before) for before in json.loads(depends_on)] for flow, seq, depends_on in rows}
        for place, ts in self.starts():
            assert all(satisfied[before] <= ts for before in needed[place]), f"{place} was started too early"
            assert ts <= satisfied[place], f"{place} was started after its success"

    def _assert_effects(self) -> None:
        """Each task of the program Effect had its effect once."""
        query = "SELECT task_flow_id || ':' || task_exec_seq || ':' || run FROM kr_task_stat WHERE program = 'Effect'"
        keys = self.server.sql("SELECT key FROM probe_effect")
        assert sorted(keys) == sorted(self.server.sql(query))


@pytest.fixture
def books(server: Server) -> Books:
    """Those of this test's server."""
    return Books(server)


@pytest.fixture
def others(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Books]:
    """The books of a second server, not started yet."""
    state = tmp_path_factory.mktemp("other")
    shutil.copytree(migrated, state, dirs_exist_ok=True)
    made = Server(state)
    yield Books(made)
    if made.process is not None:
        made.end(signal.SIGKILL)


def clock() -> str:
    """Now, as SQLite writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


def define_chain(server: Server) -> None:
    for seq in range(1, LENGTH + 1):
        server.define("chain", seq, "Effect", "seconds", "0.4")


def define_forks(server: Server) -> None:
    """Forks of three, one branch each in a child process."""
    before: list[int] = []
    for seq in range(1, LENGTH + 1, 4):
        branches = [seq + 1, seq + 2, seq + 3]
        server.define("forks", seq, "Effect", "seconds", "0.4", depends_on=json.dumps(before))
        for branch in branches:
            options: dict[str, Any] = {"time_limit": 50} if branch == seq + 1 else {}
            server.define("forks", branch, "Effect", "seconds", "0.4", depends_on=json.dumps([seq]), **options)
        before = branches


@pytest.mark.fault("standalone is killed", within=WORKER_SECONDS)
def test_it_is_killed_at_every_step(server: Server, books: Books) -> None:
    """One chain stops at the step; the other flows are wherever they are."""
    wishes = server.state / "wishes"
    wishes.mkdir()
    server.services[VARIABLE] = str(wishes)
    define_chain(server)
    define_forks(server)
    server.start()
    chain, *_ = books.register("chain", "chain", "forks", "forks")
    until(lambda: len(books.starts()) > 6, what=lambda: server.text)
    for step in STEPS:
        since = clock()
        assert server.end(signal.SIGKILL) == -signal.SIGKILL
        interrupted = books.tasks(1)
        wish = Wish(wishes, chain, 2 + max(seq for (_, seq), _ in books.starts(chain)), step)
        wish.make()
        server.start()
        books.recovered(chain, since, WORKER_SECONDS)
        until(lambda: wish.pid and set(interrupted) <= set(books.tasks(3)), what=lambda: server.text)  # noqa: B023 - used at once
    since = clock()
    server.end(signal.SIGKILL)
    assert not books.has_finished()
    server.start()
    books.recovered(chain, since, WORKER_SECONDS)
    books.await_finished(LENGTH + WORKER_SECONDS)
    books.assert_sound()


@pytest.mark.fault("the child process of a limited program is killed", within=CHILD_SECONDS)
def test_children_are_killed(server: Server, books: Books, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    server.define("limited", 1, "Gate", "path", str(gate), time_limit=50)
    server.define("limited", 2, "Effect")
    server.start()
    pids = "SELECT pid FROM probe_start WHERE flow_id = ?"
    for flow_id in books.register(*["limited"] * (6 if LONG else 3)):
        ((pid,),) = until(lambda: server.sql(pids, flow_id), what=lambda: server.text)  # noqa: B023 - used at once
        since = clock()
        os.kill(pid, signal.SIGKILL)
        books.recovered(flow_id, since, CHILD_SECONDS)
    gate.touch()
    books.await_finished(WORKER_SECONDS)
    books.assert_sound()
    assert server.sql("SELECT DISTINCT task_exec_seq, rescues FROM kr_task_stat ORDER BY 1") == [(1, 1), (2, 0)]


@pytest.mark.fault("standalone is frozen for longer than the lease")
def test_it_is_frozen(books: Books, others: Books, tmp_path: Path) -> None:
    """By a signal, and by a program that lets no other thread run."""
    assert conf.get().LEASE_SECONDS < STILL
    gate = tmp_path / "gate"
    stopped, held = books.server, others.server
    patience = {"param2_key": "seconds", "param2_value": str(4 * STILL)}
    stopped.define("flow", 1, "Gate", "path", str(gate), depends_on="[]", **patience)
    stopped.define("flow", 2, "Gate", "path", str(gate), depends_on="[]", time_limit=5 * STILL, **patience)
    stopped.define("flow", 3, "Effect", depends_on="[1, 2]")
    held.define("flow", 1, "HoldLock", "seconds", str(STILL))
    held.define("flow", 2, "Effect")
    for site, first in ((books, 2), (others, 1)):
        site.server.define("meanwhile", 1, "Effect")
        site.server.define("meanwhile", 2, "Effect")
        site.server.start()
        site.register("flow")
        until(lambda: len(site.starts()) == first, what=lambda: site.server.text)  # noqa: B023 - used at once
    assert stopped.process is not None
    stopped.process.send_signal(signal.SIGSTOP)
    begun = time.monotonic()
    for site in (books, others):
        site.server.run("meanwhile")
    assert len(books.starts()) == 2
    assert len(others.starts()) == 1
    until(lambda: time.monotonic() >= begun + STILL, 2 * STILL)
    stopped.process.send_signal(signal.SIGCONT)
    others.await_finished(WORKER_SECONDS)
    gate.touch()
    books.await_finished(WORKER_SECONDS)
    for site in (books, others):
        site.assert_sound()
        assert set(Counter(place for place, _ in site.starts()).values()) == {1}
        assert site.server.sql("SELECT DISTINCT rescues FROM kr_task_stat") == [(0,)]
