"""The log of a task: what is recorded of an attempt, how often it is written, and what no broken database can do."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext, override_settings

from flowerapp import engine, registry
from flowerapp.core import programs
from flowerapp.engine import log_writer
from flowerapp.engine.log_writer import LogWriter
from flowerapp.executors.drain import Drain
from flowerapp.models import Flow, Log, Task
from flowerapp.querysets import LogRow
from flowerapp.querysets.task_logs import LogQuerySet
from flowerapp.registry import Context
from flowerapp.selectors import task_logs
from flowerapp.states import Status
from flowerapp.testing import InlineRunner
from tests.engine.support import define, status, task

pytestmark = pytest.mark.django_db(transaction=True)

own = logging.getLogger("shop.orders")


@pytest.fixture
def says(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Makes a workflow of one step that runs a function; its name."""

    def make(function: Callable[..., Any], steps: int = 1, **columns: Any) -> str:
        entry = registry.Program(name="Says", function=function, autoretry_for=(OSError,), default_retry_delay=0)
        monkeypatch.setitem(programs._programs, "Says", entry)
        return define({seq: [] for seq in range(1, steps + 1)}, "Says", **columns)

    return make


def run(runner: InlineRunner, name: str, **options: Any) -> Flow:
    flow = engine.register(name, **options)
    runner.run()
    return flow


def lines(flow: Flow) -> list[tuple[int, str, str]]:
    """Level, source and text of each line."""
    return list(Log.objects.filter(task_flow=flow).order_by("id").values_list("level", "source", "message"))


def test_everything_that_a_program_says_is_in_its_log(runner: InlineRunner, says: Callable[..., str]) -> None:
    def speak(ctx: Context) -> None:
        own.info("by %s", "logging")
        print("by", "print")  # noqa: T201 - what is tested
        print("on stderr", file=sys.stderr)  # noqa: T201 - the same
        ctx.log("by ctx.log")
        own.error("badly")
        print("no end", end="")  # noqa: T201 - the same

    begun = time.time()
    flow = run(runner, says(speak))
    assert lines(flow) == [
        (20, "shop.orders", "by logging"),
        (20, "stdout", "by print"),
        (30, "stderr", "on stderr"),
        (20, "ctx.log", "by ctx.log"),
        (40, "shop.orders", "badly"),
        (20, "stdout", "no end"),
    ]
    first = Log.objects.filter(task_flow=flow).earliest("id")
    assert (first.task_exec_seq, first.attempt) == (1, 1)
    assert begun - 1 <= first.ts.timestamp() <= time.time()


def test_an_error_is_logged_with_its_traceback_and_each_attempt_has_its_lines(
    runner: InlineRunner, says: Callable[..., str]
) -> None:
    def fail(ctx: Context) -> None:
        try:
            1 / 0  # noqa: B018 - it raises
        except ZeroDivisionError:
            own.exception("attempt %d", ctx.attempt)
        raise OSError("again")

    flow = run(runner, says(fail, max_retries=1, retry_delay=0))
    Drain(runner, lambda task: Task.objects.at(task.ref).hasten()).run()
    assert status(flow) is Status.SUSPEND
    engine.rerun(flow.pk)
    runner.run()
    logged = list(Log.objects.filter(task_flow=flow).order_by("id"))
    assert [line.attempt for line in logged] == [1, 2, 3]
    assert logged[0].message.startswith("attempt 1\nTraceback (most recent call last):")
    assert logged[0].message.endswith("ZeroDivisionError: division by zero")


@pytest.mark.parametrize(
    ("level", "kept"),
    [
        ("DEBUG", ["debug", "info", "warning", "print", "ctx"]),
        ("INFO", ["info", "warning", "print", "ctx"]),
        ("WARNING", ["warning"]),
        ("CRITICAL", []),
        (None, []),
        ("NONSENSE", []),
    ],
)
def test_the_setting_chooses_the_level(
    runner: InlineRunner, says: Callable[..., str], level: Any, kept: list[str]
) -> None:
    def speak(ctx: Context) -> None:
        own.debug("debug")
        own.info("info")
        own.warning("warning")
        print("print")  # noqa: T201 - what is tested
        ctx.log("ctx")

    with override_settings(FLOWER={"TASK_LOG": level}):
        flow = run(runner, says(speak))
    assert [message for *_, message in lines(flow)] == kept
    assert status(flow) is Status.FINISH


def statements(runner: InlineRunner, name: str) -> list[str]:
    engine.register(name)
    with CaptureQueriesContext(connection) as queries:
        runner.run()
    return [query["sql"] for query in queries]


