"""docs/arrow.md: every example means what the page says, and the limits are those of the code."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flowerapp.core.expressions import condition
from flowerapp.workflows import arrow
from flowerapp.workflows.arrow import ArrowError, Graph, forms, limits, masks
from tests.core.test_expression_docs import _cells, _codes
from tests.hosts.readme import blocks
from tests.workflows.arrow.support import edges

PAGE = Path(__file__).resolve().parents[3] / "docs" / "arrow.md"


def rows(*headings: str) -> Iterator[tuple[str, ...]]:
    """The snippets under these columns of all tables of the page that have them."""
    columns: list[str] = []
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if not line.startswith("|"):
            columns = []
        elif not columns:
            columns = _cells(line)
        elif set(headings) <= set(columns) and not line.startswith("|---"):
            cells = dict(zip(columns, _cells(line), strict=False))
            yield from zip(*(_codes(cells[heading]) for heading in headings), strict=True)


def texts() -> list[str]:
    """The blocks of the page in the arrow language."""
    return [block.text for block in blocks(PAGE) if block.language == "arrow"]


@pytest.mark.parametrize(("text", "means"), list(rows("text", "means")))
def test_a_text_means_what_the_page_says(text: str, means: str) -> None:
    assert edges(text) == means


@pytest.mark.parametrize(("text", "form"), list(rows("text", "form")))
def test_a_text_has_the_form_that_the_page_says(text: str, form: str) -> None:
    assert arrow.format_text(text) == f"{form}\n"


@pytest.mark.parametrize(("guard", "holds", "fails"), list(rows("guard", "holds for", "does not hold for")))
def test_a_guard_holds_for_what_the_page_says(guard: str, holds: str, fails: str) -> None:
    assert condition(guard).holds(json.loads(holds))
    assert not condition(guard).holds(json.loads(fails))


def test_the_page_has_examples() -> None:
    counts = [len(list(rows("text", "means"))), len(list(rows("text", "form"))), len(list(rows("guard", "holds for")))]
    assert counts == [20, 3, 14]


@pytest.mark.parametrize("text", texts())
def test_a_block_is_a_workflow(text: str) -> None:
    assert arrow.compile_text(text).end > 1


def _without_docs(graph: Graph) -> Graph:
    return replace(graph, doc="")


def test_the_loop_on_the_page_is_what_it_says() -> None:
    loop, same = (arrow.compile_text(text) for text in texts() if text.startswith("@flow poll"))
    assert _without_docs(loop) == _without_docs(same)


def test_the_declarations_on_the_page_are_what_it_says() -> None:
    (text,) = [text for text in texts() if text.startswith("@flow nightly")]
    graph = arrow.compile_text(text)
    copies = [step for step in graph.steps if step.name == "copy"]
    assert [copy.base for copy in copies] == ["my:copier"] * 2
    assert copies[0].parameters == {"retries": 2, "target": "backup", "table": "orders"}
    assert (graph.name, graph.doc) == ("nightly", "Copies what is new.")


def test_the_error_on_the_page_is_what_the_code_says() -> None:
    (shown,) = [block.text for block in blocks(PAGE) if block.language == "text"]
    with pytest.raises(ArrowError) as caught:
        arrow.parse(shown.splitlines()[1].strip())
    assert str(caught.value) == shown.rstrip("\n")


def test_the_limits_on_the_page_are_those_of_the_code() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for row in [
        f"| text | {limits.MAX_TEXT:,} characters |",
        f"| subflows inside one another | {limits.MAX_NESTING} |",
        f"| edges | {limits.MAX_EDGES:,} |",
        f"with those that are repeated | {limits.MAX_VALUES // 1024**2} MiB as JSON |",
        f"| rounds of a loop | {limits.MAX_ROUNDS} |",
        f"| nodes of a compiled form | {forms.MAX_NODES:,} |",
    ]:
        assert row in page, row


def test_the_limit_on_the_page_of_secrets_is_that_of_the_code() -> None:
    page = PAGE.with_name("secrets.md").read_text(encoding="utf-8")
    assert f"the first {masks.MOST_READ:,} characters are read" in page


def test_the_lines_of_python_on_the_page_do_what_they_say() -> None:
    (block,) = [block for block in blocks(PAGE) if block.language == "python"]
    names: dict[str, Any] = {}
    for line in filter(None, block.text.splitlines()):
        code, _, comment = line.partition("  # ")
        _check_line(code.strip(), comment.strip(), names)


def _check_line(code: str, comment: str, names: dict[str, Any]) -> None:
    if not comment:
        exec(code, names)  # noqa: S102 - the line of the page
    elif comment.startswith("ArrowError: "):
        with pytest.raises(ArrowError, match=re.escape(comment.removeprefix("ArrowError: "))):
            eval(code, names)  # noqa: S307
    else:
        assert eval(code, names) == eval(comment)  # noqa: S307
