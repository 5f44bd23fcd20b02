"""Verbs on several flows, ids in pipes, and lists by the words of states."""

from __future__ import annotations

import io
import json
from collections.abc import Callable

import pytest

from flowerapp import engine
from flowerapp.management.cli import many
from flowerapp.management.cli.output import Output
from flowerapp.models import Flow, HistoryEntry
from flowerapp.states import Status
from flowerapp.testing import InlineRunner
from tests.cli.support import define, flow

pytestmark = pytest.mark.django_db(transaction=True)

Piped = Callable[[str], None]


@pytest.fixture
def piped(monkeypatch: pytest.MonkeyPatch) -> Piped:
    """Give the next call this standard input."""
    return lambda text: monkeypatch.setattr("sys.stdin", io.StringIO(text))


@pytest.fixture
def failed(runner: InlineRunner) -> list[str]:
    """Ids of three flows whose first task has failed, the oldest first."""
    define("breaking", {"program": "FailWhile", "parameters": {"path": "/"}}, {"program": "Noop"})
    flow_ids = [engine.register("breaking").pk for _ in range(3)]
    runner.run()
    return flow_ids


class TestSeveral:
    def test_one_result_each_and_refusals_beside_them(self, failed: list[str]) -> None:
        engine.cancel(failed[1])
        answer = flow("cancel", failed[0], failed[1], "nothing", failed[2], "--why", "over")
        assert answer.code == 1
        assert [line.split()[0] for line in answer.out.splitlines()] == [failed[0], failed[2]]
        assert "Cancelled" in answer.out
        refused = answer.err.splitlines()
        assert [line.split(":")[0] for line in refused] == [failed[1], "nothing"]
        assert all("refused" in line for line in refused)
        assert HistoryEntry.objects.filter(verb="cancel", reason="over").count() == 2

    def test_json_is_a_list_with_an_error_for_each_refusal(self, failed: list[str]) -> None:
        answer = flow("suspend", failed[0], "nothing", "--json")
        assert answer.code == 1
        done, refused = answer.json
        assert (done["task_flow_id"], done["held"], done["error"]) == (failed[0], True, "")
        assert refused["task_flow_id"] == "nothing"
        assert "there is no flow 'nothing'" in refused["error"]

    def test_a_single_refusal_is_wrong_usage_as_ever(self, failed: list[str]) -> None:
        assert flow("resume", failed[0]).code == 2
        assert flow("resume", failed[0], failed[1]).code == 1

    def test_skip_and_set_take_the_number_behind_the_ids(self, failed: list[str]) -> None:
        assert flow("set", *failed, 1, "path=/does/not/exist").code == 0
        assert set(Flow.objects.values_list("tasks__parameters__path", flat=True)) == {"/does/not/exist", None}
        assert flow("skip", failed[0], failed[1], 1).code == 0
        assert Flow.objects.filter(tasks__exec_status=Status.IGNORE).count() == 2

    @pytest.mark.parametrize("words", [("1", "a=b"), ("ID", "a=b"), ("ID", "one", "a=b"), ("ID", "9" * 30, "a=b")])
    def test_set_without_a_number_is_wrong_usage(self, failed: list[str], words: tuple[str, ...]) -> None:
        answer = flow("set", *(failed[0] if word == "ID" else word for word in words))
        assert answer.code == 2
        assert "SEQ KEY=VALUE" in answer.err

    def test_rerun_of_several_does_not_wait(self, failed: list[str]) -> None:
        answer = flow("rerun", *failed, "--follow")
        assert answer.code == 2
        assert "take one flow" in answer.err
        assert not HistoryEntry.objects.filter(verb="rerun").exists()


