"""The host's Celery tasks as programs: what holds of each row of the table in docs/programs.md."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import Task as CeleryTask
from celery import chain, chord, group
from celery.app import app_or_default
from celery.app.routes import prepare
from django.db.models.functions import Now
from django.test import override_settings

from flowerapp import engine, registry
from flowerapp.core import programs
from flowerapp.core.messages import TaskCall
from flowerapp.exceptions import InvalidPlanError, InvalidValueError, TimeLimitError
from flowerapp.executors.celery import host_tasks, routes
from flowerapp.executors.celery.host_arguments import Binding
from flowerapp.models import Flow, HistoryEntry, Task, TaskDefinition
from flowerapp.registry import Context
from flowerapp.states import Status
from flowerapp.testing import InlineRunner
from tests.engine.support import define, status, task, verbs
from tests.probe import tasks

pytestmark = pytest.mark.django_db(transaction=True)

HOST = "tests.probe.tasks."
Step = tuple[str, dict[str, Any]]


@pytest.fixture(autouse=True)
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What the handlers of the host's base class are called with."""
    noted: list[tuple[Any, ...]] = []
    monkeypatch.setattr(tasks, "CALLS", noted)
    return noted


@pytest.fixture(autouse=True)
def _nothing_published(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No host task sends a message, whatever it asks for."""
    published: list[str] = []
    monkeypatch.setattr(CeleryTask, "apply_async", lambda self, *_, **__: published.append(self.name))
    yield
    assert published == []


def store(*steps: Step, edges: dict[int, list[int] | None] | None = None, **columns: Any) -> str:
    """A workflow of host tasks, one after the other unless ``edges`` says otherwise; its name."""
    name = define(edges or dict.fromkeys(range(1, len(steps) + 1)), "Noop", **columns)
    for seq, (program, parameters) in enumerate(steps, start=1):
        full = program if program[0].isupper() else HOST + program
        TaskDefinition.objects.filter(task_id=name, task_seq=seq).update(program=full, parameters=parameters)
    return name


def run(runner: InlineRunner, *steps: Step, input: Any = None, **options: Any) -> Flow:
    """Register a flow of host tasks and run it until nothing is left."""
    flow = engine.register(store(*steps, **options), input=input)
    runner.run()
    return engine.get_flow(flow.pk)


def outputs(flow: Flow) -> list[Any]:
    """The outputs of a flow's steps in order."""
    return list(flow.tasks.filter(parent_seq=None).order_by("task_exec_seq").values_list("output", flat=True))


def run_all(runner: InlineRunner, flow: Flow, most: int = 20) -> list[float]:
    """Run a flow with its retries, not waiting for them; the delays that they asked for."""
    runner.run()
    for _ in range(most):
        if not Task.objects.filter(task_flow=flow, due_ts__isnull=False).update(due_ts=Now()):
            break
        runner.send(list(Task.objects.filter(task_flow=flow).startable().messages(alone=True)))
        runner.run()
    retries = HistoryEntry.objects.filter(task_flow=flow, verb="retry").order_by("pk")
    return [entry.details["delay"] for entry in retries]


# Where the input goes


@pytest.mark.parametrize(
    ("second", "output"),
    [
        (("mul", {"y": 3}), 9),
        (("mul", {}), 30),
        (("mul", {"x": 5}), 50),
        (("mul", {"x": 5, "@input": "y"}), 15),
        (("optional", {}), ["got", None]),
        (("optional", {"@input": "x"}), ["got", 3]),
        (("total_of", {}), 3),
        (("total_of", {"numbers": [1, 2]}), 3),
        (("total_of", {"@input": "start", "numbers": [1, 2]}), 6),
        (("total_of", {"@input": ""}), 0),
        (("keywords", {"a": 1, "@input": "b"}), {"a": 1, "b": 3}),
        (("only_keyword", {"@input": "name"}), 3),
        (("mixed", {"second": 2}), [3, 2, [], None]),
        (("mixed", {"second": 2, "rest": [7, 8], "key": "k"}), [3, 2, [7, 8], "k"]),
        (("mixed", {"first": 1, "@input": "second"}), [1, 3, [], None]),
        (("untyped", {}), [[3], {}]),
        (("untyped", {"anything": 1}), [[3], {"anything": 1}]),
        (("none", {}), None),
    ],
)
def test_the_output_of_the_task_before_goes_where_a_chain_or_the_step_puts_it(
    runner: InlineRunner, second: Step, output: Any
) -> None:
    flow = run(runner, ("add", {"x": 1, "y": 2}), second)
    assert flow.status is Status.FINISH, task(flow, 2).error
    assert task(flow, 2).output == output


@pytest.mark.parametrize(
    ("program", "place", "value", "output"),
    [
        ("add", "*", [1, 2], 3),
        ("total_of", "*", [1, 2, 3], 6),
        ("total_of", "numbers", [1, 2, 3], 6),
        ("add", "**", {"x": 1, "y": 5}, 6),
        ("keywords", "**", {"a": 1}, {"a": 1}),
        ("total", "numbers", [4, 5], 9),
    ],
)
def test_the_input_of_the_flow_can_be_the_arguments(
    runner: InlineRunner, program: str, place: str, value: Any, output: Any
) -> None:
    flow = run(runner, (program, {"@input": place}), input=value)
    assert outputs(flow) == [output]


@pytest.mark.parametrize(("place", "value"), [("*", {"x": 1}), ("*", 3), ("**", [1, 2]), ("**", "text")])
def test_an_input_that_does_not_fit_its_place_fails_the_task_by_name(
    runner: InlineRunner, place: str, value: Any
) -> None:
    flow = run(runner, ("keywords" if place == "**" else "add", {"@input": place}), input=value)
    assert status(flow, 1) is Status.SUSPEND
    assert HOST in task(flow, 1).error
    assert "@input" in task(flow, 1).error


def test_a_join_gets_the_list_of_all_results_in_order_as_a_chord_s_body(runner: InlineRunner) -> None:
    edges: dict[int, list[int] | None] = {1: [], 2: [], 3: [], 4: [1, 2, 3]}
    header = [("add", {"x": 1, "y": 1}), ("none", {}), ("keywords", {})]
    flow = run(runner, *header, ("type_of", {}), edges=edges)
    assert task(flow, 4).output == [["int", "NoneType", "dict"], "[2, None, {}]"]


def test_nothing_stays_none_for_a_host_task_and_an_empty_object_for_a_program(runner: InlineRunner) -> None:
    edges: dict[int, list[int] | None] = {1: [], 2: [1], 3: [1]}
    flow = run(runner, ("none", {}), ("optional", {"@input": "x"}), ("Echo", {}), edges=edges)
    assert outputs(flow) == [None, ["got", None], {}]


@pytest.mark.parametrize(
    ("seq", "step", "sentences"),
    [
        (1, ("add", {"x": 1}), ["parameter y", "needs it", '"@input": "y"']),
        (1, ("add", {"y": 1}), ["parameter x", "needs it"]),
        (2, ("add", {}), ["parameter y"]),
        (2, ("add", {"x": 1}), ["parameter y"]),
        (2, ("only_keyword", {}), ["parameter name"]),
        (2, ("add", {"y": 1, "z": 1}), ["parameter z", "it takes: x, y"]),
        (2, ("add", {"y": 1, "@input": "z"}), ["parameter @input", "no argument 'z'", "x, y", "**"]),
        (2, ("add", {"y": 1, "@input": "y"}), ["parameter @input", "has a value too"]),
        (2, ("add", {"y": 1, "@input": 7}), ["parameter @input", "name of an argument"]),
        (2, ("add", {"y": 1, "@input": ""}), ["parameter x"]),
        (2, ("mixed", {"@input": "**"}), ["parameter first"]),
        (1, ("coroutine", {"x": 1}), ["async def", "async_to_sync"]),
        (1, ("nowhere", {}), ["not registered"]),
    ],
)
def test_what_cannot_be_called_is_refused_with_place_and_cure(seq: int, step: Step, sentences: list[str]) -> None:
    steps = [step] if seq == 1 else [("add", {"x": 1, "y": 2}), step]
    with pytest.raises(InvalidPlanError) as caught:
        engine.register(store(*steps))
    assert f"step {seq}" in str(caught.value)
    for sentence in sentences:
        assert sentence in str(caught.value)


def test_a_step_may_name_where_its_input_goes_when_it_is_changed_and_rerun(runner: InlineRunner) -> None:
    flow = run(runner, ("add", {"x": 1, "y": 2}), ("mul", {"y": "three"}))
    assert status(flow, 2) is Status.FINISH  # text times 3
    flow = run(runner, ("add", {"x": 1, "y": 2}), ("total", {}))
    assert status(flow, 2) is Status.SUSPEND
    engine.change(flow.pk, 2, parameters={"numbers": [1, 2]})
    engine.rerun(flow.pk)
    runner.run()
    assert task(flow, 2).output == 3


# The request, the state and the result


def test_the_request_is_that_of_a_worker(runner: InlineRunner) -> None:
    flow = run(runner, ("add", {"x": 1, "y": 2}), ("request", {"y": 5}))
    own = task(flow, 2).output
    assert own["id"] == own["correlation_id"] == f"{flow.pk}:2:1"
    assert own["root_id"] == flow.pk
    assert own["retries"] == 0
    assert own["hostname"]
    assert own["delivery_info"]["routing_key"] == "default"
    assert (own["called_directly"], own["is_eager"]) == (False, False)
    assert (own["args"], own["kwargs"], own["task"]) == ([3], {"y": 5}, HOST + "request")
    assert (own["chain"], own["chord"], own["callbacks"], own["group"]) == (None, None, None, None)
    assert app_or_default().tasks[HOST + "request"].request.called_directly


@pytest.mark.parametrize(
    ("kind", "text", "seen"),
    [
        ("datetime", "2026-01-31T12:30:00+00:00", ["datetime", "2026-01-31 12:30:00+00:00"]),
        ("date", "2026-01-31", ["date", "2026-01-31"]),
        ("decimal", "1.10", ["Decimal", "1.10"]),
        ("uuid", "12345678-1234-5678-1234-567812345678", ["UUID", "12345678-1234-5678-1234-567812345678"]),
        ("bytes", "abc", ["bytes", "b'abc'"]),
        ("tuple", [1, 2], [["int", "int"], "[1, 2]"]),
    ],
)
def test_a_result_of_celery_s_json_reads_as_text_and_reaches_the_next_host_task_with_its_type(
    runner: InlineRunner, kind: str, text: Any, seen: Any
) -> None:
    edges: dict[int, list[int] | None] = {1: [], 2: [1], 3: [1]}
    flow = run(runner, ("gives", {"kind": kind}), ("type_of", {}), ("Echo", {}), edges=edges)
    assert flow.status is Status.FINISH, task(flow, 1).error
    assert outputs(flow) == [text, seen, text]
    assert engine.get_flow(flow.pk).output == [seen, text]


def test_types_pass_a_skipped_task_and_a_parent_of_children(runner: InlineRunner) -> None:
    flow = engine.register(store(("gives", {"kind": "date"}), ("rejected", {"@input": ""}), ("type_of", {})))
    runner.run()
    engine.skip(flow.pk, 2)
    runner.send(list(Task.objects.filter(task_flow=flow).startable().messages(alone=True)))
    runner.run()
    assert task(flow, 3).output == ["date", "2026-01-31"]


def test_what_celery_refuses_fails_the_task_unless_celery_would_not_have_kept_it(runner: InlineRunner) -> None:
    edges: dict[int, list[int] | None] = {1: [], 2: []}
    flow = run(runner, ("unstorable", {}), ("not_kept", {}), edges=edges)
    assert (status(flow, 1), status(flow, 2)) == (Status.SUSPEND, Status.FINISH)
    assert "not JSON" in task(flow, 1).error
    assert task(flow, 2).output is None


def test_pydantic_tasks_get_and_give_models(runner: InlineRunner) -> None:
    flow = run(runner, ("order", {"order": {"number": "1"}}), ("order", {}))
    assert outputs(flow) == [{"number": 2, "day": "2026-01-31"}, {"number": 3, "day": "2026-01-31"}]


def test_a_parameter_named_ctx_and_odd_annotations_are_the_task_s_own(runner: InlineRunner) -> None:
    assert outputs(run(runner, ("with_ctx", {"ctx": "mine", "x": None}))) == [["mine", None]]


@pytest.mark.parametrize(
    ("meta", "progress", "text"),
    [
        ({"current": 3, "total": 10}, {"done": 3, "total": 10}, "3 of 10"),
        ({"done": 1, "total": 2}, {"done": 1, "total": 2}, "1 of 2"),
        ({"phase": "loading"}, {}, "PROGRESS"),
        (None, {}, "PROGRESS"),
    ],
)
def test_update_state_is_the_task_s_progress(
    runner: InlineRunner, meta: Any, progress: dict[str, Any], text: str
) -> None:
    from flowerapp.selectors.tasks import progress_text

    flow = run(runner, ("reports", {"meta": meta}))
    assert task(flow, 1).progress == {**progress, "state": "PROGRESS", "meta": meta}
    assert progress_text(task(flow, 1).progress) == text


# Handlers


def test_the_handlers_of_base_classes_are_called_in_the_order_of_celery_s_tracer(
    runner: InlineRunner, calls: list[tuple[Any, ...]]
) -> None:
    flow = run(runner, ("watched", {"x": 1}))
    own = f"{flow.pk}:1:1"
    assert calls == [
        ("before_start", own, [], {"x": 1}),
        ("__call__", own, [], {"x": 1}),
        ("on_success", own, 2),
        ("after_return", own, "SUCCESS", "2"),
    ]


def test_a_failure_and_a_retry_have_their_handlers(runner: InlineRunner, calls: list[tuple[Any, ...]]) -> None:
    flow = run(runner, ("watched", {"x": 1, "fail": "error"}))
    own = f"{flow.pk}:1:1"
    assert status(flow, 1) is Status.SUSPEND
    error = repr(tasks.ListedError("for good"))
    assert calls[2:] == [("on_failure", own, error, True), ("after_return", own, "FAILURE", error)]
    calls.clear()
    flow = engine.register(store(("watched", {"x": 1, "fail": "retry"})))
    assert run_all(runner, flow) == [0]
    own = f"{flow.pk}:1:1"
    assert calls[2] == ("on_retry", own, repr(tasks.ListedError("once")), True)
    assert [call[0] for call in calls[3:]] == ["before_start", "__call__", "on_success", "after_return"]
    assert {call[1] for call in calls} == {own}


def test_a_step_s_retry_of_another_error_is_a_retry_for_the_handlers(
    runner: InlineRunner, calls: list[tuple[Any, ...]]
) -> None:
    flow = engine.register(store(("watched", {"x": 1, "fail": "error"}), max_retries=1, retry_delay=0))
    run_all(runner, flow)
    assert [call[0] for call in calls if call[0].startswith("on_")] == ["on_retry", "on_failure"]


def test_an_error_of_a_handler_changes_nothing(runner: InlineRunner, caplog: pytest.LogCaptureFixture) -> None:
    edges: dict[int, list[int] | None] = {1: [], 2: []}
    flow = run(runner, ("broken_handlers", {}), ("broken_handlers", {"fail": True}), edges=edges)
    assert outputs(flow) == [1, None]
    assert task(flow, 2).error == "ListedError: the task's own"
    assert "on_success of tests.probe.tasks.broken_handlers" in caplog.text


# Retries


@pytest.mark.parametrize(
    ("how", "delays", "error"),
    [
        ("default", [7, 7], "ListedError: start 3"),
        ("countdown", [50, 50], "ListedError: start 3"),
        ("eta", [pytest.approx(90, abs=5)] * 2, "ListedError: start 3"),
        ("no exc", [7, 7], "MaxRetriesExceededError: Can't retry"),
        ("more", [0, 0, 0, 0], "ListedError: start 5"),
        ("not thrown", [0, 0], "MaxRetriesExceededError"),
        ("same arguments", [0, 0], "MaxRetriesExceededError"),
        ("raised", [3, 3], "MaxRetriesExceededError"),
        ("other arguments", [], "called self.retry with other arguments"),
    ],
)
def test_self_retry_is_a_retry_of_the_task_and_ends_with_the_original_error(
    runner: InlineRunner, how: str, delays: list[Any], error: str
) -> None:
    flow = engine.register(store(("retried", {"how": how})))
    assert run_all(runner, flow) == delays
    assert status(flow, 1) is Status.SUSPEND
    assert error in task(flow, 1).error
    assert task(flow, 1).retries == len(delays)


@pytest.mark.parametrize(("limit", "starts"), [(0, 1), (1, 2), (4, 5)])
def test_a_step_s_limit_and_delay_win(runner: InlineRunner, limit: int, starts: int) -> None:
    flow = engine.register(store(("retried", {"how": "countdown"}), max_retries=limit, retry_delay=1))
    assert run_all(runner, flow) == [1] * limit
    assert task(flow, 1).attempt == starts
    assert task(flow, 1).error == f"ListedError: start {starts}"


def test_autoretry_counts_by_the_request(runner: InlineRunner) -> None:
    flow = engine.register(store(("autoretried", {"until": 3})))
    assert run_all(runner, flow) == [0, 0]
    assert task(flow, 1).output == 2
    flow = engine.register(store(("autoretried", {})))
    assert run_all(runner, flow) == [0, 0]
    assert task(flow, 1).error == "ListedError: start 3"
    flow = engine.register(store(("backed_off", {})))
    assert run_all(runner, flow) == [4, 8, 16]


def test_a_class_based_task_runs_with_its_autoretry(runner: InlineRunner) -> None:
    name = define({1: None}, HOST + "Counter", parameters={"by": "5"})
    flow = engine.register(name)
    assert run_all(runner, flow) == [0]
    assert task(flow, 1).output == 6
    assert registry.get(HOST + "Counter").description == "A task as a class."


def test_a_hard_time_limit_is_no_retry_unless_the_step_asks_for_one() -> None:
    program = registry.get(HOST + "autoretried")
    assert program.next_delay(TimeLimitError("3 s"), 0) is None
    assert program.next_delay(TimeLimitError("3 s"), 0, max_retries=1) == 0


# What a flow cannot do


@pytest.mark.parametrize("swallow", [False, True])
def test_replace_fails_the_task_and_publishes_nothing(runner: InlineRunner, swallow: bool) -> None:
    flow = run(runner, ("replaced", {"swallow": swallow}))
    assert status(flow, 1) is Status.SUSPEND
    assert "self.replace" in task(flow, 1).error
    assert "make the replacement a step" in task(flow, 1).error
    assert task(flow, 1).attempt == 1


@pytest.mark.parametrize("requeue", [False, True])
def test_reject_fails_the_task_and_says_what_to_do(runner: InlineRunner, requeue: bool) -> None:
    flow = run(runner, ("rejected", {"requeue": requeue}))
    assert status(flow, 1) is Status.SUSPEND
    assert "Reject: not now" in task(flow, 1).error
    assert "self.retry" in task(flow, 1).error


def test_ignore_ends_the_task_without_a_result_or_with_the_state_set_before(runner: InlineRunner) -> None:
    edges: dict[int, list[int] | None] = {1: [], 2: [], 3: []}
    states = [("ignored", {}), ("ignored", {"state": "SUCCESS"}), ("ignored", {"state": "FAILURE"})]
    flow = run(runner, *states, edges=edges)
    assert outputs(flow) == [None, {"why": "set by hand"}, None]
    assert [status(flow, seq) for seq in (1, 2, 3)] == [Status.FINISH, Status.FINISH, Status.SUSPEND]
    assert "set by hand" in task(flow, 3).error


# Children


@pytest.fixture
def adding(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], str]:
    """A workflow whose first step adds these children, and whose second returns what it gets."""

    def make(items: Any, **columns: Any) -> str:
        def add(ctx: Context) -> None:
            ctx.add_children(items() if callable(items) else items)

        monkeypatch.setitem(programs._programs, "Adds", registry.Program(name="Adds", function=add))
        name = store(("Adds", {}), ("type_of", {}))
        TaskDefinition.objects.filter(task_id=name, task_seq=1).update(**columns)
        return name

    return make


