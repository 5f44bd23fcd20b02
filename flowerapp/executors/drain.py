"""Runs flows in this process until nothing of them can continue.

The rows say what is to run, as for a worker, and messages only make it quick. So a run also finds what was registered
in a transaction that is never committed; it does what the watcher's duties do, and need not wait for retries.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from flowerapp.core.messages import Message, TaskRef
from flowerapp.engine import dispatching, hooks, output_cache, propagation, recovery
from flowerapp.exceptions import FlowerError
from flowerapp.executors.enclosing import OnCommit
from flowerapp.executors.inline import InlineRunner
from flowerapp.models import Hook, Task
from flowerapp.querysets import TaskQuerySet, chores
from flowerapp.watcher.duties.admit import admit
from flowerapp.watcher.duties.adopt import adopt
from flowerapp.watcher.duties.children import StartChildren
from flowerapp.watcher.duties.settle import Settle
from flowerapp.watcher.duties.waits import end_due_waits, take_up_waits
from flowerapp.watcher.pages import PAGE

MOST_STARTS = 100
"""Starts of one task after a delay, in one run; a task that is started so often waits for what no delay brings."""


class EndlessTaskError(FlowerError):
    """A task is started again after each delay, and does not end."""

    code = "endless_task"


class Drain:
    """One run.

    ``skip_delay`` makes a task due that waits for a time; None leaves such tasks waiting. ``flow_ids`` returns the
    flows that are run; None means all.
    """

    def __init__(
        self,
        runner: InlineRunner,
        skip_delay: Callable[[Task], object] | None = None,
        flow_ids: Callable[[], Collection[str]] | None = None,
    ) -> None:
        self.runner = runner
        self.skip_delay = skip_delay
        self.flow_ids = flow_ids
        self._on_commit = OnCommit()
        parked = (propagation.complete_all_parked, output_cache.wake_waiting)
        self._duties = (
            *(end_due_waits, take_up_waits, admit, *parked),
            *(StartChildren(), _deliver_hooks, adopt, Settle()),
        )
        self._found: set[tuple[TaskRef, int]] = set()
        """Tasks that were found ready, with their attempts then; one that is found again cannot be claimed."""
        self._is_later = True
        """Whether time has passed that may have ended a wait; at the beginning that is not known."""
        self._delays: dict[TaskRef, int] = {}
        """Task → delays of it that were skipped."""

    def run(self) -> int:
        """Run until nothing can continue; the number of messages that were run.

        Raises EndlessTaskError for a task that is started over and over.
        """
        count = 0
        while True:
            if self.runner.step():
                count += 1
            elif not (self._find() or self._tidy() or self._skip_delay()):
                return count
            self._on_commit.run()

    def _tasks(self) -> TaskQuerySet:
        tasks: TaskQuerySet = Task.objects.all()
        return tasks if self.flow_ids is None else tasks.filter(task_flow_id__in=self.flow_ids())

    def _find(self) -> int:
        """Send the ready tasks that no message has brought; their number."""
        ready = self._tasks().startable().defer("output", "traceback", "item").order_by("task_priority", "pk")
        tasks = {(task.ref, task.attempt): task for task in ready[:PAGE]}
        new = [task for key, task in tasks.items() if key not in self._found]
        self._found |= tasks.keys()
        self.runner.send([Message.of(task.task_flow_id, task.call, None) for task in new])
        return len(new)

    def _reject(self) -> int:
        """Fail the tasks that this process refuses, as there is no other worker that may take them; their number."""
        refused = self._tasks().being_refused().values_list("task_flow_id", "task_exec_seq")[:PAGE]
        return sum(recovery.reject(TaskRef(*key), 0) for key in list(refused))

    def _tidy(self) -> int:
        """Do what the leader of the workers does every few seconds, where there may be anything to do; the number of
        rows that changed."""
        if not self._is_later and not chores.has_any():
            return 0
        self._is_later = False
        return self._reject() or sum(duty() for duty in self._duties)

    def _skip_delay(self) -> int:
        """Make the task due that is due first; 1 if there is one."""
        task = self._tasks().delayed().order_by("due_ts", "pk").first() if self.skip_delay else None
        if task is None or self.skip_delay is None:
            return 0
        self._count(task)
        self.skip_delay(task)
        self._is_later = True
        dispatching.send_unsent(task.task_flow_id)
        return 1

    def _count(self, task: Task) -> None:
        self._delays[task.ref] = self._delays.get(task.ref, 0) + 1
        if self._delays[task.ref] > MOST_STARTS:
            reason = f": {task.error}" if task.error else ""
            raise EndlessTaskError(
                f"{task.ref} ({task.program}) was started after {MOST_STARTS} delays and waits again{reason}; limit "
                "its retries, or let its wait end by something that the test does between two runs"
            )


def _deliver_hooks() -> int:
    """Call the listeners of recorded events that no process delivers; the number of flows."""
    waiting = Hook.objects.filter(worker="").order_by("task_flow_id")
    flow_ids = list(waiting.values_list("task_flow_id", flat=True).distinct())
    for flow_id in flow_ids:
        hooks.deliver(flow_id)
    return len(flow_ids)
