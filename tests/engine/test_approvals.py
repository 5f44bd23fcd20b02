"""Steps that wait for a person's decision: what they ask, who may decide, and what a decision leads to."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.core import mail
from django.test import override_settings

from flowerapp import engine
from flowerapp.exceptions import (
    ForbiddenError,
    InvalidPlanError,
    InvalidValueError,
    StateConflictError,
    UnknownTaskError,
)
from flowerapp.models import Approval, Flow, HistoryEntry
from flowerapp.querysets import clock
from flowerapp.selectors import approvals as reads
from flowerapp.selectors import tasks
from flowerapp.selectors.wait_reasons import wait_reasons
from flowerapp.states import Status
from flowerapp.testing import InlineRunner
from flowerapp.watcher.duties.approvals import remind
from flowerapp.watcher.duties.waits import end_due_waits
from tests.engine.approvals import FORM, approval, asked, asking, decider, user
from tests.engine.support import check, planned, status, statuses, task, verbs
from tests.engine.test_hooks import Listener, listener

__all__ = ["listener"]

pytestmark = pytest.mark.django_db(transaction=True)

WAIT, RUNNING, SUSPEND, FINISH, IGNORE = Status.WAIT, Status.RUNNING, Status.SUSPEND, Status.FINISH, Status.IGNORE


@pytest.fixture(autouse=True)
def unmoved() -> Iterator[None]:
    """The clock is as it was after each test."""
    yield
    clock.reset()


def why(flow: Flow, seq: int = 2) -> str:
    row = tasks.whole_task(flow.pk, seq)
    return wait_reasons([row]).get(row.pk, "")


def decided(runner: InlineRunner, flow: Flow, choice: str = "approve", **options: Any) -> Flow:
    """The flow after a decision and all that follows."""
    engine.decide(flow.pk, 2, choice, **options)
    runner.run()
    check(flow)
    return engine.get_flow(flow.pk)


class TestAsking:
    def test_it_asks_and_holds_nothing(self, runner: InlineRunner) -> None:
        flow = asking(
            runner, title="Refund {input[order]}", message="for {{ input.who }}", input={"order": 7, "who": "B"}
        )
        check(flow)
        row = asked(flow)
        assert (row.title, row.message, row.state, row.run) == ("Refund 7", "for B", "open", 1)
        assert (statuses(flow), flow.status) == ({1: FINISH, 2: WAIT, 3: WAIT}, RUNNING)
        assert [message.head.program for message in runner.sent] == ["Echo"]
        assert why(flow).startswith("for a decision by users with the permission flowerapp.decide_approval since ")

    def test_the_reason_names_who_may_decide_and_until_when(self, runner: InlineRunner) -> None:
        flow = asking(runner, groups=["finance"], users=["ann"], permission="shop.pay", timeout=60)
        reason = "for a decision by members of finance, ann or users with the permission shop.pay since "
        assert why(flow).startswith(reason)
        assert ", until " in why(flow)

    def test_without_a_title_the_step_names_it(self, runner: InlineRunner) -> None:
        assert asked(asking(runner)).title == "boss"

    def test_a_template_that_its_input_does_not_fill_in_fails_the_step(self, runner: InlineRunner) -> None:
        flow = asking(runner, title="{input[no]}")
        assert status(flow, 2) is SUSPEND
        assert "no key 'no'" in task(flow, 2).error
        assert not Approval.objects.exists()
        check(flow)
        engine.change(flow.pk, 2, parameters={"title": "Now"})
        engine.rerun(flow.pk)
        assert asked(flow).title == "Now"

    @pytest.mark.parametrize(
        ("parameters", "says"),
        [
            ({"color": "red"}, "color"),
            ({"groups": [1]}, "groups must be a list of names"),
            ({"title": "{input.order}"}, "title: line 1, column 1: a field reads keys"),
            ({"form": {"type": "object", "properties": {"a": {"type": "string", "pattern": "("}}}}, "'pattern'"),
        ],
    )
    def test_wrong_parameters_are_refused_where_it_is_defined(self, parameters: dict[str, Any], says: str) -> None:
        with pytest.raises(InvalidPlanError) as refusal:
            planned(approval(1, **parameters))
        assert says in str(refusal.value)

    def test_secrets_are_masked_in_what_people_read_and_stay_in_the_output(self, runner: InlineRunner) -> None:
        secret = {"password": "hunter2", "note": "the word is hunter2"}
        form = {"type": "object", "properties": {"a": {"type": "string", "title": "as hunter2"}}}
        choices = [{"name": "ok", "label": "Use hunter2"}]
        flow = asking(
            runner, input=secret, title="{input[note]}", message="{{ input.password }}", form=form, choices=choices
        )
        row = asked(flow)
        shown = reads.get_approval(row.pk)
        texts = [row.title, row.message, str(row.form), str(row.choices), str(shown.data)]
        assert not [text for text in texts if "hunter2" in text]
        flow = decided(runner, flow, "ok", comment="because of hunter2", data={"a": "hunter2"})
        shown = reads.get_approval(row.pk)
        assert "hunter2" not in f"{shown.data} {shown.comment} {asked(flow).comment}"
        assert not HistoryEntry.objects.filter(reason__contains="hunter2").exists()
        assert flow.output["approval"]["data"] == {"a": "hunter2"}


class TestDecision:
    def test_the_output_is_the_input_with_the_decision(self, runner: InlineRunner) -> None:
        flow = asking(runner, input={"order": 7}, form=FORM)
        flow = decided(runner, flow, actor="ann", comment=" as agreed ", data={"amount": 15})
        row = asked(flow)
        assert flow.status is FINISH
        assert flow.output == {
            "order": 7,
            "approval": {
                "choice": "approve",
                "approved": True,
                "comment": "as agreed",
                "data": {"amount": 15},
                "decided_by": "ann",
                "decided_at": row.ended_ts.isoformat() if row.ended_ts else None,
            },
        }
        assert (row.state, row.choice, row.comment, row.decided_by) == ("decided", "approve", "as agreed", "ann")
        (entry,) = HistoryEntry.objects.filter(verb="decide")
        assert (entry.actor, entry.reason, entry.details) == (
            "ann",
            "as agreed",
            {"approval": row.pk, "choice": "approve"},
        )

    @pytest.mark.parametrize("input", [[1, 2], "text", 5])
    def test_an_input_that_is_no_object_stands_beside_it(self, runner: InlineRunner, input: Any) -> None:
        flow = decided(runner, asking(runner, input=input))
        assert flow.output["input"] == input
        assert flow.output["approval"]["choice"] == "approve"

    def test_a_rejection_fails_the_step_and_a_rerun_asks_anew(self, runner: InlineRunner) -> None:
        flow = asking(runner)
        flow = decided(runner, flow, "reject", actor="ann", comment="too much")
        assert (flow.status, flow.failed_seq, task(flow, 2).error) == (SUSPEND, 2, "rejected by ann: too much")
        engine.rerun(flow.pk)
        runner.run()
        check(flow)
        first, second = Approval.objects.order_by("id")
        assert (first.state, first.choice, first.run) == ("decided", "reject", 1)
        assert (second.state, second.choice, second.run) == ("open", "", 2)
        assert decided(runner, flow).status is FINISH

    def test_a_choice_that_is_no_approval_fails_with_its_label(self, runner: InlineRunner) -> None:
        choices: list[Any] = ["approve", {"name": "later", "label": "Not this week", "approved": False}]
        flow = decided(runner, asking(runner, choices=choices), "later", actor="ann")
        assert task(flow, 2).error == "'Not this week' was chosen by ann"

    def test_with_on_reject_the_flow_continues_and_sees_the_choice(self, runner: InlineRunner) -> None:
        flow = decided(runner, asking(runner, on_reject="continue"), "reject")
        assert flow.status is FINISH
        assert (flow.output["approval"]["choice"], flow.output["approval"]["approved"]) == ("reject", False)

    @pytest.mark.parametrize(
        ("parameters", "decision", "says"),
        [
            ({}, {"choice": "maybe"}, "none of approve, reject"),
            ({"comment": "required"}, {"comment": "  "}, "comment is required for approve"),
            ({"comment": "none"}, {"comment": "why"}, "comment is not taken for approve"),
            ({}, {"comment": "a\u202e"}, "U+202E"),
            ({}, {"comment": "x" * 2001}, "2,000 is the most"),
            ({}, {"data": {"a": 1}}, "data is not taken for approve"),
            ({"form": FORM}, {}, "data.amount: is required"),
            ({"form": FORM}, {"data": {"amount": -1}}, "data.amount: must be 0 or more"),
            ({"form": FORM}, {"data": {"amount": 1, "password": "••••"}}, "data holds ••••"),
            ({"form": FORM}, {"data": [1]}, "data must be an object"),
            ({"form": FORM}, {"choice": "reject", "data": {"amount": 1}}, "data is not taken for reject"),
        ],
    )
    def test_what_does_not_fit_is_refused_and_the_question_stays(
        self, runner: InlineRunner, parameters: dict[str, Any], decision: dict[str, Any], says: str
    ) -> None:
        flow = asking(runner, **parameters)
        with pytest.raises(InvalidValueError) as refusal:
            engine.decide(flow.pk, 2, **{"choice": "approve", **decision})
        assert says in str(refusal.value)
        assert (asked(flow).state, status(flow, 2)) == ("open", WAIT)

    def test_what_asks_for_nothing_is_refused(self, runner: InlineRunner) -> None:
        flow = asking(runner)
        with pytest.raises(StateConflictError, match=r"task 1 of flow .* asks for no decision"):
            engine.decide(flow.pk, 1, "approve")
        with pytest.raises(UnknownTaskError):
            engine.decide(flow.pk, 9, "approve")

    def test_a_second_decision_says_who_decided_what_and_when(self, runner: InlineRunner) -> None:
        flow = asking(runner)
        decided(runner, flow, actor="ann")
        with pytest.raises(StateConflictError, match="any more: ann chose Approve at 20") as refusal:
            engine.decide(flow.pk, 2, "reject", actor="bob")
        assert refusal.value.details == {"state": "decided", "choice": "approve", "decided_by": "ann"}
        assert status(flow) is FINISH

    def test_a_held_flow_may_be_decided_and_continues_when_it_is_resumed(self, runner: InlineRunner) -> None:
        flow = asking(runner)
        engine.suspend(flow.pk)
        flow = decided(runner, flow)
        assert (statuses(flow)[2], statuses(flow)[3]) == (FINISH, WAIT)
        engine.resume(flow.pk)
        runner.run()
        assert status(flow) is FINISH


class TestWithdrawn:
    @pytest.mark.parametrize("verb", ["cancel", "skip", "rerun"])
    def test_a_verb_withdraws_the_question(self, runner: InlineRunner, verb: str) -> None:
        flow = asking(runner)
        first = asked(flow)
        if verb == "rerun":
            engine.rerun(flow.pk, all_tasks=True)
        else:
            getattr(engine, verb)(flow.pk, *([2] if verb == "skip" else []))
        first.refresh_from_db()
        assert (first.state, first.choice) == ("closed", "")
        runner.run()
        check(flow)
        if verb == "rerun":
            assert asked(flow).run == 2
        else:
            with pytest.raises(StateConflictError, match="the question was withdrawn"):
                engine.decide(flow.pk, 2, "approve")

    def test_deleting_the_flow_deletes_its_questions(self, runner: InlineRunner) -> None:
        flow = asking(runner)
        engine.cancel(flow.pk)
        engine.delete([flow.pk])
        assert not Approval.objects.exists()


class TestTimeOut:
    def test_without_a_default_the_step_fails(self, runner: InlineRunner) -> None:
        flow = asking(runner, timeout=3600)
        assert end_due_waits() == 0
        clock.advance(3601)
        assert end_due_waits() == 1
        check(flow)
        assert (asked(flow).state, status(flow)) == ("expired", SUSPEND)
        assert task(flow, 2).error == "no decision within 1 h 00 min"

    def test_the_default_is_taken(self, runner: InlineRunner) -> None:
        flow = asking(runner, timeout=60, default="approve")
        clock.advance(61)
        assert end_due_waits() == 1
        runner.run()
        check(flow)
        flow = engine.get_flow(flow.pk)
        decision = flow.output["approval"]
        assert (decision["choice"], decision["decided_by"], flow.status) == ("approve", "time-out", FINISH)
        assert end_due_waits() == 0

    def test_a_default_that_rejects_fails_the_step(self, runner: InlineRunner) -> None:
        flow = asking(runner, timeout=60, default="reject")
        clock.advance(61)
        assert end_due_waits() == 1
        assert task(flow, 2).error.startswith("rejected by default: no decision within 1 min 0")
        assert verbs(flow)[-2:] == ["expire", "fail"]

    def test_after_the_time_a_decision_is_refused_before_and_after_the_watcher_looks(
        self, runner: InlineRunner
    ) -> None:
        flow = asking(runner, timeout=60, default="approve")
        clock.advance(61)
        with pytest.raises(StateConflictError, match="the time ran out at 20"):
            engine.decide(flow.pk, 2, "reject")
        assert asked(flow).state == "open"
        end_due_waits()
        with pytest.raises(StateConflictError, match=r"the time ran out at .* and Approve was taken by default"):
            engine.decide(flow.pk, 2, "reject")

    def test_a_decision_in_time_leaves_nothing_to_the_watcher(self, runner: InlineRunner) -> None:
        flow = decided(runner, asking(runner, timeout=60))
        clock.advance(61)
        assert end_due_waits() == 0
        assert flow.status is FINISH


class TestRights:
    def test_the_permission_is_enough_where_the_step_names_none(self, runner: InlineRunner) -> None:
        flow = asking(runner)
        with pytest.raises(ForbiddenError, match=r"user eve lacks the permission flowerapp\.decide_approval"):
            engine.decide(flow.pk, 2, "approve", user=user("eve"))
        assert engine.decide(flow.pk, 2, "approve", user=decider("ann")).decided_by == "ann"

    @pytest.mark.parametrize(
        ("parameters", "may"),
        [
            ({"groups": ["finance"]}, ["fay", "root"]),
            ({"users": ["ann"]}, ["ann", "root"]),
            ({"permission": "flowerapp.operate_flow"}, ["ops", "root"]),
            ({"groups": ["finance"], "users": ["ann"]}, ["ann", "fay", "root"]),
            ({"groups": ["finan"], "users": ["an", "Fay"]}, ["root"]),
        ],
    )
    def test_a_step_narrows_who_may_decide(
        self, runner: InlineRunner, parameters: dict[str, Any], may: list[str]
    ) -> None:
        flow = asking(runner, **parameters)
        users = [decider("ann"), decider("fay", groups=("finance",)), decider("ops", "operate_flow")]
        users += [user("out", groups=("finance",)), decider("root")]
        users[-1].is_superuser = True
        users[-1].save()
        row = asked(flow)
        assert [one.username for one in users if not reads.refusal(row, one)] == may
        listed = {
            one.username: list(reads.decidable_by(one, reads.shown_approvals()).values_list("pk", flat=True))
            for one in users
        }
        assert [name for name, keys in listed.items() if keys] == may
        with pytest.raises(ForbiddenError):
            engine.decide(flow.pk, 2, "approve", user=users[3])
        assert asked(flow).state == "open"

    def test_the_user_who_registered_the_flow_may_decide_only_if_the_step_says_so(self, runner: InlineRunner) -> None:
        ann = decider("ann")
        ann.is_superuser = True
        ann.save()
        own, open_to_all = asking(runner, actor="ann"), asking(runner, actor="ann", self_approval=True)
        with pytest.raises(ForbiddenError, match="ann has registered the flow"):
            engine.decide(own.pk, 2, "approve", user=ann)
        assert [row.task_flow_id for row in reads.decidable_by(ann, reads.shown_approvals())] == [open_to_all.pk]
        assert engine.decide(open_to_all.pk, 2, "approve", user=ann).state == "decided"

    def test_an_inactive_user_may_not(self, runner: InlineRunner) -> None:
        ann = decider("ann")
        ann.is_active = False
        with pytest.raises(ForbiddenError):
            engine.decide(asking(runner).pk, 2, "approve", user=ann)


class TestReminder:
    def test_there_is_one_reminder_with_history_and_hook(self, runner: InlineRunner, listener: Listener) -> None:
        flow = asking(runner, remind_after=60)
        assert ("approval_asked", 2) in listener.received
        assert remind() == 0
        clock.advance(61)
        assert (remind(), remind()) == (1, 0)
        assert verbs(flow) == ["remind"]
        (event,) = [event for event in listener.events if event.name == "approval_reminded"]
        assert event.approval == asked(flow)
        decided(runner, flow)
        clock.advance(600)
        assert remind() == 0

    def test_what_was_decided_needs_no_reminder(self, runner: InlineRunner) -> None:
        decided(runner, asking(runner, remind_after=60))
        clock.advance(61)
        assert remind() == 0

    @override_settings(FLOWER={"APPROVAL_LINKS": "https://flows.example.org/"})
    def test_each_address_gets_a_mail_with_a_link_of_its_own(self, runner: InlineRunner) -> None:
        flow = asking(
            runner,
            input={"password": "hunter2"},
            title="Pay\nnow?",
            message="not {input[password]}",
            notify=["a@shop.example", "b@shop.example"],
            remind_after=60,
            timeout=600,
        )
        assert [message.to for message in mail.outbox] == [["a@shop.example"], ["b@shop.example"]]
        assert {message.subject for message in mail.outbox} == {"Pay now?"}
        links = [message.body.splitlines()[-1] for message in mail.outbox]
        assert len(set(links)) == 2
        assert all(str(link).startswith("https://flows.example.org/approvals/") for link in links)
        assert "hunter2" not in str([message.body for message in mail.outbox])
        assert [entry["reader"] for entry in asked(flow).links] == ["a@shop.example", "b@shop.example"]
        clock.advance(61)
        remind()
        assert [message.subject for message in mail.outbox[2:]] == ["Reminder: Pay now?"] * 2

    def test_without_links_a_mail_has_none(self, runner: InlineRunner) -> None:
        asking(runner, notify=["a@shop.example"])
        with override_settings(FLOWER={"APPROVAL_LINKS": "https://flows.example.org"}):
            asking(runner, notify=["a@shop.example"], links=False)
        assert len(mail.outbox) == 2
        assert not [message for message in mail.outbox if "https://" in message.body]

    @override_settings(EMAIL_BACKEND="tests.engine.test_approvals.Unreachable")
    def test_a_mail_that_cannot_be_sent_is_in_the_history_and_delays_nothing(self, runner: InlineRunner) -> None:
        flow = asking(runner, notify=["a@shop.example", "b@shop.example"])
        (entry,) = HistoryEntry.objects.filter(task_flow=flow)
        assert (entry.verb, entry.reason) == ("hook", "approval_asked: ConnectionRefusedError: no mail server")
        assert decided(runner, flow).status is FINISH


class Unreachable:
    """A mail backend whose server does not answer."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def send_messages(self, messages: Any) -> int:
        raise ConnectionRefusedError("no mail server")


def test_the_time_out_is_by_the_database(runner: InlineRunner) -> None:
    row = asked(asking(runner, timeout=60))
    assert row.due_ts is not None
    assert abs(row.due_ts - row.opened_ts - timedelta(seconds=60)) < timedelta(seconds=5)