def test_a_task_that_logs_nothing_costs_no_statement_and_many_lines_cost_few(
    runner: InlineRunner, says: Callable[..., str]
) -> None:
    def lot(ctx: Context) -> None:
        for number in range(400):
            ctx.log(str(number))

    silent = statements(runner, says(lambda: None))
    assert not [sql for sql in silent if "kr_task_log" in sql]
    with override_settings(FLOWER={"TASK_LOG": None}):
        assert len(statements(runner, says(lot))) == len(silent)
    loud = [sql for sql in statements(runner, says(lot)) if "kr_task_log" in sql]
    assert len(loud) <= (1 if connection.vendor == "postgresql" else 3)
    assert Log.objects.count() == 400


def test_a_long_log_is_bounded(runner: InlineRunner, says: Callable[..., str]) -> None:
    def lot() -> None:
        for number in range(100_000):
            print(f"line {number}")  # noqa: T201 - what is tested

    begun = time.process_time()
    with override_settings(FLOWER={"TASK_LOG_BYTES": 20_000}):
        flow = run(runner, says(lot))
    assert time.process_time() - begun < 30
    texts = [message for *_, message in lines(flow)]
    assert len(texts) < 200
    assert texts[0] == "line 0"
    assert texts[-1] == "line 99999"
    left_out = next(text for text in texts if text.endswith("lines left out"))
    assert int(left_out.split()[1].replace(",", "")) == 100_000 - (len(texts) - 2)


def test_any_characters_can_be_stored(runner: InlineRunner, says: Callable[..., str]) -> None:
    def odd(ctx: Context) -> None:
        print("a\0b\udcff\x1b[31m\u202e")  # noqa: T201 - what is tested
        own.warning("x" * 100_000)
        ctx.log("é" * 3)

    flow = run(runner, says(odd))
    texts = [message for *_, message in lines(flow)]
    assert texts[0] == "a\ufffdb\ufffd\x1b[31m\u202e"
    assert len(texts[1]) < 20_100
    assert "characters are left out" in texts[1]
    shown = task_logs.text_of(Log.objects.earliest("id"))
    assert "\x1b" not in shown
    assert "\\x1b[31m\\u202e" in shown


def test_no_secret_is_stored(runner: InlineRunner, says: Callable[..., str]) -> None:
    def leak(ctx: Context, token: str) -> None:
        print("print", token)  # noqa: T201 - what is tested
        own.warning("logging %s", token)
        ctx.log(f"{ctx.input}")
        try:
            raise ValueError(token)
        except ValueError:
            own.exception("error")
        logging.getLogger(f"name.{token}").warning("named")

    name = says(leak, parameters={"token": "sesame-4711"})
    flow = run(runner, name, input={"password": "sesame-0815"})
    stored = str(list(Log.objects.filter(task_flow=flow).values()))
    assert "sesame" not in stored
    assert stored.count("••••") >= 5


@pytest.mark.parametrize("filler", [19_990, 39_990, 79_990, 79_999, 200_000])
def test_no_part_of_a_secret_is_stored_where_a_line_is_cut(
    runner: InlineRunner, says: Callable[..., str], filler: int
) -> None:
    def leak(ctx: Context, token: str) -> None:
        text = "x" * filler + token + "y" * 300_000 + token
        print(text)  # noqa: T201 - what is tested
        print(token * 30_000)  # noqa: T201 - the same
        own.warning(text)
        own.warning(token * 30_000)
        logging.getLogger("n" * 95 + token).warning("named")

    flow = run(runner, says(leak, parameters={"token": "sesame-4711"}))
    stored = str(list(Log.objects.filter(task_flow=flow).values_list("message", "source")))
    assert "se" not in stored.replace("are left out", "").replace("characters", "")


def test_deleting_a_flow_deletes_its_log_and_late_lines_are_dropped(
    runner: InlineRunner, says: Callable[..., str]
) -> None:
    flow = run(runner, says(lambda: own.warning("here")))
    assert Log.objects.count() == 1
    engine.delete([flow.pk])
    assert Log.objects.count() == 0
    kept = run(runner, says(lambda: None))
    Log.objects.write([row(flow.pk, "late"), row(kept.pk, "kept")])
    assert list(Log.objects.values_list("task_flow_id", "message")) == [(kept.pk, "kept")]


def row(flow_id: str, message: str) -> LogRow:
    return LogRow(flow_id, 1, 1, time.time(), logging.INFO, "test", message)


class Source:
    """A log that has these lines once."""

    def __init__(self, *rows: LogRow) -> None:
        self.rows = list(rows)

    def take(self) -> list[LogRow]:
        """The rows."""
        rows, self.rows = self.rows, []
        return rows


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> list[Exception]:
    """The errors that the next writes of lines raise."""
    errors: list[Exception] = []
    write = LogQuerySet.write

    def fail(self: LogQuerySet, rows: Any) -> None:
        if errors:
            raise errors[0]
        write(self, rows)

    monkeypatch.setattr(LogQuerySet, "write", fail)
    return errors


@pytest.fixture
def idle(runner: InlineRunner) -> LogWriter:
    """A writer without a thread, as tasks run in this process."""
    return LogWriter()


