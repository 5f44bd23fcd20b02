"""Holds the shape of ``flowerapp``: short functions, small modules, readable statements, a root with few files.

``python -m tests.test_structure`` prints the longest functions and modules.
"""

from __future__ import annotations

import ast
import re
import statistics
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "flowerapp"

MEDIAN_LINES = 5
MOST_LINES = 40
"""Of a function, from ``def`` to its end, docstring included."""
MODULE_LINES = 400
ROOT_FILES = 10
SQL_HOLES = 3

SQL = re.compile(r"\b(?:SELECT|UPDATE\s+\w+|INSERT INTO|DELETE FROM|RETURNING|WITH\s+\w+\s+AS|CASE WHEN|EXISTS \()")
HOLE = re.compile(r"(?<!\{)\{\w*\}(?!\})")


@dataclass(frozen=True, slots=True, order=True)
class Size:
    """Lines of a function or module, and where it stands."""

    lines: int
    place: str

    def __str__(self) -> str:
        return f"{self.lines:4} {self.place}"


@cache
def modules() -> tuple[Path, ...]:
    """The modules of flowerapp, but for its migrations."""
    paths = PACKAGE.rglob("*.py")
    return tuple(sorted(path for path in paths if "migrations" not in path.relative_to(PACKAGE).parts))


def functions(tree: ast.AST, path: str) -> Iterator[Size]:
    """Sizes of the functions and methods in a module, nested ones too."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield Size((node.end_lineno or node.lineno) - node.lineno + 1, f"{path}:{node.lineno} {node.name}")


def templates(tree: ast.AST, path: str) -> Iterator[Size]:
    """Number of holes of each string with SQL in it: ``{name}`` in a plain string, and expressions in an f-string."""
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if id(node) in inside or not SQL.search(_text(node)):
            continue
        yield Size(_holes(node), f"{path}:{getattr(node, 'lineno', 1)}")


def _text(node: ast.AST) -> str:
    if isinstance(node, ast.JoinedStr):
        return "".join(map(_text, node.values))
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def _holes(node: ast.AST) -> int:
    values = getattr(node, "values", ())
    return len(HOLE.findall(_text(node))) + sum(isinstance(part, ast.FormattedValue) for part in values)


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def all_functions() -> tuple[Size, ...]:
    """Sizes of all functions of flowerapp."""
    return tuple(size for path in modules() for size in functions(_tree(path), _name(path)))


@cache
def all_modules() -> tuple[Size, ...]:
    """Sizes of all modules of flowerapp."""
    return tuple(Size(len(path.read_text(encoding="utf-8").splitlines()), _name(path)) for path in modules())


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _over(sizes: Iterable[Size], limit: int) -> list[str]:
    return [str(size) for size in sorted(sizes, reverse=True) if size.lines > limit]


def test_the_median_function_is_short() -> None:
    assert statistics.median(size.lines for size in all_functions()) <= MEDIAN_LINES


def test_no_function_is_long() -> None:
    long = _over(all_functions(), MOST_LINES)
    assert not long, "\n".join(long)


def test_no_module_is_long() -> None:
    long = _over(all_modules(), MODULE_LINES)
    assert not long, "\n".join(long)


def test_no_sql_template_has_many_holes() -> None:
    holes = (size for path in modules() for size in templates(_tree(path), _name(path)))
    many = _over(holes, SQL_HOLES)
    assert not many, "\n".join(many)


def test_the_root_holds_few_files() -> None:
    names = sorted(path.name for path in PACKAGE.glob("*.py"))
    assert len(names) <= ROOT_FILES, names


def test_one_module_reads_the_clock() -> None:
    other = re.compile(r"timezone\.now\(|localtime\(\)|datetime\.now\(|functions import .*\bNow\b")
    at = {_name(path) for path in modules() if other.search(path.read_text(encoding="utf-8"))}
    may = {
        "flowerapp/querysets/clock.py": "it is the clock",
        "flowerapp/executors/celery/host_requests.py": "an ETA of a Celery task is a time of this process",
        **{f"flowerapp/models/{name}.py": "defaults of columns" for name in ("flows", "history", "waits", "workers")},
    }
    assert at <= {*may}, f"use flowerapp.querysets.clock in {sorted(at - {*may})}"


def test_surfaces_read_through_selectors_which_mask() -> None:
    raw = re.compile(r"\b(?:Flow|Task|HistoryEntry|Log|Hook)\.objects(?!\.none\(\))|_base_manager|from_queryset")
    surfaces = [path for path in modules() if _name(path).split("/")[1] in {"admin", "api", "management"}]
    at = {_name(path) for path in surfaces if raw.search(path.read_text(encoding="utf-8"))}
    assert not at, f"use flowerapp.selectors in {sorted(at)}"
    masking = {_name(path) for path in surfaces if re.search(r"\bmasked\(", path.read_text(encoding="utf-8"))}
    assert masking == {"flowerapp/admin/steps.py"}, "only the form that writes steps masks by itself what it edits"


# The measures themselves


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("def f(): ...", [1]),
        ('@a\ndef f(\n    x,\n):\n    """It says\n    why."""\n    return x\n', [6]),
        ("class A:\n    async def f(self):\n        def g():\n            pass\n        return g\n", [4, 2]),
    ],
)
def test_a_function_is_counted_from_def_to_its_end(source: str, lines: list[int]) -> None:
    assert sorted(size.lines for size in functions(ast.parse(source), "a.py")) == sorted(lines)


@pytest.mark.parametrize(
    ("source", "holes"),
    [
        ('"SELECT {a}, {b} FROM {a}"', [3]),
        ("\"SELECT %(a)s, '{{}}'\"", [0]),
        ('f"UPDATE t SET {a}, {b.c}, {d()}, {e}"', [4]),
        ('"{a} {b} {c} {d} {e}"', []),
        ('"""WITH x AS (SELECT 1) {a} {b} {c} {d}"""', [4]),
    ],
)
def test_holes_of_statements_are_counted(source: str, holes: list[int]) -> None:
    assert [size.lines for size in templates(ast.parse(source), "a.py")] == holes


if __name__ == "__main__":
    for sizes in (all_functions(), all_modules()):
        sys.stdout.writelines(f"{size}\n" for size in sorted(sizes, reverse=True)[:10])
    sys.stdout.write(f"median function: {statistics.median(size.lines for size in all_functions())} lines\n")