@pytest.mark.parametrize(
    ("items", "output"),
    [
        (lambda: [tasks.add.s(1, 2), tasks.add.s(3, y=4), tasks.add.si(5, 6)], [3, 7, 11]),
        (lambda: tasks.add.s(1, 2), [3]),
        (lambda: group(tasks.add.s(i, i) for i in range(3)), [0, 2, 4]),
        (lambda: [("a", tasks.add.s(1, 2)), ("b", tasks.mul.s(3))], [3, 30]),
        (lambda: {"a": tasks.add.s(1, 2)}, [3]),
        (lambda: [tasks.none.s(), tasks.total_of.s(1, 2, start=3)], [None, 6]),
        (lambda: [tasks.keywords.s(a=1), tasks.mixed.s(1, 2, 3, key="k")], [{"a": 1}, [1, 2, [3], "k"]]),
    ],
)
def test_a_signature_can_be_a_child(
    runner: InlineRunner, adding: Callable[..., str], items: Any, output: list[Any]
) -> None:
    flow = engine.register(adding(items))
    runner.run()
    assert status(flow) is Status.FINISH, [row.error for row in flow.tasks.all()]
    assert task(flow, 1).output == output


def test_arguments_and_results_of_children_keep_their_types(runner: InlineRunner, adding: Callable[..., str]) -> None:
    dates = [tasks.gives.s("date"), tasks.type_of.s(tasks.VALUES["decimal"])]
    flow = engine.register(adding(dates))
    runner.run()
    assert task(flow, 1).output == ["2026-01-31", ["Decimal", "1.10"]]
    assert task(flow, 2).output == [["date", "list"], "[datetime.date(2026, 1, 31), ['Decimal', '1.10']]"]


