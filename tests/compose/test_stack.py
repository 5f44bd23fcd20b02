"""The stack of docker-compose.yml on a real engine, from a fresh copy of the repository to its breakdowns.

The tests share one stack and leave it running. They take about ten minutes.
"""

from __future__ import annotations

import json
import re
import time

import pytest

from tests.compose.conftest import PASSWORD, Make
from tests.compose.engine import IMAGES, run
from tests.compose.stack import Stack, readme_block
from tests.services import until

DOWN_SECONDS = 35
KILL = "import os; os.kill(-1, 9)"
"""Ends every process of a container but its first, which then ends with the status of the killed one."""
ASK = """
import sys
from http.client import HTTPConnection
connection = HTTPConnection(sys.argv[1], int(sys.argv[2]), timeout=5)
try:
    connection.request(sys.argv[3], sys.argv[4], headers={"Host": "localhost:8000"})
    print(connection.getresponse().status)
except OSError as error:
    print(type(error).__name__)
"""
A4 = "curl -X POST -H 'Content-Type:application/json' localhost:8000/register -i -d '{\"taskId\": \"sample\"}'"


@pytest.fixture(scope="module")
def started(stack: Stack) -> dict[str, str]:
    """What README's lines print, typed as they are written."""
    block = readme_block()
    assert block[0].startswith("docker compose up"), block
    assert any(line.startswith("curl ") for line in block), block
    return {line: stack.type(line) for line in block}


@pytest.fixture(autouse=True)
def _up(started: dict[str, str]) -> None:
    """Each test finds the stack started."""


def password_of_admin(stack: Stack) -> str:
    """The password that the log shows."""
    shown = re.findall(r"as admin with password (\S+)", stack.log("migrate"))
    assert len(shown) == 1, stack.log("migrate")
    return str(shown[0])


def ask(stack: Stack, network: str, host: str, method: str, path: str, port: int = 8000) -> str:
    """Status of the answer to a container on ``network``, or the name of the error."""
    command = ["docker", "run", "--rm", "--network", network, IMAGES[2], "python", "-c", ASK]
    result = run(*command, host, str(port), method, path)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


# From nothing to a finished flow


def test_the_lines_of_the_readme_start_it_and_register_a_flow_that_finishes(
    stack: Stack, started: dict[str, str]
) -> None:
    answers = [answer for line, answer in started.items() if line.startswith("curl ")]
    answer = json.loads(answers[0])
    assert (answer["status"], answer["taskId"]) == ("succeeded", "example")
    stack.await_finish(answer["taskFlowId"])


def test_the_first_lines_of_the_compose_file_are_its_usage(stack: Stack) -> None:
    comment = (stack.directory / "docker-compose.yml").read_text(encoding="utf-8").split("\n\n")[0]
    lines = [line.lstrip("# ") for line in comment.splitlines() if line.lstrip("# ").startswith("curl ")]
    assert lines
    for line in lines:
        assert '"status":"succeeded"' in stack.type(line).replace(" ", "")


def test_the_seeds_lines_answer_as_written(stack: Stack) -> None:
    example = json.loads(stack.type("curl -X POST localhost:8000/register/example"))
    assert {**example, "taskFlowId": ""} == {"status": "succeeded", "taskId": "example", "taskFlowId": ""}
    head, _, body = stack.type(A4).partition("\n\n")
    sample = json.loads(body)
    assert head.startswith("HTTP/1.1 200 OK")
    assert {**sample, "taskFlowId": ""} == {"status": "succeeded", "taskId": "sample", "taskFlowId": ""}
    stack.await_finish(example["taskFlowId"], sample["taskFlowId"])
    columns = "task_exec_seq, depends_task_exec_seq, task_priority, parameters"
    rows = {
        name: stack.sql(f"SELECT {columns} FROM kr_task_stat WHERE task_flow_id = '{answer['taskFlowId']}' ORDER BY 1")  # noqa: S608
        for name, answer in (("example", example), ("sample", sample))
    }
    parameters = [json.loads(row[3]) for row in rows["example"]]
    assert [row[:2] for row in rows["example"]] == [["1", "-1"], ["2", "1"], ["3", "2"]]
    assert parameters == [
        {},
        {"SLEEP_TIME_SECOND": "3"},
        {"URL": "http://web:8000/echo", "BODY": '{"id": "test"}'},
    ]
    assert [row[2] for row in rows["sample"]] == ["10", "10", "10"]


def test_all_services_are_healthy_and_the_web_server_says_so(stack: Stack) -> None:
    for service in ("db", "redis", "web", "worker"):
        assert stack.inspect(service, "{{.State.Health.Status}}") == "healthy"
        assert stack.inspect(service, "{{.HostConfig.RestartPolicy.Name}}") == "unless-stopped"
    assert stack.get("/readyz") == {"status": "ok", "database": "ok", "workers": "ok", "broker": "ok"}


