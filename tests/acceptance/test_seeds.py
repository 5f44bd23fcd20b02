"""The original's SQL, as written for it, on PostgreSQL with a real worker."""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.urls import reverse

from flowerapp.models import Flow, Workflow
from flowerapp.states import Status
from tests.acceptance.live import Live, start_counts, states, task
from tests.services import until

pytestmark = pytest.mark.parametrize("shared_site", ["redis-2"], indirect=True, scope="package")

EXAMPLE = """
INSERT INTO ms_task_definition(task_id, task_seq, program, task_priority)
VALUES ('{name}', 1, 'EchoRandomTimeSleep', 0);
INSERT INTO ms_task_definition(task_id, task_seq, program, task_priority, param1_key, param1_value)
VALUES ('{name}', 2, 'EchoParamTimeSleep', 0, 'SLEEP_TIME_SECOND', '3');
INSERT INTO ms_task_definition
    (task_id, task_seq, program, task_priority, param1_key, param1_value, param2_key, param2_value)
VALUES ('{name}', 3, 'HTTPPostRequest', 0, 'URL', '{url}', 'BODY', '{{"id": "test"}}');
"""
UNREACHABLE = "http://nowhere.invalid/post"


@contextmanager
def echo_server() -> Iterator[str]:
    """URL of a server on this machine that answers a POST with its body."""

    class Echo(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"data": ' + body + b"}")

        def log_message(self, format: str, *arguments: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/post"
        server.shutdown()
        thread.join()


def in_api(client: Client, flow: Flow) -> str:
    """What the API says about the flow."""
    return client.get(f"/api/flows/{flow.pk}/").content.decode()


def in_admin(flow: Flow) -> str:
    """What the admin's page of the flow shows."""
    client = Client(headers={"host": "localhost"})
    client.force_login(User.objects.create_superuser(f"admin-{secrets.token_hex(3)}"))
    return client.get(reverse("admin:flowerapp_flow_change", args=[flow.pk])).content.decode()


def in_show(flow: Flow, capsys: pytest.CaptureFixture[str]) -> str:
    """What ``flow show`` prints, on one line."""
    capsys.readouterr()
    call_command("flow", "show", flow.pk)
    return " ".join(capsys.readouterr().out.split())


def psql(live: Live, sql: str) -> None:
    """Run SQL as an operator would: by psql, or where there is none over a plain connection."""
    command = shutil.which("psql")
    if command:
        url = live.site.environment["DATABASE_URL"]
        subprocess.run([command, "-q", "-v", "ON_ERROR_STOP=1", url], input=sql, text=True, check=True)
    else:
        with connection.cursor() as cursor:
            cursor.execute(sql)


def test_the_example_fails_without_network_and_finishes_after_a_rerun(
    live: Live, settings: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    settings.FLOWER = {**settings.FLOWER, "OPEN_API": True}
    settings.ALLOWED_HOSTS = ["localhost"]
    client = Client(headers={"host": "localhost"})
    name = f"example-{secrets.token_hex(3)}"
    psql(live, EXAMPLE.format(name=name, url=UNREACHABLE))
    assert not Workflow.objects.filter(pk=name).exists()
    answer = client.post(f"/register/{name}").json()
    assert (answer["status"], answer["taskId"]) == ("succeeded", name)
    flow = Flow.objects.get(pk=answer["taskFlowId"])
    assert list(flow.tasks.values_list("task_exec_seq", "depends_task_exec_seq", "parameters")) == [
        (1, -1, {}),
        (2, 1, {"SLEEP_TIME_SECOND": "3"}),
        (3, 2, {"URL": UNREACHABLE, "BODY": '{"id": "test"}'}),
    ]
    live.wait(flow, Status.SUSPEND)
    assert flow.failed_seq == 3
    assert states(flow) == {1: Status.FINISH, 2: Status.FINISH, 3: Status.SUSPEND}
    assert "nowhere.invalid" in task(flow, 3).error
    assert "resolve" in task(flow, 3).error
    for shown in (in_api(client, flow), in_admin(flow), in_show(flow, capsys)):
        assert "cannot resolve nowhere.invalid" in shown
    with echo_server() as url:
        call_command("flow", "rerun", flow.pk, "--set", f"3.URL={url}")
        live.finish(flow)
    assert list(flow.tasks.values_list("task_exec_seq", "attempt")) == [(1, 1), (2, 1), (3, 2)]
    assert task(flow, 3).output == {"status": 200, "body": {"data": {"id": "test"}}}
    assert task(flow, 3).error == ""
    live.assert_faultless(flow)


def test_rows_inserted_into_kr_task_stat_are_adopted_and_run(live: Live) -> None:
    name, flow_id = f"batch-{secrets.token_hex(3)}", f"outside-{secrets.token_hex(6)}"
    parameters = json.dumps({"output": {"from": "outside"}})
    columns = "task_id, task_seq, program, task_priority"
    steps = ", ".join(f"('{name}', {seq}, 'Record', 0)" for seq in (1, 2, 3))
    rows = ", ".join(
        f"('{flow_id}', {seq}, {after}, '{name}', {seq}, 0, 0, '{parameters}', CURRENT_TIMESTAMP)"
        for seq, after in ((1, -1), (2, 1), (3, 1))
    )
    psql(
        live,
        f"""
        INSERT INTO ms_task_definition({columns}) VALUES {steps};
        INSERT INTO kr_task_stat(task_flow_id, task_exec_seq, depends_task_exec_seq, task_id, task_seq, exec_status,
            task_priority, parameters, registered_ts) VALUES {rows};
        """,  # noqa: S608 - the test's own values
    )
    until(Flow.objects.filter(pk=flow_id).exists, 5)
    flow = Flow.objects.get(pk=flow_id)
    assert flow.task_id == name
    live.finish(flow)
    assert start_counts(flow) == {1: 1, 2: 1, 3: 1}
    assert list(flow.tasks.values_list("depends_on", flat=True)) == [[], [1], [1]]
    assert task(flow, 3).output == {"from": "outside"}
    live.assert_faultless(flow)


def insert_rows(live: Live, flow_id: str, name: str, *statuses: int) -> None:
    """A chain as another system's batch writes it, a transaction for each row, the last row first and without times."""
    for seq, status in reversed(list(enumerate(statuses, start=1))):
        psql(
            live,
            "INSERT INTO kr_task_stat(task_flow_id, task_exec_seq, depends_task_exec_seq, task_id, task_seq,"  # noqa: S608
            f" exec_status, task_priority, parameters) VALUES ('{flow_id}', {seq}, {seq - 1 or -1}, '{name}', {seq},"
            f" {status}, 0, '{{}}')",
        )


def test_row_that_another_system_runs_blocks_its_followers_until_it_is_ended(live: Live) -> None:
    name, token = f"batch-{secrets.token_hex(3)}", secrets.token_hex(6)
    steps = ", ".join(f"('{name}', {seq}, 'Record', 0)" for seq in (1, 2, 3))
    psql(live, f"INSERT INTO ms_task_definition(task_id, task_seq, program, task_priority) VALUES {steps}")  # noqa: S608
    insert_rows(live, f"begun-{token}", name, 3, 1, 0)
    until(Flow.objects.filter(pk=f"begun-{token}", exec_status=Status.RUNNING).exists, 30)
    insert_rows(live, f"control-{token}", name, 0, 0, 0)
    until(Flow.objects.filter(pk=f"control-{token}").exists, 30)
    live.finish(Flow.objects.get(pk=f"control-{token}"))
    flow = Flow.objects.get(pk=f"begun-{token}")
    assert states(flow) == {1: Status.FINISH, 2: Status.RUNNING, 3: Status.WAIT}
    psql(
        live,
        "UPDATE kr_task_stat SET exec_status = 3"  # noqa: S608
        f" WHERE task_flow_id = 'begun-{token}' AND task_exec_seq = 2",
    )
    live.finish(flow)
    assert start_counts(flow) == {3: 1}
    assert all(flow.tasks.values_list("finished_ts", flat=True))
