"""What a pool process continues with, without a message: quick tasks that it released, and deferred ones."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from flowerapp import engine
from flowerapp.core.messages import FIRST_SENT
from flowerapp.executors.celery import routes
from flowerapp.models import Flow
from flowerapp.states import Status
from tests.acceptance.live import Live, define, start_counts, starts, states, task, wait_started
from tests.engine.support import check
from tests.services import until

LENGTH = 60
CHAIN = {seq: [seq - 1] if seq > 1 else [] for seq in range(1, LENGTH + 1)}
WIDTH = 300
FAN: dict[int, list[int]] = {1: []} | {seq: [1] for seq in range(2, WIDTH + 2)} | {WIDTH + 2: list(range(2, WIDTH + 2))}
CONTINUE = 5.0
"""Seconds that a process continues here: so many that a busy machine does not decide what is quick."""
BROKERS = pytest.mark.parametrize("own", ["redis", "amqp"], indirect=True)
LOOK = 3.0
"""Seconds in which the keeper of a worker looks at its tasks more than twice."""


@pytest.fixture(autouse=True)
def _continues_long(own: Live) -> None:
    own.site.environment["FLOWER_TEST_CONTINUE_SECONDS"] = str(CONTINUE)


def published(live: Live) -> int:
    """Messages for programs that the workers have published."""
    lines = live.site.messages.read_text().splitlines() if live.site.messages.exists() else []
    return sum(line.partition(" ")[2].startswith(routes.PREFIX) for line in lines)


def warm(live: Live) -> None:
    """Let the one process of the only worker know the programs Record and Nap as quick."""
    live.run(CHAIN, {1: {"program": "Nap", "parameters": {"seconds": 0}}})


def traced(live: Live, flow: Flow) -> set[int]:
    """Seqs whose end Celery has logged under an id of their own."""
    seqs = re.findall(rf"Task flowerapp\.\S+\[{flow.pk}:(\d+):\w+\] succeeded", live.news)
    return {int(seq) for seq in seqs}


def without_message(flow: Flow) -> int:
    """Tasks of a flow that were started without a message."""
    return flow.tasks.filter(sent_ts=None, attempt__gt=0).count()


@BROKERS
def test_a_chain_of_quick_tasks_needs_few_messages(own: Live) -> None:
    """Each is claimed and finished once, and traced by Celery under its own name and id."""
    own.site.start_all(1)
    warm(own)
    before = published(own)
    flow = own.run(CHAIN)
    assert published(own) - before < LENGTH / 2
    assert published(own) - before == LENGTH - 1 - without_message(flow)
    assert start_counts(flow) == dict.fromkeys(CHAIN, 1)
    until(lambda: traced(own, flow) == set(CHAIN))
    own.assert_faultless(flow)
    check(flow)


@BROKERS
def test_a_wide_fork_needs_few_messages(own: Live) -> None:
    """The first are sent, and the others follow them."""
    own.site.start_all(2, 2)
    own.run(FAN)
    before = published(own)
    flow = own.run(FAN)
    assert FIRST_SENT - 1 <= published(own) - before < WIDTH / 2
    assert start_counts(flow) == dict.fromkeys(FAN, 1)
    assert len({start.pid for start in starts(flow)}) == 4
    own.assert_faultless(flow)
    check(flow)


@pytest.mark.parametrize(
    "options",
    [["--max-tasks-per-child", "1000"], ["--time-limit", "60"], ["-P", "threads"]],
    ids=["processes are renewed", "a limit for all", "a pool without processes"],
)
def test_where_messages_are_counted_each_task_has_one(own: Live, options: list[str]) -> None:
    own.site.start("-c", "1", *options).wait_ready()
    warm(own)
    before = published(own)
    flow = own.run(CHAIN)
    assert published(own) - before == LENGTH - 1
    assert without_message(flow) == 0
    assert start_counts(flow) == dict.fromkeys(CHAIN, 1)


def test_the_setting_switches_it_off(own: Live) -> None:
    own.site.environment["FLOWER_TEST_CONTINUE_SECONDS"] = "0"
    own.site.start_all(1)
    warm(own)
    assert without_message(own.run(CHAIN)) == 0


def test_a_rate_limit_switches_it_off(own: Live) -> None:
    own.site.start_all(1)
    warm(own)
    with own.site.entered() as app:
        (answer,) = app.control.rate_limit(  # type: ignore[misc] # it replies
            routes.task_name("Noop"), "1000/s", reply=True
        )
    assert "ok" in next(iter(answer.values()))
    assert without_message(own.run(CHAIN)) == 0


def test_what_goes_elsewhere_goes_by_a_message(own: Live) -> None:
    """To another queue, of another priority, with a time limit, by a program that is not known to be quick."""
    own.site.start("-c", "1").wait_ready()
    own.site.start("-c", "1", "-Q", "other").wait_ready()
    warm(own)
    steps: dict[int, dict[str, object]] = {
        2: {"queue": "other"},
        4: {"task_priority": 10},
        6: {"time_limit": 30},
        8: {"program": "Noop"},
    }
    flow = own.run({seq: CHAIN[seq] for seq in range(1, 10)}, steps)
    sent = {row.task_exec_seq for row in flow.tasks.exclude(sent_ts=None)}
    assert set(steps) <= sent
    workers = {row.task_exec_seq: row.worker for row in flow.tasks.all()}
    assert [seq for seq in workers if workers[seq] != workers[1]] == [2]
    own.assert_faultless(flow)


def test_a_task_that_takes_long_is_neither_rescued_nor_followed(own: Live) -> None:
    """Its program was quick before, so it came without a message; what follows it goes by one."""
    own.site.start_all(1)
    warm(own)
    flow = own.run({1: [], 2: [1], 3: [2]}, {2: {"program": "Nap", "parameters": {"seconds": CONTINUE + LOOK}}})
    assert [task(flow, seq).sent_ts is None for seq in (1, 2, 3)] == [False, True, False]
    assert {row.attempt for row in flow.tasks.all()} == {1}
    own.assert_faultless(flow)


def test_a_cancelled_task_that_came_without_a_message_is_stopped(own: Live, tmp_path: Path) -> None:
    """It would hold the only process for ten minutes."""
    own.site.start_all(1)
    (tmp_path / "open").touch()
    gate = {"program": "Gate", "parameters": {"path": str(tmp_path / "open")}}
    own.run({1: [], 2: [1]}, {1: gate, 2: gate})
    shut = {"program": "Gate", "parameters": {"path": str(tmp_path / "shut"), "seconds": 600}}
    flow = engine.register(define({1: [], 2: [1]}, {1: gate, 2: shut}))
    wait_started(flow, 2)
    assert task(flow, 2).sent_ts is None
    engine.cancel(flow.pk)
    own.run(CHAIN)
    assert states(flow) == {1: Status.FINISH, 2: Status.IGNORE}
    assert task(flow, 2).rescues == 0
