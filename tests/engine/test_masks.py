"""What an attempt records quotes no secret that the attempt has; outputs stay whole."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from flowerapp import engine, signals
from flowerapp.core.masking import MASKED
from flowerapp.exceptions import ParkTask
from flowerapp.executors.drain import Drain
from flowerapp.models import Flow, HistoryEntry, Hook, Log, Task
from flowerapp.registry import Context, program
from flowerapp.testing import InlineRunner, inline
from tests.cli.support import define

pytestmark = pytest.mark.django_db(transaction=True)

S = "sesame-4711"


@program("MasksFail", autoretry_for=(OSError,), max_retries=1, default_retry_delay=0)
def fail(ctx: Context, token: str = "", url: str = "", how: str = "") -> Any:
    """Quote what it has."""
    match how:
        case "token":
            raise ValueError(f"cannot log in with {token}")
        case "basic":
            encoded = base64.b64encode(f"bob:{token}".encode()).decode()
            raise ValueError(f"401 for Authorization {encoded}")
        case "retry":
            raise OSError(f"{token} is refused")
        case "input":
            raise ValueError(f"{ctx.input['api_key']} is wrong")
        case "row":
            raise ValueError(f"{Flow.objects.get(pk=ctx.flow_id).input['password']} is wrong")
        case "state":
            ctx.change_state(lambda state: state | {"cookie": f"{S}-state"})
            raise ValueError(f"{ctx.state['cookie']} is wrong")
        case "output":
            raise ValueError(f"{ctx.output_of(1)['api_key']} is wrong")
        case "url":
            raise ValueError(f"cannot reach {url} as {url[12:23]}")
        case "cause":
            raise RuntimeError("outer") from ValueError(f"inner {token}")
        case "log":
            ctx.log(f"got {token} and password=unknown-1, input {ctx.input}")
        case "park":
            raise ParkTask(f"waits for {token}", seconds=3600)
    return {"echo": token, "api_key": f"{S}-out"}


@pytest.fixture
def runner() -> Iterator[InlineRunner]:
    """An executor in this process."""
    with inline() as runner:
        yield runner


def run(runner: InlineRunner, how: str, **more: Any) -> Flow:
    parameters = {"token": S, "url": f"https://bob:{S}@h/", "how": how}
    define(
        "w", {"program": "MasksFail", "parameters": {"token": S}}, {"program": "MasksFail", "parameters": parameters}
    )
    flow = engine.register("w", input={"password": f"{S}-in"}, **more)
    runner.run()
    Drain(runner, lambda task: Task.objects.at(task.ref).hasten()).run()
    return flow


def recorded() -> str:
    """All that was recorded of the flows but parameters, inputs, state and outputs."""
    texts: list[Any] = [*Log.objects.values_list("message"), *Task.objects.values_list("error", "traceback")]
    texts += [*HistoryEntry.objects.values_list("reason", "details"), *Hook.objects.values_list("error")]
    return str(texts)


@pytest.mark.parametrize("how", ["token", "basic", "retry", "input", "row", "state", "output", "url", "cause", "log"])
def test_nothing_that_is_recorded_or_logged_quotes_a_secret(
    how: str, runner: InlineRunner, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    run(runner, how)
    for text in (recorded(), caplog.text, str([record.__dict__ for record in caplog.records])):
        assert S not in text
        assert base64.b64encode(f"bob:{S}".encode()).decode()[:16] not in text
    assert MASKED in recorded()
    if how != "log":
        assert "MasksFail" in caplog.text


def test_a_parked_task_says_so_without_its_secrets(runner: InlineRunner) -> None:
    define("w", {"program": "MasksFail", "parameters": {"token": S, "how": "park"}})
    engine.register("w")
    runner.run()
    assert HistoryEntry.objects.get(verb="park").reason == f"waits for {MASKED}"


def test_outputs_stay_whole(runner: InlineRunner) -> None:
    flow = run(runner, "")
    assert flow.tasks.get(task_exec_seq=2).output == {"echo": S, "api_key": f"{S}-out"}
    assert flow.output == {"echo": S, "api_key": f"{S}-out"}


def test_a_success_looks_for_no_secrets(runner: InlineRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    def look(*_: Any) -> Any:
        raise AssertionError

    monkeypatch.setattr("flowerapp.core.masking.secrets_of", look)
    run(runner, "")
    assert set(Task.objects.values_list("exec_status", flat=True)) == {3}


def test_a_line_of_the_log_costs_one_statement(runner: InlineRunner) -> None:
    define("w", {"program": "MasksFail", "parameters": {"token": S, "how": "log"}})
    engine.register("w", input={"password": S})
    with CaptureQueriesContext(connection) as queries:
        runner.run()
    assert len([query for query in queries if "kr_task_log" in query["sql"]]) == 1


def test_the_error_of_a_listener_is_masked(runner: InlineRunner, caplog: pytest.LogCaptureFixture) -> None:
    def listen(event: Any, **_: Any) -> None:
        raise ValueError(f"{event.task.parameters['token']} and {event.flow.input['password']}")

    signals.task_over.connect(listen)
    try:
        run(runner, "")
    finally:
        signals.task_over.disconnect(listen)
    reasons = HistoryEntry.objects.filter(verb="hook").values_list("reason", flat=True)
    assert set(reasons) == {f"task_over: ValueError: {MASKED} and {MASKED}"}
    assert S not in caplog.text
    assert "ValueError" in caplog.text


def test_events_of_hooks_are_recorded_without_secrets(runner: InlineRunner) -> None:
    seen: list[str] = []

    def listen(event: Any, **_: Any) -> None:
        seen.append(event.error)

    signals.task_failed.connect(listen)
    try:
        run(runner, "token")
    finally:
        signals.task_failed.disconnect(listen)
    assert seen == [f"ValueError: cannot log in with {MASKED}"]


def test_what_operators_write_is_masked(runner: InlineRunner) -> None:
    flow = run(runner, "token")
    engine.change(flow.pk, 2, parameters={"token": "new-4711"}, why=f"the password is password={S}")
    entry = HistoryEntry.objects.get(verb="change")
    assert (entry.reason, entry.details) == (f"the password is password={MASKED}", {"parameters": {"token": MASKED}})