def test_a_database_that_breaks_while_lines_are_written_fails_no_task(
    runner: InlineRunner, says: Callable[..., str], broken: list[Exception]
) -> None:
    broken.append(ValueError("anything"))
    flow = run(runner, says(lambda: own.warning("lost")))
    assert (status(flow), task(flow, 1).error) == (Status.FINISH, "")
    broken[:] = [OperationalError("gone")]
    flow = run(runner, says(lambda: own.warning("lost too")))
    assert status(flow) is Status.FINISH
    broken.clear()
    log_writer.writer.write()


def test_lines_wait_for_an_unreachable_database(
    runner: InlineRunner, says: Callable[..., str], broken: list[Exception], idle: LogWriter
) -> None:
    flow = run(runner, says(lambda: None))
    broken.append(OperationalError("gone"))
    idle.put(Source(row(flow.pk, "one")))
    idle.write()
    idle.put(Source(row(flow.pk, "two")))
    idle.write()
    broken.clear()
    idle.write()
    assert [message for *_, message in lines(flow)] == ["one", "two"]
    idle.write()
    assert len(lines(flow)) == 2


def test_lines_are_dropped_with_a_note_when_it_stays_unreachable(
    runner: InlineRunner,
    says: Callable[..., str],
    broken: list[Exception],
    idle: LogWriter,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    flow = run(runner, says(lambda: None))
    monkeypatch.setattr(log_writer, "KEEP_SECONDS", -1.0)
    broken.append(OperationalError("gone"))
    idle.put(Source(row(flow.pk, "one"), row(flow.pk, "two")))
    idle.write()
    broken.clear()
    idle.put(Source(row(flow.pk, "three")))
    idle.write()
    assert [message for *_, message in lines(flow)] == [
        "three",
        "… 2 lines are not stored: the database did not take them",
    ]


def test_an_outage_counts_from_its_own_beginning(
    runner: InlineRunner,
    says: Callable[..., str],
    broken: list[Exception],
    idle: LogWriter,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    flow = run(runner, says(lambda: None))
    broken.append(OperationalError("gone"))
    with monkeypatch.context() as long:
        long.setattr(log_writer, "KEEP_SECONDS", -1.0)
        idle.put(Source(row(flow.pk, "dropped")))
        idle.write()
    idle.put(Source(row(flow.pk, "kept")))
    idle.write()
    broken.clear()
    idle.write()
    assert next(message for *_, message in lines(flow)) == "kept"


def test_a_log_that_cannot_be_read_costs_the_others_no_line(
    runner: InlineRunner, says: Callable[..., str], idle: LogWriter
) -> None:
    class Broken(Source):
        def take(self) -> list[LogRow]:
            raise ValueError("no")

    flow = run(runner, says(lambda: None))
    for source in (Source(row(flow.pk, "one")), Broken(), Source(row(flow.pk, "two"))):
        idle.put(source)
    idle.write()
    assert [message for *_, message in lines(flow)] == ["one", "two"]


def test_lines_that_wait_are_bounded(
    runner: InlineRunner,
    says: Callable[..., str],
    broken: list[Exception],
    idle: LogWriter,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    flow = run(runner, says(lambda: None))
    monkeypatch.setattr(log_writer, "MOST_ROWS", 3)
    broken.append(OperationalError("gone"))
    for number in range(5):
        idle.put(Source(row(flow.pk, str(number))))
        idle.write()
    broken.clear()
    idle.write()
    texts = [message for *_, message in lines(flow)]
    assert texts[:3] == ["0", "1", "2"]
    assert texts[3].startswith("… 2 lines are not stored")


def test_what_is_logged_while_lines_are_written_is_not_captured(
    runner: InlineRunner, says: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write = LogQuerySet.write

    def logging_write(self: LogQuerySet, rows: Any) -> None:
        own.warning("while writing")
        write(self, rows)

    monkeypatch.setattr(LogQuerySet, "write", logging_write)
    inner: list[Flow] = []

    def nested(ctx: Context) -> None:
        own.warning("once")
        log_writer.writer.write()

    inner.append(run(runner, says(nested)))
    assert [message for *_, message in lines(inner[0])] == ["once"]


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has one writer at a time")
def test_the_ids_of_a_flows_lines_grow_in_the_order_of_their_commits(
    runner: InlineRunner, says: Callable[..., str]
) -> None:
    flow = run(runner, says(lambda: None))
    stop = threading.Event()

    def write(number: int) -> None:
        for turn in range(30):
            Log.objects.write([row(flow.pk, f"{number} {turn} {part}") for part in range(20)])
        connection.close()

    threads = [threading.Thread(target=write, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    seen: list[int] = []
    while not stop.is_set():
        if not any(thread.is_alive() for thread in threads):
            stop.set()
        after = seen[-1] if seen else 0
        seen += [line.pk for line in task_logs.lines(flow.pk, after=after)]
    assert len(seen) == 4 * 30 * 20
