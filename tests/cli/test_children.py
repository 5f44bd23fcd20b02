"""``manage.py flow`` with children, pools, unique workflows and results."""

from __future__ import annotations

import io
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from flowerapp import engine
from flowerapp.management.cli.follow import tasks_view
from flowerapp.management.cli.output import Output
from flowerapp.models import Flow, Task, Workflow
from flowerapp.testing import InlineRunner
from tests.cli.support import define, flow

pytestmark = pytest.mark.django_db(transaction=True)


def splitting(items: Any, **options: Any) -> str:
    """A workflow whose first step adds children, and whose second returns what it gets."""
    first = {"program": "Split", "child_program": "Sum", "max_concurrency": 2, "parameters": {"items": items}}
    define("split", first | options, {"program": "Echo"})
    return "split"


def line_with(text: str, *words: str) -> str:
    """The only line that holds all these words."""
    (match,) = [line for line in text.splitlines() if all(word in line for word in words)]
    return match


class TestShow:
    def test_steps_alone_and_how_far_their_children_are(self, runner: InlineRunner) -> None:
        begun = engine.register(splitting([[n] for n in range(10)]))
        for _ in range(4):
            runner.step()
        out = flow("show", begun.pk).out
        assert "○ Waiting, 3 of 10 children done" in line_with(out, "Split", "Waiting")
        assert "for its children" in line_with(out, "Split", "Waiting")
        assert "for 1 of the tasks before it" in line_with(out, "Echo")
        assert "Sum" not in out
        tasks = flow("show", begun.pk, "--json").json["tasks"]
        assert len(tasks) == 12
        assert (tasks[0]["progress"], tasks[0]["waits"]) == (
            {"done": 3, "total": 10},
            "for its children",
        )
        assert [tasks[2][name] for name in ("parent_seq", "child_index", "child_id")] == [1, 0, 0]

    def test_a_failed_child_is_shown_in_place_of_its_parent(self, runner: InlineRunner) -> None:
        begun = engine.register(splitting([[1], ["bad"], [2], [3]]))
        runner.run()
        out = flow("show", begun.pk).out
        assert "✗ Failed, 1 of 4 children done, 1 failed, 2 cancelled" in line_with(out, "Split", "Failed")
        failure = out.index("Task 4 Sum (child 1 of task 1 Split) failed\n    ListedError: child 1 is bad")
        assert failure < out.index("\nTasks")
        assert "Task 1 Split failed" not in out
        assert f"flow skip {begun.pk} 4" in out

    def test_tolerated_failures_are_shown(self, runner: InlineRunner) -> None:
        begun = engine.register(splitting([[1], ["bad"], [2]], exit_on_failed=False))
        runner.run()
        out = flow("show", begun.pk).out
        assert "✓ Finished, 2 of 3 children done, 1 failed" in line_with(out, "Split", "Finished")
        assert "✓ Finished, 1 child failed" in out.partition("\n")[0]
        assert "Task 4 Sum (child 1 of task 1 Split) failed, tolerated\n    ListedError: child 1 is bad" in out
        assert "flow rerun" not in out

    def test_stopped_and_skipped_children_have_not_failed(self, runner: InlineRunner) -> None:
        begun = engine.register(splitting([[1], ["bad"], [2]]))
        runner.run()
        engine.skip(begun.pk, 4)
        runner.run()
        out = flow("show", begun.pk).out
        assert "✓ Finished, 2 of 3 children done, 1 skipped" in line_with(out, "Split", "Finished")
        assert "failed" not in out.partition("History")[0]

    def test_a_task_that_waits_for_a_slot(self, runner: InlineRunner) -> None:
        engine.set_pool("gpu", 0)
        define("train", {"program": "Noop", "pool": "gpu"})
        begun = engine.register("train")
        sentence = "for a slot of pool gpu: 0 of 0 are taken; 1 waiting"
        assert sentence in flow("show", begun.pk).out
        (task,) = flow("show", begun.pk, "--json").json["tasks"]
        assert (task["pool"], task["admitted"], task["waits"]) == ("gpu", False, sentence)
        assert flow("set", begun.pk, 1, "--priority", 3, "--json").json["waits"] == sentence

    def test_nothing_waits_in_an_ended_flow(self, runner: InlineRunner) -> None:
        define("etl", {"program": "Noop"})
        begun = engine.register("etl")
        runner.run()
        assert "Waits" not in flow("show", begun.pk).out


