"""What a text means: steps, their numbers, and the edges between them (LITTLEFLOW.md section 3)."""

from __future__ import annotations

from itertools import permutations

import pytest

from flowerapp.workflows import arrow
from flowerapp.workflows.arrow import Kind, Step
from tests.workflows.arrow.support import edges, numbered, step

# Statements and labels


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A", "s>A A>e"),
        ("A → B", "s>A A>B B>e"),
        ("A->B", "s>A A>B B>e"),
        ("A B C", "s>A s>B s>C A>e B>e C>e"),
        ("A;B", "s>A s>B A>e B>e"),
        ("A > B", "s>A s>B A>e B>e"),
        ("A → C\nB → C", "s>A s>B A>C C>e B>C C>e"),
        ("A :x → B → C; :x → D", "s>A A>B A>D B>C C>e D>e"),
        ("A :x → B → C → :x D", "s>A A>B A>D B>C C>D D>e"),
        ("A → :x; B → :x; :x C", "s>A s>B s>C A>C B>C C>e"),
        ("A → :x C; B → :x", "s>A s>B A>C C>e B>C"),
        (":x → A → B → C\nD → :x", "s>D A>B B>C C>e D>A"),
        (":m → D; A → :m; B → :m", "s>A s>B D>e A>D B>D"),
        ("A → :m; B → :m; :m → D", "s>A s>B A>D B>D D>e"),
        ("A :x", "s>A A>e"),
        (":x A", "s>A A>e"),
        ("A :x → :x B", "s>A A>B B>e"),
        ("A :x → B; :x → C; :x → D", "s>A A>B A>C A>D B>e C>e D>e"),
        ("A → :m; :m → B; :m → C", "s>A A>B A>C B>e C>e"),
        (":start → A → :end", "s>A A>e"),
        ("A → > :end", "s>A A>e"),
        ("{A} :x → B; :x → C", "s>{ {>A A>} }>B }>C B>e C>e"),
        ("{A} → :x; :x B", "s>{ s>B {>A A>} }>B B>e"),
        ("A :x → { B :x → C; :x → D } → E; :x → F", "s>A A>{ A>F {>B B>C B>D C>} D>} }>E E>e F>e"),
        ("A → { B → C\n D } → E", "s>A A>{ {>B {>D B>C C>} D>} }>E E>e"),
        ("{ { A } }", "s>{ {>{ {>A A>} }>} }>e"),
        ("A|B|C → D", "s>{ {>A {>B {>C A>} B>} C>} }>D D>e"),
        ("D → A|B|C", "s>D D>{ {>A {>B {>C A>} B>} C>} }>e"),
        ("A|B :x → C; :x → D", "s>{ {>A {>B A>} B>} }>C }>D C>e D>e"),
        (":x A|B → C; D → :x", "s>{ s>D {>A {>B A>} B>} }>C C>e D>{"),
        ("{A}{B} C", "s>{ s>{ s>C {>A A>} }>e {>B B>} }>e C>e"),
        ("<{}> → A", "s>value value>A A>e"),
        ("{ <> → A }", "s>{ {>value value>A A>} }>e"),
        ("<in> → A → <out>", "s>in in>A A>out out>e"),
        ("<> → :x; :x A", "error"),
    ],
)
def test_a_text_gives_these_edges(text: str, expected: str) -> None:
    if expected == "error":
        with pytest.raises(arrow.ArrowError, match="expected a step"):
            edges(text)
    else:
        assert edges(text) == expected


def test_the_order_of_statements_does_not_matter() -> None:
    statements = ["A :x → B → :m", ":x → C → :m", ":m → D", "E → :m", "F → :y G", "H → :y"]
    shapes = {" ".join(sorted(edges(";".join(order)).split())) for order in permutations(statements)}
    assert len(shapes) == 1


@pytest.mark.parametrize("text", ["A :x → :x B", "A :x → :x B; :x → C", "{ A } :x → :x B"])
def test_the_same_edge_twice_is_once(text: str) -> None:
    pairs = arrow.compile_text(text).edges
    assert len(pairs) == len(set(pairs))


@pytest.mark.parametrize("text", ["A|B|C → D", "D → A|B|C", "A | B({}) | C"])
def test_a_list_is_a_subflow(text: str) -> None:
    braces = text.replace("A|B|C", "{A B C}").replace("A | B({}) | C", "{A B({}) C}")
    assert arrow.compile_text(text) == arrow.compile_text(braces)


def test_the_start_is_named_only_beside_others() -> None:
    assert step("A → :x; :x C", "C").depends_on == (0, 1)
    assert step("A → :x; :x C", "A").depends_on == ()
    assert step("A → :x; :x C", "A").incoming == (0,)


# Numbers


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A → B", "0s 1A 2B 3e"),
        ("A → { B\n C → D } → E", "0s 1A 2{ 3B 4C 5D 6} 7E 8e"),
        ("A|B → C", "0s 1{ 2A 3B 4} 5C 6e"),
        ("A → {{B}} → C|D", "0s 1A 2{ 3{ 4B 5} 6} 7{ 8C 9D 10} 11e"),
        (":x → A; <1> → B :x", "0s 1A 21 3B 4e"),
        ("<- 1 -> → A → <out>", "0s 1value 2A 3out 4e"),
        ("@task X { A → B } X → C → X", "0s 1X 2A 3B 4X 5C 6X 7A 8B 9X 10e"),
    ],
)
def test_steps_are_numbered_in_reading_order(text: str, expected: str) -> None:
    assert numbered(text) == expected


