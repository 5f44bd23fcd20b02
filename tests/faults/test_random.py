"""Random flows under random faults, all at once, against a model that says how each must end.

FLOWER_TEST_SEED repeats a run as far as time lets it: the same flows, and the same faults in the same order.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

import hypothesis
import pytest
from django.db import connection
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from flowerapp import conf, engine
from flowerapp.exceptions import StateConflictError
from flowerapp.models import Flow, Task
from flowerapp.states import SATISFIED, Status, allows
from flowerapp.testing import InlineRunner
from flowerapp.watcher.duties.send import send_unsent
from tests.acceptance.live import Live, define, describe, starts
from tests.effort import LONG
from tests.faults import planned
from tests.faults.conftest import live_site
from tests.faults.gremlin import Gremlin
from tests.faults.model import Act, Kind, Modelled, Round, Scenario, Step, Verb
from tests.faults.servers import PostgresServer, RedisServer
from tests.faults.support import assert_sound, when_connected
from tests.ledger import LEDGER
from tests.probe.models import Effect
from tests.services import fresh_database, until

BATCHES = 5 if LONG else 1
TASKS = 2000
"""Tasks that a batch has at least; it continues while there are faults to come."""
OPEN_AT_ONCE = 60
"""Flows that are open at the same time."""
DECKS = 2
"""Times that each fault is made in a batch."""
QUIET = SATISFIED | {Status.SUSPEND}
"""States of a flow in which nothing happens without a person."""
SECONDS = 240.0
"""A batch has ended after this."""

CHANGES = """
CREATE TABLE probe_change (
    id bigserial PRIMARY KEY, flow_id text, seq int, was int, now int, attempt int, run int, told int);
CREATE FUNCTION probe_change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO probe_change (flow_id, seq, was, now, attempt, run, told)
    VALUES (NEW.task_flow_id, NEW.task_exec_seq, OLD.exec_status, NEW.exec_status, NEW.attempt, NEW.run,
        CASE NEW.exec_status WHEN 3 THEN (NEW.output ->> 'attempt')::int END);
    RETURN NEW;
END $$;
CREATE TRIGGER probe_change AFTER UPDATE ON kr_task_stat
    FOR EACH ROW WHEN (OLD.exec_status <> NEW.exec_status) EXECUTE FUNCTION probe_change();
DROP TRIGGER probe_success ON kr_task_stat;
CREATE TRIGGER probe_success AFTER UPDATE OF exec_status ON kr_task_stat
    FOR EACH ROW WHEN (NEW.exec_status IN (3, 9)) EXECUTE FUNCTION probe_success();
"""
"""Each change of a state leaves a row, with the attempt that a success says it is of.