def test_a_child_of_a_host_task_gets_its_item_as_first_argument(
    runner: InlineRunner, adding: Callable[..., str]
) -> None:
    flow = engine.register(adding([1, 2], child_program=HOST + "mul"))
    runner.run()
    assert task(flow, 1).output == [10, 20]
    flow = engine.register(adding([1, tasks.add.s(1, 1)], child_program=HOST + "optional"))
    runner.run()
    assert task(flow, 1).output == [["got", 1], 2]


def test_a_child_program_with_more_arguments_than_an_item_is_refused(adding: Callable[..., str]) -> None:
    with pytest.raises(InvalidPlanError, match=r"step 1.*parameter y.*a child gets its item as its first argument"):
        engine.register(adding([1], child_program=HOST + "add"))


@pytest.mark.parametrize(
    ("items", "sentence"),
    [
        (lambda: [chain(tasks.add.s(1, 2), tasks.mul.s(3))], "cannot be a child"),
        (lambda: [chord([tasks.add.s(1, 2)], tasks.total.s())], "cannot be a child"),
        (lambda: [tasks.total.chunks([([1],)], 1)], "cannot be a child"),
        (lambda: [tasks.total.map([[1]])], "cannot be a child"),
        (lambda: [tasks.add.s(1)], "give it all its arguments"),
        (lambda: [tasks.add.s(1, 2).set(countdown=5)], "countdown"),
        (lambda: [tasks.add.s(1, 2).on_error(tasks.none.s())], "link_error"),
        (lambda: [tasks.add.s(1, 2, 3)], "cannot be a child"),
        (lambda: [tasks.coroutine.s(1)], "async def"),
        (lambda: [app_or_default().signature("nowhere.at.all")], "nowhere.at.all is no Celery task"),
        (lambda: [tasks.gives.s({1, 2})], "not JSON"),
        (lambda: [("a", tasks.none.s()), ("a", tasks.none.s())], "an id of its own"),
        (lambda: [1], "child_program"),
    ],
)
def test_what_no_child_can_run_fails_the_parent_with_the_cure(
    runner: InlineRunner, adding: Callable[..., str], items: Any, sentence: str
) -> None:
    flow = engine.register(adding(items))
    runner.run()
    assert status(flow, 1) is Status.SUSPEND
    assert sentence in task(flow, 1).error
    assert flow.tasks.count() == 2


