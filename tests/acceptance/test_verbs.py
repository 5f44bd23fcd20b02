"""Operators' verbs on tasks that travel in chains and chords: nothing runs twice, nothing is left behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flowerapp import engine
from flowerapp.exceptions import StateConflictError
from flowerapp.models import Flow
from flowerapp.states import Status
from tests.acceptance.live import (
    Live,
    define,
    describe,
    start_counts,
    starts,
    states,
    task,
    wait_started,
    wait_state,
)
from tests.services import until

pytestmark = pytest.mark.parametrize("shared_site", ["redis-2", "amqp-2", "sqlite"], indirect=True, scope="package")

EDGES = {1: [], 2: [1], 3: [2], 4: [1], 5: [4], 6: [1], 7: [3, 5, 6], 8: [7], 9: [8], 10: [9]}
"""A fork of linear branches (2→3, 4→5, 6), its join 7, and a chain after it. Numbers of tasks are assigned in order."""

PLACES = {"header": 2, "end of a header": 3, "body": 7, "chain": 9}
places = pytest.mark.parametrize("place", PLACES)


def registered(seq: int, program: str, **parameters: Any) -> tuple[Flow, int]:
    """A flow with ``program`` at one step, and that step's ``task_exec_seq``."""
    flow = engine.register(define(EDGES, {seq: {"program": program, "parameters": parameters}}))
    return flow, flow.tasks.get(task_seq=seq).task_exec_seq


def after(flow: Flow, seq: int) -> set[int]:
    """All tasks that depend on one, directly or not."""
    rows = list(flow.tasks.order_by("task_exec_seq"))
    seqs = {seq}
    for row in rows:
        if seqs & set(row.depends_on):
            seqs.add(row.task_exec_seq)
    return seqs - {seq}


def once(flow: Flow, **more: int) -> dict[int, int]:
    """Every task started once, but for ``t3=2`` and the like."""
    return dict.fromkeys(states(flow), 1) | {int(name[1:]): number for name, number in more.items()}


@places
def test_retry(live: Live, place: str) -> None:
    flow, seq = registered(PLACES[place], "FailUntil", start=2)
    live.finish(flow)
    assert start_counts(flow) == once(flow, **{f"t{seq}": 2})
    assert task(flow, seq).output == {"started": 2}
    live.assert_faultless(flow)


