"""One form of a text: it reads as the same tree, formatting it again changes nothing, and comments stay."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowerapp.workflows import arrow
from flowerapp.workflows.arrow import ArrowError, Document
from flowerapp.workflows.arrow.lexer import spans
from tests.effort import examples
from tests.workflows.arrow.texts import SOURCES, TOKENS
from tests.workflows.arrow.trees import items


@pytest.mark.parametrize(
    ("text", "formatted"),
    [
        ("A->B", "A → B\n"),
        ("A B;C;", "A\nB\nC\n"),
        ("A|B | C", "A | B | C\n"),
        (":x   A:y :z", ":x A:y :z\n"),
        (":x A; :y B", ":x A;\n:y B\n"),
        ("A→:x;B", "A → :x;\nB\n"),
        ("A → :x", "A → :x\n"),
        ("{A->B}->C", "{ A → B } → C\n"),
        ("{A B}->C", "{\n    A\n    B\n} → C\n"),
        ("{{A B}}", "{\n    {\n        A\n        B\n    }\n}\n"),
        ("*?`$.a`A", "* ? `$.a` A\n"),
        (">?`$.a`{A}", "> ? `$.a` { A }\n"),
        ("A(-x: 1-)->B( )", "A(-x: 1-) → B( )\n"),
        ('<  {"a":1}>→A', '<  {"a":1}> → A\n'),
        ("< a >->A->>< b >()", "<a> → A → > <b>()\n"),
        ("@task  a=b(- c -)'''d\n e'''{A}", "@task a = b (- c -) '''d\n e''' { A }\n"),
        ("@task a;{A}", "@task a;\n{ A }\n"),
        ("@flow a;{A}", "@flow a\n{ A }\n"),
        ("A\n\n\n\nB\n\n", "A\n\nB\n"),
        ("{A\n\nB}", "{\n    A\n\n    B\n}\n"),
    ],
)
def test_a_text_has_one_form(text: str, formatted: str) -> None:
    assert arrow.format_text(text) == formatted


def test_a_long_statement_is_broken_before_its_arrows() -> None:
    text = " → ".join(f"a-task-with-a-long-name-{number}" for number in range(5))
    first, *rest = arrow.format_text(text).splitlines()
    assert first == "a-task-with-a-long-name-0"
    assert rest == [f"    → a-task-with-a-long-name-{number}" for number in range(1, 5)]


COMMENTED = """\
#first
A→ # second
   B # third
#fourth

# fifth
{C;D #sixth
# seventh
}->E;#eighth
@task f { # ninth
  G }
# last"""

FORMATTED = """\
#first
# second
A → B  # third
#fourth

# fifth
{
    C
    D  #sixth
    # seventh
} → E  #eighth
@task f {
    # ninth
    G
}
# last
"""


def test_comments_stay() -> None:
    assert arrow.format_text(COMMENTED) == FORMATTED
    assert arrow.format_text(FORMATTED) == FORMATTED


def test_a_literal_that_its_line_end_closes_is_written_anew() -> None:
    text = "A(- a\n 'b -)\n→ B(- 'c' -)"
    assert arrow.format_text(text) == "A(- \"a 'b\" -) → B(- 'c' -)\n"


@pytest.mark.parametrize(
    ("value", "text"),
    [({}, "()"), ([], "([])"), ({"a": 1e16}, '({"a": 1e+16})'), (1e16, "(- 1.0e+16 -)"), (-1e-07, "(- -1.0e-07 -)")],
)
def test_values_without_a_text_are_written_as_json_or_yaml(value: object, text: str) -> None:
    tree = arrow.parse("A(- x -)")
    (statement,) = tree.items
    task = statement.steps[0].body  # type: ignore[union-attr]
    object.__setattr__(task.parameters, "value", value)  # type: ignore[union-attr]
    object.__setattr__(task.parameters, "written", "")  # type: ignore[union-attr]
    assert arrow.format_document(tree) == f"A{text}\n"


random_trees = settings(deadline=None, max_examples=examples(200), suppress_health_check=list(HealthCheck))


@random_trees
@given(items)
def test_a_formatted_tree_reads_as_itself(tree: tuple[object, ...]) -> None:
    document = Document(tree)  # type: ignore[arg-type]
    text = arrow.format_document(document)
    assert arrow.parse(text) == document, text
    assert arrow.format_text(text) == text


def _comments(text: str) -> list[str]:
    return sorted(text[start:end].rstrip() for kind, start, end in spans(text) if kind == "COMMENT")


@settings(deadline=None, max_examples=examples(200), suppress_health_check=list(HealthCheck))
@given(st.integers(0, 2**32))
def test_a_formatted_text_reads_as_the_text(seed: int) -> None:
    random = Random(seed)  # noqa: S311 - of texts
    for _ in range(20):
        text = " ".join(random.choices([*SOURCES, *TOKENS], k=random.randrange(1, 5)))
        try:
            tree = arrow.parse(text)
        except ArrowError:
            continue
        formatted = arrow.format_text(text)
        assert arrow.parse(formatted) == tree, formatted
        assert arrow.format_text(formatted) == formatted
        assert _comments(formatted) == _comments(text)
