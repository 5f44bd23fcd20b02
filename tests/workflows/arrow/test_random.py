"""Texts without sense end soon, in a graph or in an error with its place that shows nothing of Python."""

from __future__ import annotations

import time
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from flowerapp.workflows import arrow
from flowerapp.workflows.arrow import ArrowError, Document, Graph
from flowerapp.workflows.arrow.syntax import Item
from tests.core.test_expressions_random import TELLTALES
from tests.effort import LONG, examples, quick, seeds
from tests.workflows.arrow.texts import SOURCES, TOKENS
from tests.workflows.arrow.trees import items

TEXTS = 80 if LONG else 40
"""Texts that are made of one seed: 50,000 in all, or a million."""


def _outcome(text: str) -> Graph | ArrowError:
    """The graph of a text, or the error that it ends in."""
    try:
        return arrow.compile_text(text)
    except ArrowError as error:
        return error


def check(text: str) -> None:
    """Compiling a text ends soon, and a graph is whole."""
    start = time.process_time()
    outcome = _outcome(text)
    assert time.process_time() - start < 5, text
    if isinstance(outcome, ArrowError):
        assert 0 <= outcome.position <= len(text), text
        assert outcome.line >= 1, text
        assert not any(telltale in outcome.message for telltale in TELLTALES), (text, outcome.message)
    else:
        check_graph(text, outcome)


def check_graph(text: str, graph: Graph) -> None:
    """A graph is whole, and the same after its form, and after the form of its text."""
    assert [step.index for step in graph.steps] == list(range(1, graph.end + 1)), text
    assert all(before < graph.end for step in graph.steps for before in step.depends_on), text
    assert arrow.from_compiled_form(arrow.compiled_form(graph)).edges == graph.edges, text
    assert arrow.compile_text(arrow.format_text(text)) == graph, text
    assert all(note.line >= 1 for note in arrow.lint_text(text)), text
    assert arrow.diagram(graph).startswith("stateDiagram-v2\n"), text


@settings(quick, max_examples=examples(700))
@given(seeds)
def test_mutated_texts_end_in_a_graph_or_a_placed_error(seed: int) -> None:
    random = Random(seed)  # noqa: S311 - of texts
    text = ""
    for number in range(TEXTS):
        text = text if number % 5 else random.choice(SOURCES)
        start = random.randrange(len(text) + 1)
        text = text[:start] + random.choice(TOKENS) + text[start + random.randrange(5) :]
        check(text)


@settings(quick, max_examples=examples(200))
@given(items, seeds)
def test_mutated_trees_end_in_a_graph_or_a_placed_error(tree: tuple[Item, ...], seed: int) -> None:
    random = Random(seed)  # noqa: S311 - of texts
    text = arrow.format_document(Document(tree))
    check(text)
    for _ in range(10):
        start = random.randrange(len(text) + 1)
        check(text[:start] + random.choice(["", *TOKENS]) + text[start + random.randrange(5) :])


@settings(quick, max_examples=examples(500))
@given(seeds)
def test_random_tokens_end_in_a_graph_or_a_placed_error(seed: int) -> None:
    random = Random(seed)  # noqa: S311 - of texts
    for number in range(TEXTS):
        check((" " * (number % 2)).join(random.choices(TOKENS, k=1 + number // 3)))


@settings(quick, max_examples=examples(100))
@given(st.text(max_size=30))
def test_random_literals_end_in_a_graph_or_a_placed_error(text: str) -> None:
    for form in (
        text,
        f"A(-{text}-)",
        f"<-{text}-> → A",
        f"A({{{text}}})",
        f"A → ? `{text}` B",
        f"@task a '''{text}'''",
    ):
        check(form)


@settings(quick, max_examples=examples(400))
@given(seeds)
def test_random_graphs_are_whole(seed: int) -> None:
    random = Random(seed)  # noqa: S311 - of texts
    labels = [":x", ":y", ":z"]
    for number in range(10):
        parts = [
            random.choice([*labels, *"ABC", "→", "→", "→", ";", "{", "}", "? `$.a`", ">"]) for _ in range(6 + number)
        ]
        check(f"@flow f (- max_rounds: {random.randrange(1, 4)} -) {' '.join(parts)}")
