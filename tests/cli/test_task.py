"""``flow task`` and ``flow follow``: one task in full, and a flow that is watched until it ends."""

from __future__ import annotations

import re

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from flowerapp import engine
from flowerapp.management.cli import task_detail
from flowerapp.models import Flow, Task, Worker
from flowerapp.states import Status
from flowerapp.testing import InlineRunner
from tests.cli.support import define, flow

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def failed(runner: InlineRunner) -> Flow:
    """A flow whose second task has failed."""
    define(
        "breaking",
        {"program": "Return", "parameters": {"value": {"rows": 7, "token": "hush"}}},
        {"program": "FailWhile", "parameters": {"path": "/"}},
        {"program": "Noop", "queue": "special"},
    )
    begun = engine.register("breaking", input={"day": "monday"})
    runner.run()
    begun.refresh_from_db()
    return begun


class TestTask:
    def test_a_failed_one_says_its_error_and_what_to_type(self, failed: Flow) -> None:
        Worker.objects.create(
            id=Task.objects.get(task_flow=failed, task_exec_seq=2).worker, name="w7@here", pid=1, concurrency=1
        )
        answer = flow("task", failed.pk, 2)
        assert (answer.code, answer.err) == (0, "")
        for part in (
            *("Task 2 FailWhile", "Failed", "ValueError: / is in the way", '{"path": "/"}', "w7@here, process"),
            *("1 (retries 0, lost workers 0, run", '"rows": 7', "started", "suspended", "duration", "History"),
            *(f"flow rerun {failed.pk} ", "--set 2.path=…", f"flow skip {failed.pk} 2", f"rerun {failed.pk} --from 2"),
        ):
            assert part in answer.out, part
        assert "Traceback" not in answer.out
        assert "Traceback" in flow("task", failed.pk, 2, "--traceback").out

    def test_secrets_are_masked(self, failed: Flow) -> None:
        for seq in (1, 2):
            for form in ((), ("--json",)):
                out = flow("task", failed.pk, seq, *form).out
                assert "hush" not in out
                assert "••••" in out

    def test_one_that_waits_says_why_and_for_which_queue(self, failed: Flow, runner: InlineRunner) -> None:
        waiting = flow("task", failed.pk, 3).out
        assert "waits" in waiting
        assert "for 1 of the tasks" in waiting
        assert re.search(r"depends on +2 FailWhile", waiting)
        assert "not known before" in waiting
        engine.skip(failed.pk, 2)
        assert "tasks wait in queue 'special'" in flow("task", failed.pk, 3).out

    def test_values_are_cut_for_people_and_whole_in_json(
        self, runner: InlineRunner, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(task_detail, "MOST_CHARACTERS", 20)
        define("long", {"program": "Return", "parameters": {"value": "x" * 5000}})
        begun = engine.register("long").pk
        runner.run()
        assert "x" * 21 not in flow("task", begun, 1).out
        document = flow("task", begun, 1, "--json").json
        assert document["output"] == "x" * 5000
        assert document["input"] == {}

    def test_an_input_that_is_too_large_is_not_read(self, failed: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("flowerapp.selectors.tasks.MOST_WHOLE", 5)
        assert "too large to be shown" in flow("task", failed.pk, 2).out
        document = flow("task", failed.pk, 2, "--json").json
        assert (document["input"], document["left_out"]["input"] > 5) == (None, True)

    def test_a_parent_counts_its_children_and_names_the_failed_ones(self, runner: InlineRunner) -> None:
        define("fan", {"program": "AddChildren", "child_program": "FailOn"})
        begun = Flow.objects.create(task_flow_id="0" * 32, task_id="fan", exec_status=Status.RUNNING)
        row = {"task_flow": begun, "task_id": "fan", "task_seq": 1, "program": "Noop"}
        Task.objects.create(task_exec_seq=1, exec_status=Status.RUNNING, children=2, pending=1, attempt=1, **row)
        child = row | {"parent_seq": 1, "child_program": ""}
        Task.objects.create(
            task_exec_seq=2, exec_status=Status.SUSPEND, child_index=0, child_id="a", error="no", **child
        )
        Task.objects.create(task_exec_seq=3, exec_status=Status.RUNNING, child_index=1, child_id="b", **child)
        out = flow("task", begun.pk, 1).out
        assert "0 of 2 children done, 1 failed" in out
        assert "Task 2 Noop (child a of task 1 Noop) failed" in out
        assert flow("task", begun.pk, 1, "--json").json["children_by_status"] == {"Running": 1, "Suspend": 1}
        assert 'task 1 Noop, id "b"' in flow("task", begun.pk, 3).out

    def test_json_has_what_the_api_answers(self, failed: Flow) -> None:
        client = APIClient()
        client.force_login(User.objects.create_superuser("root"))
        answered = client.get(f"/api/flows/{failed.pk}/tasks/2/").json()
        printed = flow("task", failed.pk[:-2], 2, "--json").json
        shared = {name for name in answered if name != "log" and not name.endswith("_ts")}
        assert {name: printed[name] for name in shared} == {name: answered[name] for name in shared}
        assert printed["input"] == {"rows": 7, "token": "••••"}
        assert [entry["verb"] for entry in printed["history"]] == ["fail"]

    @pytest.mark.parametrize("words", [("ID", 99), ("ID", 10**12), ("ID", -1), ("nothing", 1)])
    def test_what_there_is_not(self, failed: Flow, words: tuple[object, ...]) -> None:
        answer = flow("task", *(failed.pk if word == "ID" else word for word in words))
        assert answer.code == 2
        assert "has no task" in answer.err or "there is no flow" in answer.err


class TestFollow:
    def test_from_the_middle_to_the_end(self, failed: Flow, busy: InlineRunner) -> None:
        engine.skip(failed.pk, 2)
        answer = flow("follow", failed.pk[:-1])
        assert (answer.code, answer.out) == (0, "")
        lines = answer.err.splitlines()
        assert not [line for line in lines if "task 1 " in line]
        assert [line for line in lines if "task 3 Noop ✓ Finished" in line]
        assert "flow ✓ Finished" in answer.err

    def test_an_ended_flow_is_printed_at_once(self, failed: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("flowerapp.management.cli.follow.time.sleep", _must_not_sleep)
        engine.cancel(failed.pk)
        answer = flow("follow", failed.pk)
        assert answer.code == 1
        assert "was cancelled" in answer.err
        assert flow("follow", failed.pk, "--json").json["status"] == "Ignore"

    def test_a_failed_flow_says_what_to_type(self, failed: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("flowerapp.management.cli.follow.time.sleep", _must_not_sleep)
        answer = flow("follow", failed.pk)
        assert answer.code == 1
        assert "task 2 FailWhile ✗ Failed" in answer.err
        assert f"flow rerun {failed.pk}" in answer.err

    def test_interrupt_detaches(self, failed: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
        def interrupt(seconds: float) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr("flowerapp.management.cli.follow.time.sleep", interrupt)
        engine.skip(failed.pk, 2)
        answer = flow("follow", failed.pk)
        assert answer.code == 0
        assert f"detached: flow {failed.pk} continues" in answer.err

    def test_of_nothing(self) -> None:
        assert flow("follow", "nothing").code == 2


def _must_not_sleep(seconds: float) -> None:
    raise AssertionError("it waits")
