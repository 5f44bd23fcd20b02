"""Register many: one commit, a flow for each item in order, all or none."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, cast

import pytest
from django.db import connection, connections, transaction
from django.test.utils import CaptureQueriesContext

from flowerapp import engine
from flowerapp.core import executor
from flowerapp.core.executor import NoExecutor
from flowerapp.core.messages import FIRST_SENT, SEND_BATCH, Message
from flowerapp.engine import MayOverride, Registration
from flowerapp.exceptions import (
    MOST_PROBLEMS,
    FlowerError,
    IdempotencyConflictError,
    InvalidError,
    InvalidPlanError,
    InvalidValueError,
    RegistrationsRefusedError,
    UnknownWorkflowError,
)
from flowerapp.models import Flow, Task, Workflow
from flowerapp.querysets import insert
from flowerapp.states import Status
from flowerapp.testing import InlineRunner
from tests.engine.support import CHAIN, DIAMOND, check, define, status

pytestmark = pytest.mark.django_db(transaction=True)


class Elsewhere(NoExecutor):
    """A broker that takes messages, whose workers are elsewhere."""

    def __init__(self) -> None:
        self.sent: list[Message] = []

    def connected(self) -> bool:
        return True

    def send(self, messages: Any) -> None:
        self.sent += messages


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    broker = Elsewhere()
    previous = executor.use(broker)
    yield broker
    executor.use(previous)


def columns(flow: Flow) -> list[dict[str, Any]]:
    """The rows of a flow's tasks, without what no two flows share."""
    own = ("id", "task_flow_id", "registered_ts", "sent_ts", "finished_ts")
    result = []
    for row in Task.objects.filter(task_flow=flow).order_by("task_exec_seq").values():
        times = {name: row[name] is not None for name in ("sent_ts", "finished_ts")}
        result.append({name: value for name, value in row.items() if name not in own} | times)
    return result


REQUESTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "input": {"input": [1, None, {"a": "ü"}]},
    "priority": {"priority": -7},
    "parameters": {"parameters": {2: {"value": {"b": [1]}}}},
    "entrance": {"entrance": 2},
    "key": {"idempotency_key": "k", "input": 1},
}


@pytest.mark.parametrize("limited", [False, True])
@pytest.mark.parametrize("large", [False, True])
def test_each_flow_is_as_register_writes_it(
    runner: InlineRunner, monkeypatch: pytest.MonkeyPatch, limited: bool, large: bool
) -> None:
    name = define({1: [], 2: [1], 3: [1], 4: [2, 3]}, "Return")
    wide = define({key: [] for key in range(1, FIRST_SENT + 6)}, "Noop")
    engine.set_pool("gpu", 1)
    pooled = define({1: [], 2: [1]}, "Noop", pool="gpu")
    if limited:
        Workflow.objects.create(task_id=name, max_active_flows=2)
    one_by_one = [engine.register(name, actor="ann", **request) for request in REQUESTS.values()]
    one_by_one += [engine.register(wide), engine.register(pooled)]
    if large:
        monkeypatch.setattr(insert, "LARGEST", 10)
    together = engine.register_many(
        [*({"task_id": name, **request} for request in REQUESTS.values()), wide, Registration(pooled)], actor="bob"
    )
    assert [flow.task_id for flow in together] == [name] * len(REQUESTS) + [wide, pooled]
    runner.waiting.clear()
    for one, other in zip(one_by_one, together, strict=True):
        one.refresh_from_db()
        stored = Flow.objects.get(pk=other.pk)
        assert other.created
        assert other.registered_ts == stored.registered_ts == together[0].registered_ts
        for column in ("task_id", "task_priority", "input", "limited", "open_sinks", "exec_status", "request_hash"):
            assert getattr(one, column) == getattr(stored, column) == getattr(other, column), column
        if not limited and one.task_id != pooled:
            assert columns(one) == columns(stored)
    assert [flow.registered_by for flow in together[: len(REQUESTS)]] == ["bob"] * len(REQUESTS)


