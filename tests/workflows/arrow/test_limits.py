"""Bounds: sizes and nesting end in a placed error, and the work grows with the text and not with its square."""

from __future__ import annotations

import inspect
import sys
import time
from collections.abc import Callable
from contextlib import suppress

import pytest
from django.conf import LazySettings

from flowerapp.core import yaml_values
from flowerapp.workflows import arrow
from flowerapp.workflows.arrow import ArrowError, limits
from tests.workflows.arrow.support import error


@pytest.fixture
def few_tasks(settings: LazySettings) -> None:
    settings.FLOWER = {**settings.FLOWER, "MAX_TASKS": 10}


@pytest.fixture
def thousands(settings: LazySettings) -> None:
    settings.FLOWER = {**settings.FLOWER, "MAX_TASKS": 5_000}


def test_a_text_has_a_limit() -> None:
    placed = error("A " * (limits.MAX_TEXT // 2) + "A")
    assert placed.message == "the text has 1,000,001 characters; the limit is 1,000,000"
    assert placed.position == limits.MAX_TEXT


def test_subflows_have_a_limit_of_nesting() -> None:
    most = limits.MAX_NESTING
    assert arrow.compile_text("{" * most + "A" + "}" * most).end == 2 * most + 2
    placed = error("{" * (most + 1) + "A" + "}" * (most + 1))
    assert (placed.message, placed.column) == ("more than 50 subflows inside one another", most + 1)
    assert arrow.format_text("{" * most + "A B" + "}" * most).count("\n") == 2 * most + 2


@pytest.mark.usefixtures("few_tasks")
@pytest.mark.parametrize(
    ("text", "column", "sentence"),
    [
        ("A " * 11, 21, "more than 10 tasks (FLOWER['MAX_TASKS'])"),
        ("A " * 10, 21, "the flow has more than 10 steps (FLOWER['MAX_TASKS'])"),
        ("@task X { A A A } X X X", 23, "the flow has more than 10 steps"),
        (
            "@flow f (- max_rounds: 9 -) :a A → ? `$` B → :a",
            42,
            "with the rounds of its loops the flow has more than 10",
        ),
    ],
)
def test_the_setting_limits_the_steps(text: str, column: int, sentence: str) -> None:
    placed = error(text)
    assert (placed.column, sentence in placed.message) == (column, True), str(placed)


@pytest.mark.usefixtures("thousands")
def test_declared_subflows_that_double_end_at_the_limit() -> None:
    text = "".join(f"@task t{number} {{ t{number + 1} t{number + 1} }}\n" for number in range(60))
    assert "the flow has more than 5,000 steps" in error(f"{text} t0").message


@pytest.mark.usefixtures("thousands")
def test_loops_in_loops_end_at_the_limit() -> None:
    inner = "A"
    for label in "abcdefgh":
        inner = f"{{ :{label} {inner} → ? `$.g` B → :{label}; }}"
    assert "the flow has more than 5,000 steps" in error(f"@flow f (- max_rounds: 100 -) {inner}").message
    loops = ";".join(f":x{number} A → ? `$.g` B → :x{number}" for number in range(100))
    assert "with the rounds of its loops" in error(f"@flow f (- max_rounds: 100 -) {loops}").message


def test_labels_have_a_limit_of_edges() -> None:
    placed = error("A → :m;" * 2_000 + ":m → B;" * 2_000)
    assert placed.message == "the labels give more than 1,000,000 edges"


def test_the_edges_of_repeated_subflows_count_too() -> None:
    inner = "A → :m;" * 100 + ":m → B;" * 100
    assert error(f"@task X {{ {inner} }}" + " X" * 120).message == "the flow has more than 1,000,000 edges"


@pytest.mark.parametrize("bracket", ["[", "{", "- ", "? ", "[{a: ", "!!seq ["])
def test_yaml_has_a_limit_of_nesting(bracket: str) -> None:
    error(f"A(- {bracket * 5_000} -)")
    closed = "[" * 201 + "]" * 201
    assert "more than 200 lists and objects" in error(f"A(- {closed} -)").message
    assert "lists and objects inside one another" in error(f"A(- {'[' * 50_000} -)").message


def test_the_yaml_of_a_text_has_a_limit_of_work() -> None:
    nested = f"A(- {'[' * 150}{']' * 150} -)\n"
    assert "too many lists and objects inside one another" in error(nested * 200).message


def test_aliases_have_a_limit_of_size() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    assert error(f"A(-\n{chr(10).join(lines)}\n-)").message == "the YAML value is larger than 4 MiB with its aliases"
    assert yaml_values.MAX_SIZE == 4 * 1024**2


OBJECT = ", ".join(f"k{number}: 1" for number in range(1_000))
REPEATED = {
    "declared parameters": f"@task t (- {{{OBJECT}}} -)\n" + "t(- a: 1 -)" * 2_000,
    "declared parameters alone": f"@task t (- {{{OBJECT}}} -)\n" + "t " * 2_000,
    "a declared subflow": f"@task t {{ A(- {'x' * 10_000} -) }}\n" + "t " * 2_000,
    "values of declared subflows": f"@task t {{ <[{'1,' * 5_000}1]> → A }} @task u {{ {'t ' * 50}}}\n" + "u " * 50,
    "rounds": f"@flow f (- max_rounds: 100 -) :a A(- {'x' * 200_000} -) → ? `$` B → :a",
    "aliases": "A(- [&a {}, {}] -)\n".format("x" * 1_000, "*a, " * 400) * 100,
}


@pytest.mark.parametrize("shape", REPEATED)
def test_what_a_text_repeats_has_a_limit(shape: str) -> None:
    placed = error(REPEATED[shape])
    assert placed.message == "the parameters and values of all steps have together more than 16 MiB of JSON"
    assert REPEATED[shape][placed.position] in "tA<("


@pytest.mark.parametrize("nested", ["[" * 100_000, '{"a":' * 100_000, "[" * 300 + "]" * 300])
def test_json_has_a_limit_of_nesting(nested: str) -> None:
    message = error(f"A({nested})").message
    assert "nested too deeply" in message or "more than 200 lists and objects" in message


def test_a_literal_has_the_limit_of_json(settings: LazySettings) -> None:
    settings.FLOWER = {**settings.FLOWER, "MAX_JSON_BYTES": 100}
    assert "FLOWER['MAX_JSON_BYTES']" in error(f'A → B(["{"x" * 200}"])').message


def test_a_small_stack_is_enough() -> None:
    text = "@flow f (- max_rounds: 100 -) " + "{ " * 40 + ":a A → ? `$.g` B → :a" + " }" * 40
    before = sys.getrecursionlimit()
    depth = len(inspect.stack())
    sys.setrecursionlimit(depth + 400)
    try:
        graph = arrow.compile_text(text)
        arrow.format_text(text)
    finally:
        sys.setrecursionlimit(before)
    assert graph.end == 478


def test_a_text_too_deep_for_its_place_is_an_error() -> None:
    text = "{" * 50 + "A" + "}" * 50

    def at_depth(levels: int) -> object:
        return at_depth(levels - 1) if levels else arrow.compile_text(text)

    def deeper_and_deeper() -> None:
        for levels in range(0, sys.getrecursionlimit(), 10):
            at_depth(levels)

    with pytest.raises(ArrowError, match="nested too deeply for the place where it is used"):
        deeper_and_deeper()


# Work: the CPU time of a text of four times the size is about four times as long, and sixteen for a square

SHAPES: dict[str, Callable[[int], str]] = {
    "parallel": lambda size: "A " * size,
    "chain": lambda size: "A → " * size + "A",
    "labels": lambda size: ";".join(f"A :x{n} → B → :y{n}; :x{n} → C; :y{n} D" for n in range(size // 8)),
    "meeting point": lambda size: "A → :m;" * (size // 4) + ":m → B;",
    "subflows": lambda size: "{ A → { B } } → " * (size // 8) + "C",
    "nested subflows": lambda size: ("{ " * 40 + "A" + " }" * 40 + "\n") * (size // 80),
    "list": lambda size: "A|" * size + "A",
    "json": lambda size: 'A({"a": [1, "x"]}) → ' * (size // 4) + "B",
    "yaml": lambda size: "A(- a: [1, x] -) → " * (size // 16) + "B",
    "large yaml": lambda size: "A(-\n" + "- a: 'it''s'\n" * (size // 8) + "-)",
    "open quotes": lambda size: "A(- " + "['" * size + " -)",
    "apostrophes": lambda size: "A(- " + "it's " * size + " -)",
    "brackets": lambda size: "A(- " + ")" * size + " (- -)",
    "open literals": lambda size: "A(- " * size,
    "declarations": lambda size: "".join(f"@task t{n} = b '''doc'''\n" for n in range(size // 4)) + "A",
    "declared subflows": lambda size: "".join(f"@task t{n} {{ t{n + 1} }}\n" for n in range(size // 8)) + "t0",
    "recursion": lambda size: "".join(f"@task t{n} {{ t{(n + 1) % (size // 8)} }}\n" for n in range(size // 8)) + "t0",
    "guards": lambda size: "A → ? `$.a` B\n" * (size // 4),
    "loops": lambda size: (
        "@flow f (- max_rounds: 3 -) " + ";".join(f":x{n} A → ? `$` B → :x{n}" for n in range(size // 16))
    ),
    "large loop": lambda size: "@flow f (- max_rounds: 3 -) :x A" + " → A" * (size // 4) + " → ? `$` B → :x",
    "refused loop": lambda size: ":x A" + " → A" * size + " → :x",
    "comments": lambda size: "A # c\n" * (size // 2),
    "hyphens": lambda size: "A" + "-" * size,
    "semicolons": lambda size: "A;" * size,
}


def _seconds(text: str) -> float:
    """The least CPU time of two attempts to compile a text, and to format it."""
    times = []
    for _ in range(2):
        start = time.process_time()
        for work in (arrow.compile_text, arrow.format_text):
            with suppress(ArrowError):
                work(text)
        times.append(time.process_time() - start)
    return min(times)


@pytest.mark.parametrize("shape", SHAPES)
def test_work_grows_with_the_text(shape: str) -> None:
    build = SHAPES[shape]
    small, large = _seconds(build(800)), _seconds(build(3_200))
    assert large < 0.05 or large < 9 * small, (small, large)


LONG: dict[str, Callable[[int], str]] = {
    "a name": lambda size: "A" * size,
    "a name of dots": lambda size: "A" + ".a" * (size // 2),
    "a comment": lambda size: "A #" + "c" * size,
    "comments alone": lambda size: "#c\n" * (size // 3),
    "open JSON": lambda size: 'A({"a":' * (size // 7),
    "JSON in JSON": lambda size: "A(" + '[{"a":' * (size // 6),
    "a text of JSON": lambda size: f'A(["{"x" * size}"])',
    "escapes of JSON": lambda size: 'A(["' + "\\u0041" * (size // 6) + '"])',
    "an open guard": lambda size: "A → ? `" + "a" * size,
    "a long guard": lambda size: "A → ? `" + "a" * size + "` B",
    "guards in parentheses": lambda size: ("? `" + "(" * 990 + "` A\n") * (size // 1_000),
    "open paths": lambda size: ("? `$" + "[?(@" * 240 + "` A\n") * (size // 1_000),
    "an open doc": lambda size: "@task a '''" + "x" * size,
    "open docs": lambda size: "@task a ''' " * (size // 12),
    "an address": lambda size: f"<{'u' * size}> → A",
    "a block of YAML": lambda size: "A(- |\n" + " x\n" * (size // 3) + "-)",
    "a folded block": lambda size: "A(- >\n" + " x\n" * (size // 3) + "-)",
    "a text of lines": lambda size: "A(- a\n" + " x\n" * (size // 3) + "-)",
    "quoted YAML": lambda size: f"A(- '{'x' * size}' -)",
    "escapes of YAML": lambda size: 'A(- "' + "\\x41" * (size // 4) + '" -)',
    "ends in quotes": lambda size: "A(- '" + "-) " * (size // 3) + "' -)",
    "ends of lines in quotes": lambda size: "A(- '" + "-)\n" * (size // 3),
    "open quotes with blanks": lambda size: "A(- " + (" " * 50 + "'") * (size // 51) + " -)",
    "blanks": lambda size: "A(- a:" + " " * size + "b -)",
    "empty lines": lambda size: "A(- a:" + "\n" * size + " b -)",
    "comments of YAML": lambda size: "A(-\n" + "# c\n" * (size // 4) + "a: 1\n-)",
    "tags": lambda size: "A(- " + "!a " * (size // 3) + "'x' -)",
    "a long tag": lambda size: f"A(- !<{'x' * size}> a -)",
    "documents": lambda size: "A(-\n" + "---\n" * (size // 4) + "-)",
    "a long number": lambda size: f"A(- {'1' * size} -)",
    "a number to the base 60": lambda size: "A(- " + "1:" * (size // 2) + "1 -)",
    "numbers to the base 60": lambda size: "A(- [" + ("1:" * 2_000 + "1,") * (size // 4_000) + "1] -)",
    "underscores": lambda size: f"A(- 1{'_' * size} -)",
    "open keys": lambda size: "A(- {" + "? " * (size // 2) + "} -)",
    "aliases": lambda size: "A(-\n- &a x\n" + "- *a\n" * (size // 20) + "-)",
    "merged objects": lambda size: (
        ("A(-\na0: &a0 {x: 1}\n" + "".join(f"a{n}: &a{n} {{<<: *a{n - 1}, k{n}: 1}}\n" for n in range(1, 80)) + "-)\n")
        * (size // 25_000)
    ),
    "declared docs": lambda size: "@note a '''x''' " * (size // 16) + "A",
    "aliases of aliases": lambda size: "".join(f"@task t{n} = t{n + 1}\n" for n in range(size // 40)) + "t0",
    **{f"only {sign}": lambda size, sign=sign: sign * size for sign in "{}()[]<>→-|:;*?=@`'\"#\\\0\n "},  # type: ignore[misc]
}
"""Texts that are read, or refused, quickly."""


@pytest.mark.parametrize("shape", LONG)
def test_work_grows_with_long_tokens_and_literals(shape: str) -> None:
    build = LONG[shape]
    small, large = _seconds(build(25_000)), _seconds(build(100_000))
    assert large < 0.2 or large < 9 * small, (small, large)


def test_all_yaml_of_a_text_has_a_limit_of_values() -> None:
    few = f"<- [{'[],' * 20_000}] -> → A; "
    arrow.compile_text(few * 2)
    assert "the YAML has more than 100,000 values; write it as JSON" in error(few * 3).message