class TestStandardInput:
    def test_blank_lines_count_nothing_and_each_flow_once(self, failed: list[str], piped: Piped) -> None:
        piped(f"\n{failed[0]}\n  \n{failed[1]}\r\n{failed[0]}\n{failed[1][:-1]}\n")
        answer = flow("rerun", "-", "--set", "1.path=/does/not/exist")
        assert (answer.code, answer.err) == (0, "")
        assert [line.split()[0] for line in answer.out.splitlines()] == failed[:2]
        assert HistoryEntry.objects.filter(verb="rerun").count() == 2

    def test_ids_of_a_list(self, failed: list[str], piped: Piped, runner: InlineRunner) -> None:
        listed = flow("list", "--status", "failed", "-o", "ids").out
        assert listed.splitlines() == failed[::-1]
        piped(listed)
        assert flow("rerun", "-", "--set", "1.path=/does/not/exist").code == 0
        runner.run()
        assert flow("list", "--status", "failed", "-o", "ids").out == ""
        assert flow("list", "--status", "FINISHED", "-o", "ids").out == listed

    def test_no_ids_is_no_fault(self, piped: Piped) -> None:
        piped("\n\n")
        answer = flow("cancel", "-")
        assert (answer.code, answer.out) == (0, "")
        assert "no ids" in answer.err
        piped("")
        assert flow("cancel", "-", "--json").json == []

    def test_bytes_that_are_no_text_are_refused_alone(self, failed: list[str], piped: Piped) -> None:
        piped(f"\udcff\n\0\n{'x' * 5000}\n{failed[0]}\n")
        answer = flow("cancel", "-")
        assert answer.code == 1
        assert answer.out.startswith(failed[0])
        assert "is not UTF-8 text" in answer.err
        assert Flow.objects.filter(exec_status=Status.IGNORE).count() == 1

    def test_too_many_ids_change_nothing(
        self, failed: list[str], piped: Piped, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(many, "MOST_IDS", 2)
        piped("\n".join(failed))
        answer = flow("cancel", "-")
        assert answer.code == 2
        assert "more than 2 ids" in answer.err
        assert not HistoryEntry.objects.filter(verb="cancel").exists()

    def test_a_failure_in_the_middle_leaves_the_results_so_far(self, failed: list[str]) -> None:

        def interrupted(flow_id: str, **options: object) -> Flow:
            if flow_id == failed[1]:
                raise KeyboardInterrupt
            return engine.cancel(flow_id)

        printed = io.StringIO()
        out = Output(printed, io.StringIO(), color=None, as_json=True)
        with pytest.raises(KeyboardInterrupt):
            many.apply(interrupted, failed, out)
        (first,) = json.loads(printed.getvalue())
        assert (first["task_flow_id"], first["status"]) == (failed[0], "Ignore")


class TestList:
    @pytest.fixture
    def flows(self, failed: list[str], runner: InlineRunner) -> dict[str, str]:
        """A flow of each word."""
        define("etl", {"program": "Noop"}, {"program": "Noop"})
        finished = engine.register("etl").pk
        runner.run()
        held, waiting, cancelled = (engine.register("etl").pk for _ in range(3))
        engine.suspend(held)
        engine.cancel(cancelled)
        engine.cancel(failed[1])
        engine.cancel(failed[2])
        return {"failed": failed[0], "finished": finished, "held": held, "waiting": waiting, "cancelled": cancelled}

    def test_by_word_and_by_value(self, flows: dict[str, str]) -> None:
        def listed(states: str) -> set[str]:
            return set(flow("list", "--status", states, "-o", "ids").out.split())

        for word in ("failed", "finished", "held", "waiting"):
            assert listed(word) == listed(word.upper()) == {flows[word]}
        assert flows["cancelled"] in listed("Cancelled")
        assert listed("cancelled") == listed("ignore") == listed("9")
        assert listed("suspend") == listed("Failed, held") == listed("2") == {flows["failed"], flows["held"]}
        assert listed("running") == set()
        assert flow("list", "--status", "held").out.count("Held") == 1

    def test_an_unknown_word_is_refused(self) -> None:
        for word in ("nonsense", "", "failed,", "4"):
            answer = flow("list", "--status", word)
            assert answer.code == 2
            assert "there is no status" in answer.err

    def test_ids_say_when_there_are_more(self, failed: list[str]) -> None:
        answer = flow("list", "-o", "ids", "--limit", 2)
        assert answer.out.splitlines() == failed[:0:-1]
        assert "more than 2 flows" in answer.err
        assert flow("list", "-o", "ids", "--limit", 3).err == ""
        assert flow("list", "-o", "ids", "--json").code != 0
