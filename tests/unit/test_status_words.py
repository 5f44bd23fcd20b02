"""Statuses as users type them."""

from __future__ import annotations

from itertools import product

import pytest
from django.db.models import Q

from flowerapp.exceptions import InvalidError
from flowerapp.models import Flow, Task
from flowerapp.selectors.status_style import STYLES, flow_style, task_style
from flowerapp.selectors.status_words import FLOW_WORDS, TASK_WORDS, filter_of, task_filter_of
from flowerapp.states import IgnoredBy, Status


@pytest.fixture
def flows(db: None) -> list[Flow]:
    """A flow in each combination of what its word depends on."""
    for status, failed_seq, held in product(Status, (None, 2), (False, True)):
        Flow.objects.create(
            pk=f"{status.label}-{failed_seq}-{held}",
            task_id="etl",
            exec_status=status,
            failed_seq=failed_seq,
            held=held,
            finished_ts=ended(status),
        )
    return list(Flow.objects.all())


@pytest.fixture
def tasks(db: None) -> list[Task]:
    """A task in each status, and one for each reason for Ignore."""
    flow = Flow.objects.create(pk="flow", task_id="etl")
    kinds = [*((status, "") for status in Status), *((Status.IGNORE, reason) for reason in IgnoredBy)]
    for seq, (status, reason) in enumerate(kinds, start=1):
        Task.objects.create(
            task_flow=flow,
            task_exec_seq=seq,
            task_id="etl",
            task_seq=seq,
            program="Noop",
            exec_status=status,
            ignored_by=reason,
            finished_ts=ended(status),
        )
    return list(Task.objects.all())


def ended(status: Status) -> str | None:
    return "2026-03-01T12:00:00Z" if status in {Status.FINISH, Status.IGNORE} else None


def test_a_word_finds_the_flows_that_show_it(flows: list[Flow]) -> None:
    for word in FLOW_WORDS:
        showing = {flow.pk for flow in flows if flow_style(flow).word == word}
        assert showing
        assert set(Flow.objects.filter(filter_of(word)).values_list("pk", flat=True)) == showing, word


def test_a_word_finds_the_tasks_that_show_it(tasks: list[Task]) -> None:
    for word in TASK_WORDS:
        showing = {task.pk for task in tasks if task_style(task.exec_status, task.ignored_by).word == word}
        assert showing
        assert set(Task.objects.filter(task_filter_of(word)).values_list("pk", flat=True)) == showing, word


@pytest.mark.parametrize("status", Status)
def test_a_value_and_its_number_find_the_rows_in_it(status: Status, flows: list[Flow], tasks: list[Task]) -> None:
    for text in (status.label, status.label.upper(), str(int(status))):
        assert {flow.status for flow in Flow.objects.filter(filter_of(text))} == {status}
        assert {flow.pk for flow in flows if flow.status is status} <= set(
            Flow.objects.filter(filter_of(text)).values_list("pk", flat=True)
        )
        assert {task.status for task in Task.objects.filter(task_filter_of(text))} == {status}


def test_commas_join_words_values_and_numbers(flows: list[Flow]) -> None:
    assert filter_of("failed, HELD") == filter_of("failed") | filter_of("held")
    both = Flow.objects.filter(filter_of("Held,3"))
    assert {flow_style(flow).word for flow in both} == {"Held", "Finished"}
    assert set(Flow.objects.filter(filter_of("failed,held"))) == set(Flow.objects.filter(filter_of("suspend")))


@pytest.mark.parametrize("text", ["", "done", "failed,", "5", "-1", "skipped", "waiting running"])
def test_an_unknown_word_is_refused_with_those_that_there_are(text: str) -> None:
    with pytest.raises(InvalidError, match=r"there are Waiting, Running, .*Cancelled, and the values Wait \(0\), "):
        filter_of(text)


def test_a_long_word_is_cut_in_the_refusal() -> None:
    with pytest.raises(InvalidError) as refusal:
        task_filter_of(500 * "x")
    assert f"'{40 * 'x'}'" in str(refusal.value)


def test_flows_and_tasks_together_have_every_word() -> None:
    assert {*FLOW_WORDS, *TASK_WORDS} == {style.word for style in STYLES}
    assert isinstance(task_filter_of("skipped"), Q)