A skip satisfies the followers, so it counts as a success does.
"""


# Scenarios

seqs = st.integers(0, 99)


@st.composite
def plans(draw: st.DrawFn) -> Sequence[Sequence[str]]:
    """Of ten tasks six succeed at once, one is slow, one parks, and two do anything, some of it badly."""
    kind = draw(st.integers(0, 9))
    if kind < 6:
        return [[Act.DONE.value]]
    if kind < 8:
        return [[(Act.SLOW if kind == 6 else Act.PARK).value]]
    acts = st.sampled_from([Act.RETRY, Act.FAIL, Act.DONE, Act.SLOW, Act.PARK]).map(lambda act: act.value)
    return draw(st.lists(st.lists(acts, min_size=1, max_size=4), min_size=1, max_size=3))


@st.composite
def steps(draw: st.DrawFn) -> dict[int, Step]:
    """A DAG: chains, forks, joins of all that is open, and edges at random."""
    made: dict[int, Step] = {}
    sinks: set[int] = set()
    for seq in range(1, draw(st.integers(5, 40)) + 1):
        shape = draw(st.integers(0, 9)) if made else 9
        if shape < 4:
            needs = {seq - 1}
        elif shape < 6:
            needs = set(made[seq - 1].needs)
        elif shape < 8:
            needs = set(sinks)
        else:
            needs = draw(st.sets(st.integers(1, seq - 1), max_size=3)) if made else set()
        sinks = sinks - needs | {seq}
        made[seq] = Step(tuple(sorted(needs)), draw(plans()), draw(st.integers(0, 2)))
    return made


verbs = st.builds(Verb, st.sampled_from([*Kind, Kind.RERUN_FAILED, Kind.SKIP]), seqs)
rounds = st.builds(
    Round,
    changes=st.lists(st.tuples(seqs, plans()), max_size=2).map(tuple),
    verbs=st.lists(verbs, min_size=1, max_size=3).map(tuple),
    cut=st.integers(0, 7).map(lambda number: number == 7),
)
scenarios = st.builds(
    Scenario,
    steps=steps(),
    rounds=st.lists(rounds, min_size=1, max_size=3).map(tuple),
    paused=st.booleans(),
    skips=st.booleans(),
)
quietly = settings(
    database=None,
    deadline=None,
    derandomize=False,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def drawn(seed: int) -> Iterator[Scenario]:
    """Scenarios without end, drawn a handful at a time: what follows is too long to be repeated and shrunk."""
    for number in itertools.count(1000 * seed):
        yield from _handful(number)


def _handful(seed: int) -> list[Scenario]:
    handful: list[Scenario] = []

    @hypothesis.seed(seed)
    @settings(quietly, max_examples=25)
    @hypothesis.given(scenarios)
    def draw(scenario: Scenario) -> None:
        handful.append(scenario)

    draw()
    return handful


# One flow


class Course:
    """A flow and its model, side by side."""

    def __init__(self, scenario: Scenario) -> None:
        self.model = Modelled(scenario)
        self.paused = scenario.paused
        options = {
            seq: {"parameters": {"plan": step.plan}, "max_retries": step.max_retries, "retry_delay": 0}
            for seq, step in scenario.steps.items()
        }
        self.name = define(self.model.edges, options, program="Planned")
        self.torn = False
        """Whether an attempt may have had its effect and no success: it was cut off, or given up for lost."""
        self.done = False
        self.flow: Flow

    def begin(self) -> None:
        """Register the flow; where the scenario says so, suspend it at once."""
        self.flow = engine.register(self.name)
        if self.paused:
            with contextlib.suppress(StateConflictError):  # it was quicker
                engine.suspend(self.flow.pk)

    def proceed(self, *, held: bool) -> None:
        """The flow is quiet: compare it with the model, and do what comes next. One that is held is resumed."""
        if held:
            engine.resume(self.flow.pk)
            return
        actual = {seq: (Status(state), run) for seq, state, run in self._rows()}
        self.model.run_all(lost := self._lost())
        self.torn |= bool(lost)
        expected = {seq: (state, self.model.runs[seq]) for seq, state in self.model.states.items()}
        differing = {seq: (actual[seq], expected[seq]) for seq in expected if actual[seq] != expected[seq]}
        assert not differing, f"(actual, expected) by task: {differing}\n{describe(self.flow)}"
        self.flow.refresh_from_db()
        assert self.flow.status is self.model.status, describe(self.flow)
        calls, cut = self.model.next_calls()
        for call in calls:
            getattr(engine, call.name)(self.flow.pk, *call.arguments, **call.options)
        if cut:
            self._cut_off()
        self.done = not calls

    def _rows(self) -> Iterable[tuple[int, int, int]]:
        return self.flow.tasks.values_list("task_exec_seq", "exec_status", "run")

    def _lost(self) -> list[int]:
        """Tasks that were rightly given up: their workers were lost too often."""
        failed = self.flow.tasks.filter(exec_status=Status.SUSPEND, rescues__gte=conf.get().MAX_RESCUES)
        return list(failed.filter(error__contains="its worker was lost").values_list("task_exec_seq", flat=True))

    def _cut_off(self) -> None:
        with contextlib.suppress(StateConflictError):  # it was quicker
            engine.cancel(self.flow.pk)
            self.torn = True
            self.model.cut_off({seq: (Status(state), run) for seq, state, run in self._rows()})


# What must be true of each in the end


Change = tuple[int, Status, Status, int, int, int | None]
"""A task's change of state: seq, from, to, attempt, run, and the attempt that its output names."""


def assert_course(course: Course, changes: Sequence[Change], effects: set[str]) -> None:
    """No start before its dependencies, one outcome per attempt, one success per run, one effect per success."""
    states = dict.fromkeys(course.model.edges, Status.WAIT)
    attempts = dict.fromkeys(course.model.edges, 0)
    successes: list[str] = []
    claims: set[tuple[int, int]] = set()
    for seq, was, now, attempt, run, reported in changes:
        assert states[seq] is was
        states[seq] = now
        if now is Status.RUNNING:
            unsatisfied = [need for need in course.model.edges[seq] if states[need] not in SATISFIED]
            assert allows("claim", was)
            assert not unsatisfied, f"task {seq} was started before {unsatisfied}"
            attempts[seq] += 1
            claims.add((seq, attempt))
        assert attempt == attempts[seq], f"task {seq}: an outcome of attempt {attempt}, not of {attempts[seq]}"
        if now is Status.FINISH:
            assert was is Status.RUNNING
            assert reported == attempt, f"task {seq}: attempt {reported} ended as attempt {attempt}"
            successes.append(f"{course.flow.pk}:{seq}:{run}")
    assert states == {seq: Status(state) for seq, state, _ in course._rows()}
    assert len(successes) == len(set(successes)), f"a second success in one run: {sorted(successes)}"
    begun = starts(course.flow)
    assert {(start.seq, start.attempt) for start in begun} <= claims
    assert set(successes) <= {start.key for start in begun}, "a success without a start"
    assert set(successes) <= effects, f"without effect: {set(successes) - effects}"
    assert course.torn or effects <= set(successes), f"an effect without success: {effects - set(successes)}"