def test_the_start_of_a_subflow_names_its_end() -> None:
    graph = arrow.compile_text("A → { B → { C } } → D|E")
    assert {step.index: step.end for step in graph.steps if step.end} == {2: 7, 4: 6, 8: 11}
    assert graph.end == 12
    assert [step.index for step in graph.steps] == list(range(1, 13))


def test_steps_know_their_places() -> None:
    graph = arrow.compile_text("A → B :x →\n  ? `$.a` { C|D } → E;\n:x → F")
    places = [(step.name or step.kind.value, str(step.place)) for step in graph.steps]
    assert places == [
        ("A", "1:1"),
        ("B", "1:5"),
        ("start", "2:11"),
        ("start", "2:13"),
        ("C", "2:13"),
        ("D", "2:15"),
        ("end", "2:15"),
        ("end", "2:17"),
        ("E", "2:21"),
        ("F", "3:6"),
        ("end", "3:7"),
    ]


# Merge, guards, iteration, sources, resources


def test_merge_stands_on_the_step_that_it_is_before() -> None:
    graph = arrow.compile_text("A → > B → > {C} → > <u>; D → > :x; E → > :end; :x F")
    merged = [step.name or step.kind.value for step in graph.steps if step.merge]
    assert merged == ["B", "start", "u", "F", "end"]
    assert graph.steps[-1].merge


def test_merge_before_a_meeting_point_merges_at_each_step_there() -> None:
    graph = arrow.compile_text("A → > :m; B → :m; :m → C; :m → D")
    assert [step.name for step in graph.steps if step.merge] == ["C", "D"]


def test_the_end_of_a_subflow_merges_by_its_own_label() -> None:
    graph = arrow.compile_text("{ A → > :end\n B } → C")
    assert [step.index for step in graph.steps if step.merge] == [4]


def test_a_guard_stands_once_on_a_step_list_or_subflow() -> None:
    graph = arrow.compile_text("? `$.a` A → ? `$[?(@.status=0)]` B|C → > ? `input.n > 1` { D }")
    guards = [(step.index, step.kind, step.guard) for step in graph.steps if step.guard]
    assert guards == [
        (1, Kind.TASK, "$.a"),
        (2, Kind.START, "$[?(@.status=0)]"),
        (6, Kind.START, "input.n > 1"),
    ]
    assert graph.steps[5].merge


def test_iteration_stands_on_a_task_or_subflow() -> None:
    graph = arrow.compile_text("A → * B → * ? `$.a` { C } → * D|E")
    assert [step.index for step in graph.steps if step.each] == [2, 3, 6]


def step_of(text: str, kind: Kind) -> Step:
    (match,) = [step for step in arrow.compile_text(text).steps if step.kind is kind]
    return match


def test_a_literal_is_a_step_with_its_value() -> None:
    value = step_of("<- [1, {a: 2026-01-31}] -> → A", Kind.VALUE)
    assert (value.kind, value.parameters) == (Kind.VALUE, [1, {"a": "2026-01-31"}])


def test_resources_are_loaded_and_stored() -> None:
    text = '<http://a/b>({"accept": "text"}) → A → > <http://c>(- method: PUT -)'
    load, store = step_of(text, Kind.LOAD), step_of(text, Kind.STORE)
    assert (load.name, load.parameters, load.depends_on) == ("http://a/b", {"accept": "text"}, ())
    assert (store.name, store.parameters, store.depends_on, store.merge) == ("http://c", {"method": "PUT"}, (2,), True)


# Declarations


def test_the_last_flow_names_the_flow() -> None:
    graph = arrow.compile_text("@flow one A @flow two (- a: 1 -) '''About''' ")
    assert (graph.name, graph.doc, graph.parameters) == ("two", "About", {"a": 1})
    graph = arrow.compile_text("A")
    assert (graph.name, graph.doc, graph.parameters) == ("", "", {})


def test_an_alias_has_the_name_and_the_base() -> None:
    aliased = step("A → B @task A = lib:run (- x: 1 -) '''Runs'''", "A")
    assert (aliased.name, aliased.base, aliased.parameters, aliased.doc) == ("A", "lib:run", {"x": 1}, "Runs")
    assert step("A → B @task A = lib:run", "B").base == "B"


@pytest.mark.parametrize(
    ("declared", "mentioned", "expected"),
    [
        ("", "", {}),
        ("({})", "", {}),
        ("(- a: 1 -)", "", {"a": 1}),
        ("", "(- a: 1 -)", {"a": 1}),
        ("(- {a: 1, b: {c: 1}} -)", "(- b: {d: 2} -)", {"a": 1, "b": {"d": 2}}),
        ("(- a: 1 -)", "()", {"a": 1}),
        ("([1, 2])", "([3])", [3]),
        ("([1, 2])", "()", [1, 2]),
        ("(- 1 -)", "(- 2.5 -)", 2.5),
        ("(- a -)", "(- b -)", "b"),
        ("", "(- null -)", None),
    ],
)
def test_parameters_of_a_mention_go_over_the_declared_ones(declared: str, mentioned: str, expected: object) -> None:
    assert step(f"@task A {declared} A{mentioned}", "A").parameters == expected


