"""Notes on what in a correct text may not be meant."""

from __future__ import annotations

import pytest

from flowerapp.workflows import arrow
from tests.workflows.arrow.texts import SOURCES


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("A->B", "line 1, column 2: littleflow reads A- and > here; put a blank before ->"),
        ("A :x->B; :x → C", "line 1, column 5: littleflow reads :x- and > here; put a blank before ->"),
        ("A > B", "line 1, column 3: this > begins a statement and merges its input; an arrow is → or ->"),
        ("{ A }\n{ B } > C", "line 2, column 7: this > begins a statement and merges its input; an arrow is → or ->"),
        ("A(- b -) > C", "line 1, column 10: this > begins a statement and merges its input; an arrow is → or ->"),
        ("A :x", "line 1, column 3: nothing takes the output :x"),
        ("A →\n:x B", "line 2, column 1: nothing is delivered to the input :x"),
        ("A → { B :x → C } :x → D; :x → E", "line 1, column 9: nothing takes the output :x"),
        ("@task A { B :x } A", "line 1, column 13: nothing takes the output :x"),
        ("B @task A", "line 1, column 3: no step mentions the declared task A"),
        ("@task A { A1 } A @note x", "line 1, column 18: @note has no meaning; @flow and @task have"),
    ],
)
def test_what_may_not_be_meant_is_noted(text: str, note: str) -> None:
    assert list(map(str, arrow.lint_text(text))) == [note]


@pytest.mark.parametrize(
    "text",
    [
        "A -> B → C",
        "A\n> B",
        "A; > B",
        "A → > B → > :end",
        "A :x → B → :x C",
        ":start → A → :x; :x → B",
        "@task A = B @task B { C } A|D",
        "# A->B\nA(- x->y -) → <u>",
        *SOURCES,
    ],
)
def test_other_texts_have_no_notes(text: str) -> None:
    assert arrow.lint_text(text) == []


def test_notes_are_in_the_order_of_their_places() -> None:
    notes = arrow.lint_text("A :x → B->C\n@task D")
    assert [(note.line, note.column) for note in notes] == [(1, 3), (1, 9), (2, 1)]


def test_a_text_without_meaning_has_an_error_and_no_notes() -> None:
    with pytest.raises(arrow.ArrowError):
        arrow.lint_text("A->:x")