@places
def test_suspend_and_resume(live: Live, place: str, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    flow, seq = registered(PLACES[place], "Gate", path=str(gate))
    wait_started(flow, seq)
    engine.suspend(flow.pk, actor="ann", why="a look")
    gate.touch()
    wait_state(flow, Status.FINISH, seq)
    live.wait(flow, Status.SUSPEND)
    assert not after(flow, seq) & set(start_counts(flow))
    engine.resume(flow.pk, actor="ann")
    live.finish(flow)
    assert start_counts(flow) == once(flow)
    live.assert_faultless(flow)


@places
def test_skip(live: Live, place: str, tmp_path: Path) -> None:
    path = tmp_path / "obstacle"
    path.touch()
    flow, seq = registered(PLACES[place], "FailWhile", path=str(path))
    live.wait(flow, Status.SUSPEND)
    assert flow.failed_seq == seq
    engine.skip(flow.pk, seq, actor="ann")
    live.finish(flow)
    assert states(flow)[seq] is Status.IGNORE
    assert task(flow, seq).output == {}
    assert start_counts(flow) == once(flow)
    live.assert_faultless(flow)


@places
def test_cancel_and_rerun(live: Live, place: str, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    flow, seq = registered(PLACES[place], "Gate", path=str(gate))
    wait_started(flow, seq)
    engine.cancel(flow.pk, actor="ann")
    gate.touch()
    live.wait(flow, Status.IGNORE)
    before = start_counts(flow)
    assert not after(flow, seq) & set(before)
    with pytest.raises(StateConflictError):
        engine.cancel(flow.pk)
    engine.rerun(flow.pk, from_seq=seq, actor="ann")
    live.finish(flow)
    counts = start_counts(flow)
    assert counts[seq] == 2
    assert {counts[later] for later in after(flow, seq)} == {1}
    assert {other: counts[other] for other in before if other != seq} == {
        other: before[other] for other in before if other != seq
    }
    assert [start.attempt for start in starts(flow, seq)] == [1, 2]


@places
def test_rerun(live: Live, place: str, tmp_path: Path) -> None:
    path = tmp_path / "obstacle"
    path.touch()
    flow, seq = registered(PLACES[place], "FailWhile", path=str(path))
    live.wait(flow, Status.SUSPEND)
    path.unlink()
    engine.rerun(flow.pk, actor="ann")
    live.finish(flow)
    assert start_counts(flow) == once(flow, **{f"t{seq}": 2})
    engine.rerun(flow.pk, from_seq=seq, actor="ann")
    live.finish(flow)
    again = {f"t{later}": 2 for later in after(flow, seq)}
    assert start_counts(flow) == once(flow, **again, **{f"t{seq}": 3})
    engine.rerun(flow.pk, all_tasks=True, actor="ann")
    live.finish(flow)
    assert set(start_counts(flow).values()) <= {2, 3, 4}
    live.assert_faultless(flow)


def test_two_failed_parts_of_a_header_are_rerun_one_after_the_other(live: Live, tmp_path: Path) -> None:
    one, two, gate = tmp_path / "one", tmp_path / "two", tmp_path / "gate"
    one.touch()
    two.touch()
    steps = {
        2: {"program": "FailWhile", "parameters": {"path": str(one)}},
        5: {"program": "FailWhile", "parameters": {"path": str(two)}},
        6: {"program": "Gate", "parameters": {"path": str(gate)}},
    }
    flow = engine.register(define(EDGES, steps))
    seqs = {row.task_seq: row.task_exec_seq for row in flow.tasks.all()}
    wait_state(flow, Status.SUSPEND, seqs[2], seqs[5])
    wait_started(flow, seqs[6])
    one.unlink()
    engine.rerun(flow.pk, from_seq=seqs[2], actor="ann")
    wait_state(flow, Status.FINISH, seqs[3])
    two.unlink()
    engine.rerun(flow.pk, actor="ann")
    wait_state(flow, Status.FINISH, seqs[5])
    assert task(flow, seqs[7]).status is Status.WAIT
    gate.touch()
    live.finish(flow)
    assert start_counts(flow) == once(flow, **{f"t{seqs[2]}": 2, f"t{seqs[5]}": 2})
    live.assert_faultless(flow)


def test_two_failed_parts_of_a_header_are_rerun_while_the_others_wait(live: Live, tmp_path: Path) -> None:
    paths = {seq: tmp_path / str(seq) for seq in (3, 5)}
    for path in paths.values():
        path.touch()
    steps = {seq: {"program": "FailWhile", "parameters": {"path": str(path)}} for seq, path in paths.items()}
    flow = engine.register(define(EDGES, steps))
    live.wait(flow, Status.SUSPEND)
    seqs = {row.task_seq: row.task_exec_seq for row in flow.tasks.all()}
    for seq, path in paths.items():
        path.unlink()
        engine.skip(flow.pk, seqs[seq]) if seq == 3 else engine.rerun(flow.pk)
        wait_state(flow, Status.IGNORE if seq == 3 else Status.FINISH, seqs[seq])
    live.finish(flow)
    assert start_counts(flow) == once(flow, **{f"t{seqs[5]}": 2})
    live.assert_faultless(flow)


@pytest.mark.parametrize("rounds", [1, 3])
def test_stale_messages_of_a_resumed_flow_start_nothing_twice(live: Live, tmp_path: Path, rounds: int) -> None:
    """All processes are busy, so the messages from before each suspend are still queued after it."""
    gate = tmp_path / "gate"
    busy = [
        engine.register(define({1: []}, {1: {"parameters": {"path": str(gate)}}}, program="Gate")) for _ in range(4)
    ]
    until(lambda: sum(bool(starts(flow)) for flow in busy) >= 2, what=lambda: describe(busy[0]))
    branches = range(1, 6)
    flow = engine.register(define({**{seq: [] for seq in branches}, 6: list(branches), 7: [6], 8: [7]}))
    for _ in range(rounds):
        engine.suspend(flow.pk)
        engine.resume(flow.pk)
    gate.touch()
    live.finish(flow, *busy)
    assert start_counts(flow) == once(flow)
    live.assert_faultless(flow, *busy)
