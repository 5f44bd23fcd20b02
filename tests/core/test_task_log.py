"""The bounds of a task's log, and how lines are made of what is written."""

from __future__ import annotations

import logging
import sys
import time
import tracemalloc

import pytest

from flowerapp.core.task_log import LONGEST_RAW, ROW_SIZE, BoundedLog, Line, LineJoiner, level_name, message_of


def line(message: str, level: int = logging.INFO) -> Line:
    return Line(1.0, level, "x", message)


def messages(log: BoundedLog) -> list[str]:
    return [entry.message for entry in log.take()]


def test_what_fits_is_there_at_once_and_in_order() -> None:
    log = BoundedLog(100_000)
    for number in range(10):
        log.add(line(str(number)))
    assert messages(log) == [str(number) for number in range(10)]
    log.add(line("later"))
    assert messages(log) == ["later"]
    log.close()
    assert messages(log) == []


def test_a_full_log_keeps_its_first_and_last_lines_and_says_how_many_are_left_out() -> None:
    log = BoundedLog(40 * (ROW_SIZE + 4))
    for number in range(1000):
        log.add(line(f"{number:04}"))
    first = messages(log)
    assert first[:30] == [f"{number:04}" for number in range(30)]
    assert first[30].startswith("… the log is full")
    assert len(first) == 31
    log.close()
    last = messages(log)
    assert last == ["… 960 lines left out", *[f"{number:04}" for number in range(990, 1000)]]


def test_empty_lines_are_bounded_too() -> None:
    log = BoundedLog(10_000)
    for _ in range(5000):
        log.add(line(""))
    log.close()
    assert len(log.take()) <= 10_000 // ROW_SIZE + 2


def test_a_hundred_thousand_lines_take_little_memory_and_time() -> None:
    log = BoundedLog(512 * 1024)
    tracemalloc.start()
    begun = time.process_time()
    for number in range(100_000):
        log.add(line(f"line {number} of a program that says a lot"))
        log.take()
    log.close()
    seconds, (_, peak) = time.process_time() - begun, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert seconds < 5
    assert peak < 3 * 512 * 1024


@pytest.mark.parametrize(
    ("pieces", "lines", "rest"),
    [
        (["a\n", "b\nc"], ["a", "b"], "c"),
        (["a", "b", "\n"], ["ab"], ""),
        (["\n\n"], ["", ""], ""),
        (["a\r\n", "b\r", "\nc"], ["a", "b"], "c"),
        (["\r 10%", "\r 20%", "\r100%\n"], ["100%"], ""),
        (["10%\r", "20%\r", "30%\r"], [], "30%"),
        (["10%\r20%\n"], ["20%"], ""),
    ],
)
def test_pieces_become_lines(pieces: list[str], lines: list[str], rest: str) -> None:
    joiner = LineJoiner()
    assert [made for piece in pieces for made, _ in joiner.write(piece)] == lines
    assert joiner.end() == (rest, 0)
    assert not joiner


def test_a_line_without_an_end_is_bounded() -> None:
    joiner = LineJoiner()
    for _ in range(1000):
        assert list(joiner.write("x" * 1000)) == []
    assert joiner.end() == ("x" * LONGEST_RAW, 1_000_000 - LONGEST_RAW)
    assert joiner.end() == ("", 0)


@pytest.mark.parametrize(
    ("level", "name"), [(0, "DEBUG"), (10, "DEBUG"), (25, "INFO"), (30, "WARNING"), (50, "CRITICAL"), (99, "CRITICAL")]
)
def test_every_level_has_a_name(level: int, name: str) -> None:
    assert level_name(level) == name


def record(message: object, *arguments: object) -> logging.LogRecord:
    return logging.LogRecord("n", logging.INFO, "f", 1, message, arguments, None)


def test_a_record_says_its_message_with_its_error() -> None:
    assert message_of(record("%s and %d", "a", 1)) == "a and 1"
    try:
        raise KeyError("gone")
    except KeyError:
        failed = record("failed")
        failed.exc_info = sys.exc_info()
    text = message_of(failed)
    assert text.startswith("failed\nTraceback (most recent call last):")
    assert text.endswith("KeyError: 'gone'")


def test_a_record_that_cannot_be_shown_says_so() -> None:
    assert message_of(record("%d", "no number")).startswith("%d (its message cannot be shown: TypeError")