def test_ids_sort_as_the_list(runner: InlineRunner) -> None:
    flows = engine.register_many([define(CHAIN)] * 200)
    assert [flow.pk for flow in flows] == sorted(flow.pk for flow in flows)
    assert [flow.pk for flow in Flow.objects.order_by("-registered_ts", "-task_flow_id")[:2]] == [
        flows[-1].pk,
        flows[-2].pk,
    ]


def test_all_are_run(runner: InlineRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    """In several batches of messages."""
    for module in ("dispatching", "register"):
        monkeypatch.setattr(import_module(f"flowerapp.engine.{module}"), "SEND_BATCH", 20)
    names = [define(CHAIN), define(DIAMOND)]
    flows = engine.register_many([{"task_id": names[n % 2], "input": {"n": n}} for n in range(50)])
    for flow in flows[:2]:
        check(flow)
    runner.run()
    assert {status(flow) for flow in flows} == {Status.FINISH}
    assert [flow.input for flow in Flow.objects.order_by("task_flow_id")] == [{"n": n} for n in range(len(flows))]


def test_an_empty_list_is_refused(runner: InlineRunner) -> None:
    none: list[Any] = []
    for empty in (none, iter(none)):
        with pytest.raises(InvalidError, match="the list is empty"):
            engine.register_many(empty)


REFUSED: dict[str, tuple[Any, type[FlowerError], str]] = {
    "unknown workflow": ({"task_id": "none"}, UnknownWorkflowError, "none"),
    "no object": (7, InvalidError, "must be an object"),
    "list": (["etl"], InvalidError, "must be an object"),
    "no name": ({"input": 1}, InvalidError, "task_id"),
    "name of another type": ({"task_id": 1}, InvalidError, "task_id"),
    "unknown field": ({"task_id": "etl", "color": 1}, InvalidError, "'color'"),
    "priority": ({"task_id": "etl", "priority": 20}, InvalidPlanError, "priority 20"),
    "entrance": ({"task_id": "etl", "entrance": "x"}, InvalidPlanError, "entrance 'x'"),
    "step": ({"task_id": "etl", "parameters": {9: {}}}, InvalidPlanError, "step 9"),
    "parameter": ({"task_id": "etl", "parameters": {1: {"a": 1}}}, InvalidPlanError, "a"),
    "input": ({"task_id": "etl", "input": float("nan")}, InvalidValueError, "input"),
    "large input": ({"task_id": "etl", "input": "x" * 2_000_000}, InvalidValueError, "MAX_JSON_BYTES"),
    "broken workflow": ({"task_id": "broken"}, InvalidPlanError, "Nope"),
    "key": ({"task_id": "etl", "idempotency_key": "x" * 300}, InvalidPlanError, "Idempotency-Key"),
    "used key": ({"task_id": "etl", "idempotency_key": "used", "priority": 1}, IdempotencyConflictError, "'used'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_refused_item_is_named_by_its_place_and_nothing_is_written(runner: InlineRunner, case: str) -> None:
    item, kind, word = REFUSED[case]
    define(CHAIN, name="etl")
    define({1: []}, "Nope", name="broken")
    engine.register("etl", idempotency_key="used")
    sent = len(runner.sent)
    with pytest.raises(RegistrationsRefusedError, match="nothing was registered; item 1: ") as caught:
        engine.register_many(["etl", item, {"task_id": "etl", "idempotency_key": "new"}])
    (refused,) = caught.value.refusals
    assert refused.index == 1
    assert type(refused.error) is kind
    assert word in str(refused.error)
    name = item.get("task_id") if isinstance(item, dict) else ""
    assert refused.task_id == (name if isinstance(name, str) else "")
    assert Flow.objects.count() == 1
    assert len(runner.sent) == sent


def test_all_refused_items_are_listed_up_to_a_bound(runner: InlineRunner) -> None:
    name, nothing = define(CHAIN), cast("str", None)
    with pytest.raises(RegistrationsRefusedError) as caught:
        engine.register_many([name, "none", name, nothing])
    assert [refused.index for refused in caught.value.refusals] == [1, 3]
    with pytest.raises(RegistrationsRefusedError) as caught:
        engine.register_many([nothing] * (MOST_PROBLEMS + 50))
    assert len(caught.value.refusals) == MOST_PROBLEMS


def test_bounds(runner: InlineRunner, settings: Any) -> None:
    name = define(CHAIN)
    settings.FLOWER = {**settings.FLOWER, "MAX_REGISTRATIONS": 3, "MAX_TASKS": 8}
    with pytest.raises(InvalidError, match=r"the limit is 3 \(FLOWER\['MAX_REGISTRATIONS'\]\)"):
        engine.register_many(name for _ in range(10**12))
    with pytest.raises(RegistrationsRefusedError, match=r"item 2: with this item the flows have 9 tasks.*MAX_TASKS"):
        engine.register_many([name] * 3)
    assert not Flow.objects.exists()
    assert len(engine.register_many([name] * 2)) == 2


def test_keys_of_earlier_calls_and_of_the_list_itself(runner: InlineRunner) -> None:
    name, other = define(CHAIN), define(CHAIN)
    earlier = engine.register(name, idempotency_key="a", input=1, actor="ann")
    flows = engine.register_many(
        [
            {"task_id": name, "idempotency_key": "a", "input": 1},
            {"task_id": name, "idempotency_key": "b"},
            {"task_id": other, "idempotency_key": "b"},
            {"task_id": name, "idempotency_key": "b"},
        ],
        actor="ann",
    )
    assert [flow.created for flow in flows] == [False, True, True, False]
    assert flows[0].pk == earlier.pk
    assert flows[3].pk == flows[1].pk != flows[2].pk
    assert flows[3].registered_ts == flows[1].registered_ts
    again = engine.register_many([{"task_id": name, "idempotency_key": "b"}], actor="ann")
    assert ([flow.pk for flow in again], again[0].created) == ([flows[1].pk], False)
    with pytest.raises(RegistrationsRefusedError, match=r"item 1: Idempotency-Key 'c' was used before in this list"):
        engine.register_many(
            [{"task_id": name, "idempotency_key": "c"}, {"task_id": name, "idempotency_key": "c", "priority": 1}]
        )
    assert Flow.objects.count() == 3


def test_a_unique_workflow_gets_one_flow(runner: InlineRunner) -> None:
    name, other = define(CHAIN), define(CHAIN)
    Workflow.objects.create(task_id=name, unique=True)
    flows = engine.register_many([name, other, name, {"task_id": name, "idempotency_key": "k"}])
    assert [flow.created for flow in flows] == [True, True, False, False]
    assert flows[0].pk == flows[2].pk == flows[3].pk
    (again,) = engine.register_many([name])
    assert (again.pk, again.created) == (flows[0].pk, False)
    assert Flow.objects.filter(task_id=name).count() == 1
    runner.run()
    assert status(flows[0]) is Status.FINISH
    assert engine.register_many([name])[0].created


def test_most_active_flows_are_admitted_and_the_others_follow(runner: InlineRunner) -> None:
    name = define(CHAIN)
    Workflow.objects.create(task_id=name, max_active_flows=2)
    flows = engine.register_many([name] * 5)
    assert Flow.objects.filter(admitted=True).count() == 2
    assert len(runner.sent) == 2
    runner.run()
    assert {status(flow) for flow in flows} == {Status.FINISH}


def test_tasks_of_pools_wait_for_slots(runner: InlineRunner) -> None:
    engine.set_pool("gpu", 2)
    flows = engine.register_many([define({1: []}, "Noop", pool="gpu")] * 4)
    assert Task.objects.filter(admitted=True).count() == len(runner.sent) == 2
    runner.run()
    assert {status(flow) for flow in flows} == {Status.FINISH}


def test_masked_values_may_not_be_overridden(runner: InlineRunner) -> None:
    name = define({1: []}, "Return", parameters={"value": {"password": "s3cret"}})
    item = {"task_id": name, "parameters": {1: {"value": 1}}}
    with pytest.raises(RegistrationsRefusedError, match=r"item 0: .*masked values") as caught:
        engine.register_many([item, name], may_override=MayOverride.NONE)
    assert [refused.index for refused in caught.value.refusals] == [0]
    assert "s3cret" not in str(caught.value)
    assert engine.register_many([item])[0].tasks.get().parameters == {"value": 1}


@pytest.mark.parametrize("number", [1, 3, SEND_BATCH + 30])
def test_few_messages_go_out_and_the_others_are_left_to_the_watcher(elsewhere: Elsewhere, number: int) -> None:
    name = define(CHAIN)
    flows = engine.register_many([{"task_id": name, "priority": -1 if n == number - 1 else 0} for n in range(number)])
    assert len(elsewhere.sent) == min(number, SEND_BATCH)
    assert elsewhere.sent[0].head.priority in (-1, 0)
    sent = {message.flow_id for message in elsewhere.sent}
    assert flows[-1].pk in sent  # the most urgent
    unsent = {row.task_flow_id for row in Task.objects.all().unsent()}
    assert sent | unsent == {flow.pk for flow in flows}
    assert not sent & unsent


def test_of_wide_flows_one_sends_for_idle_processes(elsewhere: Elsewhere) -> None:
    name = define({key: [] for key in range(1, 2 * FIRST_SENT + 1)}, "Noop")
    with CaptureQueriesContext(connection) as few:
        engine.register_many([name] * 2)
    with CaptureQueriesContext(connection) as many:
        engine.register_many([name] * 20)
    assert len(elsewhere.sent) == 22 * FIRST_SENT
    if connection.vendor == "postgresql":
        assert len(many) == len(few)


@contextmanager
def counted() -> Iterator[list[str]]:
    with CaptureQueriesContext(connection) as queries:
        statements: list[str] = []
        yield statements
    statements += [query["sql"] for query in queries]


@pytest.mark.parametrize("number", [1, 2, 300])
def test_a_call_takes_two_statements_whatever_its_length(elsewhere: Elsewhere, number: int) -> None:
    name = define(CHAIN)
    engine.register(name)
    with counted() as statements:
        engine.register_many([{"task_id": name, "input": n} for n in range(number)])
    assert len(statements) == 2 or connection.vendor == "sqlite"
    with counted() as with_keys:
        engine.register_many([{"task_id": name, "idempotency_key": str(n)} for n in range(number)])
    assert len(with_keys) <= len(statements) + 3  # their keys, and a transaction


def test_in_a_callers_transaction_nothing_is_sent_before_its_end(elsewhere: Elsewhere) -> None:
    name = define(CHAIN)
    with transaction.atomic():
        engine.register_many([name] * 2)
        with pytest.raises(RegistrationsRefusedError):
            engine.register_many([name, "none"])
        assert not elsewhere.sent
    assert len(elsewhere.sent) == 2
    with transaction.atomic():
        engine.register_many([name] * 2)
        transaction.set_rollback(True)
    assert (Flow.objects.count(), len(elsewhere.sent)) == (2, 2)


def test_two_calls_with_the_same_keys_make_each_flow_once(elsewhere: Elsewhere) -> None:
    if connection.vendor == "sqlite":
        pytest.skip("two threads of a test share no SQLite database in memory")
    name = define(CHAIN)
    items = [{"task_id": name, "idempotency_key": str(n)} for n in range(60)]
    results = run_beside(
        lambda: engine.register_many(items),
        lambda: engine.register_many(items[::-1])[::-1],
        lambda: engine.register_many(items[20:40]),
    )
    assert Flow.objects.count() == 60
    ids = [[flow.pk for flow in flows] for flows in results]
    assert ids[0] == ids[1]
    assert ids[0][20:40] == ids[2]
    assert sum(flow.created for flows in results for flow in flows) == 60


def run_beside(*calls: Callable[[], list[Flow]]) -> list[list[Flow]]:
    """Make the calls at once, each in a thread: what they return."""
    barrier = threading.Barrier(len(calls))
    results: dict[int, list[Flow]] = {}

    def run(number: int, call: Callable[[], list[Flow]]) -> None:
        try:
            barrier.wait()
            results[number] = call()
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=item) for item in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return [results[number] for number in range(len(calls))]
