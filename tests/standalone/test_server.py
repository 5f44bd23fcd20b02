"""The server as its first user meets it."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from tests.services import ROOT, until
from tests.standalone.conftest import Server


def post(url: str, body: bytes = b"", **headers: str) -> tuple[int, dict[str, Any]]:
    """POST as curl does; status and JSON."""
    with_dashes = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, data=body, headers=with_dashes, method="POST")  # noqa: S310 - our own server
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_registers_example_and_sample_without_login(fresh: Server) -> None:
    server = fresh.start()
    status, answer = post(f"{server.url}/register/example")
    assert (status, answer["status"], answer["taskId"]) == (200, "succeeded", "example")
    example = answer["taskFlowId"]
    status, answer = post(f"{server.url}/register", b'{"taskId": "sample"}', Content_Type="application/json")
    assert (status, answer["status"], answer["taskId"]) == (200, "succeeded", "sample")
    server.await_states(answer["taskFlowId"], 3, 3, 3)
    server.await_states(example, 3, 3, 3)
    rows = server.sql(
        "SELECT task_exec_seq, depends_task_exec_seq, parameters FROM kr_task_stat WHERE task_flow_id = ? ORDER BY 1",
        example,
    )
    assert [(seq, depends, json.loads(parameters)) for seq, depends, parameters in rows] == [
        (1, -1, {}),
        (2, 1, {"SLEEP_TIME_SECOND": "3"}),
        (3, 2, {"URL": f"{server.url}/echo", "BODY": '{"id": "test"}'}),
    ]
    priorities = server.sql("SELECT task_priority FROM kr_task_stat WHERE task_flow_id = ?", answer["taskFlowId"])
    assert priorities == [(10,)] * 3


def test_littleflow_clients_list_and_start_without_login(fresh: Server) -> None:
    server = fresh.start()
    body = '{"workflow": "A → B"}'.encode()
    status, answer = post(f"{server.url}/workflows/start", body, Content_Type="application/json")
    assert (status, answer["status"]) == (200, "Success")
    with urllib.request.urlopen(f"{server.url}/workflows/", timeout=20) as listed:  # noqa: S310 - our own server
        assert {"id": answer["workflow"].removeprefix("workflow:"), "state": "RUNNING"} in json.load(listed)


def test_refuses_what_it_does_not_know_and_other_sites(server: Server) -> None:
    server.start()
    status, answer = post(f"{server.url}/register/nothing")
    assert (status, answer["status"], answer["taskId"]) == (404, "failed", "nothing")
    form = urllib.parse.urlencode({"taskId": "sample"}).encode()
    status, _ = post(
        f"{server.url}/register",
        form,
        Origin="http://elsewhere.example",
        Content_Type="application/x-www-form-urlencoded",
    )
    assert status == 403
    assert server.sql("SELECT count(*) FROM kr_task_flow") == [(0,)]


def test_the_open_door_says_so_and_is_closed_to_nginx(server: Server) -> None:
    server.start()
    assert "register and read without a login; put no proxy in front" in server.text
    place = server.url.removeprefix("http://")
    host, _, port = place.rpartition(":")
    lines = ["GET /api/flows/ HTTP/1.0", f"Host: {place}", "Connection: close", "User-Agent: curl/8", "Accept: */*"]
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert b" 403 " in answer.partition(b"\r\n")[0]
    assert b"not open through a proxy" in answer


def test_its_files_are_its_owners_alone(server: Server) -> None:
    for path in (server.state, *server.state.iterdir()):
        path.chmod(path.stat().st_mode | 0o077)
    server.start()
    post(f"{server.url}/register/sample")
    names = {path.name: path.stat().st_mode & 0o777 for path in server.state.glob("flower.*")}
    assert names.keys() >= {"flower.sqlite3", "flower.sqlite3-wal", "flower.sqlite3-shm", "flower.lock"}
    assert set(names.values()) == {0o600}
    assert server.state.stat().st_mode & 0o777 == 0o700


def test_flow_run_from_another_process(server: Server) -> None:
    server.start()
    done = server.command("flow", "run", "sample", "--follow")
    assert done.returncode == 0, done.stderr
    for name in ("Test1", "Test2", "Test3"):
        assert name in done.stderr


def test_prints_the_password_once_and_ends_in_time(server: Server) -> None:
    server.start()
    assert "with password" in server.text
    assert server.end(signal.SIGINT) == 0
    server.start()
    assert "with password" not in server.text
    assert "changepassword admin" in server.text
    assert server.end() == 0
    assert server.sql("SELECT count(*) FROM kr_worker WHERE stopped_ts IS NULL") == [(0,)]


def test_run_and_exit(server: Server) -> None:
    done = server.command("standalone", "--port", "0", "--run", "sample", "--exit")
    assert done.returncode == 0, done.stderr
    assert "Test3" in done.stderr
    assert server.command("standalone", "--port", "0", "--run", "samples", "--exit").returncode == 2
    assert server.command("standalone", "--port", "0", "--exit").returncode == 2
    server.define("fails", 1, "EchoParamTimeSleep", "SLEEP_TIME_SECOND", "20", time_limit=1)
    done = server.command("standalone", "--port", "0", "--run", "fails", "--exit")
    assert done.returncode == 1, done.stderr
    assert "timed out after 1 s" in done.stderr


def test_refuses_a_second_server_and_a_port_in_use(server: Server, tmp_path: Path) -> None:
    server.start()
    done = server.command("standalone", "--port", "0")
    assert done.returncode == 2
    assert "another standalone server" in done.stderr
    elsewhere = Server(tmp_path / "elsewhere")
    elsewhere.state.mkdir()
    port = server.url.rpartition(":")[2]
    done = elsewhere.command("standalone", "--port", port)
    assert done.returncode == 2
    assert port in done.stderr
    assert "--port" in done.stderr


def test_ships_workflows_without_overwriting_them(server: Server) -> None:
    server.start()
    first = server.url
    server.sql("UPDATE ms_task_definition SET task_priority = 3 WHERE task_id = 'sample'")
    server.end()
    server.start()
    assert server.url != first
    assert server.sql("SELECT DISTINCT task_priority FROM ms_task_definition WHERE task_id = 'sample'") == [(3,)]
    url = "SELECT param1_value FROM ms_task_definition WHERE task_id = 'example' AND task_seq = 3"
    assert server.sql(url) == [(f"{server.url}/echo",)]
    server.sql("UPDATE ms_task_definition SET param1_value = 'https://example.org/post' WHERE param1_key = 'URL'")
    server.end()
    server.start()
    assert server.sql(url) == [("https://example.org/post",)]


def test_echo_page(server: Server) -> None:
    server.start()
    status, answer = post(f"{server.url}/echo", b'{"id": "test"}', Content_Type="application/json")
    assert (status, answer["json"], answer["data"]) == (200, {"id": "test"}, '{"id": "test"}')
    assert answer["headers"]["content-type"] == "application/json"
    assert post(f"{server.url}/echo", b"no json")[1]["json"] is None
    assert post(f"{server.url}/echo", b"x" * (1024 * 1024 + 1))[0] == 413


def test_continues_after_kill_9(server: Server, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    server.start()
    server.define("gated", 1, "Record")
    server.define("gated", 2, "Gate", "path", str(gate))
    server.define("gated", 3, "Gate", "path", str(gate), time_limit=50)
    server.define("gated", 4, "Record")
    flow_id = server.run("gated")
    starts = "SELECT count(*) FROM probe_start WHERE flow_id = ? AND seq = 2"
    until(lambda: server.sql(starts, flow_id) == [(1,)], 15, what=lambda: server.text)
    assert server.end(signal.SIGKILL) == -signal.SIGKILL
    server.start()
    until(lambda: server.sql(starts, flow_id) == [(2,)], 15, what=lambda: server.text)
    gate.touch()
    server.await_states(flow_id, 3, 3, 3, 3)
    seqs = server.sql("SELECT seq FROM probe_start WHERE flow_id = ? ORDER BY id", flow_id)
    assert [seq for (seq,) in seqs] == [1, 2, 2, 3, 4]


def test_stopping_ends_in_five_seconds_and_counts_as_no_loss(server: Server, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    server.start()
    server.define("gated", 1, "Gate", "path", str(gate))
    flow_id = server.run("gated")
    for starts in range(1, 3):
        started = "SELECT count(*) FROM probe_start WHERE flow_id = ?"
        until(lambda: server.sql(started, flow_id) == [(starts,)], 10, what=lambda: server.text)  # noqa: B023 - used at once
        begun = time.monotonic()
        assert server.end() == 0
        assert time.monotonic() - begun < 8
        server.start()
    gate.touch()
    server.await_states(flow_id, 3)
    assert server.sql("SELECT rescues, attempt FROM kr_task_stat") == [(0, 3)]


def test_listens_for_others_only_with_a_login(server: Server) -> None:
    server.start("--host", "0.0.0.0")  # noqa: S104 - what is tested
    assert "OPEN_API is off" in server.text
    status, _ = post(f"{server.url}/register/sample")
    assert status in (401, 403)


def test_a_worker_without_a_broker_says_what_to_set(server: Server) -> None:
    command = [sys.executable, "-m", "celery", "-A", "project", "worker"]
    done = subprocess.run(command, cwd=ROOT, env=server.environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "CELERY_BROKER_URL" in done.stderr