def test_a_signature_s_queue_and_limit_are_the_child_s(runner: InlineRunner, adding: Callable[..., str]) -> None:
    options: dict[str, Any] = {"queue": "heavy", "time_limit": 9}
    signature = tasks.add.s(1, 2).set(**options)
    flow = engine.register(adding([signature, tasks.none.s()], time_limit=30))
    runner.step()
    rows = Task.objects.filter(task_flow=flow, parent_seq=1).order_by("child_index")
    assert list(rows.values_list("queue", "time_limit")) == [("heavy", 9), ("", 30)]


def test_a_refreshed_rerun_keeps_what_a_child_calls(runner: InlineRunner, adding: Callable[..., str]) -> None:
    flow = engine.register(adding(lambda: [tasks.watched.s(1, fail="error")]))
    runner.run()
    child = task(flow, 3)
    assert child.status is Status.SUSPEND
    engine.change(flow.pk, 3, parameters={"fail": ""})
    engine.rerun(flow.pk, refresh=True)
    runner.send(list(Task.objects.filter(task_flow=flow).startable().messages(alone=True)))
    runner.run()
    assert task(flow, 1).output == [2]


# Routes, limits


@pytest.mark.parametrize(
    ("host_routes", "queue"),
    [
        ({HOST + "add": {"queue": "heavy"}}, "heavy"),
        ({HOST + "*": "heavy"}, "heavy"),
        ([lambda name, *_, **__: "heavy" if name.startswith(HOST) else "light"], "heavy"),
        ({"flowerapp.*": "flows", HOST + "add": "heavy"}, "heavy"),
        ({"flowerapp.*": "flows"}, "flows"),
        ({HOST + "mul": "light"}, "default"),
    ],
)
def test_the_host_s_routes_know_a_task_by_its_own_name(
    monkeypatch: pytest.MonkeyPatch, host_routes: Any, queue: str
) -> None:
    app = app_or_default()
    monkeypatch.setattr(app.amqp.router, "routes", prepare(host_routes))
    call = TaskCall(seq=1, program=HOST + "add")
    assert routes.queue_of(HOST + "add", "") == queue
    options = routes.options_of(app, call)
    name = options.get("route_name") or routes.task_name(HOST + "add")
    assert app.amqp.router.route({}, name)["queue"].name == queue
    assert "route_name" not in routes.options_of(app, TaskCall(seq=1, program=HOST + "add", queue="own"))