def test_a_second_up_changes_nothing(stack: Stack) -> None:
    password = password_of_admin(stack)
    check = (
        f"from django.contrib.auth import authenticate; print(authenticate(username='admin', password='{password}'))"
    )
    containers = {service: stack.id_of(service) for service in ("db", "redis", "web", "worker")}
    before = stack.sql("SELECT count(*), max(id) FROM ms_task_definition")
    stack.up()
    assert password_of_admin(stack) == password
    assert {service: stack.id_of(service) for service in containers} == containers
    assert stack.sql("SELECT count(*), max(id) FROM ms_task_definition") == before
    assert stack.sql("SELECT username FROM auth_user") == [["admin"]]
    assert stack.compose("exec", "-T", "web", "python", "manage.py", "shell", "-v0", "-c", check).strip() == "admin"


# Who may call


def test_without_a_login_only_the_machine_may_register(stack: Stack) -> None:
    own = f"{stack.directory.name}_default"
    assert ask(stack, own, "web", "POST", "/register/sample") in ("401", "403")
    assert ask(stack, own, "web", "GET", "/api/flows/") in ("401", "403")
    address = stack.inspect("web", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}")
    assert ask(stack, "bridge", address, "POST", "/register/sample") == "TimeoutError"
    gateway = stack.inspect("web", "{{range .NetworkSettings.Networks}}{{.Gateway}}{{end}}")
    for network in (own, "bridge"):
        assert ask(stack, network, gateway, "POST", "/register/sample", stack.port) == "ConnectionRefusedError"
    assert stack.register("sample")


def test_nothing_but_the_web_server_is_published_and_that_on_loopback(stack: Stack) -> None:
    for service in ("db", "redis", "worker"):
        assert stack.inspect(service, "{{json .HostConfig.PortBindings}}") in ("{}", "null")
    bindings = json.loads(stack.inspect("web", "{{json .HostConfig.PortBindings}}"))
    assert {binding["HostIp"] for group in bindings.values() for binding in group} == {"127.0.0.1"}


def test_the_secret_key_is_made_once_and_shared(stack: Stack) -> None:
    show = "from django.conf import settings; print(settings.SECRET_KEY)"
    keys = {
        stack.compose("exec", "-T", service, "python", "manage.py", "shell", "-v0", "-c", show).strip()
        for service in ("web", "worker")
    }
    assert len(keys) == 1
    assert len(keys.pop()) >= 50


def test_the_containers_have_few_rights(stack: Stack) -> None:
    for service in ("web", "worker"):
        assert stack.compose("exec", "-T", service, "id", "-u").strip() != "0"
        assert stack.try_compose("exec", "-T", service, "touch", "/app/manage.py").returncode != 0
        assert stack.inspect(service, "{{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}}") == "true [ALL]"


def test_the_image_is_one_and_holds_no_leftovers(stack: Stack) -> None:
    images = {stack.inspect(service, "{{.Image}}") for service in ("migrate", "web", "worker")}
    assert len(images) == 1
    listed = stack.compose("exec", "-T", "web", "ls", "-A", "/app").split()
    assert set(listed) == {"manage.py", "flowerapp", "project", "templates", "staticfiles"}


def test_the_web_server_logs_calls_without_their_queries_and_not_its_own_health(stack: Stack) -> None:
    stack.get("/api/flows/?status=Finish")
    assert (
        stack.compose("exec", "-T", "web", "python", "-c", ASK, "127.0.0.1", "8000", "GET", "/readyz").strip() == "200"
    )
    log = stack.log("web")
    assert '"GET /api/flows/" 200' in log
    assert "Finish" not in log
    assert "/readyz" not in log


# What breaks


def test_a_killed_worker_is_restarted_by_its_policy_and_its_flow_finishes(stack: Stack) -> None:
    stack.define_sleep("killed", 15)
    flow_id = stack.register("killed")
    stack.await_running(flow_id)
    restarts = int(stack.inspect("worker", "{{.RestartCount}}"))
    stack.try_compose("exec", "-T", "worker", "python", "-c", KILL)
    until(lambda: int(stack.inspect("worker", "{{.RestartCount}}")) == restarts + 1, 30, what=stack.log)
    stack.await_finish(flow_id, seconds=120)
    assert stack.tasks(flow_id) == [["3", "2", "1"]]


def test_without_a_worker_readyz_says_so_and_flows_wait(stack: Stack) -> None:
    stack.compose("stop", "worker")
    answer = stack.get("/readyz")
    assert (answer["status"], answer["workers"]) == ("ok", "none is alive; flows wait")
    flow_id = stack.register("sample")
    stack.compose("start", "worker")
    stack.await_finish(flow_id)
    assert stack.get("/readyz")["workers"] == "ok"


