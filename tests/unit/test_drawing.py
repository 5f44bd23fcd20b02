"""Drawings of graphs."""

from __future__ import annotations

import json
import random
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from django.conf import settings

from flowerapp import drawing
from flowerapp.drawing import Node
from flowerapp.states import Status

Edges = dict[int, list[int]]
SVG = "{http://www.w3.org/2000/svg}"

CHAIN: Edges = {seq: [seq - 1] if seq > 1 else [] for seq in range(1, 1001)}
FAN: Edges = {1: [], **{seq: [1] for seq in range(2, 502)}, 502: list(range(2, 502))}
DIAMOND: Edges = {1: [], 2: [1], 3: [1], 4: [2, 3]}


def dag(seed: int) -> Edges:
    source = random.Random(seed)  # noqa: S311 - shapes, no secrets
    size = source.randint(1, 60)
    return {seq: sorted(source.sample(range(1, seq), min(seq - 1, source.randint(0, 4)))) for seq in range(1, size + 1)}


def nodes(edges: Edges, status: Status | None = None) -> list[Node]:
    return [Node(seq=seq, label=f"Program{seq}", status=status) for seq in edges]


def boxes(image: str) -> list[ElementTree.Element]:
    root = ElementTree.fromstring(image)  # noqa: S314 - our own output
    return [group for group in root.iter(f"{SVG}g") if group.find(f"{SVG}rect") is not None]


def test_text_of_a_diamond() -> None:
    states = [Status.FINISH, Status.RUNNING, Status.SUSPEND, Status.WAIT]
    steps = [Node(seq=seq, label="P", status=status) for seq, status in zip(DIAMOND, states, strict=True)]
    assert drawing.ascii(steps, DIAMOND).splitlines() == [
        "✓    1 P  Finished",
        "├─╮",
        "▶ │  2 P  Running",
        "│ │",
        "│ ✗  3 P  Failed",
        "├─╯",
        "○    4 P  Waiting",
    ]


def test_text_of_plain_ascii() -> None:
    text = drawing.ascii(nodes(DIAMOND), DIAMOND, unicode=False)
    assert text.isascii()
    assert text.splitlines()[:3] == ["*    1 Program1", "+-.", "* |  2 Program2"]


def test_text_parts_what_does_not_follow() -> None:
    lines = drawing.ascii(nodes({1: [], 2: []}), {1: [], 2: []}).splitlines()
    assert lines == ["●  1 Program1", "", "●  2 Program2"]


@pytest.mark.parametrize("seed", range(40))
def test_every_task_of_a_random_graph_is_drawn(seed: int) -> None:
    edges = dag(seed)
    steps = nodes(edges, Status.WAIT)
    rows = drawing.ascii(steps, edges).splitlines()
    drawn = boxes(drawing.svg(steps, edges))
    hidden = sum(node.more for node in drawing.nodes.collapse(steps, edges)[0])
    assert sum(" Program" in row for row in rows) == len(edges) - hidden
    assert sum("Program" in (box.findtext(f"{SVG}title") or "") for box in drawn) == len(edges) - hidden
    assert len(drawing.as_json(steps, edges)["nodes"]) == len(edges)


@pytest.mark.parametrize("seed", range(10))
def test_boxes_do_not_overlap(seed: int) -> None:
    places = []
    for box in boxes(drawing.svg(nodes(dag(seed)), dag(seed))):
        place = box.attrib["transform"].removeprefix("translate(").removesuffix(")").split()
        places.append((float(place[0]), float(place[1])))
    for index, (x, y) in enumerate(places):
        assert x >= 0
        assert y >= 0
        for other_x, other_y in places[index + 1 :]:
            assert abs(x - other_x) >= 240 or abs(y - other_y) >= 48


@pytest.mark.parametrize(
    "edges", [CHAIN, FAN, {seq: list(range(1, seq)) for seq in range(1, 61)}], ids=["chain", "fan", "dense"]
)
def test_large_graphs_are_quick_and_small(edges: Edges) -> None:
    begun = time.process_time()
    texts = [draw(nodes(edges, Status.WAIT), edges) for draw in (drawing.ascii, drawing.mermaid, drawing.svg)]
    assert time.process_time() - begun < 3
    assert max(len(text.encode()) for text in texts) < 600_000


