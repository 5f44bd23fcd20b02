"""Waits: steps that hold no worker until their time, event or latch has come."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F

from flowerapp import engine
from flowerapp.core.gates import ACQUIRE, COUNTDOWN, DELAY, EVENT, RELEASE
from flowerapp.core.messages import TaskRef
from flowerapp.core.plan import Node
from flowerapp.engine import due_waits, events, propagation
from flowerapp.exceptions import InvalidPlanError, InvalidValueError, StateConflictError
from flowerapp.models import Event, Flow, Latch, LatchHold, Task, Wait, Workflow
from flowerapp.querysets import clock
from flowerapp.states import Status
from flowerapp.testing import InlineRunner
from flowerapp.watcher.duties.prune import prune
from flowerapp.watcher.duties.send import send_unsent
from flowerapp.watcher.duties.settle import Settle
from flowerapp.watcher.duties.waits import end_due_waits, take_up_waits
from tests.engine.support import check, define, planned, status, statuses, task, verbs
from tests.engine.test_hooks import Listener, listener

__all__ = ["listener"]

pytestmark = pytest.mark.django_db(transaction=True)

WAIT, RUNNING, SUSPEND, FINISH, IGNORE = Status.WAIT, Status.RUNNING, Status.SUSPEND, Status.FINISH, Status.IGNORE


@pytest.fixture(autouse=True)
def unmoved() -> Iterator[None]:
    """The clock is as it was after each test."""
    yield
    clock.reset()


def step(seq: int, program: str, *before: int, **parameters: Any) -> Node:
    """A step after these steps."""
    return Node(seq=seq, program=program, depends_on=before, parameters=parameters)


def echo(seq: int, *before: int) -> Node:
    """A task that returns its input."""
    return step(seq, "Echo", *before)


def waiting(runner: InlineRunner, *nodes: Node, input: Any = None) -> Flow:
    """A flow as it is when nothing can continue."""
    flow = planned(*nodes, input={} if input is None else input)
    check(flow)
    runner.run()
    check(flow)
    return engine.get_flow(flow.pk)


def finish(runner: InlineRunner, flow: Flow) -> Flow:
    """The flow after all that can continue."""
    runner.run()
    check(flow)
    return engine.get_flow(flow.pk)


class TestDelay:
    def test_it_holds_nothing_until_it_is_due_and_passes_its_input_on(self, runner: InlineRunner) -> None:
        flow = waiting(runner, echo(1), step(2, DELAY, 1, duration=60), echo(3, 2), input={"n": 1})
        assert (statuses(flow), flow.status) == ({1: FINISH, 2: WAIT, 3: WAIT}, RUNNING)
        assert (end_due_waits(), send_unsent(), Settle()(), propagation.complete_all_parked()) == (0, 0, 0, 0)
        clock.advance(61)
        assert (send_unsent(), end_due_waits()) == (0, 1)
        flow = finish(runner, flow)
        assert (flow.status, flow.output, task(flow, 2).output) == (FINISH, {"n": 1}, {"n": 1})
        assert [message.head.program for message in runner.sent] == ["Echo", "Echo"]
        row = task(flow, 2)
        assert row.started_ts is not None
        assert row.finished_ts is not None
        assert timedelta(seconds=60) < row.finished_ts - row.started_ts < timedelta(seconds=70)

    def test_the_first_step_of_a_flow_may_be_one(self, runner: InlineRunner) -> None:
        flow = waiting(runner, step(1, DELAY, duration="1m 30s"), input=[1])
        assert flow.status is RUNNING
        assert flow.started_ts is not None
        clock.advance(89)
        assert end_due_waits() == 0
        clock.advance(2)
        assert end_due_waits() == 1
        assert (status(flow), engine.get_flow(flow.pk).output) == (FINISH, [1])

    @pytest.mark.parametrize("duration", ["{seconds}", "{input[seconds]}", '{input["seconds"]}', "{{ input.seconds }}"])
    def test_its_duration_may_come_from_its_input(self, runner: InlineRunner, duration: str) -> None:
        duration = duration.replace("{seconds}", "5")
        flow = waiting(runner, step(1, DELAY, duration=duration), input={"seconds": 5})
        clock.advance(4)
        assert end_due_waits() == 0
        clock.advance(2)
        assert end_due_waits() == 1
        assert status(flow) is FINISH

    @pytest.mark.parametrize("duration", ["{input[no]}", "soon", -1, 1e12, "nan"])
    def test_a_duration_that_is_none_fails_the_step_and_a_rerun_tries_again(
        self, runner: InlineRunner, duration: object
    ) -> None:
        flow = waiting(runner, step(1, DELAY, duration=duration), echo(2, 1))
        assert statuses(flow) == {1: SUSPEND, 2: WAIT}
        assert str(duration).strip("{}") in task(flow, 1).error or "no" in task(flow, 1).error
        engine.change(flow.pk, 1, parameters={"duration": 0})
        engine.rerun(flow.pk)
        assert finish(runner, flow).status is FINISH

    @pytest.mark.parametrize("parameters", [{}, {"duration": [1]}, {"duration": 1, "until": 2}])
    def test_wrong_parameters_are_refused_where_it_is_defined(self, parameters: dict[str, Any]) -> None:
        with pytest.raises(InvalidPlanError, match=r"duration|until"):
            planned(step(1, DELAY, **parameters))

    def test_it_cannot_run_for_each_item(self) -> None:
        with pytest.raises(InvalidPlanError, match="wait:delay"):
            planned(Node(seq=1, program="flow:each", depends_on=(), child_program=DELAY))

    def test_one_of_no_time_ends_at_once(self, runner: InlineRunner) -> None:
        assert waiting(runner, step(1, DELAY, duration=0), echo(2, 1)).status is FINISH

    def test_many_end_together_and_what_follows_is_sent_some_at_a_time(self, runner: InlineRunner) -> None:
        delays = [step(seq, DELAY, 1, duration=10) for seq in range(2, 1202)]
        last = [step(2000 + seq, "Echo", seq) for seq in range(2, 1202)]
        flow = waiting(runner, echo(1), *delays, *last, echo(9000, *(node.seq for node in last)))
        clock.advance(11)
        assert end_due_waits() == 1200
        check(flow)
        assert finish(runner, flow).status is FINISH

    def test_those_of_many_flows_end_together(self, runner: InlineRunner) -> None:
        name = define({1: [], 2: [1]}, parameters={"duration": 500}, program=DELAY)
        registered = engine.register_many([{"task_id": name, "input": {"n": n}} for n in range(600)])
        runner.run()
        for number in (600, 600):
            clock.advance(501)
            assert end_due_waits() == number
        runner.run()
        assert {flow.status for flow in Flow.objects.all()} == {FINISH}
        assert engine.get_flow(registered[7].pk).output == {"n": 7}

    def test_a_held_flow_begins_none_and_ends_those_that_have_begun(self, runner: InlineRunner) -> None:
        flow = planned(echo(1), step(2, DELAY, 1, duration=5), step(3, DELAY, duration=5), echo(4, 3))
        engine.suspend(flow.pk)
        runner.run()
        clock.advance(6)
        assert end_due_waits() == 1
        runner.run()
        check(flow)
        ended = {row.task_seq: row.status for row in flow.tasks.all()}
        assert ended == {1: WAIT, 2: WAIT, 3: FINISH, 4: WAIT}
        engine.resume(flow.pk)
        runner.run()
        assert flow.tasks.get(task_seq=2).started_ts is not None
        check(flow)

    def test_it_is_skipped_cancelled_woken_and_rerun(self, runner: InlineRunner) -> None:
        nodes = (step(1, DELAY, duration=60), echo(2, 1))
        skipped, cancelled, woken, rerun = (waiting(runner, *nodes, input={"n": 1}) for _ in range(4))
        engine.skip(skipped.pk, 1)
        engine.cancel(cancelled.pk)
        engine.wake(woken.pk, 1, actor="ann")
        engine.rerun(rerun.pk, from_seq=1)
        runner.run()
        assert [status(flow) for flow in (skipped, cancelled, woken, rerun)] == [FINISH, IGNORE, FINISH, RUNNING]
        assert engine.get_flow(woken.pk).output == {"n": 1}
        assert "wake" in verbs(woken)
        clock.advance(61)
        assert end_due_waits() == 1
        assert finish(runner, rerun).status is FINISH
        with pytest.raises(StateConflictError):
            engine.wake(woken.pk, 1)

    def test_a_wait_that_has_not_begun_is_not_woken(self, runner: InlineRunner) -> None:
        flow = planned(echo(1), step(2, DELAY, 1, duration=1))
        with pytest.raises(StateConflictError, match="has not begun"):
            engine.wake(flow.pk, 2)

    def test_hooks_receive_its_beginning_and_its_end(self, runner: InlineRunner, listener: Listener) -> None:
        flow = waiting(runner, step(1, DELAY, duration=60))
        assert end_due_waits() == 0
        clock.advance(61)
        assert end_due_waits() == 1
        runner.run()
        names = [event.name for event in listener.events if event.flow_id == flow.pk]
        assert names == ["start_flow", "task_start", "task_over", "task_all_over", "all_over"]

    def test_a_branch_that_failed_beside_it_suspends_the_flow_when_it_ends(self, runner: InlineRunner) -> None:
        flow = waiting(runner, step(1, "FailUnlisted"), step(2, DELAY, duration=5))
        assert flow.status is RUNNING
        clock.advance(6)
        assert end_due_waits() == 1
        check(flow)
        assert status(flow) is SUSPEND

    def test_a_condition_may_leave_it_out(self, runner: InlineRunner) -> None:
        node = Node(seq=1, program=DELAY, depends_on=(), parameters={"duration": 60}, when="input.wait")
        assert waiting(runner, node, echo(2, 1), input={"wait": False}).status is FINISH
        assert waiting(runner, node, echo(2, 1), input={"wait": True}).status is RUNNING


def awaits(seq: int, *before: int, **parameters: Any) -> Node:
    """A step that waits for the event ``paid``."""
    return step(seq, EVENT, *before, event="paid", **parameters)


class TestEvent:
    def test_one_ends_each_wait_that_matches_and_no_other(self, runner: InlineRunner) -> None:
        one, same, other = (waiting(runner, awaits(1, match="input"), echo(2, 1), input={"id": n}) for n in (1, 1, 2))
        event = engine.emit("paid", {"id": 1, "by": "ann"}, actor="bank")
        assert [finish(runner, flow).status for flow in (one, same, other)] == [FINISH, FINISH, RUNNING]
        assert (engine.get_flow(one.pk).output, Wait.objects.count()) == ({"id": 1}, 1)
        event.refresh_from_db()
        assert (event.offered, event.consumed_ts is not None, event.actor) == (True, True, "bank")

    @pytest.mark.parametrize(
        ("input", "data", "ends"),
        [
            ({"id": 1}, {"id": 1}, True),
            ({"id": 1}, {"id": 1.0}, True),
            ({"id": 1}, {"id": True}, False),
            ({"id": 1}, {"id": "1"}, False),
            ({"id": 1, "a": {"b": [1]}}, {"a": {"b": [1]}, "id": 1, "more": 0}, True),
            ({"a": {"b": 1}}, {"a": {"b": 1, "c": 2}}, False),
            ({"id": None}, {}, False),
            ([{"id": 1}, {"id": 2}], {"id": 1}, True),
            ([], {}, True),
            ({}, {"x": 1}, True),
        ],
    )
    def test_it_matches_if_it_has_every_member_of_the_input(
        self, runner: InlineRunner, input: Any, data: Any, ends: bool
    ) -> None:
        flow = waiting(runner, awaits(1, match="input"), input=input)
        engine.emit("paid", data)
        assert (status(flow) is FINISH) is ends

    def test_without_a_match_any_of_the_kind_ends_it(self, runner: InlineRunner) -> None:
        flow = waiting(runner, awaits(1), input={"id": 1})
        engine.emit("shipped", {"id": 1})
        assert status(flow) is RUNNING
        engine.emit("paid", {"id": 2})
        assert status(flow) is FINISH

    def test_an_output_of_the_event_is_merged_with_the_match(self, runner: InlineRunner) -> None:
        flow = waiting(runner, awaits(1, match="input"), echo(2, 1), input={"id": 1, "sum": 5})
        engine.emit("paid", {"id": 1, "sum": 5, "output": {"sum": 6, "ok": True}})
        assert finish(runner, flow).output == {"id": 1, "sum": 6, "ok": True}

    @pytest.mark.parametrize("output", [7, None, [1]])
    def test_an_output_that_is_no_object_stands_alone(self, runner: InlineRunner, output: Any) -> None:
        flow = waiting(runner, awaits(1), input={"id": 1})
        engine.emit("paid", {"output": output})
        assert engine.get_flow(flow.pk).output == output

    def test_a_match_may_be_written_with_templates(self, runner: InlineRunner) -> None:
        match = {"order": "{{ input.id }}", "name": "no-{input[id]}"}
        flow = waiting(runner, awaits(1, match=match), input={"id": 7})
        engine.emit("paid", {"order": 8, "name": "no-7"})
        assert status(flow) is RUNNING
        engine.emit("paid", {"order": 7, "name": "no-7"})
        assert status(flow) is FINISH

    def test_an_earlier_one_counts_if_it_came_after_the_flow_was_registered(self, runner: InlineRunner) -> None:
        engine.emit("paid", {"id": 1})
        flow = planned(echo(1), awaits(2, 1, match="input"), input={"id": 1})
        runner.run()
        assert status(flow) is RUNNING
        later = planned(echo(1), awaits(2, 1, match="input"), input={"id": 2})
        engine.emit("paid", {"id": 2})
        runner.run()
        assert status(later) is FINISH

    def test_since_any_takes_those_from_before_too(self, runner: InlineRunner) -> None:
        engine.emit("paid", {"id": 1})
        assert waiting(runner, awaits(1, since="any"), input={"id": 1}).status is FINISH
        assert waiting(runner, awaits(1, since="any"), input={"id": 1}).status is RUNNING, "its receipt consumed it"

    def test_without_a_receipt_it_stays_for_others(self, runner: InlineRunner) -> None:
        engine.emit("paid", {"id": 1})
        for _ in range(2):
            assert waiting(runner, awaits(1, since="any", receipt=False)).status is FINISH
        assert waiting(runner, awaits(1, since="any")).status is FINISH
        assert waiting(runner, awaits(1, since="any", receipt=False)).status is RUNNING

    def test_a_time_out_fails_it_and_a_rerun_waits_again(self, runner: InlineRunner) -> None:
        flow = waiting(runner, awaits(1, timeout="1h"), echo(2, 1))
        clock.advance(3601)
        assert end_due_waits() == 1
        check(flow)
        assert (statuses(flow)[1], status(flow), Wait.objects.count()) == (SUSPEND, SUSPEND, 0)
        assert "paid" in task(flow, 1).error
        engine.emit("paid")
        assert status(flow) is SUSPEND
        engine.rerun(flow.pk)
        runner.run()
        assert finish(runner, flow).status is FINISH, "the event came after the flow was registered"

    @pytest.mark.parametrize("verb", ["skip", "cancel", "delete", "rerun"])
    def test_a_wait_that_a_verb_has_ended_is_not_ended_again(self, runner: InlineRunner, verb: str) -> None:
        flow = waiting(runner, echo(1), awaits(2, 1), echo(3, 2))
        match verb:
            case "skip":
                engine.skip(flow.pk, 2)
            case "rerun":
                engine.rerun(flow.pk, from_seq=1)
            case _:
                engine.cancel(flow.pk)
        if verb == "delete":
            engine.delete([flow.pk])
        assert not Wait.objects.exists()
        engine.emit("paid", {"n": 1})
        runner.run()
        expected = {"skip": FINISH, "cancel": IGNORE, "rerun": FINISH}
        if verb != "delete":
            assert finish(runner, flow).status is expected[verb]

    @pytest.mark.parametrize(
        "parameters", [{"match": [1]}, {"match": "output"}, {"receipt": "perhaps"}, {"since": "ever"}]
    )
    def test_wrong_parameters_fail_it_or_are_refused(self, runner: InlineRunner, parameters: dict[str, Any]) -> None:
        if "receipt" in parameters:
            with pytest.raises(InvalidPlanError, match="receipt"):
                planned(awaits(1, **parameters))
            return
        flow = waiting(runner, awaits(1, **parameters))
        assert (status(flow), next(iter(parameters)) in task(flow, 1).error) == (SUSPEND, True)

    @pytest.mark.parametrize(
        ("kind", "data"), [("", {}), ("a\nb", {}), ("x" * 257, {}), ("k", [1]), ("k", {"a": float("nan")})]
    )
    def test_a_bad_event_is_refused(self, kind: str, data: Any) -> None:
        with pytest.raises(InvalidValueError):
            engine.emit(kind, data)
        assert not Event.objects.exists()

    def test_what_a_dead_process_left_is_taken_up(self, runner: InlineRunner, monkeypatch: pytest.MonkeyPatch) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(events, "offer", lambda event_id: events.Outcome())
            flow = waiting(runner, awaits(1))
            engine.emit("paid")
        assert status(flow) is RUNNING
        with monkeypatch.context() as patch:
            patch.setattr(propagation, "look_back", lambda wait_id: 0)
            late = waiting(runner, awaits(1, receipt=False, since="any"))
        assert take_up_waits() == 0
        clock.advance(due_waits.LEFT + 1)
        assert take_up_waits() >= 1
        assert status(flow) is FINISH
        engine.emit("paid")
        assert status(late) is FINISH
        assert take_up_waits() == 0

    def test_old_ones_are_deleted(self, runner: InlineRunner) -> None:
        engine.emit("paid")
        assert prune() == 0
        clock.advance(8 * 86_400)
        assert prune() == 1
        assert not Event.objects.exists()


class TestStart:
    def test_an_event_starts_one_flow_of_each_workflow_that_names_it(self, runner: InlineRunner) -> None:
        names = [define({1: []}) for _ in range(3)]
        Workflow.objects.create(pk=names[0], start_event="paid")
        Workflow.objects.create(pk=names[1], start_event="paid", start_match={"country": "DE"})
        Workflow.objects.create(pk=names[2], start_event="shipped")
        event = engine.emit("paid", {"id": 1, "country": "FR"})
        engine.emit("paid", {"country": "DE"})
        Event.objects.update(offered=False)
        assert events.offer(event.pk).ended == 0
        runner.run()
        flows = Flow.objects.order_by("registered_ts")
        assert [flow.task_id for flow in flows] == [names[0], names[0], names[1]]
        assert (flows[0].output, flows[0].registered_by) == ({"id": 1, "country": "FR"}, "event")

    def test_one_that_cannot_start_keeps_no_other_back(self, runner: InlineRunner) -> None:
        Workflow.objects.create(pk="a-broken", start_event="paid")
        name = define({1: []})
        Workflow.objects.create(pk=name, start_event="paid")
        engine.emit("paid")
        assert Flow.objects.get().task_id == name


class TestLatches:
    def test_a_countdown_ends_when_each_acquire_has_its_release(self, runner: InlineRunner) -> None:
        flows = [waiting(runner, step(1, ACQUIRE, name="port"), echo(2, 1), input=n) for n in range(3)]
        assert [flow.status for flow in flows] == [FINISH] * 3
        waiters = [waiting(runner, step(1, COUNTDOWN, name="port"), echo(2, 1), input=n) for n in range(2)]
        for number in range(3):
            assert [status(flow) for flow in waiters] == [RUNNING, RUNNING]
            released = waiting(runner, step(1, RELEASE, name="port"), input=number)
            assert (released.status, released.output) == (FINISH, number)
        assert [finish(runner, flow).output for flow in waiters] == [0, 1]
        assert not Latch.objects.exists()
        assert not Wait.objects.exists()

    def test_a_countdown_of_an_unknown_latch_ends_at_once(self, runner: InlineRunner) -> None:
        assert waiting(runner, step(1, COUNTDOWN, name="port")).status is FINISH

    def test_a_release_of_an_unknown_latch_changes_nothing(self, runner: InlineRunner) -> None:
        assert waiting(runner, step(1, RELEASE, name="port"), step(2, ACQUIRE, 1, name="port")).status is FINISH
        assert LatchHold.objects.count() == 1

    @pytest.mark.parametrize("name", ["port-{input[id]}", 'port-{input["id"]}', "port-{{ input.id }}"])
    def test_its_name_may_come_from_the_input(self, runner: InlineRunner, name: str) -> None:
        waiting(runner, step(1, ACQUIRE, name=name), input={"id": 7})
        assert Latch.objects.get().pk == "port-7"

    def test_a_cancelled_flow_gives_back_what_it_holds(self, runner: InlineRunner) -> None:
        holder = waiting(
            runner, step(1, ACQUIRE, name="a"), step(2, ACQUIRE, 1, name="b"), step(3, DELAY, 2, duration=60)
        )
        waiter = waiting(runner, step(1, COUNTDOWN, name="a"), step(2, COUNTDOWN, 1, name="b"), echo(3, 2))
        engine.cancel(holder.pk)
        assert finish(runner, waiter).status is FINISH

    def test_what_a_deleted_or_cancelled_flow_holds_is_given_back_by_the_watcher(self, runner: InlineRunner) -> None:
        holder = waiting(runner, step(1, ACQUIRE, name="a"))
        waiter = waiting(runner, step(1, COUNTDOWN, name="a"))
        assert take_up_waits() == 0
        engine.delete([holder.pk])
        assert take_up_waits() == 1
        assert status(waiter) is FINISH

    def test_a_rerun_of_an_acquire_does_not_count_twice(self, runner: InlineRunner) -> None:
        flow = waiting(runner, step(1, ACQUIRE, name="a"), echo(2, 1))
        engine.rerun(flow.pk, all_tasks=True)
        runner.run()
        assert LatchHold.objects.count() == 1

    def test_a_countdown_may_time_out(self, runner: InlineRunner) -> None:
        waiting(runner, step(1, ACQUIRE, name="a"))
        flow = waiting(runner, step(1, COUNTDOWN, name="a", timeout=5))
        clock.advance(6)
        assert end_due_waits() == 1
        assert status(flow) is SUSPEND
        assert "'a'" in task(flow, 1).error

    def test_what_a_dead_process_left_at_zero_is_ended(
        self, runner: InlineRunner, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        waiting(runner, step(1, ACQUIRE, name="a"))
        waiter = waiting(runner, step(1, COUNTDOWN, name="a"))
        with monkeypatch.context() as patch:
            patch.setattr(propagation, "end_countdowns", lambda latch: 0)
            waiting(runner, step(1, RELEASE, name="a"))
        Wait.objects.update(ts=F("ts"))
        clock.advance(due_waits.LEFT + 1)
        assert take_up_waits() == 1
        assert status(waiter) is FINISH


def test_a_parked_task_that_is_due_does_not_wait_behind_due_waits(runner: InlineRunner) -> None:
    waiting(runner, *(step(seq, DELAY, duration=1) for seq in range(1, 600)))
    parked = engine.register(define({1: []}, "Waiting", parameters={"seconds": 5}))
    runner.run()
    clock.advance(10)
    assert send_unsent() == 1
    assert task(parked, 1).ref == TaskRef(parked.pk, 1)
    assert Task.objects.due_waits().count() == 599
