"""Workflows as Python classes, run inline."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from celery import Celery
from django.core import checks
from django.core.management.sql import emit_post_migrate_signal
from django.db import connection
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from flowerapp import engine, registry, signals
from flowerapp.apps import store_migrated
from flowerapp.core import programs
from flowerapp.engine import HookEvent, dispatching
from flowerapp.exceptions import InvalidPlanError, StateConflictError
from flowerapp.executors.celery.checks import celery_warnings
from flowerapp.models import Flow, Task, TaskDefinition
from flowerapp.models import Workflow as Header
from flowerapp.registry import Context
from flowerapp.states import Status
from flowerapp.testing import InlineRunner
from flowerapp.workflows import Workflow, classes, rows, store_all, task
from tests.engine.support import check, define
from tests.probe.models import Start
from tests.probe.programs import ListedError, record

pytestmark = pytest.mark.django_db(transaction=True)

WAIT, RUNNING, SUSPEND, FINISH, IGNORE = Status


@pytest.fixture(autouse=True)
def apart(runner: InlineRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test's classes register is forgotten after it."""
    monkeypatch.setattr(programs, "_programs", dict(programs._programs))
    monkeypatch.setattr(signals, "_methods", {})
    monkeypatch.setattr(classes, "_classes", {})


def run(flow: Flow, runner: InlineRunner) -> Flow:
    """Run to the end, retries included, with every rule checked after each message."""
    check(flow)
    while runner.step() or dispatching.send_unsent(flow.pk):
        check(flow)
    return engine.get_flow(flow.pk)


def starts(flow: Flow) -> list[int]:
    """Seqs in the order in which they were started."""
    return list(Start.objects.filter(flow_id=flow.pk).order_by("pk").values_list("seq", flat=True))


class Summing(Workflow):
    """Sum the numbers of each line.

    Lines come as one text.
    """

    @task(max_concurrency=2, max_retries=2, retry_delay=0)
    def split(self, ctx: Context) -> None:
        """One child for each line."""
        record(ctx)
        ctx.add_children(enumerate(ctx.input["lines"].split("\n")))

    @split.child
    def add(self, ctx: Context) -> int:
        """Sum one line, also into the shared state."""
        record(ctx)
        total = sum(int(number) for number in ctx.input[0].split(","))

        def note(state: dict[str, Any]) -> None:
            state[str(ctx.child_id)] = total

        ctx.change_state(note)
        return total

    @task
    def report(self, ctx: Context, unit: str = "") -> dict[str, Any]:
        """Return what the children returned."""
        record(ctx)
        return {"sums": ctx.input, "unit": unit}


GOOD = {"lines": "1,2,3\n4,5,6\n7,8,9"}
BAD = {"lines": "1,2,3\n4,5,6\n7,8,b"}


def summing(**settings: Any) -> type[Workflow]:
    """A workflow with the methods of ``Summing``."""
    return type("Sums", (Summing,), {"__module__": __name__, "__doc__": Summing.__doc__, "task_id": "sums", **settings})


# The scenarios of the library that this front door is made after


def test_three_children_are_summed(runner: InlineRunner) -> None:
    flow = run(summing().register(input=GOOD), runner)
    assert flow.status is FINISH
    assert flow.output == {"sums": [6, 15, 24], "unit": ""}
    assert flow.state == {"0": 6, "1": 15, "2": 24}
    assert sorted(starts(flow)) == [1, 2, 3, 4, 5]


def test_a_child_that_always_fails_ends_the_flow(runner: InlineRunner) -> None:
    flow = run(summing().register(input=BAD), runner)
    assert flow.status is SUSPEND
    assert [starts(flow).count(seq) for seq in (3, 4, 5)] == [1, 1, 3]
    assert starts(flow).count(2) == 0
    failed = flow.failed_task
    assert failed
    assert (failed.parent_seq, failed.child_id, failed.retries) == (1, 2, 2)
    assert failed.error == "ValueError: invalid literal for int() with base 10: 'b'"