def test_a_router_that_raises_does_so_where_the_message_is_published(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str, *_: Any, **__: Any) -> None:
        raise RuntimeError(name)

    app = app_or_default()
    monkeypatch.setattr(app.amqp.router, "routes", [broken])
    assert routes.options_of(app, TaskCall(seq=1, program=HOST + "add"))["route_name"] == HOST + "add"


def test_limits_and_expected_errors_of_a_host_task_are_those_of_its_program_task() -> None:
    app = app_or_default()
    task_object = app.tasks[HOST + "none"]
    program = host_tasks.host_program(HOST + "none")
    assert isinstance(program, host_tasks.HostProgram)
    task_object.rate_limit, task_object.throws = "7/m", (KeyError,)
    try:
        assert (program.rate_limit, program.throws) == ("7/m", (KeyError,))
    finally:
        task_object.rate_limit, task_object.throws = None, ()


@override_settings(FLOWER={"CELERY_TASKS": ("tests.probe.tasks.add",)})
def test_the_setting_says_which_tasks_flows_may_run(runner: InlineRunner, adding: Callable[..., str]) -> None:
    assert list(host_tasks.host_program_names()) == [HOST + "add"]
    with pytest.raises(InvalidValueError, match="CELERY_TASKS"):
        host_tasks.calls_of(tasks.none.s())


