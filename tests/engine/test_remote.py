"""Remote tasks: another system does their work, and reports how it ended."""

from __future__ import annotations

from typing import Any

import pytest

from flowerapp import engine
from flowerapp.core.gates import GATE
from flowerapp.core.identity import Process
from flowerapp.core.messages import TaskRef
from flowerapp.core.plan import Node, Plan
from flowerapp.engine import adoption, propagation
from flowerapp.engine.context import input_of
from flowerapp.exceptions import InvalidPlanError, InvalidValueError, StateConflictError, UnknownTaskError
from flowerapp.models import Flow, Task
from flowerapp.selectors import tasks
from flowerapp.selectors.naming import mentions, titles
from flowerapp.selectors.next_steps import task_verbs
from flowerapp.selectors.wait_reasons import wait_reasons
from flowerapp.states import IgnoredBy, Status
from flowerapp.testing import InlineRunner
from flowerapp.watcher.duties.send import send_unsent
from flowerapp.watcher.duties.settle import Settle
from tests.engine.support import check, planned, status, statuses, task, verbs
from tests.engine.test_hooks import Listener, listener

__all__ = ["listener"]

pytestmark = pytest.mark.django_db(transaction=True)

WAIT, SUSPEND, FINISH, IGNORE = Status.WAIT, Status.SUSPEND, Status.FINISH, Status.IGNORE


def remote(seq: int, *before: int, **options: Any) -> Node:
    """A remote task after these steps."""
    return Node(seq=seq, program="", depends_on=before, **{"remote": "docs:print", **options})


def echo(seq: int, *before: int, **options: Any) -> Node:
    return Node(seq=seq, program="Echo", depends_on=before, **options)


def why(flow: Flow, seq: int) -> str:
    row = tasks.whole_task(flow.pk, seq)
    return wait_reasons([row]).get(row.pk, "")


def test_a_flow_of_remote_tasks_is_ended_task_by_task(runner: InlineRunner) -> None:
    flow = planned(remote(1), remote(2, 1), remote(3, 1), remote(4, 2, 3), input={"in": 1})
    check(flow)
    assert status(flow) is WAIT
    for seq, output in ((1, {"a": 1}), (3, [3]), (2, None), (4, "end")):
        assert why(flow, seq).startswith("for another system: no worker has answered for docs:print for 0")
        flow = engine.end_task(flow.pk, seq, output=output, actor="ann", why="done by hand")
        check(flow)
        assert flow.status is (FINISH if seq == 4 else Status.RUNNING)
    assert [task(flow, seq).output for seq in (1, 2, 3, 4)] == [{"a": 1}, {}, [3], "end"]
    assert (flow.output, flow.started_ts is None, runner.sent) == ("end", False, [])
    entries = [(entry.verb, entry.task_exec_seq, entry.actor, entry.reason) for entry in flow.history.all()]
    assert entries[0] == ("end", 1, "ann", "done by hand")
    assert verbs(flow) == ["end"] * 4


def test_its_input_is_that_of_any_task(runner: InlineRunner) -> None:
    flow = planned(echo(1), Node(seq=2, program="Return", parameters={"value": [2]}), remote(3, 1, 2), input={"in": 1})
    runner.run()
    assert input_of(TaskRef(flow.pk, 3)) == [{"in": 1}, [2]]


def test_what_follows_it_is_sent(runner: InlineRunner) -> None:
    flow = planned(remote(1), echo(2, 1), echo(3, 1))
    engine.end_task(flow.pk, 1, output=7)
    assert sorted(message.head.seq for message in runner.sent) == [2, 3]
    runner.run()
    assert (status(flow), engine.get_flow(flow.pk).output) == (FINISH, [7, 7])
    check(flow)


def test_no_worker_and_no_watcher_takes_it(runner: InlineRunner) -> None:
    flow = planned(echo(1), remote(2, 1), echo(3, 2))
    runner.run()
    check(flow)
    assert [message.head.seq for message in runner.sent] == [1]
    assert Task.objects.claim(TaskRef(flow.pk, 2), Process("w", 1)) is None
    assert (send_unsent(), Settle()(), adoption.adopt(), propagation.complete_all_parked()) == (0, 0, 0, 0)
    assert statuses(flow) == {1: FINISH, 2: WAIT, 3: WAIT}
    assert status(flow) is Status.RUNNING
    with pytest.raises(StateConflictError, match="not parked"):
        engine.wake(flow.pk, 2)


