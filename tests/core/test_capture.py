"""What is captured of logging and printing, in which thread, and that all of it is passed on as before."""

from __future__ import annotations

import contextvars
import io
import logging
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from flowerapp.core import capture

own = logging.getLogger("tests.capture")


class Kept:
    """A sink that keeps what it gets."""

    def __init__(self, level: int = logging.INFO) -> None:
        self.level = level
        self.lines: list[str] = []

    def record(self, record: logging.LogRecord) -> None:
        """A record."""
        self.lines.append(record.getMessage())

    def write(self, stream: str, text: str) -> None:
        """Text of a stream."""
        self.lines.append(f"{stream}: {text}")


@contextmanager
def captured(level: int = logging.INFO) -> Iterator[Kept]:
    kept = Kept(level)
    with capture.capturing(kept, lambda: False):
        yield kept


@pytest.fixture(autouse=True)
def root(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """A root logger like that of a worker at WARNING: its text."""
    stream = io.StringIO()
    monkeypatch.setattr(logging.root, "handlers", [logging.StreamHandler(stream)])
    before = logging.root.level
    logging.root.setLevel(logging.WARNING)
    yield stream
    logging.root.setLevel(before)


def test_any_logger_is_captured_also_below_the_level_of_the_worker(root: io.StringIO) -> None:
    with captured() as kept:
        own.info("info")
        own.warning("warning")
        own.debug("debug")
    own.warning("after")
    assert kept.lines == ["info", "warning"]
    assert root.getvalue() == "warning\nafter\n"
    assert logging.root.level == logging.WARNING


def test_a_logger_that_does_not_propagate_is_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own, "propagate", False)
    monkeypatch.setattr(own, "handlers", [logging.NullHandler()])
    with captured() as kept:
        own.info("alone")
    assert kept.lines == ["alone"]


def test_a_level_that_the_host_has_set_counts(monkeypatch: pytest.MonkeyPatch, root: io.StringIO) -> None:
    monkeypatch.setattr(own, "level", logging.ERROR)
    own.manager._clear_cache()  # type: ignore[attr-defined] # missing in the types
    with captured() as kept:
        own.warning("not of interest")
    assert (kept.lines, root.getvalue()) == ([], "")


def test_a_level_of_debug_that_the_host_has_set_reaches_its_handlers(
    monkeypatch: pytest.MonkeyPatch, root: io.StringIO
) -> None:
    own.setLevel(logging.DEBUG)
    try:
        with captured():
            own.debug("as before")
    finally:
        own.setLevel(logging.NOTSET)
    assert root.getvalue() == "as before\n"


def test_libraries_keep_the_level_of_the_root(root: io.StringIO) -> None:
    celery = logging.getLogger("celery.app.trace")
    with captured() as kept:
        celery.info("Task succeeded")
        assert not celery.isEnabledFor(logging.INFO)
    assert (kept.lines, root.getvalue()) == ([], "")
    assert logging.getLogger("celery").level == logging.NOTSET


def test_prints_are_captured_and_passed_on(capsys: pytest.CaptureFixture[str]) -> None:
    with captured() as kept:
        print("out")  # noqa: T201 - what is tested
        print("err", file=sys.stderr)  # noqa: T201 - the same
        sys.stdout.writelines(["a", "b"])
        assert sys.stdout.encoding.lower() == "utf-8"
    print("after")  # noqa: T201 - the same
    assert "".join(kept.lines) == "stdout: outstdout: \nstderr: errstderr: \nstdout: astdout: b"
    assert capsys.readouterr() == ("out\nabafter\n", "err\n")
    assert not isinstance(sys.stdout, capture.Tee)


def test_what_a_handler_writes_to_a_stream_is_captured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.root, "handlers", [])  # Python then writes warnings to sys.stderr
    with captured() as kept:
        own.warning("once")
    assert kept.lines == ["once"]


def test_what_a_stream_logs_is_captured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    class Proxy(io.StringIO):
        """As Celery's, which logs what is written."""

        def write(self, text: str) -> int:
            own.warning(text)
            return len(text)

    monkeypatch.setattr(sys, "stdout", Proxy())
    with captured() as kept:
        sys.stdout.write("once")
    assert kept.lines == ["stdout: once"]


def test_threads_have_lines_of_their_own() -> None:
    ready = threading.Barrier(8)

    def run(number: int) -> list[str]:
        with captured() as kept:
            for turn in range(50):
                ready.wait(10)
                own.warning("%d %d", number, turn)
        return kept.lines

    with captured(logging.CRITICAL), ThreadPoolExecutor(8) as pool:
        results = list(pool.map(run, range(8)))
    assert results == [[f"{number} {turn}" for turn in range(50)] for number in range(8)]


def test_threads_that_the_program_starts_belong_to_it_in_the_main_thread() -> None:
    begun, stop = threading.Event(), threading.Event()

    def older() -> None:
        begun.wait(10)
        own.warning("of another")
        stop.set()

    before = threading.Thread(target=older)
    before.start()
    with captured() as kept:
        begun.set()
        stop.wait(10)
        thread = threading.Thread(target=lambda: own.warning("of a thread"))
        thread.start()
        thread.join()
    before.join()
    assert kept.lines == ["of a thread"]


def test_elsewhere_a_thread_belongs_to_it_with_a_copy_of_the_context() -> None:
    def run() -> list[str]:
        with captured() as kept:
            context = contextvars.copy_context()
            for target in (lambda: own.warning("lost"), lambda: context.run(own.warning, "kept")):
                thread = threading.Thread(target=target)
                thread.start()
                thread.join()
        return kept.lines

    results: list[Any] = []
    outer = threading.Thread(target=lambda: results.append(run()))
    outer.start()
    outer.join()
    assert results == [["kept"]]


def test_an_attempt_within_an_attempt_has_its_own_lines() -> None:
    with captured() as outer:
        own.warning("one")
        with captured() as inner:
            own.warning("two")
        print("three")  # noqa: T201 - what is tested
    assert (outer.lines, inner.lines) == (["one", "stdout: three", "stdout: \n"], ["two"])


def test_nothing_is_captured_in_silence() -> None:
    with captured() as kept, capture.silence():
        own.warning("unheard")
        print("unheard")  # noqa: T201 - what is tested
    assert kept.lines == []


def test_attempts_that_are_the_first_of_their_threads_replace_everything_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each thread looks while the others are about to replace, as in a process that runs its first tasks."""
    barrier = threading.Barrier(4)
    is_bare = capture._is_bare

    def look(stream: Any) -> bool:
        with suppress(threading.BrokenBarrierError):
            barrier.wait(0.2)
        return is_bare(stream)

    monkeypatch.setattr(capture, "_is_patched", False)
    monkeypatch.setattr(capture, "_is_bare", look)
    monkeypatch.setattr(logging.Logger, "callHandlers", capture._call_handlers)

    def attempt(number: int) -> tuple[list[str], bool]:
        with captured() as kept:
            sys.stdout.write(f"{number}")
            own.info("line")
            return kept.lines, isinstance(sys.stdout.inner, capture.Tee)  # type: ignore[union-attr]

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(attempt, range(4)))
    assert results == [([f"stdout: {number}", "line"], False) for number in range(4)]