class TestFollow:
    def test_lists_steps_and_counts_children(self, busy: InlineRunner) -> None:
        answer = flow("run", splitting([[n] for n in range(4)]), "--follow")
        assert answer.code == 0
        parent = [line for line in answer.err.splitlines() if "task 1 Split" in line]
        for number in range(4):
            assert any(f"Waiting, {number} of 4 children done" in line for line in parent)
        assert "✓ Finished, 4 of 4 children done" in parent[-1]
        assert "Sum" not in answer.err

    def test_many_children_take_few_lines(self, busy: InlineRunner) -> None:
        err = flow("run", splitting([[n] for n in range(60)], max_concurrency=5), "--follow").err
        assert len([line for line in err.splitlines() if "task 1 Split" in line]) <= 13

    def test_on_a_terminal_too(self, runner: InlineRunner) -> None:
        begun = engine.register(splitting([[n] for n in range(4)]))
        for _ in range(3):
            runner.step()
        err = io.StringIO()
        out = Output(io.StringIO(), err, color=None, as_json=False)
        out.err.print(tasks_view(engine.get_flow(begun.pk), out))
        assert "Waiting, 2 of 4 children done" in line_with(err.getvalue(), "Split")
        assert "2 of 6 tasks done" in err.getvalue()
        assert "Sum" not in err.getvalue()

    def test_wait_counts_children_among_the_tasks(self, busy: InlineRunner) -> None:
        assert "6 of 6 tasks done" in flow("run", splitting([[n] for n in range(4)]), "--wait").err

    def test_a_failed_child(self, busy: InlineRunner) -> None:
        answer = flow("run", splitting([["bad"], [1]]), "--wait")
        assert answer.code == 1
        assert "Task 3 Sum (child 0 of task 1 Split) failed" in answer.err
        assert "output" not in answer.err


@pytest.mark.parametrize("how", ["--wait", "--follow"])
class TestResults:
    def test_output_and_state_are_printed(self, how: str, busy: InlineRunner) -> None:
        value = {"token": "s3cret", "words": "x" * 5000}
        define("etl", {"program": "Return", "parameters": {"value": value}})
        answer = flow("run", "etl", how)
        assert answer.out == f"{Flow.objects.get().pk}\n"
        assert 'output  {"token": "••••", "words": "xxx' in answer.err
        assert "s3cret" not in answer.err
        assert len(answer.err) < 2000
        assert "state" not in answer.err

    def test_state(self, how: str, busy: InlineRunner) -> None:
        define("etl", {"program": "Noop"})
        begun = engine.register("etl")
        Flow.objects.replace_state(begun.pk, 0, {"token": "hush", "tries": 4})
        engine.cancel(begun.pk)
        engine.rerun(begun.pk, from_seq=1)
        answer = flow("rerun", begun.pk, "--from", 1, how)
        assert 'state   {"token": "••••", "tries": 4}' in answer.err

    def test_json_has_both(self, how: str, busy: InlineRunner) -> None:
        define("etl", {"program": "Return", "parameters": {"value": {"rows": 3, "token": "hush"}}})
        answer = flow("run", "etl", how, "--json")
        assert (answer.json["output"], answer.json["state"]) == ({"rows": 3, "token": "••••"}, {})
        assert answer.json["created"] is True
        assert "output" not in answer.err


