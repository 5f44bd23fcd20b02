"""``manage.py flow``: output, exit codes and JSON."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from flowerapp import engine
from flowerapp.management.cli import follow
from flowerapp.models import Flow, HistoryEntry, Task, Worker
from flowerapp.querysets import clock
from flowerapp.states import Status
from flowerapp.testing import InlineRunner, inline
from tests.cli.support import define, flow

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def etl() -> None:
    """Three steps in a row."""
    define("etl", {"program": "Return"}, {"program": "Echo"}, {"program": "Noop"})


@pytest.fixture
def breaking(tmp_path: Path) -> Path:
    """A workflow whose second step fails while the returned file exists."""
    path = tmp_path / "broken"
    path.touch()
    define(
        "breaking",
        {"program": "Noop"},
        {"program": "FailWhile", "parameters": {"path": str(path)}},
        {"program": "Noop"},
    )
    return path


@pytest.fixture
def failed(breaking: Path, runner: InlineRunner) -> Flow:
    """A flow that stopped at its second task."""
    begun = engine.register("breaking")
    runner.run()
    begun.refresh_from_db()
    assert begun.status is Status.SUSPEND
    return begun


@pytest.mark.usefixtures("etl", "runner")
class TestRun:
    def test_prints_the_id_and_nothing_else(self) -> None:
        answer = flow("run", "etl")
        assert answer.code == 0
        assert answer.out == f"{Flow.objects.get().pk}\n"
        assert answer.err == ""

    def test_records_who_registered_it(self) -> None:
        flow("run", "etl")
        assert Flow.objects.get().registered_by.startswith("cli:")

    def test_takes_input_priority_entrance_and_parameters(self, tmp_path: Path) -> None:
        (tmp_path / "input.json").write_text('{"a": [1]}')
        options = (
            "--input",
            f"@{tmp_path / 'input.json'}",
            "--priority",
            "-3",
            "--entrance",
            "2",
            "--set",
            "1.value:=[1]",
        )
        assert flow("run", "etl", *options).code == 0
        registered = Flow.objects.get()
        assert registered.input == {"a": [1]}
        assert registered.task_priority == -3
        states = list(registered.tasks.order_by("task_exec_seq").values_list("exec_status", flat=True))
        assert states == [Status.IGNORE, Status.WAIT, Status.WAIT]
        assert registered.tasks.get(task_exec_seq=1).parameters == {"value": [1]}

    def test_json_is_the_flow(self) -> None:
        document = flow("run", "etl", "--json").json
        assert document["task_flow_id"] == Flow.objects.get().pk
        assert (document["task_id"], document["exec_status"], document["status"]) == ("etl", 0, "Wait")

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("nope",), "nope"),
            (("etl", "--input", "{"), "column 2"),
            (("etl", "--input", '{"a": NaN}'), "NaN"),
            (("etl", "--input", "@/does/not/exist"), "/does/not/exist"),
            (("etl", "--input", '"\\u0000"'), "NUL"),
            (("etl", "--priority", "20"), "priority 20"),
            (("etl", "--entrance", "9"), "entrance 9"),
            (("etl", "--entrance", "load"), "entrance 'load'"),
            (("etl", "--entrance", ""), "entrance ''"),
            (("etl", "--set", "nonsense"), "SEQ.KEY=VALUE"),
            (("etl", "--set", "9.a=b"), "step 9"),
            (("etl", "--set", "3.a=b"), "no such parameter"),
            (("etl", "--set", "1.value:={"), "value is not JSON"),
            (("etl\udcff",), "UTF-8"),
        ],
    )
    def test_wrong_usage_writes_nothing(self, arguments: tuple[str, ...], message: str) -> None:
        answer = flow("run", *arguments)
        assert answer.code == 2
        assert message in answer.err
        assert answer.out == ""
        assert not Flow.objects.exists()


@pytest.mark.parametrize("how", ["--wait", "--follow"])
class TestWaiting:
    @pytest.mark.usefixtures("etl", "busy")
    def test_finish(self, how: str) -> None:
        answer = flow("run", "etl", how)
        assert answer.code == 0
        assert answer.out == f"{Flow.objects.get().pk}\n"
        assert "✓ Finished" in answer.err

    @pytest.mark.usefixtures("breaking", "busy")
    def test_failure_names_the_task_its_error_and_what_to_type(self, how: str) -> None:
        answer = flow("run", "breaking", how)
        flow_id = Flow.objects.get().pk
        assert answer.code == 1
        assert "Task 2 FailWhile failed" in answer.err
        assert "is in the way" in answer.err
        for line in (f"flow rerun {flow_id}", f"flow rerun {flow_id} --set 2.path=…", f"flow skip {flow_id} 2"):
            assert line in answer.err

    @pytest.mark.usefixtures("etl")
    def test_cancelled_meanwhile(self, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(
            "flowerapp.management.cli.follow.time.sleep", lambda seconds: engine.cancel(Flow.objects.get().pk)
        )
        with inline():
            answer = flow("run", "etl", how)
        assert answer.code == 1
        assert "cancelled" in answer.err

    @pytest.mark.usefixtures("etl", "runner")
    def test_interrupt_detaches(self, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
        def interrupt(seconds: float) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr("flowerapp.management.cli.follow.time.sleep", interrupt)
        answer = flow("run", "etl", how)
        assert answer.code == 0
        assert f"detached: flow {Flow.objects.get().pk} continues" in answer.err
        assert Flow.objects.get().status is Status.WAIT

    @pytest.mark.usefixtures("etl", "busy")
    def test_json_is_one_document_with_the_tasks(self, how: str) -> None:
        document = flow("run", "etl", how, "--json").json
        assert document["status"] == "Finish"
        assert [task["status"] for task in document["tasks"]] == ["Finish"] * 3

    @pytest.mark.usefixtures("etl")
    def test_missing_workers_are_noted_once(
        self, how: str, runner: InlineRunner, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        looks: list[float] = []

        def sleep(seconds: float) -> None:
            looks.append(seconds)
            if len(looks) > 3:
                runner.run()

        monkeypatch.setattr(follow, "NOTICE_SECONDS", 0.0)
        monkeypatch.setattr("flowerapp.management.cli.follow.time.sleep", sleep)
        answer = flow("run", "etl", how)
        assert answer.code == 0
        assert answer.err.count("no worker is running; start one with: celery -A tests worker") == 1


def test_follow_prints_a_line_per_change(etl: None, busy: InlineRunner) -> None:
    lines = flow("run", "etl", "--follow").err.splitlines()
    assert [line for line in lines if "task 2 Echo ✓ Finished" in line] != []
    assert len([line for line in lines if "task 1 " in line]) == 1


class TestRerun:
    def test_the_failed_task(self, failed: Flow, breaking: Path, busy: InlineRunner) -> None:
        breaking.unlink()
        answer = flow("rerun", failed.pk, "--follow")
        assert answer.code == 0
        assert "task 1 " not in answer.err
        assert failed.tasks.get(task_exec_seq=1).attempt == 1

    def test_with_another_parameter(self, failed: Flow, busy: InlineRunner) -> None:
        answer = flow("rerun", failed.pk[:-2], "--set", "2.path=/does/not/exist", "--wait", "--why", "moved")
        assert answer.code == 0
        assert HistoryEntry.objects.get(verb="rerun").reason == "moved"

    def test_nothing_failed(self, etl: None, runner: InlineRunner) -> None:
        begun = engine.register("etl")
        runner.run()
        answer = flow("rerun", begun.pk)
        assert answer.code == 2
        assert "has failed" in answer.err
        assert flow("rerun", begun.pk, "--from", 9).code == 2
        assert flow("rerun", begun.pk, "--from", 2, "--json").json["status"] in {"Wait", "Running"}
        assert flow("rerun", begun.pk, "--all").code == 0

    def test_over_a_running_task(self, etl: None, runner: InlineRunner) -> None:
        begun = engine.register("etl")
        begun.tasks.filter(task_exec_seq=1).update(exec_status=Status.RUNNING, attempt=1)
        answer = flow("rerun", begun.pk, "--from", 1)
        assert answer.code == 2
        assert "Running" in answer.err


class TestVerbs:
    def test_suspend_resume_cancel(self, etl: None, runner: InlineRunner) -> None:
        flow_id = engine.register("etl").pk
        held = flow("suspend", flow_id, "--why", "lunch")
        assert (held.code, held.out) == (0, f"{flow_id}  ‖ Held\n")
        assert flow("suspend", flow_id).code == 2
        assert flow("resume", flow_id, "--json").json["held"] is False
        assert flow("resume", flow_id).code == 2
        assert flow("cancel", flow_id).out == f"{flow_id}  ⊘ Cancelled\n"
        assert flow("cancel", flow_id).code == 2
        event = HistoryEntry.objects.get(verb="suspend")
        assert event.reason == "lunch"
        assert event.actor.startswith("cli:")

    def test_skip(self, failed: Flow, runner: InlineRunner) -> None:
        assert flow("skip", failed.pk, 2).code == 0
        runner.run()
        failed.refresh_from_db()
        assert failed.status is Status.FINISH
        assert flow("skip", failed.pk, 2).code == 2
        assert flow("skip", failed.pk, 99).code == 2
        assert flow("skip", failed.pk, 10**20).code == 2

    def test_set(self, failed: Flow) -> None:
        answer = flow("set", failed.pk, 2, "path=/nowhere", "--priority", "-5", "--queue", "special", "--json")
        assert answer.json["parameters"] == {"path": "/nowhere"}
        assert (answer.json["task_priority"], answer.json["queue"]) == (-5, "special")
        assert "special" in flow("set", failed.pk, 2, "path=/elsewhere").out

    @pytest.mark.parametrize("arguments", [(), ("nonsense",), ("path:=1",), ("nope=1",), ("--priority", "40")])
    def test_set_refuses(self, failed: Flow, arguments: tuple[str, ...]) -> None:
        assert flow("set", failed.pk, 2, *arguments).code == 2

    def test_set_refuses_a_finished_task(self, failed: Flow) -> None:
        assert flow("set", failed.pk, 1, "--priority", "1").code == 2


class TestShow:
    def test_what_failed_comes_first(self, failed: Flow) -> None:
        answer = flow("show", failed.pk)
        assert answer.code == 0
        assert answer.out.index("is in the way") < answer.out.index("Tasks")
        assert f"flow rerun {failed.pk}" in answer.out
        assert "Traceback" not in answer.out
        assert "Traceback" in flow("show", failed.pk, "--traceback").out

    def test_json(self, failed: Flow) -> None:
        document = flow("show", failed.pk, "--json").json
        assert document["failed"]["task_exec_seq"] == 2
        task = document["tasks"][1]
        assert (task["task_exec_seq"], task["depends_task_exec_seq"], task["status"]) == (2, 1, "Suspend")
        assert task["error"].startswith("ValueError")
        assert [event["verb"] for event in document["history"]] == ["fail"]
        assert set(document) >= {"logs", "unserved_queues", "input", "registered_ts"}

    def test_history_names_attempt_and_worker(self, failed: Flow) -> None:
        (event,) = HistoryEntry.objects.filter(task_flow=failed)
        Worker.objects.create(id=event.worker, name="w7@here", pid=1, pool="prefork", concurrency=1)
        history = flow("show", failed.pk).out.partition("History")[2]
        assert "w7@here" in history
        assert "fail" in history

    def test_a_queue_that_no_worker_serves(self, runner: InlineRunner) -> None:
        define("heavy", {"program": "Noop", "queue": "transcoding"})
        flow_id = engine.register("heavy").pk
        assert "'transcoding'" in flow("show", flow_id).out
        assert flow("show", flow_id, "--json").json["unserved_queues"] == ["transcoding"]

    def test_secrets_and_control_characters_are_not_shown(self, runner: InlineRunner) -> None:
        define("secret", {"program": "Noop"})
        begun = engine.register("secret", input={"token": "hush", "text": "\x1b[2J"})
        begun.tasks.update(error="\x1b[31m", exec_status=Status.SUSPEND)
        answer = flow("show", begun.pk)
        assert "hush" not in answer.out
        assert "\x1b" not in answer.out

    def test_prefixes(self, etl: None, runner: InlineRunner) -> None:
        first, second = engine.register("etl").pk, engine.register("etl").pk
        answer = flow("show", first[:6])
        assert answer.code == 2
        assert first in answer.err
        assert second in answer.err
        assert flow("show", first[:3]).code == 2
        assert flow("show", "nothing").code == 2
        assert flow("show", first[:-1], "--json").code in {0, 2}
        assert flow("show", first, "--json").json["task_flow_id"] == first


class TestListing:
    def test_flows(self, failed: Flow, etl: None) -> None:
        other = engine.register("etl").pk
        assert [row["task_flow_id"] for row in flow("list", "--json").json] == [other, failed.pk]
        assert [row["task_id"] for row in flow("list", "--status", "suspend", "--json").json] == ["breaking"]
        assert [row["task_id"] for row in flow("list", "--workflow", "etl", "--json").json] == ["etl"]
        assert len(flow("list", "--limit", 1, "--json").json) == 1
        assert failed.pk in flow("list").out
        assert flow("list", "--workflow", "nope").out == "no flows\n"
        assert flow("list", "--status", "nonsense").code == 2

    @pytest.mark.usefixtures("etl")
    def test_a_narrow_list_keeps_ids_whole(self, monkeypatch: pytest.MonkeyPatch, runner: InlineRunner) -> None:
        monkeypatch.setenv("COLUMNS", "40")
        flow_id = engine.register("etl").pk
        lines = flow("list").out.splitlines()
        assert lines[0] == flow_id
        assert max(map(len, lines)) <= 40

    def test_workflows(self, etl: None) -> None:
        assert flow("workflows", "--json").json == [{"task_id": "etl", "description": "", "steps": 3}]
        assert "etl" in flow("workflows").out

    def test_programs(self) -> None:
        programs = {program["name"]: program for program in flow("programs", "--json").json}
        until = programs["FailUntil"]
        assert until["schema"]["properties"]["start"]["type"] == "integer"
        assert until["schema"]["required"] == ["start"]
        assert until["autoretry_for"] == ["ListedError"]
        assert until["max_retries"] == 3
        assert until["queue"] == "default"
        assert programs["Return"]["schema"]["properties"]["value"]["default"] is None
        assert "up to 3 retries on ListedError" in flow("programs").out


class TestAgreement:
    """One name for one thing: what the CLI prints as JSON, the REST API answers under the same keys."""

    @pytest.fixture
    def api(self) -> APIClient:
        client = APIClient()
        client.force_login(User.objects.create_superuser("root"))
        return client

    def test_a_flow(self, failed: Flow, api: APIClient) -> None:
        printed = flow("show", failed.pk, "--json").json
        answered = api.get(f"/api/flows/{failed.pk}/").json()
        assert {
            key: printed[key] for key in answered if key in ("failed", "status", "exec_status", "held", "input")
        } == {key: answered[key] for key in ("failed", "status", "exec_status", "held", "input")}
        assert set(printed) == set(answered) | {"history", "logs"}
        assert [printed[key] for key in ("output", "admitted")] == [answered[key] for key in ("output", "admitted")]
        assert printed["unserved_queues"] == answered["unserved_queues"]
        listed = api.get("/api/flows/").json()["results"][0]
        assert set(flow("list", "--json").json[0]) == set(listed) | {"input"}

    def test_its_tasks_and_history(self, failed: Flow, api: APIClient) -> None:
        printed = flow("show", failed.pk, "--json").json
        tasks = api.get(f"/api/flows/{failed.pk}/tasks/").json()["results"]
        assert [set(row) for row in printed["tasks"]] == [set(row) for row in tasks]
        assert [row["queue"] for row in printed["tasks"]] == [row["queue"] for row in tasks]
        events = api.get(f"/api/flows/{failed.pk}/history/").json()["results"]
        assert [set(row) for row in printed["history"]] == [set(row) for row in events]
        graph = api.get(f"/api/flows/{failed.pk}/graph/").json()
        assert flow("graph", failed.pk, "--format", "json").json == graph

    def test_programs(self, api: APIClient) -> None:
        assert flow("programs", "--json").json == api.get("/api/programs/").json()["results"]


class TestGraph:
    def test_of_a_workflow(self, etl: None) -> None:
        assert "2 Echo" in flow("graph", "etl").out
        assert flow("graph", "etl", "--format", "mermaid").out.startswith("flowchart TD")
        assert flow("graph", "etl", "--format", "svg").out.startswith("<svg ")
        assert flow("graph", "etl", "--format", "json").json["edges"] == [{"from": 1, "to": 2}, {"from": 2, "to": 3}]

    def test_of_a_flow(self, failed: Flow) -> None:
        assert "✗  2 FailWhile  Failed" in flow("graph", failed.pk).out
        assert flow("graph", failed.pk[:-2], "--format", "json").json["nodes"][1]["status"] == "Suspend"

    def test_of_nothing_and_of_a_circle(self) -> None:
        assert flow("graph", "nothing").code == 2
        define("circle", {"program": "Noop", "depends_on": [2]}, {"program": "Noop", "depends_on": [1]})
        answer = flow("graph", "circle")
        assert answer.code == 2
        assert "1 → 2 → 1" in answer.err


class TestProcess:
    """What only a process of its own shows: exit codes, and streams that take ASCII alone."""

    @pytest.fixture
    def environment(self, tmp_path: Path) -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if name not in {"DATABASE_URL", "REDIS_HOST", "REDIS_PORT"}
        }
        return kept | {
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            "DATABASE_URL": f"sqlite:///{tmp_path / 'flow.sqlite3'}",
            "CELERY_BROKER_URL": "",
            "PYTHONIOENCODING": "ascii:strict",
            "PYTHONWARNINGS": "error",
        }

    def test_codes_and_ascii(self, environment: dict[str, str]) -> None:
        def call(*arguments: str) -> subprocess.CompletedProcess[str]:
            command = [sys.executable, "manage.py", "flow", *arguments]
            return subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=60, check=False, cwd=settings.BASE_DIR
            )

        assert call("list").returncode == 2
        assert "migrate" in call("list").stderr
        migrate = [sys.executable, "manage.py", "migrate", "-v", "0"]
        subprocess.run(migrate, env=environment, timeout=120, check=True, cwd=settings.BASE_DIR)
        assert call("--help").returncode == 0
        assert call("run", "--help").returncode == 0
        assert call("run").returncode == 2
        assert call("list").stdout == "no flows\n"
        assert call("programs").returncode == 0
        assert call("graph", "nope").returncode == 2


class TestLargeValues:
    """Documents leave out what is large, and count it."""

    def test_of_a_list_and_of_a_flow(self, monkeypatch: pytest.MonkeyPatch) -> None:
        now = clock.now()
        large = Flow.objects.create(
            task_flow_id="large", task_id="etl", input="x" * 900_000, exec_status=Status.FINISH, finished_ts=now
        )
        row = {"task_id": "etl", "task_seq": 1, "program": "Return", "exec_status": Status.FINISH, "finished_ts": now}
        Task.objects.bulk_create(
            Task(task_flow=large, task_exec_seq=seq, output="x" * 900_000, **row) for seq in range(1, 13)
        )
        listed = flow("list", "--json")
        assert len(listed.out) < 10_000
        assert (listed.json[0]["input"], list(listed.json[0]["left_out"])) == (None, ["input"])
        monkeypatch.setattr("flowerapp.management.cli.documents.MOST_ROWS", 10)
        shown = flow("show", "large", "--json").json
        assert len(shown["tasks"]) == 10
        assert (shown["tasks"][0]["output"], shown["output"]) == (None, None)
        assert shown["left_out"] == {"tasks": 2, "output": 12 * 900_002}
        assert "900" not in flow("show", "large").err
