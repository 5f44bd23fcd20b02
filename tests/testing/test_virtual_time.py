"""Flows in tests have the times that they would have had, in the order in which they would have happened."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from flowerapp import engine
from flowerapp.core import expressions
from flowerapp.core.messages import TaskRef
from flowerapp.exceptions import ParkTask
from flowerapp.models import Flow, Task
from flowerapp.registry import Context, Program, register
from flowerapp.selectors import tasks
from flowerapp.states import Status
from flowerapp.testing import FlowRunner
from tests.engine.support import define, task, verbs

SEEN: list[tuple[str, datetime]] = []
"""Who ran when."""
DAY = 86_400


def _say(ctx: Context, name: str) -> None:
    SEEN.append((name, ctx.now))


def _park(ctx: Context, seconds: float, name: str = "", times: int = 1) -> str:
    if ctx.attempt <= times:
        raise ParkTask("for a time", seconds=seconds)
    SEEN.append((name, ctx.now))
    return name


def _log(ctx: Context) -> None:
    ctx.log("said")


register(Program(name="virtual.Say", function=_say))
register(Program(name="virtual.Park", function=_park))
register(Program(name="virtual.Log", function=_log))
register(Program(name="virtual.Limited", function=_say, time_limit=60))
register(Program(name="virtual.Softly", function=_say, time_limit=60, soft_time_limit=30))


@pytest.fixture(autouse=True)
def _nothing_seen() -> None:
    SEEN.clear()


def step(program: str, *after: int, **options: Any) -> dict[str, Any]:
    parameters = {key: options.pop(key) for key in ("name", "seconds", "times", "delay", "until") if key in options}
    return {"program": program, "parameters": parameters, "depends_on": list(after), **options}


def seconds(flow: Flow, seq: int, column: str = "finished_ts") -> float:
    """When a task ended, in seconds after its flow was registered; hundredths are enough."""
    moment: datetime = getattr(task(flow, seq), column)
    return round((moment - flow.registered_ts).total_seconds(), 2)


def test_events_happen_in_order_whichever_flow_they_belong_to(flower: FlowRunner) -> None:
    begin = flower.now
    flower.register([step("virtual.Park", seconds=30, name="30"), step("virtual.Say", 1, name="after 30")])
    flower.register([step("virtual.Park", seconds=5, name="5"), step("virtual.Park", 1, seconds=20, name="25")])
    flower.register([step("virtual.Park", seconds=40, name="40"), step("virtual.Park", seconds=10, name="10")])
    flower.run_all()
    assert [name for name, _ in SEEN] == ["5", "10", "25", "30", "after 30", "40"]
    after = [round((moment - begin).total_seconds(), 2) for _, moment in SEEN]
    assert after == [5, 10, 25, 30, 30, 40]


def test_tasks_and_flows_have_the_times_that_they_would_have_had(flower: FlowRunner) -> None:
    flow = flower.run([step("testing.Retry", until=4, delay=3600), step("virtual.Say", 1, name="x")])
    flower.assert_finished(flow)
    assert (seconds(flow, 1, "started_ts"), seconds(flow, 1), seconds(flow, 2)) == (10_800, 10_800, 10_800)
    assert round((flow.finished_ts - flow.registered_ts).total_seconds(), 2) == 10_800  # type: ignore[operator]
    retries = flow.history.filter(verb="retry").values_list("ts", flat=True)
    assert [round((ts - flow.registered_ts).total_seconds(), 2) for ts in retries] == [0, 3600, 7200]


def test_no_time_passes_but_in_waits(flower: FlowRunner) -> None:
    begin = flower.now
    time.sleep(0.01)
    flow = flower.run(define(dict.fromkeys(range(1, 20)), "Noop"))
    assert flower.now - begin < timedelta(milliseconds=1)
    assert begin <= flow.registered_ts <= flow.finished_ts <= flower.now  # type: ignore[operator]
    starts = list(flow.tasks.order_by("task_exec_seq").values_list("started_ts", flat=True))
    assert starts == sorted(set(starts)), "one after the other"


def test_a_program_lasts_as_long_as_the_test_says(flower: FlowRunner) -> None:
    flower.set_duration("virtual.Say", 90)
    flow = flower.run([step("virtual.Say", name="a"), step("virtual.Say", 1, name="b"), step("virtual.Log", 2)])
    flower.assert_finished(flow)
    assert [seconds(flow, seq, "started_ts") for seq in (1, 2, 3)] == [0, 90, 180]
    assert [seconds(flow, seq) for seq in (1, 2, 3)] == [90, 180, 180]
    assert tasks.duration_of(task(flow, 1)) == "1 min 30 s"


def test_programs_last_beside_each_other(flower: FlowRunner) -> None:
    flower.set_duration("virtual.Say", 60)
    flower.set_duration("virtual.Park", 1)
    first = flower.register([step("virtual.Say", name="a"), step("virtual.Say", name="b")])
    other = flower.register([step("virtual.Park", seconds=10, name="c"), step("virtual.Log", 1)])
    flower.run_all()
    assert (seconds(first, 1), seconds(first, 2), seconds(other, 2)) == (60, 60, 12)


def test_starts_last_differently(flower: FlowRunner) -> None:
    flower.set_duration("testing.Retry", 10, 1)
    flow = flower.run([step("testing.Retry", until=3, delay=100)])
    assert seconds(flow, 1) == 10 + 100 + 1 + 100 + 1


@pytest.mark.parametrize(
    ("program", "most", "error"),
    [
        ("virtual.Limited", 60, "timed out after 60 s"),
        ("virtual.Softly", 30, "SoftTimeLimitExceeded"),
    ],
)
def test_a_time_limit_ends_a_program_in_virtual_time(flower: FlowRunner, program: str, most: int, error: str) -> None:
    flower.set_duration(program, 3600, 5)
    flow = flower.run([step(program, name="x", max_retries=1, retry_delay=100)])
    flower.assert_finished(flow)
    assert seconds(flow, 1) == most + 100 + 5
    assert [("x", flow.registered_ts + (SEEN[0][1] - flow.registered_ts))] == SEEN, "it was called once"
    assert error in flow.history.get(verb="retry").reason


def test_what_is_cancelled_while_it_lasts_ends_at_once(flower: FlowRunner) -> None:
    flower.set_duration("virtual.Say", 600)
    flow = flower.run([step("virtual.Say", name="x"), step("virtual.Log", 1)], skip_delays=False)
    assert task(flow, 1).status is Status.RUNNING
    flower.advance(60)
    engine.cancel(flow.pk)
    flower.run_all()
    assert (task(flow, 1).status, seconds(flow, 1)) == (Status.IGNORE, 60)


def test_a_skipped_step_lasts_no_time(flower: FlowRunner) -> None:
    flower.set_duration("virtual.Say", 600)
    flow = flower.run([step("virtual.Say", name="x", when="false")])
    assert seconds(flow, 1) == 0


@pytest.mark.parametrize("durations", [(), (-1,), (1, -1)])
def test_durations_that_cannot_be_are_refused(flower: FlowRunner, durations: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="0 seconds or more"):
        flower.set_duration("virtual.Say", *durations)


def test_time_passes_in_order_and_each_event_has_its_own(flower: FlowRunner) -> None:
    flow = flower.run([step("testing.Retry", until=4, delay=10)], skip_delays=False)
    flower.advance(25)
    assert (task(flow, 1).attempt, seconds(flow, 1, "started_ts")) == (3, 20)
    assert round((flower.now - flow.registered_ts).total_seconds(), 2) == 25
    flower.advance(5)
    assert seconds(flow, 1) == 30


def test_time_passes_until_a_date(flower: FlowRunner) -> None:
    when = flower.now + timedelta(days=3)
    flow = flower.run([step("virtual.Park", seconds=2 * DAY, name="x")], skip_delays=False)
    flower.advance_to(when)
    assert flower.now == when
    assert seconds(flow, 1) == 2 * DAY
    for wrong in (when - timedelta(seconds=1), datetime(2100, 1, 1)):
        with pytest.raises(ValueError, match="give a later time with a zone"):
            flower.advance_to(wrong)


def test_programs_expressions_logs_and_the_engine_have_the_same_time(flower: FlowRunner) -> None:
    flower.advance_to(datetime(2100, 2, 3, 4, 5, 6, tzinfo=UTC))
    assert engine.now() == flower.now
    flow = flower.run([step("virtual.Say", name="x"), step("virtual.Log", 1)])
    assert [moment.year for _, moment in SEEN] == [2100]
    assert [line.ts.year for line in flow.logs.all()] == [2100]
    assert str(expressions.parse("now()").evaluate({})).startswith("2100-02-03")
    assert flow.registered_ts.year == 2100
    entry = engine.rerun(flow.pk, all_tasks=True).history.get(verb="rerun")
    assert entry.ts.year == 2100


def test_the_clock_runs_again_after_the_test() -> None:
    before = engine.now()
    assert abs(datetime.now(UTC) - before) < timedelta(seconds=5)
    time.sleep(0.002)
    assert engine.now() > before


def wait(program: str, *after: int, **parameters: Any) -> dict[str, Any]:
    return {"program": f"wait:{program}", "parameters": parameters, "depends_on": list(after)}


def test_waits_end_in_order_at_their_times(flower: FlowRunner) -> None:
    long = flower.register([wait("delay", duration=30 * DAY), step("virtual.Say", 1, name="long")])
    short = flower.register([wait("delay", duration="2h"), step("virtual.Say", 1, name="short")])
    parked = flower.register([step("virtual.Park", seconds=DAY, name="parked")])
    flower.run_all()
    assert [name for name, _ in SEEN] == ["short", "parked", "long"]
    assert [seconds(flow, 1) for flow in (long, short, parked)] == [30 * DAY, 7200, DAY]
    assert seconds(long, 2) == 30 * DAY


def test_an_event_ends_its_wait_when_it_happens(flower: FlowRunner) -> None:
    flow = flower.run([wait("event", event="paid", timeout=3600), step("Echo", 1)], skip_delays=False)
    flower.advance(600)
    flower.emit("paid", {"amount": 7})
    flower.assert_finished(flow)
    assert (seconds(flow, 1), seconds(flow, 2)) == (600, 600)
    at_once = flower.run([wait("event", event="paid", timeout=3600)], skip_delays=False)
    flower.emit("paid")
    flower.assert_finished(at_once)
    assert seconds(at_once, 1) == 0


def test_a_wait_whose_event_does_not_come_fails_at_its_timeout(flower: FlowRunner) -> None:
    other = flower.register([wait("delay", duration=1800), step("virtual.Say", 1, name="before")])
    flow = flower.run([wait("event", event="paid", timeout=3600), step("Echo", 1)])
    assert flow.status is Status.SUSPEND
    assert seconds(flow, 1, "suspended_ts") == 3600
    assert "'paid'" in flower.errors(flow)[1]
    flower.assert_finished(other)


def test_waits_of_the_output_cache_end_when_the_output_is_there(flower: FlowRunner) -> None:
    flower.set_duration("virtual.Say", 60)
    steps = [step("virtual.Say", name="x", cache_seconds=DAY, cache_scope="global")]
    flows = [flower.register(steps) for _ in range(3)]
    flower.run_all()
    assert [name for name, _ in SEEN] == ["x"]
    assert [seconds(flow, 1) for flow in flows] == [60, 60, 60]
    later = flower.run(steps)
    assert (seconds(later, 1), task(later, 1).cached_from) == (0, {"flow_id": flows[0].pk, "seq": 1})


MONTH = [
    step("virtual.Park", seconds=10 * DAY, name="ten days"),
    step("testing.Retry", 1, until=6, delay=3 * DAY),
    step("virtual.Park", 2, seconds=5 * DAY, name="five days"),
    step("virtual.Say", 3, name="end"),
]
"""A flow of thirty days: parked, retried five times, parked again."""


def test_a_flow_of_thirty_days_takes_a_bounded_number_of_statements_and_hardly_any_time(flower: FlowRunner) -> None:
    flower.run([step("virtual.Say", name="warm")])
    begin = time.process_time()
    with CaptureQueriesContext(connection) as statements:
        flow = flower.run(MONTH)
    took = time.process_time() - begin
    flower.assert_finished(flow)
    assert seconds(flow, 4) == 30 * DAY
    assert len(statements) < 260
    assert took < 30 * DAY / 1_000_000, "a million times as fast"
    assert verbs(flow).count("retry") == 5


def test_a_claimed_task_that_is_lost_in_between_is_no_event(flower: FlowRunner) -> None:
    flower.set_duration("virtual.Say", 60)
    flow = flower.run([step("virtual.Say", name="x")], skip_delays=False)
    Task.objects.at(TaskRef(flow.pk, 1)).update(attempt=7)
    flower.run_all()
    assert task(flow, 1).status is Status.RUNNING
