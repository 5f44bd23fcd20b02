"""The compiled form of littleflow and back (LITTLEFLOW.md section 7), and the diagram (section 8)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from flowerapp.exceptions import InvalidValueError
from flowerapp.workflows import arrow
from flowerapp.workflows.arrow import forms

TEXT = """
@task load = my:loader (- retries: 2 -) '''Loads
it'''
load → ? `$.a` { C-1 D } → > E → * F → <out>(- method: PUT -)
<- [1] -> → G → > :end; <in> → H
"""


def form(text: str) -> dict[str, Any]:
    """The compiled form of a text, as it travels."""
    compiled: dict[str, Any] = json.loads(json.dumps(arrow.compiled_form(arrow.compile_text(text))))
    return compiled


def test_a_chain_has_the_form_of_littleflow() -> None:
    fields: dict[str, Any] = {"parameters": {}, "base": None, "doc": None, "merge": False, "guard": None}
    assert form("A → B") == {
        "F": [[0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0]],
        "T": [
            ["StartFlow", {"index": 0}],
            ["InvokeTask", {"index": 1, "name": "A", **fields}],
            ["InvokeTask", {"index": 2, "name": "B", **fields}],
            ["Sink", {"index": 3, "merge": False}],
        ],
    }


def test_every_class_has_its_fields() -> None:
    nodes = form(TEXT)["T"]
    assert [name for name, _ in nodes] == [
        "StartFlow", "InvokeTask", "InvokeFlow", "InvokeTask", "InvokeTask", "Sink", "InvokeTask", "InvokeTask", "Sink",
        "Source", "InvokeTask", "Source", "InvokeTask", "Sink",
    ]  # fmt: skip
    task = {"index": 1, "name": "load", "parameters": {"retries": 2}, "base": "my:loader", "doc": "Loads\nit"}
    assert nodes[1][1] == {**task, "merge": False, "guard": None}
    assert nodes[2][1] == {"index": 2, "end": 5, "merge": False, "guard": "$.a"}
    assert (nodes[6][1]["merge"], "each" in nodes[6][1], nodes[7][1]["each"]) == (True, False, True)
    assert nodes[8][1] == {"index": 8, "merge": False, "uri": "out", "parameters": {"method": "PUT"}}
    assert nodes[9][1] == {"index": 9, "value": [1]}
    assert nodes[11][1] == {"index": 11, "value": None, "uri": "in", "parameters": {}}
    assert nodes[13][1] == {"index": 13, "merge": True}


@pytest.mark.parametrize(
    "text",
    [TEXT, "A", "A → :x; :x C", "A|B → {B {C}} → D", "@flow f (- max_rounds: 3 -) :a A → ? `$.g` B → :a", "<> → A"],
)
def test_a_graph_comes_back_from_its_form(text: str) -> None:
    assert arrow.from_compiled_form(form(text)).steps == arrow.compile_text(text).steps


def test_a_form_of_littleflow_needs_no_end_and_guard() -> None:
    compiled = form("A → { B } → C")
    for _, fields in compiled["T"]:
        for name in ("end", "guard", "base", "doc"):
            fields.pop(name, None)
    assert arrow.from_compiled_form(compiled).steps == arrow.compile_text("A → { B } → C").steps


def changed(**changes: Any) -> dict[str, Any]:
    """The form of ``A → { B }`` with other parts; ``n3`` changes fields of node 3."""
    compiled = form("A → { B }")
    for name, value in changes.items():
        if name in {"F", "T"}:
            compiled[name] = value
        else:
            compiled["T"][int(name[1:])][1].update(value)
    return compiled


@pytest.mark.parametrize(
    ("compiled", "sentence"),
    [
        ({}, "T must be a list of nodes"),
        (changed(T=[1, 2]), "node 0 must be a list of its class and its fields"),
        (changed(T=[["StartFlow", {"index": 0}]]), "T must be a list of nodes"),
        (changed(T=[["StartFlow", {"index": 0}]] * 2), "node 1 cannot be of the class 'StartFlow'"),
        (changed(T=[["Sink", {"index": 0}]] * 2), "node 0 cannot be of the class 'Sink'"),
        (changed(T=[["StartFlow", {"index": 0}], ["Other", {}]]), "node 1 cannot be of the class 'Other'"),
        (changed(n1={"index": 2}), "node 1 has another index"),
        (changed(n1={"index": True}), "node 1 has another index"),
        (changed(F=None), "F must have a row for each node"),
        (changed(F=[[0] * 6] * 5), "F must have a row for each node"),
        (changed(F=[[0] * 5] * 6), "row 0 of F must have a 0 or 1 for each node"),
        (changed(F=[[2] * 6] * 6), "row 0 of F must have a 0 or 1 for each node"),
        (changed(F=[[1] * 6] * 6), "no edge may lead to node 0 or from the last"),
        (changed(F=[[0] * 6] * 6), "no edge leads to node 1"),
        (changed(F=[*[[0, 1, 1, 1, 1, 1]] * 5, [0] * 6]), "the edges form a cycle"),
        (changed(n2={"end": 5}), "the subflow that starts at node 2 ends at node 4"),
        (changed(n4={"uri": "u"}), "what starts at node 0 has no end"),
        (changed(n1={"name": None}), "node 1 has no name"),
        (changed(n1={"name": 5}), "name of node 1 must be text"),
        (changed(n1={"name": "a\u202eb"}), "node 1: name holds U+202E"),
        (changed(n1={"base": "a/b"}), "node 1: base holds a slash"),
        (changed(n1={"merge": 1}), "merge of node 1 must be true or false"),
        (changed(n1={"each": None}), "each of node 1 must be true or false"),
        (changed(n1={"guard": "$."}), "the guard of node 1: expected a key or *"),
        (changed(n1={"parameters": "\0"}), "parameters of node 1 holds a NUL character"),
    ],
)
def test_a_form_that_is_none_is_refused_with_its_node(compiled: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        arrow.from_compiled_form(compiled)
    assert sentence in str(caught.value)


def test_a_form_has_a_limit_of_nodes() -> None:
    size = forms.MAX_NODES
    with pytest.raises(InvalidValueError, match="the compiled form has 2,001 nodes; the limit is 2,000"):
        arrow.compiled_form(arrow.compile_text("A " * (size - 1)))
    with pytest.raises(InvalidValueError, match="2,001 nodes"):
        arrow.from_compiled_form({"T": [["StartFlow", {"index": 0}]] * (size + 1)})


DIAGRAM = """\
stateDiagram-v2
  direction LR
  state "load:a" as load_COLON_a.1
  state _start_2_ <<fork>>
  state "C-1" as C_HYPHEN_1.3
  state "D" as D.4
  state _end_5_ <<join>>
  state "E" as E.6
  [*]-->load_COLON_a.1
  load_COLON_a.1-->_start_2_
  _start_2_-->C_HYPHEN_1.3
  _start_2_-->D.4
  C_HYPHEN_1.3-->_end_5_
  D.4-->_end_5_
  _end_5_-->E.6: $.a
  E.6-->[*]
  note left of load_COLON_a.1
    Loads it
  end note
"""
GRAPH = "@task load:a '''Loads it\nsoon''' load:a → { C-1 D } → ? `$.a` E"


def test_a_diagram_has_the_states_of_littleflow() -> None:
    graph = arrow.compile_text(GRAPH)
    assert arrow.diagram(graph) == DIAGRAM
    plain = DIAGRAM.replace("  direction LR\n", "").partition("  note")[0]
    assert arrow.diagram(graph, vertical=True, docs=False) == plain


def test_a_diagram_shows_values_and_resources_and_escapes_texts() -> None:
    text = "@task A '''<script>\"; end note''' <- 1 -> → ? `$[?(@.a=\"x\")]\n` A → <http://a/b>; <in> → B"
    diagram = arrow.diagram(arrow.compile_text(text))
    assert '  state "value" as _value_1_\n' in diagram
    assert '  state "http:#47;#47;a' not in diagram
    assert '  state "http://a/b" as _store_3_\n' in diagram
    assert '  state "in" as _load_4_\n' in diagram
    assert "  _value_1_-->A.2: $#91;?#40;@.a=#34;x#34;#41;#93;\n" in diagram
    assert "    #60;script#62;#34;#59; end note\n" in diagram
