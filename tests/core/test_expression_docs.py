"""docs/expressions.md: every example gives what the page says, and every function and limit is there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flowerapp.core import expressions
from flowerapp.core.expressions import ExpressionError, limits, pattern_parser, patterns, templates
from tests.core.expression_texts import CONTEXT, same
from tests.hosts.readme import blocks

PAGE = Path(__file__).resolve().parents[2] / "docs" / "expressions.md"
CODE = re.compile(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)")


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]


def _codes(cell: str) -> list[str]:
    """The snippets of a cell; one in double back quotes loses the blanks that keep it apart from them."""
    snippets = [(quotes, code.replace("\\|", "|")) for quotes, code in CODE.findall(cell)]
    return [code if quotes == "`" else code.strip() for quotes, code in snippets]


def rows(heading: str) -> Iterator[tuple[str, str]]:
    """Each example under a column ``heading`` with what the column *gives* says, all over the page."""
    columns: list[str] = []
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if not line.startswith("|"):
            columns = []
        elif not columns:
            columns = _cells(line)
        elif heading in columns and not line.startswith("|---"):
            cells = dict(zip(columns, _cells(line), strict=False))
            yield from zip(_codes(cells[heading]), _codes(cells["gives"]), strict=True)


@pytest.mark.parametrize(("example", "value"), list(rows("example")))
def test_an_example_gives_what_the_page_says(example: str, value: str) -> None:
    result = expressions.parse(example).evaluate(CONTEXT)
    assert same(result, json.loads(value)), result


@pytest.mark.parametrize(("example", "value"), list(rows("template")))
def test_a_template_gives_what_the_page_says(example: str, value: str) -> None:
    result = expressions.template(json.loads(example)).render(CONTEXT)
    assert same(result, json.loads(value)), result


def test_the_page_has_examples() -> None:
    assert len(list(rows("example"))) > 150
    assert len(list(rows("template"))) == 6


def test_the_context_of_the_examples_is_the_one_on_the_page() -> None:
    (context,) = [block.text for block in blocks(PAGE) if block.language == "json"]
    assert json.loads(context) == CONTEXT


def test_every_function_is_on_the_page_and_in_its_own_example() -> None:
    page = PAGE.read_text(encoding="utf-8")
    listed = {name for line in page.splitlines() if line.startswith("| `") for name in _functions(_cells(line)[0])}
    assert listed == set(expressions.FUNCTIONS)
    used = " ".join(example for example, _ in rows("example"))
    assert [name for name in expressions.FUNCTIONS if f"{name}(" not in used] == []


def _functions(cell: str) -> list[str]:
    """The functions that the first cell of a row names; the last has its arguments, as in ``all(list, condition)``."""
    codes = _codes(cell)
    if not codes or not re.fullmatch(r"[a-zA-Z]+\d*\(.*\)", codes[-1]):
        return []
    return [code.partition("(")[0] for code in codes]


def test_the_limits_on_the_page_are_those_of_the_code() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for row in [
        f"| text of one expression | {limits.MAX_TEXT:,} characters |",
        f"| parts inside one another | {limits.MAX_DEPTH} |",
        f"| steps of one evaluation | {limits.MAX_STEPS:,}: ",
        f"| what one evaluation builds | {limits.MAX_BUILT // 1024**2} MiB, {limits.ITEM} bytes for each item ",
        f"| digits of an integer | {len(str(limits.INTEGER_END - 1)):,} |",
        f"| lists and objects inside one another in a value | {limits.MAX_LEVELS} |",
        f"| expressions of one template | {templates.MAX_EXPRESSIONS:,}, ",
        f"| a pattern | {patterns.MAX_PATTERN:,} characters, {pattern_parser.MAX_NODES:,} parts ",
    ]:
        assert row in page, row


def test_the_error_on_the_page_is_what_the_code_says() -> None:
    (shown,) = [block.text for block in blocks(PAGE) if block.language == "text"]
    with pytest.raises(ExpressionError) as caught:
        expressions.parse("input.count + 1").evaluate({"input": {"count": "3"}})
    assert str(caught.value) == shown.rstrip("\n")


def test_the_lines_of_python_on_the_page_do_what_they_say() -> None:
    (block,) = [block for block in blocks(PAGE) if block.language == "python"]
    names: dict[str, Any] = {}
    for line in filter(None, block.text.splitlines()):
        code, _, comment = line.partition("  # ")
        _check_line(code.strip(), comment.strip(), names)


def _check_line(code: str, comment: str, names: dict[str, Any]) -> None:
    if not comment:
        exec(code, names)  # noqa: S102 - the line of the page
    elif comment.startswith("ExpressionError: "):
        with pytest.raises(ExpressionError) as caught:
            eval(code, names)  # noqa: S307
        assert caught.value.message.startswith(comment.removeprefix("ExpressionError: "))
    else:
        assert eval(code, names) == eval(comment.partition(";")[0])  # noqa: S307