def test_a_failed_child_is_tolerated_where_the_task_says_so(runner: InlineRunner) -> None:
    class Tolerant(Summing):
        task_id = "tolerant"

        @task(exit_on_failed=False, max_retries=2, retry_delay=0)
        def split(self, ctx: Context) -> None:
            ctx.add_children(enumerate(ctx.input["lines"].split("\n")))

        @split.child
        def add(self, ctx: Context) -> int:
            record(ctx)
            return sum(int(number) for number in ctx.input[0].split(","))

    flow = run(Tolerant.register(input=BAD), runner)
    assert flow.status is FINISH
    assert [starts(flow).count(seq) for seq in (3, 4, 5)] == [1, 1, 3]
    assert flow.output == {"sums": [6, 15, None], "unit": ""}


@pytest.mark.parametrize("entrance", ["report", 2])
def test_another_entrance_skips_the_first_task(runner: InlineRunner, entrance: Any) -> None:
    flow = run(summing().register(input=GOOD, entrance=entrance), runner)
    assert flow.status is FINISH
    assert starts(flow) == [2]
    assert flow.output == {"sums": GOOD, "unit": ""}


def test_the_class_may_name_its_entrance(runner: InlineRunner) -> None:
    sums = summing(entrance="report")
    assert starts(run(sums.register(), runner)) == [2]
    assert len(starts(run(sums.register(input=GOOD, entrance="split"), runner))) == 5
    with pytest.raises(InvalidPlanError, match="entrance 'add' is not a step of 'sums'"):
        sums.register(entrance="add")


def test_a_unique_workflow_answers_with_the_flow_that_runs(runner: InlineRunner) -> None:
    sums = summing(unique=True)
    first = sums.register(input=GOOD)
    runner.step()
    second = sums.register(input=GOOD)
    assert (first.created, second.created, second.pk) == (True, False, first.pk)
    assert second.started_ts
    run(first, runner)
    third = sums.register(input=GOOD)
    assert third.created
    assert third.pk != first.pk


def test_only_so_many_flows_are_active(runner: InlineRunner) -> None:
    sums = summing(max_active_flows=1)
    first, second = (sums.register(input=GOOD) for _ in range(2))
    assert [message.flow_id for message in runner.waiting] == [first.pk]
    runner.run()
    flows = [engine.get_flow(flow.pk) for flow in (first, second)]
    assert [flow.status for flow in flows] == [FINISH, FINISH]
    assert flows[1].started_ts >= flows[0].finished_ts  # type: ignore[operator] # both have ended


# Hooks


def hearing(task_id: str, *hooks: str) -> type[Workflow]:
    """``Summing`` that writes what it hears into the shared state."""

    def hear(self: Workflow, event: HookEvent) -> None:
        def note(state: dict[str, Any]) -> None:
            state.setdefault("heard", []).append([event.name, event.seq])

        event.change_state(note)

    class Hearing(Summing):
        @task(max_concurrency=1, max_retries=1, retry_delay=0)
        def split(self, ctx: Context) -> None:
            ctx.add_children(ctx.input)

        @split.child
        def add(self, ctx: Context) -> int:
            if ctx.input == "bad" or (ctx.input == "once" and not ctx.retries):
                raise ListedError(ctx.input)
            return 1

    return type("Heard", (Hearing,), {"task_id": task_id, **dict.fromkeys(hooks, hear)})


def events_of(flow: Flow) -> list[tuple[str, int | None]]:
    """What the hooks have written down."""
    return [(name, seq) for name, seq in engine.get_state(flow.pk).get("heard", [])]


def test_hooks_hear_everything_in_order(runner: InlineRunner) -> None:
    flow = run(hearing("heard", *signals.HOOKS).register(input=["good", "once"]), runner)
    assert flow.output == {"sums": [1, 1], "unit": ""}
    assert events_of(flow) == [
        ("start_flow", None),
        ("task_start", 1),
        ("task_over", 1),
        ("task_start", 3),
        ("task_over", 3),
        ("task_start", 4),
        ("task_exit", 4),
        ("task_start", 4),
        ("task_over", 4),
        ("task_all_over", 1),
        ("task_start", 2),
        ("task_over", 2),
        ("task_all_over", 2),
        ("all_over", None),
    ]