class TestUnique:
    @pytest.fixture
    def nightly(self) -> str:
        define("nightly", {"program": "Noop"}, {"program": "Return", "parameters": {"value": 5}})
        Workflow.objects.create(task_id="nightly", unique=True)
        return "nightly"

    def test_waits_for_the_flow_that_runs(self, nightly: str, busy: InlineRunner) -> None:
        first = flow("run", nightly)
        assert first.err == ""
        waiting = flow("run", nightly)
        assert (waiting.code, waiting.out) == (0, first.out)
        assert waiting.err.startswith("already registered and waiting for its first start since ")
        busy.step()
        running = flow("run", nightly, "--wait")
        assert (running.code, running.out) == (0, first.out)
        assert running.err.startswith("already running since ")
        assert "output  5" in running.err
        assert flow("run", nightly).out != first.out

    def test_json_says_so(self, nightly: str, busy: InlineRunner) -> None:
        first, second = flow("run", nightly, "--json").json, flow("run", nightly, "--json").json
        assert (first["created"], second["created"]) == (True, False)
        assert first["task_flow_id"] == second["task_flow_id"]
        assert flow("run", nightly, "--json", "--wait").json["created"] is False


def test_an_entrance_by_its_name(runner: InlineRunner) -> None:
    define("etl", {"program": "Noop"}, {"program": "Noop", "name": "load"})
    assert flow("run", "etl", "--entrance", "load").code == 0
    assert [task.status.label for task in Task.objects.order_by("task_exec_seq")] == ["Ignore", "Wait"]


class TestPools:
    def test_none(self) -> None:
        assert flow("pools").out == "no pools\n"
        assert flow("pools", "--json").json == []

    def test_table_and_json(self, runner: InlineRunner) -> None:
        engine.set_pool("gpu", 2, "Cards\nof the cluster")
        engine.set_pool("api", 10)
        define("train", *[{"program": "Noop", "pool": "gpu", "depends_on": []}] * 3)
        engine.register("train")
        head, _, api, gpu = (line.split() for line in flow("pools").out.splitlines())
        assert head == ["Pool", "Slots", "Held", "Waiting", "Description"]
        assert (api, gpu) == (["api", "10", "0", "0"], ["gpu", "2", "2", "1", "Cards"])
        client = APIClient()
        client.force_login(User.objects.create_superuser("root"))
        assert flow("pools", "--json").json == client.get("/api/pools/").json()["results"]


class TestAgreement:
    def test_tasks_of_a_flow_with_children(self, runner: InlineRunner) -> None:
        begun = engine.register(splitting([[1], ["bad"], [2]]))
        runner.run()
        client = APIClient()
        client.force_login(User.objects.create_superuser("root"))
        printed = flow("show", begun.pk, "--json").json["tasks"]
        answered = client.get(f"/api/flows/{begun.pk}/tasks/").json()["results"]
        assert [set(task) for task in printed] == [set(task) for task in answered]
        for name in ("progress", "waits", "children", "parent_seq", "child_id", "pool", "admitted", "exit_on_failed"):
            assert [task[name] for task in printed] == [task[name] for task in answered]

    def test_graph_is_of_steps(self, runner: InlineRunner) -> None:
        begun = engine.register(splitting([[1], [2], [3]]))
        runner.step()
        document = flow("graph", begun.pk, "--format", "json").json
        assert [node["seq"] for node in document["nodes"]] == [1, 2]
        assert document["nodes"][0]["children"] == {"done": 0, "total": 3}
        assert "1 Split  Waiting, 0 of 3 children done" in flow("graph", begun.pk).out


@pytest.mark.parametrize("form", [(), ("--json",)], ids=["table", "json"])
def test_statements_do_not_grow_with_the_list(form: tuple[str, ...], runner: InlineRunner) -> None:
    define("fails", {"program": "Noop"}, {"program": "FailUnlisted"})
    numbers = []
    for _ in range(2):
        for _ in range(4):
            engine.register("fails")
        runner.run()
        with CaptureQueriesContext(connection) as captured:
            assert flow("list", *form).code == 0
        numbers.append(len(captured))
    assert numbers[0] == numbers[1] <= 3
