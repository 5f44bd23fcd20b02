"""Tasks run where they are routed, and the most urgent next."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowerapp import engine
from flowerapp.models import Worker
from flowerapp.selectors import queues
from flowerapp.states import Status
from tests.acceptance.live import Live, define, starts, task, wait_started
from tests.services import WorkerProcess, until

own = pytest.mark.parametrize("own", ["redis", "amqp"], indirect=True)


def identity_of(worker: WorkerProcess) -> str:
    """Id under which a worker process claims."""
    return Worker.objects.get(name__startswith=f"{worker.name}@").pk


def seen() -> dict[str, queues.Queue]:
    """All queues by name."""
    return {queue.name: queue for queue in queues.overview()}


@own
def test_each_task_runs_where_it_should(own: Live) -> None:
    transcoding = own.site.start("-c", "1", "-Q", "transcoding")
    default = own.site.start("-c", "1", "-Q", "default")
    for worker in (transcoding, default):
        worker.wait_ready()
    edges = {1: [], 2: [1], 3: [1], 4: [1], 5: [2, 3, 4], 6: [5], 7: [6]}
    elsewhere = {2, 4, 6}
    flow = own.run(edges, {seq: {"queue": "transcoding"} for seq in elsewhere})
    expected = {seq: identity_of(transcoding if seq in elsewhere else default) for seq in edges}
    assert dict(flow.tasks.values_list("task_exec_seq", "worker")) == expected
    pids = {start.seq: start.pid for start in starts(flow)}
    assert len(pids) == len(edges)
    assert not {pids[seq] for seq in elsewhere} & {pids[seq] for seq in set(edges) - elsewhere}
    own.assert_faultless(flow)


@own
def test_a_queue_without_workers_is_visible(own: Live) -> None:
    own.site.start_all(1)
    flow = engine.register(define({1: [], 2: [1]}, {2: {"queue": "gpu"}}))
    until(lambda: queues.unserved(flow.pk) == ["gpu"])
    until(lambda: seen()["gpu"].messages == 1, what=lambda: str(seen()))
    sizes = seen()
    assert sizes["gpu"].unserved
    assert sizes["gpu"].waiting == 1
    assert not sizes["default"].unserved
    assert sizes["default"].workers
    engine.change(flow.pk, 2, queue="default")
    own.finish(flow)
    assert len(starts(flow, 2)) == 1


@own
def test_the_most_urgent_flow_starts_next(own: Live, tmp_path: Path) -> None:
    own.site.start_all(1)
    gate = tmp_path / "gate"
    name = define({1: []})
    busy = engine.register(define({1: []}, {1: {"parameters": {"path": str(gate)}}}, program="Gate"))
    wait_started(busy, 1)
    waiting = [engine.register(name) for _ in range(50)]
    urgent = engine.register(name, priority=-10)
    assert task(urgent, 1).status is Status.WAIT
    gate.touch()
    own.finish(busy, urgent, *waiting)
    first = min([urgent, *waiting], key=lambda flow: starts(flow)[0].ts)
    assert first == urgent
    own.assert_faultless(busy, urgent, *waiting)