def test_hooks_hear_a_failure_once_its_retries_are_spent(runner: InlineRunner) -> None:
    flow = run(hearing("heard", *signals.HOOKS).register(input=["bad"]), runner)
    assert flow.status is SUSPEND
    assert events_of(flow) == [
        ("start_flow", None),
        ("task_start", 1),
        ("task_over", 1),
        ("task_start", 3),
        ("task_exit", 3),
        ("task_start", 3),
        ("task_exit", 3),
        ("task_failed", 3),
    ]


def test_hook_methods_receive_the_events_of_their_own_flows_only(runner: InlineRunner) -> None:
    one, other = hearing("one", "all_over"), hearing("other", "task_failed")
    flows = [run(workflow.register(input=["good"]), runner) for workflow in (one, other)]
    assert [events_of(flow) for flow in flows] == [[("all_over", None)], []]


def test_what_a_hook_wrote_is_there_for_the_programs(runner: InlineRunner) -> None:
    class Told(Workflow):
        task_id = "told"

        @task
        def look(self, ctx: Context) -> Any:
            return ctx.state["by_hook"]

        def task_start(self, event: HookEvent) -> None:
            event.change_state(lambda state: {**state, "by_hook": event.attempt})

    assert run(Told.register(), runner).output == 1


# From methods to a plan


def test_tasks_follow_each_other_as_written() -> None:
    plan = summing().plan()
    assert plan.description == "Sum the numbers of each line.\n\nLines come as one text."
    assert [(node.seq, node.name, node.program, node.child_program) for node in plan.nodes] == [
        (1, "split", "sums.split", "sums.add"),
        (2, "report", "sums.report", ""),
    ]
    assert plan.edges == {1: (), 2: (1,)}
    assert not list(plan.problems())


def test_where_a_task_names_another_the_edges_are_those() -> None:
    class Named(Workflow):
        task_id = "named"

        @task(next=["left", "right"])
        def first(self) -> None: ...

        @task
        def left(self) -> None: ...

        @task(next="last")
        def right(self) -> None: ...

        @task(depends_on=("left",), next="all_over")
        def last(self) -> None: ...

        @task
        def alone(self) -> None: ...

    assert Named.plan().edges == {1: (), 2: (1,), 3: (1,), 4: (2, 3), 5: ()}


def test_the_end_alone_is_an_edge_too() -> None:
    class Ends(Workflow):
        task_id = "ends"

        @task(next="all_over")
        def first(self) -> None: ...

        @task
        def second(self) -> None: ...

    assert Ends.plan().edges == {1: (), 2: ()}


def test_options_go_to_the_step_and_to_its_programs() -> None:
    class Many(Workflow):
        task_id = "many"

        @task(
            priority=-3,
            queue="slow",
            pool="few",
            parameters={"sizes": (1, 2)},
            max_retries=2,
            retry_delay=5,
            time_limit=60,
            max_concurrency=4,
            exit_on_failed=False,
            merge=True,
            when="input.n > 1",
            cache_scope="global",
            autoretry_for=OSError,
            dont_autoretry_for=[FileNotFoundError],
            retry_backoff=2,
            retry_backoff_max=30,
            retry_jitter=False,
            soft_time_limit=50,
        )
        def first(self, sizes: list[int]) -> None: ...

        @first.child
        def each(self) -> None: ...

    node = Many.plan().nodes[0]
    assert (node.priority, node.queue, node.pool, node.parameters) == (-3, "slow", "few", {"sizes": [1, 2]})
    assert (node.max_retries, node.retry_delay, node.time_limit, node.max_concurrency) == (2, 5, 60, 4)
    assert (node.exit_on_failed, node.merge, node.when) == (False, True, "input.n > 1")
    assert (node.cache_key, node.cache_seconds, node.cache_scope) == ("", None, "global")
    for name in ("many.first", "many.each"):
        program = registry.get(name)
        assert (program.autoretry_for, program.dont_autoretry_for) == ((OSError,), (FileNotFoundError,))
        assert (program.retry_backoff, program.retry_backoff_max, program.retry_jitter) == (2, 30, False)
        assert program.soft_time_limit == 50
    assert registry.get("many.first").parameter_problems({})[0][0] == "sizes"