def test_its_failure_is_that_of_a_task(runner: InlineRunner, listener: Listener) -> None:
    flow = planned(remote(1), echo(2, 1))
    flow = engine.fail_task(flow.pk, 1, "the file is damaged", actor="ann")
    check(flow)
    assert (flow.status, flow.failed_seq, task(flow, 1).error) == (SUSPEND, 1, "the file is damaged")
    assert [(entry.verb, entry.actor, entry.reason) for entry in flow.history.all()] == [
        ("fail", "ann", "the file is damaged")
    ]
    assert listener.received == [("start_flow", None), ("task_failed", 1)]
    engine.rerun(flow.pk)
    check(flow)
    assert (status(flow), status(flow, 1), task(flow, 1).error, task(flow, 1).admitted) == (
        Status.RUNNING,
        WAIT,
        "",
        False,
    )
    engine.end_task(flow.pk, 1, output=1)
    runner.run()
    assert status(flow) is FINISH


def test_other_branches_run_beside_a_failed_one(runner: InlineRunner) -> None:
    flow = planned(remote(1), remote(2), echo(3, 1), echo(4, 2))
    engine.fail_task(flow.pk, 1, "no")
    assert status(flow) is Status.RUNNING
    engine.end_task(flow.pk, 2)
    runner.run()
    check(flow)
    assert (status(flow), status(flow, 4)) == (SUSPEND, FINISH)


def test_events_are_those_of_a_task_without_its_start(runner: InlineRunner, listener: Listener) -> None:
    flow = planned(remote(1), remote(2, 1))
    for seq in (1, 2):
        engine.end_task(flow.pk, seq)
    assert listener.received == [
        ("start_flow", None),
        ("task_over", 1),
        ("task_all_over", 1),
        ("task_over", 2),
        ("task_all_over", 2),
        ("all_over", None),
    ]


def test_what_is_no_remote_task_that_is_ready_is_refused(runner: InlineRunner) -> None:
    flow = planned(echo(1), remote(2, 1), remote(3), remote(4))
    refusals = {
        1: "task 1 Echo of flow {} is no remote task: its program ends it",
        2: 'task 2 "docs:print" of flow {} is not ready: it waits for 1 of the tasks before it',
        3: 'task 3 "docs:print" of flow {} is Finished already; rerun it to end it once more',
        4: 'task 4 "docs:print" of flow {} is Failed already; rerun it to end it once more',
    }
    engine.end_task(flow.pk, 3)
    engine.fail_task(flow.pk, 4, "no")
    for seq, sentence in refusals.items():
        for verb in (
            lambda seq=seq: engine.end_task(flow.pk, seq),
            lambda seq=seq: engine.fail_task(flow.pk, seq, "no"),
        ):
            with pytest.raises(StateConflictError) as refused:
                verb()  # type: ignore[no-untyped-call]
            assert str(refused.value) == sentence.format(flow.pk)
    assert verbs(flow) == ["end", "fail"]
    with pytest.raises(UnknownTaskError):
        engine.end_task(flow.pk, 9)
    engine.cancel(flow.pk)
    with pytest.raises(StateConflictError, match="is Cancelled already"):
        engine.end_task(flow.pk, 2)


def test_bad_values_are_refused(runner: InlineRunner) -> None:
    flow = planned(remote(1))
    with pytest.raises(InvalidValueError, match="not JSON"):
        engine.end_task(flow.pk, 1, output=float("nan"))
    with pytest.raises(InvalidValueError, match="the reason is empty"):
        engine.fail_task(flow.pk, 1, "  ")
    engine.fail_task(flow.pk, 1, "a\0b")
    assert task(flow, 1).error == "a\ufffdb"


def test_a_reason_quotes_no_secret(runner: InlineRunner) -> None:
    flow = planned(remote(1, parameters={"password": "hunter2-hunter2"}))
    engine.fail_task(flow.pk, 1, "login with hunter2-hunter2 failed")
    assert "hunter2" not in task(flow, 1).error


def test_skip_cancel_and_rerun(runner: InlineRunner) -> None:
    flow = planned(remote(1), remote(2, 1), echo(3, 2), input=5)
    engine.skip(flow.pk, 1)
    check(flow)
    assert task(flow, 2).awaits_answer
    engine.cancel(flow.pk)
    check(flow)
    engine.rerun(flow.pk, all_tasks=True)
    check(flow)
    assert [task(flow, seq).awaits_answer for seq in (1, 2)] == [True, False]
    engine.end_task(flow.pk, 1, output=6)
    engine.change(flow.pk, 2, parameters={"more": True})
    engine.end_task(flow.pk, 2, output=8)
    runner.run()
    assert (status(flow), engine.get_flow(flow.pk).output) == (FINISH, 8)
    engine.rerun(flow.pk, from_seq=2)
    assert task(flow, 2).awaits_answer
    check(flow)


