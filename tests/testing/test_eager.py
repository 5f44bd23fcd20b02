"""``task_always_eager``: flows run where they are registered, to their end."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from celery import current_app, signals
from celery.app import app_or_default
from django.db import transaction

from flowerapp import engine
from flowerapp.executors.celery import worker
from flowerapp.executors.drain import MOST_STARTS
from flowerapp.models import Flow, Pool
from flowerapp.states import Status
from flowerapp.workflows import rows
from tests.engine.support import check, define, task
from tests.testing.conftest import COMMITTED, ROLLED_BACK
from tests.testing.test_runner import GATED, step
from tests.testing.workflows import Sums


@pytest.fixture
def eager(settings: Any) -> Iterator[list[str]]:
    """Celery is eager, and its broker is not there; what was published."""
    published: list[str] = []

    def on_publish(sender: str, **_: Any) -> None:
        published.append(sender)

    settings.CELERY_TASK_ALWAYS_EAGER = True
    settings.CELERY_BROKER_URL = "redis://127.0.0.1:1"
    signals.before_task_publish.connect(on_publish)
    yield published
    signals.before_task_publish.disconnect(on_publish)
    assert published == []


@pytest.fixture(params=[ROLLED_BACK, COMMITTED], autouse=True)
def _database(eager: list[str]) -> None:
    """In a transaction as of a ``TestCase``, and in tests that commit."""


def register(*steps: dict[str, Any], **options: Any) -> Flow:
    """A flow of these steps, as it is after it was registered."""
    rows.store({"task_id": "eager", "tasks": [{"task_seq": seq, **row} for seq, row in enumerate(steps, start=1)]})
    flow = engine.register("eager", **options)
    flow.refresh_from_db()
    return flow


@pytest.mark.parametrize("length", [1, 11, 150])
def test_a_chain_ends_without_recursion(length: int) -> None:
    flow = engine.register(define(dict.fromkeys(range(1, length + 1)), "testing.Depth"))
    flow.refresh_from_db()
    assert flow.status is Status.FINISH
    depths = {row.output for row in flow.tasks.all()}
    assert max(depths) - min(depths) <= 5
    assert max(depths) < sys.getrecursionlimit() / 2
    check(flow)


@pytest.mark.parametrize("number", [1, 2])
def test_conditions_and_gates(number: int) -> None:
    flow = register(*GATED, input={"n": number})
    assert (flow.status, flow.output) == (Status.FINISH, [{"n": number}, "two"])
    assert task(flow, 2).status is (Status.FINISH if number == 2 else Status.IGNORE)
    check(flow)


def test_any_shape_ends() -> None:
    flow = Sums.register(input={"lines": [[1, 2], ["retry", 3], [4]] * 20})
    flow.refresh_from_db()
    assert flow.status is Status.FINISH
    assert flow.output == {"sums": [3, 3, 4] * 20, "unit": "m"}
    assert flow.state["over"] == 1
    Pool.objects.create(name="one", slots=1)
    pooled = engine.register(define({1: [], 2: [], 3: [], 4: [1, 2, 3]}, "testing.Retry", pool="one"))
    assert engine.get_flow(pooled.pk).status is Status.FINISH
    check(flow)
    check(pooled)


def test_retries_and_parked_tasks_with_a_time_start_at_once() -> None:
    flow = register(step("testing.Retry", until=4, delay=86_400), step("testing.Park", seconds=3600))
    assert flow.status is Status.FINISH
    assert [task(flow, seq).attempt for seq in (1, 2)] == [4, 2]


def test_a_task_that_waits_for_ever_ends_the_run(caplog: pytest.LogCaptureFixture) -> None:
    flow = register(step("testing.Retry", until=10**6))
    assert flow.status is Status.RUNNING
    assert task(flow, 1).attempt == MOST_STARTS + 1
    assert f"flow {flow.pk} task 1 (testing.Retry) was started after" in caplog.text


def test_a_parked_task_is_woken() -> None:
    flow = register(step("testing.Park"), step("Echo"))
    assert flow.status is Status.RUNNING
    engine.wake(flow.pk, 1, output=[1])
    assert engine.get_flow(flow.pk).output == [1]


def test_an_error_is_the_flows_and_a_rerun_runs_at_once() -> None:
    flow = register(step("testing.Fail", message="no luck"), step("Noop"))
    assert flow.status is Status.SUSPEND
    assert flow.failed_task is not None
    assert flow.failed_task.error == "ZeroDivisionError: no luck"
    engine.change_state(flow.pk, lambda _: {"lucky": True})
    engine.rerun(flow.pk)
    assert engine.get_flow(flow.pk).status is Status.FINISH


def test_errors_propagate_where_celery_is_to_raise_them(settings: Any) -> None:
    settings.CELERY_TASK_EAGER_PROPAGATES = True
    with pytest.raises(ZeroDivisionError, match="no luck"):
        register(step("Noop"), step("testing.Fail", message="no luck"))
    flow = Flow.objects.get()
    assert flow.status is Status.SUSPEND
    with pytest.raises(ZeroDivisionError):
        engine.rerun(flow.pk)
    assert register(step("testing.Retry", until=3)).status is Status.FINISH


def test_celery_reports_errors() -> None:
    failures: list[tuple[str, BaseException]] = []

    def on_failure(sender: Any, exception: BaseException, **_: Any) -> None:
        failures.append((sender.name, exception))

    signals.task_failure.connect(on_failure)
    try:
        register(step("testing.Fail", message="no luck"))
    finally:
        signals.task_failure.disconnect(on_failure)
    [(name, error)] = failures
    assert (name, str(error)) == ("flowerapp.testing.Fail", "no luck")


def test_what_a_program_registers_has_run_when_it_continues() -> None:
    flow = register(step("testing.Register", name=define({1: None, 2: None}, "Noop")))
    assert flow.status is Status.FINISH
    assert flow.output == "Finish"


def test_the_hosts_celery_tasks_run(eager: list[str]) -> None:
    flow = register(step("tests.probe.tasks.add", x=1, y=2), step("tests.probe.tasks.mul", y=5))
    assert flow.output == 15


def test_a_transaction_of_the_caller_is_waited_for(request: pytest.FixtureRequest) -> None:
    name = define({1: []}, "Noop")
    with transaction.atomic():
        flow = engine.register(name)
        flow.refresh_from_db()
        assert flow.status is Status.WAIT
    flow.refresh_from_db()
    is_committed = "committed" in request.node.name
    assert flow.status is (Status.FINISH if is_committed else Status.WAIT)


@pytest.fixture
def setting_of_the_app() -> Iterator[None]:
    """What the test sets on the Celery app itself is undone."""
    yield
    changes: Any = current_app.conf.changes
    changes.pop("task_always_eager", None)


def test_a_worker_does_not_run_tasks_in_its_parent(
    setting_of_the_app: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("workflows.store_all", "connections.close_all", "identity.renew"):
        monkeypatch.setattr(f"flowerapp.executors.celery.worker.{name}", lambda: None)
    controller = SimpleNamespace(app=app_or_default())
    worker.on_worker_init(sender=controller)
    assert not current_app.conf.task_always_eager
    assert "task_always_eager is on" in caplog.text
