"""Any graph runs in order, each task once, with the input that its dependencies make."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowerapp import engine
from flowerapp.core import values
from flowerapp.core.messages import TaskRef
from flowerapp.engine import attempts
from flowerapp.engine.context import input_of
from flowerapp.models import Flow
from flowerapp.states import Status
from flowerapp.testing import InlineRunner
from tests.effort import examples
from tests.engine.support import Dependencies, check, define, status, verbs
from tests.probe.models import Start

pytestmark = pytest.mark.django_db(transaction=True)

SHAPES: dict[str, Dependencies] = {
    "one": {1: []},
    "chain": dict.fromkeys(range(1, 46)),
    "fan": {1: [], **{seq: [1] for seq in range(2, 52)}, 52: list(range(2, 52))},
    "nested forks": {1: [], 2: [1], 3: [1], 4: [2], 5: [2], 6: [4, 5], 7: [3, 6]},
    "ladder": {1: [], 2: [], 3: [1, 2], 4: [2], 5: [3, 4], 6: [4], 7: [5, 6], 8: [1, 7]},
    "roots and sinks": {1: [], 2: [], 3: [], 4: [1], 5: [1, 2], 6: [], 7: [3, 6], 8: [7]},
    "scattered numbers": {90: [], 10: [90], 50: [90], 20: [10, 50]},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_finishes_in_order_and_starts_each_task_once(runner: InlineRunner, shape: str) -> None:
    flow = engine.register(define(SHAPES[shape], "Record"))
    check(flow)
    while runner.step():
        check(flow)
    assert status(flow) is Status.FINISH
    seqs = list(Start.objects.filter(flow_id=flow.pk).order_by("id").values_list("seq", flat=True))
    assert sorted(seqs) == [row.task_exec_seq for row in flow.tasks.all()]
    place = {seq: number for number, seq in enumerate(seqs)}
    assert all(place[before] < place[row.task_exec_seq] for row in flow.tasks.all() for before in row.depends_on)
    assert verbs(flow) == []


dags = st.integers(1, 14).flatmap(
    lambda size: st.tuples(
        *(st.sets(st.integers(1, seq - 1), max_size=4) if seq > 1 else st.just(set()) for seq in range(1, size + 1))
    )
)
outputs = st.sampled_from([{}, None, [], "", 0, {"a": 1}, [1], "text"])


@settings(max_examples=examples(20), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(dag=dags, data=st.data())
def test_input_of_every_task_of_a_random_graph(
    runner: InlineRunner, dag: tuple[set[int], ...], data: st.DataObject
) -> None:
    returned = {seq: data.draw(outputs) for seq in range(1, len(dag) + 1)}
    name = define({seq: sorted(depends) for seq, depends in enumerate(dag, 1)}, "Return")
    flow = engine.register(
        name, input={"flow": 1}, parameters={seq: {"value": value} for seq, value in returned.items()}
    )
    given_out = {seq: {} if value is None else value for seq, value in returned.items()}
    waiting = {row.task_exec_seq: row for row in flow.tasks.all()}
    while runner.step():
        check(flow)
    assert status(flow) is Status.FINISH
    for seq, row in waiting.items():
        assert engine.get_task(flow.pk, seq).output == given_out[seq]
        expected: Any = (
            {"flow": 1} if not row.depends_on else model_input([given_out[before] for before in row.depends_on])
        )
        assert input_of(TaskRef(flow.pk, seq)) == expected


def model_input(outputs: list[Any]) -> Any:
    """The input rule of the design, written again."""
    if len(outputs) == 1:
        return outputs[0]
    kept = [value for value in outputs if not (isinstance(value, dict) and not value)]
    return {} if not kept else kept[0] if len(kept) == 1 else kept


def test_a_message_carries_the_chain_and_the_join(runner: InlineRunner) -> None:
    engine.register(define({1: [], 2: [1], 3: [1], 4: [2], 5: [3, 4], 6: [5]}))
    (root,) = runner.sent
    assert (root.head.seq, root.then, root.join) == (1, (), None)
    runner.step()
    two, three = runner.sent[1:]
    assert [link.seq for link in two.then] == [4]
    assert [two.join and two.join.seq, three.join and three.join.seq] == [5, 5]


def test_nothing_is_sent_when_the_transaction_fails(runner: InlineRunner) -> None:
    from django.db import transaction

    name = define({1: []})
    with transaction.atomic():
        engine.register(name)
        transaction.set_rollback(True)
    assert not runner.sent
    assert not Flow.objects.exists()


def test_a_duplicated_message_runs_nothing_twice(runner: InlineRunner) -> None:
    flow = engine.register(define(SHAPES["nested forks"], "Record"))
    while runner.waiting:
        message = runner.waiting[0]
        runner.step()
        for _ in range(2):
            assert not attempts.run(TaskRef(message.flow_id, message.head.seq), "another").released
    assert status(flow) is Status.FINISH
    assert Start.objects.count() == len(SHAPES["nested forks"])


def test_output_is_what_values_gives_back(runner: InlineRunner) -> None:
    flow = engine.register(define({1: []}, "Return"), parameters={1: {"value": {"ü": [1.5, None, True, "\\u0000"]}}})
    runner.run()
    assert engine.get_task(flow.pk, 1).output == values.check({"ü": [1.5, None, True, "\\u0000"]})