def test_a_wide_level_is_folded_with_the_failed_task_in_front() -> None:
    steps = [Node(seq=seq, label="P", status=Status.SUSPEND if seq == 400 else Status.WAIT) for seq in FAN]
    text = drawing.ascii(steps, FAN)
    assert "… 480 more" in text
    assert "400 P  Failed" in text
    assert "… 480 more" in drawing.svg(steps, FAN)
    assert len(drawing.as_json(steps, FAN)["nodes"]) == 502


def test_folded_tasks_of_several_states_are_counted() -> None:
    steps = [Node(seq=seq, label="P", status=Status.WAIT if seq % 2 else Status.FINISH) for seq in FAN]
    assert "… 480 more  240 Waiting, 240 Finished" in drawing.ascii(steps, FAN)


def test_svg_shows_states_in_words_and_symbols_and_can_be_read_aloud() -> None:
    image = drawing.svg([Node(seq=1, label="P", status=Status.SUSPEND)], {1: []}, title="Flow 1")
    root = ElementTree.fromstring(image)  # noqa: S314 - our own output
    assert root.attrib["role"] == "img"
    assert root.findtext(f"{SVG}title") == "Flow 1"
    assert root.findtext(f"{SVG}desc") == "1 task: 1 Failed"
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert "Failed" in texts
    assert "✗" in texts
    assert "prefers-color-scheme:dark" in image


def test_svg_follows_the_theme_that_a_page_s_reader_chose() -> None:
    image = drawing.svg([Node(seq=1, label="P", status=Status.SUSPEND)], {1: []})
    for theme in ("light", "dark"):
        assert f"[data-theme={theme}] .flow-graph .failed rect" in image


def test_stylesheet_of_pages_is_that_of_drawings() -> None:
    """To write it: ``python -c "from flowerapp import drawing; print(drawing.stylesheet())" > PATH``."""
    path = Path(settings.BASE_DIR, "flowerapp/static/flowerapp/graph.css")
    assert path.read_text(encoding="utf-8").rstrip() == drawing.stylesheet()
    assert "<style>" not in drawing.svg([Node(seq=1, label="P", status=None)], {1: []}, styled=False)


def test_labels_cannot_break_out() -> None:
    evil = '</text><script>alert(1)</script>"]; click t1 "x" \x1b[2J\n&'
    steps = [Node(seq=1, label=evil, status=Status.WAIT)]
    ElementTree.fromstring(drawing.svg(steps, {1: []}, title=evil))  # noqa: S314 - our own output
    assert "<script" not in drawing.svg(steps, {1: []}, title=evil)
    mermaid = drawing.mermaid(steps, {1: []})
    assert "script>" not in mermaid
    assert mermaid.count('"') == 2
    assert "\x1b" not in drawing.ascii(steps, {1: []})
    assert len(drawing.ascii(steps, {1: []}).splitlines()) == 1


def test_mermaid() -> None:
    lines = drawing.mermaid(nodes(DIAMOND, Status.FINISH), DIAMOND).splitlines()
    assert lines[0] == "flowchart TD"
    assert lines[1] == '    t1["1 Program1<br/>✓ Finished"]:::finished'
    assert "    t3 --> t4" in lines
    assert any(line.startswith("    classDef finished ") for line in lines)


def test_json() -> None:
    document = json.loads(json.dumps(drawing.as_json(nodes(DIAMOND, Status.WAIT), DIAMOND)))
    assert document["nodes"][3] == {
        "seq": 4,
        "name": "",
        "program": "Program4",
        "exec_status": 0,
        "status": "Wait",
        "level": 2,
    }
    assert document["edges"] == [{"from": 1, "to": 2}, {"from": 1, "to": 3}, {"from": 2, "to": 4}, {"from": 3, "to": 4}]


def test_nothing_to_draw() -> None:
    assert drawing.ascii([], {}) == ""
    assert boxes(drawing.svg([], {})) == []
    assert drawing.as_json([], {}) == {"nodes": [], "edges": []}