@pytest.mark.parametrize(
    ("cache", "key", "seconds"),
    [
        (60, "", 60),
        (timedelta(hours=1), "", 3600),
        (("order.id", 0.5), "order.id", 1),
        (("*", timedelta(1)), "*", 86_400),
    ],
)
def test_a_cache_is_a_lifetime_or_a_key_and_one(cache: Any, key: str, seconds: int) -> None:
    class Kept(Workflow):
        task_id = "kept"

        @task(cache=cache, parameters={"order": {"id": 1}})
        def first(self, order: Any) -> None: ...

    node = Kept.plan().check().nodes[0]
    assert (node.cache_key, node.cache_seconds, node.cache_scope) == (key, seconds, "workflow")


@pytest.mark.parametrize("options", [{"cache": -1}, {"cache": "1h"}, {"cache": ("a", 1, 2)}, {"cache_scope": "all"}])
def test_a_cache_that_cannot_be_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="option cache"):
        task(**options)(lambda self: None)


def test_a_method_is_a_method_still() -> None:
    class Plain(Workflow):
        task_id = "plain"
        factor = 2

        @task
        def double(self, number: int) -> int:
            return self.factor * number

        @double.child
        def half(self, number: int = 4) -> int:
            return number // self.factor

    assert (Plain().double(3), Plain().half()) == (6, 2)
    assert registry.get("plain.double").call({"number": "3"}, None) == 6  # type: ignore[arg-type] # it takes no context
    assert registry.get("plain.half").call({}, None) == 2  # type: ignore[arg-type]


def test_inherited_tasks_come_first_and_an_override_keeps_its_place(runner: InlineRunner) -> None:
    class Longer(Summing):
        task_id = "longer"

        @task
        def last(self, ctx: Context) -> Any:
            return ctx.input

        @task(max_retries=7)
        def split(self, ctx: Context) -> str:
            return "nothing"

    class Shorter(Longer):
        task_id = "shorter"
        report = None  # type: ignore[assignment] # leaves it out

        def add(self, ctx: Context) -> int:
            return 0

    assert [node.name for node in Longer.plan().nodes] == ["split", "report", "last"]
    assert (Longer.plan().nodes[0].max_retries, Longer.plan().nodes[0].child_program) == (7, "")
    assert [node.name for node in Shorter.plan().nodes] == ["split", "last"]
    assert run(Shorter.register(), runner).output == "nothing"


def test_a_child_method_may_be_overridden(runner: InlineRunner) -> None:
    class Other(Summing):
        task_id = "other"

        def add(self, ctx: Context) -> int:
            return 1

    assert run(Other.register(input=GOOD), runner).output == {"sums": [1, 1, 1], "unit": ""}


def test_a_base_is_no_workflow() -> None:
    class Between(summing()):  # type: ignore[misc] # made at run time
        pass

    for base in (Workflow, Summing, Between):
        with pytest.raises(TypeError, match=f"{base.__qualname__} has no task_id of its own"):
            base.register()
    assert [workflow.task_id for workflow in classes.known_classes()] == ["sums"]


def test_a_module_may_be_imported_again() -> None:
    assert summing() is not summing()


# What is wrong with a class


def nothing(self: Any) -> None:
    """A method."""


def made(**members: Any) -> type[Workflow]:
    return type("Wrong", (Workflow,), {"task_id": "wrong", **members})


def no_self(ctx: Context) -> None:
    """Not a method."""


async def coming(self: Any) -> None:
    """Not a plain one."""


def second_child() -> None:
    first = task(nothing)
    first.child(nothing)
    first.child(nothing)


