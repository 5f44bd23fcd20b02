"""Random trees of the arrow language."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from flowerapp.workflows.arrow.lexer import BLANKS
from flowerapp.workflows.arrow.syntax import (
    Declaration,
    Destination,
    Guard,
    Label,
    Literal,
    Resource,
    Statement,
    Step,
    Subflow,
    Task,
    TaskList,
)


def _docs(text: str) -> bool:
    """Whether three quotes of one kind can enclose a text."""
    return any(3 * quote not in text and not text.endswith(quote) for quote in "'\"")


def _uris(text: str) -> bool:
    return text.strip(BLANKS) == text != "" and text[0] not in "-{["


names = st.sampled_from(["A", "B", "load", "wait:delay", "a-b", "end-", "x:", "été", "_1", "flow", "start"])
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
json_values: st.SearchStrategy[Any] = st.recursive(
    scalars | st.sampled_from(["-)", "->", "it's", "a: b", "# c", "2026-01-01", "yes", "1e5", 1e16, 1e-7, "", " "]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
literals = st.builds(Literal, json_values)
optional_literals = st.none() | literals
labels = st.builds(Label, names)
guards = st.builds(Guard, st.sampled_from(["$.a", "input.a == 1", "", "two\nlines"]) | texts.filter("`".__ne__))
guards = guards.filter(lambda guard: "`" not in guard.text)
tasks = st.builds(Task, names, optional_literals)
lists = st.builds(TaskList, st.lists(tasks, min_size=2, max_size=3).map(tuple))
uris = st.sampled_from(["a", "http://a/b?c=d#e", "file name.json", "é→"]) | texts.filter(_uris).filter(
    lambda text: not set(text) & set(">\n")
)
resources = st.builds(Resource, uris, optional_literals)
marks = st.sampled_from(["", ">", "*"])


def _step(body: Any, mark: str, **parts: Any) -> Step:
    return Step(body, merge=mark == ">", each=mark == "*", **parts)


def _statements(steps: st.SearchStrategy[Step]) -> st.SearchStrategy[Statement]:
    targets = st.builds(Destination, labels | resources, st.booleans())
    sources = st.none() | labels | resources | literals
    return st.builds(Statement, st.lists(steps, min_size=1, max_size=3).map(tuple), sources, st.none() | targets)


def _steps(bodies: st.SearchStrategy[Any]) -> st.SearchStrategy[Step]:
    optional = st.none() | labels
    return st.builds(
        _step, bodies, marks, input_label=optional, output_label=optional, guard=st.none() | st.none() | guards
    )


def _subflows(statements: st.SearchStrategy[Statement]) -> st.SearchStrategy[Subflow]:
    return st.builds(Subflow, st.lists(statements, min_size=1, max_size=3).map(tuple))


statements: st.SearchStrategy[Statement] = st.recursive(
    _statements(_steps(tasks | lists)),
    lambda inner: _statements(_steps(tasks | lists | _subflows(inner))),
    max_leaves=5,
)
docs = st.none() | texts.filter(_docs) | st.sampled_from(["it's", "'''", '"', "a\n  b\n"])
declarations = st.builds(
    Declaration, st.sampled_from(["task", "note"]), names, st.none() | names, optional_literals, docs,
    st.none() | _subflows(statements),
) | st.builds(Declaration, st.just("flow"), names, st.none() | names, optional_literals, docs)  # fmt: skip
items = st.lists(statements | declarations, min_size=1, max_size=4).map(tuple)
