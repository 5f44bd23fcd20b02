"""``context_for``: the context for a direct call of one program or method, without a database."""

from __future__ import annotations

from typing import Any

import pytest

from flowerapp.exceptions import FlowerError, InvalidValueError, RetryTask, UnknownProgramError
from flowerapp.registry import Call, Context, program
from flowerapp.testing import context_for
from flowerapp.workflows import Workflow, task
from tests.probe import tasks
from tests.testing.workflows import Sums, retry


class Base(Workflow):
    """No workflow of its own."""

    @task
    def only(self, ctx: Context) -> Any:
        """Return the input."""
        return ctx.input


@program
def collect(ctx: Context) -> None:
    """Add children of all kinds."""
    ctx.add_children({"a": 1, "b": 2})
    ctx.add_children([("a", 3)])
    ctx.add_children([tasks.add.s(1, 2)])


def test_a_method_is_called_with_its_step() -> None:
    ctx = context_for(Sums.split, input={"lines": [[1, 2], [3]]})
    assert Sums().split(ctx, unit="m") is None
    assert ctx.children == [[1, 2], [3]]
    assert ctx.state == {"unit": "m"}
    assert (ctx.task_id, ctx.task_seq, ctx.seq, ctx.attempt, ctx.retries) == ("testing.sums", 1, 1, 1, 0)


def test_a_child_gets_its_item() -> None:
    assert Sums().add(context_for(Sums.add, input=[1, 2])) == 3
    with pytest.raises(ValueError, match="not yet"):
        Sums().add(context_for(Sums().add, input=["retry", 1]))
    assert Sums().add(context_for("testing.sums.add", input=["retry", 1], attempt=2)) == 1
    with pytest.raises(FlowerError, match="a child cannot add children"):
        context_for(Sums.add, child_id="x").add_children([1])


def test_what_a_program_writes_is_kept() -> None:
    ctx = context_for(Sums.report, input=[3, 7], state={"unit": "km"})
    assert Sums().report(ctx) == {"sums": [3, 7], "unit": "km"}
    assert (ctx.logged, ctx.reported) == (["2 lines"], [{"done": 1, "total": 1}])
    with pytest.raises(FlowerError, match="no child_program"):
        ctx.add_children([1])


def test_the_identity_of_an_attempt_is_given() -> None:
    ctx = context_for(retry, flow_id="F", seq=7, attempt=3, retries=1, run=2, cancelled=True, child_id="c")
    assert (ctx.flow_id, ctx.seq, ctx.attempt, ctx.retries) == ("F", 7, 3, 1)
    assert (ctx.idempotency_key, ctx.cancelled, ctx.child_id) == ("F:7:2", True, "c")
    assert context_for(retry).flow_id != context_for(retry).flow_id
    with pytest.raises(RetryTask, match="attempt 1"):
        retry(context_for(retry))
    assert retry(context_for("testing.Retry", attempt=2)) == 2


def test_outputs_of_other_steps_are_given() -> None:
    ctx = context_for(retry, outputs={"split": [1], 2: {"a": 1}})
    assert (ctx.output_of("split"), ctx.output_of(2)) == ([1], {"a": 1})
    with pytest.raises(KeyError, match="no output of 'other'; add it to outputs"):
        ctx.output_of("other")


def test_children_are_checked_as_in_a_flow() -> None:
    ctx = context_for(collect)
    collect(ctx)
    assert ctx.child_ids == ["a", "b", 2]
    call = Call(program="tests.probe.tasks.add", parameters={"x": 1, "y": 2, "@input": ""})
    assert ctx.children == [[1, 3], [2], call]
    with pytest.raises(InvalidValueError, match="not JSON"):
        ctx.add_children([{1, 2}])


@pytest.mark.parametrize("options", [{"input": {1}}, {"state": {"x": float("nan")}}, {"outputs": {1: "\0"}}])
def test_what_is_given_is_json(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidValueError):
        context_for(retry, **options)


def test_the_state_is_json_and_a_copy() -> None:
    ctx = context_for(retry, state={"n": 1})
    ctx.state["n"] = 2
    assert ctx.state == {"n": 1}
    assert ctx.change_state(lambda state: {**state, "m": (1,)}) == {"n": 1, "m": [1]}
    with pytest.raises(InvalidValueError, match="must be a JSON object"):
        ctx.change_state(lambda _: [1])  # type: ignore[arg-type, return-value]
    assert ctx.state == {"n": 1, "m": [1]}


def test_programs_of_all_kinds_are_taken() -> None:
    assert Base().only(context_for(Base.only, input=1)) == 1
    assert context_for(Base().only, input=1).input == 1
    assert context_for(tasks.add).claim.program == "tests.probe.tasks.add"
    assert context_for("tests.probe.tasks.add").input == {}
    assert context_for(collect).claim.program == "collect"


def test_what_is_no_program_is_refused() -> None:
    with pytest.raises(UnknownProgramError, match=r"did you mean testing\.Retry"):
        context_for("testing.Retri")
    with pytest.raises(TypeError, match="decorate it with @program or @task"):
        context_for(len)
