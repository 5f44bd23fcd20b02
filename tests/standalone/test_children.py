"""Programs with a time limit."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from tests.services import until
from tests.standalone.conftest import Server


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    return not status.exists() or ") Z " not in status.read_text()


def _pid(server: Server, flow_id: str) -> int:
    query = "SELECT pid FROM probe_start WHERE flow_id = ?"
    return int(until(lambda: server.sql(query, flow_id), 30, what=lambda: server.text)[0][0])


def test_a_limit_kills(server: Server, tmp_path: Path) -> None:
    server.start()
    server.define("slow", 1, "Gate", "path", str(tmp_path / "never"), time_limit=2)
    server.define("slow", 2, "Record")
    flow_id = server.run("slow")
    pid = _pid(server, flow_id)
    assert server.process is not None
    assert pid != server.process.pid
    server.await_states(flow_id, 2, 0)
    until(lambda: not _alive(pid), 5)
    assert server.sql("SELECT error FROM kr_task_stat WHERE task_exec_seq = 1") == [("timed out after 2 s",)]


def test_within_its_limit_it_hands_on(server: Server, tmp_path: Any) -> None:
    server.start()
    server.define("quick", 1, "Return", "value", "[1, 2]", time_limit=30)
    server.define("quick", 2, "Echo", time_limit=30)
    server.define("quick", 3, "FailWhile", "path", str(tmp_path), time_limit=30)
    flow_id = server.run("quick")
    server.await_states(flow_id, 3, 3, 2)
    rows = server.sql("SELECT output, error FROM kr_task_stat ORDER BY task_exec_seq")
    assert rows[0][0] == rows[1][0]
    assert "is in the way" in rows[2][1]


def test_cancel_kills(server: Server, tmp_path: Path) -> None:
    server.start()
    server.define("slow", 1, "Gate", "path", str(tmp_path / "never"), time_limit=50)
    flow_id = server.run("slow")
    pid = _pid(server, flow_id)
    assert server.command("flow", "cancel", flow_id).returncode == 0
    until(lambda: not _alive(pid), 5)
    assert server.states(flow_id) == [9]


def test_children_end_with_their_server(server: Server, tmp_path: Path) -> None:
    server.start()
    server.define("slow", 1, "Gate", "path", str(tmp_path / "never"), time_limit=50)
    pid = _pid(server, server.run("slow"))
    server.end(signal.SIGKILL)
    until(lambda: not _alive(pid), 5)


def test_a_killed_child_is_started_again(server: Server, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    server.start()
    server.define("slow", 1, "Gate", "path", str(gate), time_limit=50)
    flow_id = server.run("slow")
    os.kill(_pid(server, flow_id), signal.SIGKILL)
    starts = "SELECT count(*) FROM probe_start WHERE flow_id = ?"
    until(lambda: server.sql(starts, flow_id) == [(2,)], 10, what=lambda: server.text)
    gate.touch()
    server.await_states(flow_id, 3)