def test_a_held_flow_takes_answers_and_starts_nothing(runner: InlineRunner) -> None:
    flow = planned(remote(1), echo(2, 1))
    engine.suspend(flow.pk)
    assert why(flow, 1) == "its flow is held; resume it"
    assert engine.end_task(flow.pk, 1).status is SUSPEND
    runner.run()
    assert status(flow, 2) is WAIT
    engine.resume(flow.pk)
    runner.run()
    assert status(flow) is FINISH


@pytest.mark.parametrize("go", [True, False])
def test_a_condition_of_a_remote_task_is_tested_before_it_is_offered(runner: InlineRunner, go: bool) -> None:
    flow = planned(echo(1), remote(2, 1, when="input.go"), echo(3, 2), input={"go": go})
    assert not task(flow, 2).awaits_answer
    runner.run()
    check(flow)
    if go:
        assert task(flow, 2).awaits_answer
        engine.end_task(flow.pk, 2, output={"go": go})
        runner.run()
    assert (status(flow), task(flow, 2).ignored_by) == (FINISH, "" if go else IgnoredBy.CONDITION)
    assert engine.get_flow(flow.pk).output == {"go": go}


def test_a_condition_of_a_first_remote_task(runner: InlineRunner) -> None:
    flow = planned(remote(1, when="input.go"), remote(2, when="!input.go"), input={"go": True})
    assert [(row.status, row.awaits_answer) for row in flow.tasks.all()] == [(WAIT, True), (IGNORE, False)]
    engine.end_task(flow.pk, 1)
    engine.rerun(flow.pk, all_tasks=True)
    check(flow)
    assert [(row.status, row.awaits_answer) for row in flow.tasks.all()] == [(WAIT, True), (IGNORE, False)]


def test_a_condition_that_cannot_be_decided_fails_it(runner: InlineRunner) -> None:
    flow = planned(remote(1, when="input.go"), input={"go": 1})
    assert (status(flow, 1), status(flow)) == (SUSPEND, SUSPEND)
    assert task(flow, 1).error.startswith("its condition cannot be decided")


def test_gates_around_remote_tasks(runner: InlineRunner) -> None:
    gates = [Node(seq=0, program=GATE), Node(seq=3, program=GATE, depends_on=(1, 2))]
    flow = planned(*gates, remote(1, 0), remote(2, 0))
    for seq in (2, 3):
        engine.end_task(flow.pk, seq, output=seq)
    check(flow)
    assert engine.get_flow(flow.pk).output == [2, 3]


def test_it_is_called_by_its_alias_or_what_does_its_work(runner: InlineRunner) -> None:
    nodes = remote(1), remote(2, 1, alias="print"), echo(3, 2, alias="again"), remote(4, 3, alias="a", name="named")
    flow = planned(*nodes)
    expected = ["1 docs:print", "2 print", "3 again", "4 named"]
    assert [row.title for row in flow.tasks.all()] == expected
    assert [row.own_title for row in flow.tasks.all()] == expected
    assert list(titles(flow.pk, [1, 2, 3, 4]).values())[1:] == expected
    assert mentions({flow.pk: {2}})[flow.pk][2] == 'task 2 "print"'
    assert tasks.program_text(task(flow, 2)) == "remote: docs:print"
    row = tasks.whole_task(flow.pk, 1)
    assert tasks.note(row) == "remote"
    assert {"end", "fail"} <= task_verbs(row)
    assert not {"end", "fail"} & task_verbs(tasks.whole_task(flow.pk, 2))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"program": "Noop"}, "a remote task has no program; drop 'docs:print' or 'Noop'"),
        ({"program": "", "pool": "p"}, "no worker runs this step, so it needs no pool"),
        ({"program": "", "child_program": "Noop"}, "so it needs no child_program"),
        ({"program": "", "remote": "a/b"}, "remote holds a slash"),
        ({"program": "", "remote": ""}, "program '' is not registered"),
        ({"program": "", "parameters": [1]}, "parameters must be a JSON object"),
        ({"program": "", "parameters": {"a": float("nan")}}, "not JSON"),
        ({"program": "", "alias": "x" * 300}, "alias has 300 characters"),
    ],
)
def test_what_is_wrong_with_a_remote_step(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidPlanError) as refused:
        Plan("w", (Node(seq=1, **{"remote": "docs:print", **options}),)).check()
    assert said in str(refused.value)
