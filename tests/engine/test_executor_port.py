"""The executor port is all that an executor must fill: JSON lines in a directory run flows without Celery."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from celery import signals as celery_signals
from django.db.models.functions import Now

from flowerapp import engine, signals
from flowerapp.core import executor
from flowerapp.core.executor import NoExecutor, QueueSize
from flowerapp.core.messages import FIRST_SENT, Message, TaskRef
from flowerapp.engine import HookEvent, attempts, dispatching, hooks
from flowerapp.models import Flow, Task, TaskDefinition
from flowerapp.states import Status
from flowerapp.watcher.duties.send import send_unsent
from tests.engine.support import check, define, status, statuses, task
from tests.engine.test_children import splitting
from tests.probe.models import Start

pytestmark = pytest.mark.django_db(transaction=True)


class Lines(NoExecutor):
    """Appends each message as a line of JSON to a file per queue."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def connected(self) -> bool:
        """The directory can always be written."""
        return True

    def send(self, messages: Sequence[Message]) -> None:
        """Append a line for each message to its queue."""
        for message in messages:
            queue = self.route_of(message.head.program, message.head.queue)
            self._append(queue, {"run": [*message.ref], "call": asdict(message.head)})

    def deliver(self, flow_ids: Sequence[str]) -> None:
        """Append a line for each flow."""
        for flow_id in flow_ids:
            self._append(executor.DEFAULT_QUEUE, {"deliver": flow_id})

    def queue_sizes(self, names: Iterable[str]) -> Mapping[str, QueueSize]:
        """Lines that wait."""
        return {name: QueueSize.of(len(self._lines(name))) for name in names}

    def take(self, queue: str) -> dict[str, Any] | None:
        """The oldest line of a queue, removed; None if there is none."""
        first, *others = self._lines(queue) or [""]
        self._file(queue).write_text("".join(others), encoding="utf-8")
        return json.loads(first) if first else None

    def _append(self, queue: str, line: dict[str, Any]) -> None:
        with self._file(queue).open("a", encoding="utf-8") as file:
            file.write(f"{json.dumps(line)}\n")

    def _lines(self, queue: str) -> list[str]:
        file = self._file(queue)
        return file.read_text(encoding="utf-8").splitlines(keepends=True) if file.exists() else []

    def _file(self, queue: str) -> Path:
        return self.directory / f"{queue}.jsonl"


class LineWorker:
    """Takes line after line and does what it says."""

    def __init__(self, lines: Lines, queue: str = executor.DEFAULT_QUEUE) -> None:
        self.lines, self.queue = lines, queue
        self.performed: list[int] = []
        """Seqs of the tasks that the lines named, in order."""

    def step(self) -> bool:
        """Do what the next line says; False if none waits."""
        line = self.lines.take(self.queue)
        if line is None:
            return False
        if "deliver" in line:
            hooks.deliver(line["deliver"])
        else:
            ref = TaskRef(*line["run"])
            self.performed.append(ref.seq)
            dispatching.send(attempts.run(ref, "lines").released)
        return True

    def run(self) -> None:
        """Do all that waits, also what is released meanwhile."""
        while self.step():
            pass


@pytest.fixture
def published() -> Iterator[list[str]]:
    """Names of the Celery tasks that are published; none may be."""
    names: list[str] = []

    def on_publish(sender: str, **_: Any) -> None:
        names.append(sender)

    celery_signals.before_task_publish.connect(on_publish)
    yield names
    celery_signals.before_task_publish.disconnect(on_publish)


@pytest.fixture
def worker(tmp_path: Path, published: list[str]) -> Iterator[LineWorker]:
    """A worker of the executor that fills the port; Celery publishes nothing meanwhile."""
    lines = Lines(tmp_path)
    previous = executor.use(lines)
    try:
        yield LineWorker(lines)
    finally:
        executor.use(previous)
    assert published == []


def assert_finished(flow: Flow) -> None:
    """The flow and all its tasks have finished, and each was started once."""
    assert status(flow) is Status.FINISH
    assert set(statuses(flow).values()) == {Status.FINISH}
    assert set(flow.tasks.values_list("attempt", flat=True)) == {1}
    check(flow)


def test_a_chain_runs_in_order(worker: LineWorker) -> None:
    flow = engine.register(define({1: [], 2: [1], 3: [2], 4: [3]}), input={"number": 7})
    worker.run()
    assert worker.performed == [1, 2, 3, 4]
    assert_finished(flow)
    assert engine.get_flow(flow.pk).output == {"number": 7}


def test_a_join_runs_once_after_its_branches(worker: LineWorker) -> None:
    width = 2 * FIRST_SENT
    flow = engine.register(define({1: [], **{seq: [1] for seq in range(2, width)}, width: [*range(2, width)]}, "Noop"))
    worker.run()
    assert worker.performed[0] == 1
    assert worker.performed[-1] == width
    assert sorted(worker.performed) == [*range(1, width + 1)]
    assert_finished(flow)


def test_a_retry_is_sent_when_it_is_due(worker: LineWorker) -> None:
    flow = engine.register(define({1: []}, "FailUntil", parameters={"start": 2}))
    worker.run()
    assert status(flow, 1) is Status.WAIT
    assert send_unsent() == 0
    Task.objects.update(due_ts=Now())
    assert send_unsent() == 1
    worker.run()
    assert (status(flow), task(flow, 1).attempt, task(flow, 1).retries) == (Status.FINISH, 2, 1)
    check(flow)


def test_children_run_and_complete_their_parent(worker: LineWorker) -> None:
    flow = engine.register(splitting([[1, 2], [3, 4], [5, 6]]))
    worker.run()
    assert task(flow, 1).output == [3, 7, 11]
    assert_finished(flow)
    assert Start.objects.filter(flow_id=flow.pk).count() == 4


def test_listeners_receive_the_events_of_a_flow(worker: LineWorker) -> None:
    events: list[tuple[str, int | None]] = []

    def listen(event: HookEvent, **_: Any) -> None:
        events.append((event.name, event.seq))

    for signal in signals.HOOKS.values():
        signal.connect(listen)
    try:
        flow = engine.register(define({1: []}, "Noop"))
        worker.run()
    finally:
        for signal in signals.HOOKS.values():
            signal.disconnect(listen)
    assert_finished(flow)
    assert events == [
        ("start_flow", None),
        ("task_start", 1),
        ("task_over", 1),
        ("task_all_over", 1),
        ("all_over", None),
    ]


def test_a_task_with_a_queue_waits_for_a_worker_of_that_queue(worker: LineWorker) -> None:
    name = define({1: [], 2: [1]}, "Noop")
    TaskDefinition.objects.filter(task_id=name, task_seq=2).update(queue="mail")
    flow = engine.register(name)
    worker.run()
    assert worker.performed == [1]
    sizes = worker.lines.queue_sizes([executor.DEFAULT_QUEUE, "mail"])
    assert {name: size.messages for name, size in sizes.items()} == {executor.DEFAULT_QUEUE: 0, "mail": 1}
    LineWorker(worker.lines, "mail").run()
    assert_finished(flow)


def test_the_watcher_sends_what_could_not_be_sent(worker: LineWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as unreachable:
        unreachable.setattr(worker.lines, "connected", lambda: False)
        flow = engine.register(define({1: [], 2: [1]}, "Noop"))
    assert not worker.step()
    assert send_unsent() == 1
    worker.run()
    assert_finished(flow)