def test_a_declared_subflow_runs_in_place_of_each_mention() -> None:
    text = "@task X '''Does X''' { B → C } A → X → D; X"
    assert edges(text) == "s>A s>X A>X X>B B>C C>X X>D D>e X>B B>C C>X X>e"
    first = arrow.compile_text(text).steps[1]
    assert (first.kind, first.name, first.doc, first.end) == (Kind.START, "X", "Does X", 5)


def test_a_declaration_may_stand_anywhere() -> None:
    first = arrow.compile_text("@task X { B } A → X")
    assert arrow.compile_text("A → X @task X { B }") == first
    assert arrow.compile_text("A → X; @task X { B };") == first


def test_declared_subflows_may_use_each_other_and_aliases_of_them() -> None:
    text = "@task X { A → Y } @task Y { B } @task Z = Y X → Z"
    assert numbered(text) == "0s 1X 2A 3Y 4B 5Y 6X 7Z 8B 9Z 10e"


def test_a_guard_before_a_declared_subflow_guards_it() -> None:
    start = arrow.compile_text("@task X { A } ? `$.a` X").steps[0]
    assert (start.kind, start.guard, start.end) == (Kind.START, "$.a", 3)


def test_other_kinds_of_declarations_are_ignored() -> None:
    assert arrow.compile_text("@note A = B A → C") == arrow.compile_text("A → C")


# Loops

LOOP = ":a A → ? `$.again` B → :a"


def unrolled(rounds: int, text: str = LOOP) -> str:
    return edges(f"@flow f (- max_rounds: {rounds} -) {text}")


def test_a_loop_becomes_guarded_subflows_inside_one_another() -> None:
    text = f"@flow f (- max_rounds: 3 -) {LOOP}"
    same = "@flow f (- max_rounds: 3 -) A → ? `$.again` { B → A → ? `$.again` { B → A } }"
    assert arrow.compile_text(text) == arrow.compile_text(same)


@pytest.mark.parametrize("rounds", [1, 2, 3, 100])
def test_the_first_step_of_a_loop_runs_at_most_so_often(rounds: int) -> None:
    names = [step.name for step in arrow.compile_text(f"@flow f (- max_rounds: {rounds} -) {LOOP}").steps]
    assert (names.count("A"), names.count("B")) == (rounds, rounds - 1)


@pytest.mark.parametrize(
    ("loop", "same"),
    [
        (":a A :r → ? `$.g` B → :a; :r → C", "A → ? `$.g` { B → A → ? `$.g` { B → A } } → C"),
        (":a A → ? `$.g` B :r → :a; :r → C", "A → ? `$.g` { B → A → ? `$.g` { B → A } } → C"),
        ("{ :a A → ? `$.g` B → :a; } → C", "{ A → ? `$.g` { B → A → ? `$.g` { B → A } } } → C"),
        (":a ? `$.g` A :r → :a; :r → C", "? `$.g` { A → ? `$.g` { A → ? `$.g` { A } } } → C"),
        (":a A → { B C } → ? `$.g` D → :a", "A → {B C} → ? `$.g` {D → A → {B C} → ? `$.g` {D → A → {B C}}}"),
        (":a A → > ? `$.g` { B } → :a", "A → > ? `$.g` { {B} → A → > ? `$.g` { {B} → A } }"),
        ("Z → :a A → ? `$.g` B → :a", "Z → A → ? `$.g` { B → A → ? `$.g` { B → A } }"),
    ],
)
def test_loops_mean_what_is_written_out(loop: str, same: str) -> None:
    flow = "@flow f (- max_rounds: 3 -) "
    assert arrow.compile_text(flow + loop) == arrow.compile_text(flow + same)


def test_one_round_takes_the_way_back_out() -> None:
    assert unrolled(1, ":a A :r → ? `$.g` B → :a; :r → C") == "s>A A>C C>e"


def test_two_loops_of_a_flow_are_unrolled_each() -> None:
    loops = ":a A :r → ? `$.g` B → :a; :r → :c C → ? `$.h` D → :c"
    assert unrolled(2, loops) == edges("A → ? `$.g` { B → A } → C → ? `$.h` { D → C }")


def test_a_loop_in_a_loop_needs_braces() -> None:
    assert unrolled(2, ":a A → { :b B → ? `$.h` C → :b; } → ? `$.g` D → :a") == edges(
        "A → { B → ? `$.h` { C → B } } → ? `$.g` { D → A → { B → ? `$.h` { C → B } } }"
    )


def test_a_declared_subflow_may_have_a_loop() -> None:
    text = "@task X { :a A → ? `$.g` B → :a } X → C"
    assert unrolled(2, text) == edges("@task X { A → ? `$.g` { B → A } } X → C")