def test_the_schema_shows_where_the_input_can_go() -> None:
    schema = registry.get(HOST + "add").schema
    assert "@input" in schema["properties"]
    assert set(schema["required"]) == {"x", "y"}


def test_a_retry_is_one_entry_of_the_history(runner: InlineRunner) -> None:
    flow = engine.register(store(("autoretried", {"until": 2})))
    run_all(runner, flow)
    assert verbs(flow).count("retry") == 1


def test_a_row_and_a_registration_say_where_the_input_goes(runner: InlineRunner) -> None:
    name = store(("add", {}))
    row = TaskDefinition.objects.filter(task_id=name)
    row.update(param1_key="@input", param1_value="x", param2_key="y", param2_value="2")
    with pytest.raises(InvalidPlanError, match="has a value too"):
        engine.register(name, parameters={1: {"x": 1}})
    flow = engine.register(name, input=40, parameters={1: {"y": 2}})
    runner.run()
    assert outputs(flow) == [42]


@pytest.mark.parametrize(
    ("parameters", "place", "args", "kwargs"),
    [
        ({"a": 1, "b": 2}, "", [], {"a": 1, "b": 2}),
        ({"b": 2, "rest": [3]}, "a", ["in", 2, 3], {}),
        ({"b": 2, "rest": [3]}, "<first>", ["in", 2, 3], {}),
        ({"a": 1, "rest": [3], "k": 5}, "b", [1, "in", 3], {"k": 5}),
        ({"a": 1, "b": 2}, "k", [], {"a": 1, "b": 2, "k": "in"}),
        ({"a": 1, "b": 2}, "other", [], {"a": 1, "b": 2, "other": "in"}),
    ],
)
def test_arguments_before_a_list_of_the_rest_go_by_position(
    parameters: dict[str, Any], place: str, args: list[Any], kwargs: dict[str, Any]
) -> None:
    def function(a: Any, b: Any, *rest: Any, k: Any = None, **others: Any) -> None: ...

    binding = Binding("f", inspect.signature(function), checked=True)
    assert binding.bind(parameters, place, lambda: "in") == (args, kwargs)
    function(*args, **kwargs)
