"""What has to be true of an archive as a whole: its tasks form a graph that the engine can run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import islice

from flowerapp import conf
from flowerapp.core import graph
from flowerapp.core.archive_parts import Archive, FlowPart, TaskPart
from flowerapp.core.gates import GATE, GATES
from flowerapp.exceptions import InvalidArchiveError
from flowerapp.states import OPEN, SATISFIED, IgnoredBy, Status

MOST_SHOWN = 10
"""Problems that are reported at once."""


def check(archive: Archive) -> None:
    """Raise InvalidArchiveError with the first problems of a document whose parts are right by themselves."""
    for problems in (_numbers(archive), _tasks(archive), _flow(archive), _order(archive)):
        if shown := list(islice(problems, MOST_SHOWN)):
            raise InvalidArchiveError("the archive cannot be used: " + "; ".join(shown))


def _numbers(archive: Archive) -> Iterator[str]:
    settings = conf.get()
    if not archive.tasks:
        yield "the flow has no tasks"
    seqs = Counter(task.task_exec_seq for task in archive.tasks)
    yield from (f"there are {number} tasks {seq}; each has a number of its own" for seq, number in _twice(seqs))
    steps = sum(task.parent_seq is None for task in archive.tasks)
    if steps > settings.MAX_TASKS:
        yield f"it has {steps:,} steps; the limit is {settings.MAX_TASKS:,} (FLOWER['MAX_TASKS'])"
    for seq, number in Counter(task.parent_seq for task in archive.tasks if task.parent_seq is not None).items():
        if number > settings.MAX_CHILDREN:
            limit = f"the limit is {settings.MAX_CHILDREN:,} (FLOWER['MAX_CHILDREN'])"
            yield f"task {seq} has {number:,} children; {limit}"


def _twice(numbers: Counter[int]) -> Iterator[tuple[int, int]]:
    return ((seq, number) for seq, number in numbers.items() if number > 1)


# Tasks


def _tasks(archive: Archive) -> Iterator[str]:
    tasks = {task.task_exec_seq: task for task in archive.tasks}
    families: Counter[int] = Counter(task.parent_seq for task in archive.tasks if task.parent_seq is not None)
    for task in archive.tasks:
        for problem in (*_status(task), *_place(task, tasks), *_family(task, tasks, families)):
            yield f"task {task.task_exec_seq} {problem}"
    if archive.flow.source:
        yield from _of_text(archive)


def _status(task: TaskPart) -> Iterator[str]:
    word, ended = task.status.label, task.status in SATISFIED
    if ended and task.finished_ts is None:
        yield f"is {word} and has no finished_ts"
    if not ended and task.finished_ts is not None:
        yield f"is {word} and has a finished_ts"
    if task.ignored_by and task.status is not Status.IGNORE:
        yield f"is {word} and has ignored_by"
    if not ended and not task.program and not task.remote:
        yield "has no program and is no remote task; archive the flow after the row is adopted"
    if task.program and task.remote and not task.child_program:
        yield "has a program and is a remote task; it can only be one of them"
    if not ended and "output" in task.model_fields_set:
        yield f"is {word} and has an output"


def _place(task: TaskPart, tasks: Mapping[int, TaskPart]) -> Iterator[str]:
    missing = [seq for seq in task.depends_on if seq not in tasks]
    if missing:
        yield f"depends on {missing[0]}, which the flow does not have"
    if len(set(task.depends_on)) < len(task.depends_on):
        yield "depends on a task twice"
    if any(tasks[seq].parent_seq is not None for seq in task.depends_on if seq in tasks):
        yield "depends on a child of another task"
    ends = tasks.get(task.end_seq) if task.end_seq is not None else None
    if task.end_seq is not None and (task.program != GATE or ends is None or ends.program != GATE):
        yield f"has end_seq {task.end_seq}; a subflow begins and ends with a task of {GATE}"


def _family(task: TaskPart, tasks: Mapping[int, TaskPart], families: Counter[int]) -> Iterator[str]:
    number = families[task.task_exec_seq]
    if number > task.children:
        yield f"has {number} children and says {task.children}"
    if number and task.program in GATES:
        yield "is a gate and has children"
    if task.parent_seq is None:
        if task.child_index is not None:
            yield "has child_index and no parent_seq"
        return
    parent = tasks.get(task.parent_seq)
    if parent is None:
        yield f"has the parent {task.parent_seq}, which the flow does not have"
    elif parent.parent_seq is not None:
        yield f"is a child of task {task.parent_seq}, which is a child itself"
    elif task.status in OPEN and parent.status in SATISFIED:
        yield f"is {task.status.label}, and its parent is {parent.status.label}"
    if task.child_index is None:
        yield "is a child and has no child_index"
    if task.depends_on:
        yield "is a child and depends on other tasks"


def _of_text(archive: Archive) -> Iterator[str]:
    """In the flow of a text, the numbers of its steps are those of the nodes of its graph."""
    steps = [task.task_seq for task in archive.tasks if task.parent_seq is None]
    if len(set(steps)) < len(steps) or not all(0 <= seq <= len(steps) for seq in steps):
        yield "the numbers task_seq of the steps are not those of the steps of a text"


# The flow


def _flow(archive: Archive) -> Iterator[str]:
    flow, ended = archive.flow, archive.flow.status in SATISFIED
    word, still_open = flow.status.label, [task for task in archive.tasks if task.status in OPEN]
    if ended and still_open:
        first = still_open[0]
        yield f"the flow is {word}, and task {first.task_exec_seq} is {first.status.label}"
    if not ended and not still_open:
        yield f"the flow is {word}, and all its tasks have ended"
    if ended != (flow.finished_ts is not None):
        yield f"the flow is {word} and has {'no' if ended else 'a'} finished_ts"
    yield from _failure(flow, {task.task_exec_seq: task for task in archive.tasks})
    if any(task.ignored_by == IgnoredBy.CANCEL for task in archive.tasks) and flow.status is Status.FINISH:
        yield "the flow is Finish, and tasks of it were cancelled"


def _failure(flow: FlowPart, tasks: Mapping[int, TaskPart]) -> Iterator[str]:
    if flow.failed_seq is None or flow.status in SATISFIED:
        return
    failed = tasks.get(flow.failed_seq)
    if failed is None or failed.status is not Status.SUSPEND:
        yield f"failed_seq is {flow.failed_seq}, which is no failed task"


def _order(archive: Archive) -> Iterator[str]:
    edges = {task.task_exec_seq: list(task.depends_on) for task in archive.tasks}
    for task in archive.tasks:
        if task.parent_seq is not None:
            edges[task.parent_seq].append(task.task_exec_seq)
    try:
        graph.order(edges)
    except graph.CycleError as error:
        yield f"tasks depend on each other in a cycle: {' → '.join(map(str, error.cycle[:20]))}"