WRONG: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "no tasks": (made, ValueError, "Wrong has no tasks; decorate its methods with @task"),
    "option": (
        lambda: task(nxt="b")(nothing),
        TypeError,
        "nothing: @task has no option 'nxt'; it takes next, depends_on",
    ),
    "type": (lambda: task(max_retries="2")(nothing), TypeError, "nothing: option max_retries: .* integer, got '2'"),
    "error": (lambda: task(autoretry_for=int)(nothing), TypeError, "nothing: option autoretry_for"),
    "json": (lambda: task(parameters={"a": {1}})(nothing), TypeError, "option parameters: .* not JSON"),
    "next": (
        lambda: made(a=task(next="b")(nothing)),
        ValueError,
        r"Wrong\.a: next names 'b', which is not a task of the class; it has a",
    ),
    "depends_on": (lambda: made(a=task(depends_on=["all_over"])(nothing)), ValueError, r"Wrong\.a: depends_on names"),
    "entrance": (
        lambda: made(a=task(nothing), entrance="b"),
        ValueError,
        "Wrong: entrance names 'b', which is not a task",
    ),
    "two classes": (
        lambda: [type(name, (Summing,), {"task_id": "same"}) for name in ("One", "Two")],
        ValueError,
        r"'same' belongs to two classes, .*\.One and .*\.Two; change one of them",
    ),
    "no self": (lambda: task(no_self), TypeError, r"no_self lacks self; write def no_self\(self, ctx\)"),
    "async": (lambda: task(coming), TypeError, "coming must be a plain method"),
    "callable": (lambda: task(print), TypeError, "print must be a plain method"),
    "two children": (second_child, TypeError, "nothing has two child methods"),
    "hides": (
        lambda: type("Hides", (Summing,), {"report": nothing}),
        TypeError,
        r"Hides\.report hides a task of a base class",
    ),
    "hook": (lambda: made(all_over=task(nothing)), ValueError, r"Wrong\.all_over: all_over is reserved"),
    "our method": (lambda: made(store=task(nothing)), ValueError, r"Wrong\.store: store is reserved"),
    "long": (lambda: made(a=task(nothing), task_id="w" * 255), ValueError, "over 256 characters; shorten one"),
    "unique": (lambda: made(a=task(nothing), unique=1), TypeError, r"Wrong\.unique must be True or False, not 1"),
    "task_id": (lambda: made(a=task(nothing), task_id=None), TypeError, r"Wrong\.task_id must be text"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_class_is_refused_where_it_is_written(name: str) -> None:
    make, error, sentence = WRONG[name]
    with pytest.raises(error, match=sentence):
        make()
    assert "wrong" not in [workflow.task_id for workflow in classes.known_classes()]


def test_a_plan_with_problems_is_a_warning_of_the_checks() -> None:
    made(a=task(next="b")(nothing), b=task(next="a", priority=40)(nothing))
    texts = [str(message) for message in checks.run_checks(tags=["flowerapp"]) if message.id == "flowerapp.W007"]
    assert len(texts) == 2
    assert "Wrong: step 2: priority 40 is out of range" in texts[0]
    assert "depend on each other in a cycle" in texts[1]


@override_settings(FLOWER={"MAX_TASKS": "many"})
def test_wrong_settings_come_before_wrong_plans() -> None:
    made(a=task(parameters={"b": 1})(nothing))
    assert [message.id for message in checks.run_checks(tags=["flowerapp"]) if "W0" not in str(message.id)] == [
        "flowerapp.E003"
    ]


def test_a_time_limit_of_a_class_needs_a_pool_that_keeps_it() -> None:
    app = Celery(set_as_current=False)
    app.conf.update(broker_url="redis://localhost", worker_pool="threads")
    made(a=task(time_limit=5)(nothing))
    (warning,) = [message for message in celery_warnings(app) if message.id == "flowerapp.W005"]
    assert "wrong.a" in warning.msg


# Stored


def writes(queries: CaptureQueriesContext) -> list[str]:
    return [query["sql"] for query in queries.captured_queries if not query["sql"].startswith("SELECT")]


def test_it_is_stored_when_it_differs_and_only_then() -> None:
    plan = summing().store()
    header = Header.objects.get(pk="sums")
    assert header.source == f"{__name__}.Sums"
    assert header.description.startswith("Sum the numbers")
    assert engine.plan_of("sums") == plan
    with CaptureQueriesContext(connection) as queries:
        summing().store()
    assert writes(queries) == []
    assert len(queries) == 2
    summing(max_active_flows=3).store()
    assert Header.objects.get(pk="sums").max_active_flows == 3
    TaskDefinition.objects.filter(task_id="sums", task_seq=2).update(queue="other")
    assert summing().register(input=GOOD).created
    assert engine.plan_of("sums") == plan


def test_rows_that_sql_has_broken_are_stored_anew() -> None:
    plan = summing().store()
    TaskDefinition.objects.filter(task_id="sums", task_seq=2).update(depends_on={"not": "a list"})
    assert summing().store() == engine.plan_of("sums") == plan


def test_people_cannot_change_it() -> None:
    summing().store()
    document = rows.document("sums")
    assert document["source"] == f"{__name__}.Sums"
    with pytest.raises(StateConflictError, match=r"'sums' is defined by the class .*\.Sums; change it there"):
        rows.store(document)
    engine.undefine("sums")
    assert summing().register(input=GOOD).created, "a class that is there stores it again"


@pytest.mark.parametrize("header", [{}, {"description": "by people"}])
def test_what_people_made_is_not_taken_over(header: dict[str, Any]) -> None:
    define({1: None}, name="sums")
    if header:
        Header.objects.create(task_id="sums", **header)
    with pytest.raises(StateConflictError, match=r"exists, and .*\.Sums does not define it; delete it"):
        summing().store()
    assert TaskDefinition.objects.get(task_id="sums").program == "Echo"
    engine.undefine("sums")
    assert summing().store()


def test_what_another_class_made_is_not_taken_over() -> None:
    summing(__qualname__="Before").store()
    classes._classes.clear()
    with pytest.raises(StateConflictError, match=r"defined by the class .*\.Before"):
        summing().store()


def test_all_are_stored_but_those_that_cannot(caplog: pytest.LogCaptureFixture) -> None:
    define({1: None}, name="sums")
    summing()
    made(a=task(pool="nowhere")(nothing))
    summing(task_id="totals", __qualname__="Totals")
    store_all()
    assert set(Header.objects.values_list("pk", flat=True)) == {"totals"}
    messages = [record.getMessage() for record in caplog.records]
    assert [text.split(" was not stored: ")[0].rpartition(".")[2] for text in messages] == ["Sums", "Wrong"]
    assert "there is no pool 'nowhere'" in messages[1]


def test_migrations_store_them() -> None:
    summing()
    store_migrated("elsewhere")
    assert not Header.objects.exists()
    emit_post_migrate_signal(0, False, "default")
    assert Header.objects.get().pk == "sums"


def test_parameters_by_name_and_by_seq(runner: InlineRunner) -> None:
    sums = summing()
    for step in ("report", 2):
        flow = run(sums.register(input=GOOD, parameters={step: {"unit": "m"}}, actor="me"), runner)
        assert (flow.output["unit"], flow.registered_by) == ("m", "me")
    with pytest.raises(
        InvalidPlanError, match="parameters name 'repot', which is not a step of 'sums'; it has split, rep"
    ):
        sums.register(parameters={"repot": {}})
    with pytest.raises(InvalidPlanError, match="no such step"):
        sums.register(parameters={9: {}})


def test_the_same_key_is_the_same_flow() -> None:
    sums = summing()
    first, second = (sums.register(input=GOOD, priority=-2, idempotency_key="k") for _ in range(2))
    assert (first.pk, second.created) == (second.pk, False)
    assert {row.task_priority for row in Task.objects.filter(task_flow=first)} == {-2}