def test_down_hands_a_long_task_back_and_up_continues_it(stack: Stack) -> None:
    stack.define_sleep("long", 100)
    flow_id = stack.register("long")
    ended = stack.register("sample")
    stack.await_running(flow_id)
    stack.await_finish(ended)
    flows = stack.sql("SELECT count(*) FROM kr_task_flow")
    begun = time.monotonic()
    stack.compose("down")
    assert time.monotonic() - begun < DOWN_SECONDS
    stack.up()
    stack.await_running(flow_id, attempt=2)
    history = stack.sql(f"SELECT verb FROM kr_task_history WHERE task_flow_id = '{flow_id}'")  # noqa: S608
    assert ["hand_back"] in history
    assert stack.sql("SELECT count(*) FROM kr_task_flow") == flows
    stack.await_finish(flow_id, ended, seconds=150)
    assert stack.tasks(flow_id) == [["3", "2", "0"]]


def test_the_database_may_restart(stack: Stack) -> None:
    stack.define_sleep("through", 5)
    flow_ids = [stack.register("through") for _ in range(3)]
    stack.compose("restart", "db")
    flow_ids.append(until(lambda: _registered(stack), 60, poll=1))
    stack.await_finish(*flow_ids, seconds=120)


def _registered(stack: Stack) -> str | None:
    try:
        return stack.register("sample")
    except (AssertionError, ValueError, KeyError):  # while the database restarts it answers 503
        return None


def test_redis_may_lose_its_data(stack: Stack) -> None:
    stack.define_sleep("emptied", 3)
    flow_ids = [stack.register("emptied") for _ in range(6)]
    stack.compose("kill", "redis")
    stack.compose("rm", "--force", "redis")
    volume = f"{stack.directory.name}_redis"
    until(lambda: run("docker", "volume", "rm", volume).returncode == 0, 10)
    flow_ids.append(stack.register("sample"))
    stack.up()
    stack.await_finish(*flow_ids, seconds=150)


def test_the_web_server_waits_for_a_database_that_is_down(stack: Stack) -> None:
    stack.compose("stop", "db", "web")
    stack.compose("up", "--detach", "--no-deps", "web")
    until(lambda: _ready(stack) == "unavailable", 60, poll=0.5, what=stack.log)
    stack.compose("start", "db")
    until(lambda: _ready(stack) == "ok", 60, poll=0.5, what=stack.log)


def _ready(stack: Stack) -> str | None:
    try:
        return str(stack.get("/readyz")["status"])
    except (AssertionError, ValueError):
        return None


def test_more_workers_may_run(stack: Stack) -> None:
    stack.up("--scale", "worker=3")
    alive = "SELECT count(*) FROM kr_worker WHERE stopped_ts IS NULL AND seen_ts > now() - interval '5 s'"
    until(lambda: stack.sql(alive) == [["3"]], 60, poll=1, what=stack.log)
    stack.await_finish(*[stack.register("sample") for _ in range(6)])
    stack.up("--scale", "worker=1")


def test_a_changed_password_of_the_database_is_refused_with_its_cure(stack: Stack) -> None:
    result = stack.try_compose("up", "--detach", "--wait", POSTGRES_PASSWORD="another")
    assert result.returncode != 0
    log = stack.log("migrate")
    assert "POSTGRES_PASSWORD" in log
    assert "docker compose down --volumes" in log
    assert "Traceback" not in log
    stack.sql("ALTER USER flower PASSWORD 'another'")
    stack.up(POSTGRES_PASSWORD="another")
    stack.sql(f"ALTER USER flower PASSWORD '{PASSWORD}'")
    stack.up()
    stack.await_finish(stack.register("sample"))


def test_a_second_copy_runs_beside_the_first(stack: Stack, make_stack: Make) -> None:
    chosen = "chosen by the user"
    second = make_stack("second", 8001, DJANGO_SUPERUSER_PASSWORD=chosen, FLOWER_OPEN_API="0")
    second.up()
    check = f"from django.contrib.auth import authenticate; print(authenticate(username='admin', password='{chosen}'))"
    assert second.compose("exec", "-T", "web", "python", "manage.py", "shell", "-v0", "-c", check).strip() == "admin"
    assert chosen not in second.log()
    refused = second.type("curl --silent -X POST localhost:8000/register/sample")
    assert json.loads(refused)["status"] == "failed"
    flows = stack.sql("SELECT count(*) FROM kr_task_flow")
    run_line = ["exec", "-T", "web", "python", "manage.py", "flow", "run", "sample", "--wait"]
    second.compose(*run_line)
    assert second.sql("SELECT task_id, exec_status FROM kr_task_flow") == [["sample", "3"]]
    assert stack.sql("SELECT count(*) FROM kr_task_flow") == flows
    assert second.get("/readyz")["status"] == "ok"
