"""No drawing is large or slow, whatever the graph is; what is left out is said."""

from __future__ import annotations

import json
import random
import re
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

from flowerapp import drawing
from flowerapp.drawing import MOST_BYTES, Node, View
from flowerapp.drawing.parts import MOST_EDGES
from flowerapp.states import Status

Edges = dict[int, list[int]]
SECONDS = 10.0
"""Processor time of a drawing; all here take less than a fifth of it."""


def chain(length: int) -> Edges:
    return {seq: [seq - 1] if seq > 1 else [] for seq in range(1, length + 1)}


def dense(length: int, most: int) -> Edges:
    return {seq: list(range(max(1, seq - most), seq)) for seq in range(1, length + 1)}


def chains(number: int, length: int) -> Edges:
    """Chains beside each other, whose steps alternate."""
    return {seq: [seq - number] if seq > number else [] for seq in range(1, number * length + 1)}


def layers(number: int, width: int) -> Edges:
    return {
        layer * width + place: [] if not layer else list(range((layer - 1) * width + 1, layer * width + 1))
        for layer in range(number)
        for place in range(1, width + 1)
    }


def scattered(length: int, most: int) -> Edges:
    source = random.Random(1)  # noqa: S311 - a shape, no secret
    return {seq: sorted(source.sample(range(1, seq), min(most, seq - 1))) for seq in range(1, length + 1)}


def wide(width: int) -> Edges:
    return {1: [], **{seq: [1] for seq in range(2, width + 2)}, width + 2: list(range(2, width + 2))}


GRAPHS: dict[str, Callable[[], Edges]] = {
    "a long chain": lambda: chain(30_000),
    "a dense graph of 5,000": lambda: dense(5000, 50),
    "a denser one": lambda: dense(5000, 1000),
    "all depend on all before": lambda: dense(1000, 1000),
    "chains beside each other": lambda: chains(200, 25),
    "layers": lambda: layers(50, 20),
    "wide layers": lambda: layers(20, 400),
    "scattered": lambda: scattered(5000, 5),
    "scattered and many": lambda: scattered(20_000, 8),
    "wide": lambda: wide(15_000),
    "apart": lambda: {seq: [] for seq in range(1, 20_001)},
}
LABELS = {"short": "P", "long": "&<\"'x" * 51, "many bytes": "😀" * 256, "controls": "\x01" * 256}


@cache
def graph_of(name: str) -> Edges:
    return GRAPHS[name]()


def nodes(edges: Edges, label: str = "P", status: Status | None = Status.WAIT) -> list[Node]:
    return [Node(seq=seq, label=label, status=status) for seq in edges]


def as_text(steps: list[Node], edges: Edges) -> str:
    return json.dumps(drawing.as_json(steps, edges), ensure_ascii=False)


FORMS: dict[str, Callable[[list[Node], Edges], str]] = {
    "ascii": drawing.ascii,
    "mermaid": drawing.mermaid,
    "svg": drawing.svg,
    "json": as_text,
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", GRAPHS)
def test_a_drawing_is_small_and_quick(name: str, form: str) -> None:
    edges = graph_of(name)
    steps = nodes(edges)
    begun = time.process_time()
    text = FORMS[form](steps, edges)
    assert time.process_time() - begun < SECONDS
    assert 0 < len(text.encode()) <= MOST_BYTES
    if form == "svg":
        ElementTree.fromstring(text)  # noqa: S314 - our own output


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("label", LABELS)
def test_labels_do_not_make_it_large(label: str, form: str) -> None:
    edges = scattered(1000, 2)
    assert len(FORMS[form](nodes(edges, LABELS[label]), edges).encode()) <= MOST_BYTES


def test_a_part_is_around_the_step_that_failed() -> None:
    edges = chain(5000)
    steps = [Node(seq=seq, label="P", status=Status.SUSPEND if seq == 4000 else Status.FINISH) for seq in edges]
    text = drawing.ascii(steps, edges)
    assert text.startswith("4,000 of 5,000 steps are left out: these are around step 4000. Name another with around;")
    assert "4000 P  Failed" in text
    assert "3500 P" in text
    assert "4499 P" in text
    assert "3499 P" not in text


PARTS = {None: (1, 1000), 1: (1, 1000), 2500: (2000, 2999), 5000: (4001, 5000)}


@pytest.mark.parametrize("around", PARTS)
def test_another_part_can_be_named(around: int | None) -> None:
    lines = drawing.mermaid(nodes(chain(5000)), chain(5000), View(around=around)).splitlines()
    drawn = [int(match[1]) for line in lines if (match := re.match(r' +t(\d+)\["', line))]
    assert (drawn[0], drawn[-1]) == PARTS[around]
    assert any("steps are left out" in line for line in lines)


def test_svg_says_what_is_left_out_to_the_eye_and_aloud() -> None:
    image = drawing.svg(nodes(chain(5000)), chain(5000))
    root = ElementTree.fromstring(image)  # noqa: S314 - our own output
    note = "4,000 of 5,000 steps are left out: these are around step 1."
    namespace = "{http://www.w3.org/2000/svg}"
    assert note in (root.findtext(f"{namespace}desc") or "")
    assert any(note in (text.text or "") for text in root.iter(f"{namespace}text"))


def test_json_counts_what_is_left_out() -> None:
    edges = dense(5000, 50)
    document: dict[str, Any] = drawing.as_json(nodes(edges), edges, View(around=2500))
    drawn, lines = document["nodes"], document["edges"]
    assert document["around"] == 2500
    assert document["left_out"] == {"nodes": 5000 - len(drawn), "edges": sum(map(len, edges.values())) - len(lines)}
    seqs = {node["seq"] for node in drawn}
    assert 2500 in seqs
    assert all({line["from"], line["to"]} <= seqs for line in lines)
    assert len(drawn) > 300


def test_json_of_a_graph_that_fits_is_whole_and_says_nothing() -> None:
    document = drawing.as_json(nodes(chain(5000)), chain(5000))
    assert list(document) == ["nodes", "edges"]
    assert (len(document["nodes"]), len(document["edges"])) == (5000, 4999)


def test_a_text_of_too_many_lanes_is_a_list() -> None:
    """Two chains, and each step of the second also follows one of the first."""
    edges = chain(300) | {151: [1]} | {150 + seq: [149 + seq, seq] for seq in range(2, 151)}
    edges[400] = list(range(1, 51))
    lines = drawing.ascii(nodes(edges), edges).splitlines()
    assert lines[0] == "A drawing would be over 100 columns of lines wide; as a list:"
    assert lines[3] == "○  2 P  Waiting  after 1"
    assert "○  152 P  Waiting  after 2, 151" in lines
    assert lines[-1] == "○  400 P  Waiting  after 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 40 more"


def test_unread_steps_are_counted() -> None:
    text = drawing.ascii(nodes(chain(3)), chain(3), view=View(around=2, unread_steps=97, unread_edges=MOST_EDGES))
    assert text.startswith("97 of 100 steps are left out: these are around step 2.")


def test_the_least_part_is_one_step() -> None:
    view = View(around=2, most_nodes=1, most_edges=0)
    assert "2 of 3 steps are left out" in drawing.ascii(nodes(chain(3)), chain(3), view=view)