def assert_courses(courses: Sequence[Course]) -> None:
    """Each ended as its model says, and so did what led there."""
    for status in (Status.FINISH, Status.IGNORE):
        flows = [course.flow for course in courses if course.model.status is status]
        if flows:
            assert_sound(*flows, ended=status)
    changes: dict[str, list[Change]] = defaultdict(list)
    effects: dict[str, set[str]] = defaultdict(set)
    with connection.cursor() as cursor:
        cursor.execute("SELECT flow_id, seq, was, now, attempt, run, told FROM probe_change ORDER BY id")
        for flow_id, seq, was, now, *others in cursor.fetchall():
            changes[flow_id].append((seq, Status(was), Status(now), *others))
    for flow_id, key in Effect.objects.exclude(key__endswith=planned.PARKED).values_list("flow_id", "key"):
        effects[flow_id].add(key)
    for course in courses:
        assert_course(course, changes[course.flow.pk], effects[course.flow.pk])


# The model against the engine alone


def test_the_model_says_what_the_engine_does(runner: InlineRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planned, "SLOW_SECONDS", 0)
    monkeypatch.setattr(planned, "PARK_SECONDS", 0)
    due_soon = Task.objects.filter(exec_status=Status.WAIT, due_ts__isnull=False)
    for scenario in itertools.islice(drawn(seed=1), 15):
        course = Course(scenario)
        course.begin()
        while not course.done:
            while runner.run() or send_unsent() or due_soon.exists():
                pass
            course.proceed(held=engine.get_flow(course.flow.pk).held)


# The whole


@pytest.fixture
def breakable(postgres_server: PostgresServer, redis_server: RedisServer, django_db_blocker: Any) -> Iterator[Live]:
    """A site on servers of its own."""
    with (
        fresh_database(postgres_server.url) as database,
        live_site(database, redis_server.url, django_db_blocker) as live,
    ):
        with connection.cursor() as cursor:
            cursor.execute(CHANGES)
        yield live


@pytest.mark.fault("random flows under random faults")
def test_random_flows_under_random_faults(
    breakable: Live, postgres_server: PostgresServer, redis_server: RedisServer
) -> None:
    seed = int(os.environ.get("FLOWER_TEST_SEED") or secrets.randbelow(2**31))
    for number in range(seed, seed + BATCHES):
        LEDGER.note(f"FLOWER_TEST_SEED={number}")
        gremlin = Gremlin(breakable.site, redis_server, postgres_server, number, DECKS)
        try:
            run_batch(breakable, gremlin, drawn(number))
        except BaseException as error:
            error.add_note(f"repeat it with FLOWER_TEST_SEED={number}; the faults were\n{gremlin.report}")
            raise
        finally:
            gremlin.stop()
            LEDGER.made(name for _, name in gremlin.made)


def run_batch(live: Live, gremlin: Gremlin, scenarios: Iterator[Scenario]) -> None:
    """Run flows while the gremlin is at work, and see that each ended as it must."""
    gremlin.prepare()
    gremlin.start()
    courses: list[Course] = []
    going: dict[str, Course] = {}

    def more() -> bool:
        few = sum(len(course.model.edges) for course in courses) < TASKS
        return len(going) < OPEN_AT_ONCE and (few or gremlin.is_alive())

    def turn() -> bool:
        assert gremlin.error is None, gremlin.error
        while more():
            with gremlin.peace():
                course = Course(next(scenarios))
                course.begin()
            courses.append(course)
            going[course.flow.pk] = course
        for pk, status, held in when_connected(lambda: _states(going))() or ():
            if held or status in QUIET:
                with gremlin.peace():
                    going[pk].proceed(held=held)
            if going[pk].done:
                del going[pk]
        return not going and not more()

    def what() -> str:
        return "\n".join(describe(course.flow) for course in list(going.values())[:3]) + live.news[-6000:]

    until(turn, SECONDS, poll=0.05, what=what)
    gremlin.finish()
    assert_courses(courses)
    assert not (died := gremlin.died()), "\n".join(worker.text[-3000:] for worker in died)
    live.site.stop()


def _states(going: Collection[str]) -> list[tuple[str, int, bool]]:
    return list(Flow.objects.filter(pk__in=going).values_list("pk", "exec_status", "held"))
