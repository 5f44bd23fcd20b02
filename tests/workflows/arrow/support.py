"""What the tests of the arrow language share."""

from __future__ import annotations

from typing import Any

import pytest

from flowerapp import engine
from flowerapp.models import Flow
from flowerapp.testing import InlineRunner
from flowerapp.workflows import arrow
from flowerapp.workflows.arrow import ArrowError, Graph, Kind, Step

SIGNS = {Kind.START: "{", Kind.END: "}", Kind.VALUE: "value"}


def titles(graph: Graph) -> list[str]:
    """What ``edges`` calls each index."""
    return ["s", *(step.name or SIGNS[step.kind] for step in graph.steps[:-1]), "e"]


def edges(text: str) -> str:
    """The edges of a text by the names of its steps, as ``s>A A>e``; ``{`` and ``}`` are a subflow's start and end."""
    graph = arrow.compile_text(text)
    names = titles(graph)
    return " ".join(f"{names[before]}>{names[index]}" for before, index in graph.edges)


def numbered(text: str) -> str:
    """The steps of a text with their numbers, as ``1A 2{``, the flow's end included."""
    return " ".join(f"{index}{name}" for index, name in enumerate(titles(arrow.compile_text(text))))


def step(text: str, name: str) -> Step:
    """The only step of that name."""
    (match,) = [step for step in arrow.compile_text(text).steps if step.name == name]
    return match


def error(text: str) -> ArrowError:
    """The error of a text that has no meaning."""
    with pytest.raises(ArrowError) as caught:
        arrow.compile_text(text)
    return caught.value


def run(runner: InlineRunner, text: str, input: Any = None) -> Flow:
    """The flow of a text, as it is when nothing can continue."""
    flow = engine.register_plan(arrow.plan_of_text(text), input=input, source=text)
    runner.run()
    return engine.get_flow(flow.pk)
