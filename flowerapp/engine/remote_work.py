"""Remote tasks that other systems claim: what they are to do, and the lease that they hold meanwhile.

A claim is an attempt, as that of a program: late outcomes are refused, failures are retried, and where the lease runs
out, ``remote_leases`` lets another worker have the task.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from flowerapp import conf
from flowerapp.core import identity, logs, masking, values
from flowerapp.core.messages import TaskRef
from flowerapp.core.names import name_problems
from flowerapp.engine import remote
from flowerapp.engine.context import input_of
from flowerapp.engine.masks import secrets_of
from flowerapp.engine.remote_outcomes import record_events
from flowerapp.exceptions import FlowerError, InvalidValueError, StateConflictError
from flowerapp.models import Flow, Task
from flowerapp.querysets.db import atomic
from flowerapp.querysets.remote import lease_of
from flowerapp.selectors.tasks import get_task
from flowerapp.states import Status

logger = logs.logger(__name__)

MOST_CLAIMED = 100
"""Most tasks that one call claims."""
MOST_NAMES = 100
"""Most names by which one call chooses tasks."""
LONGEST_LEASE = 86_400.0
"""Seconds of the longest lease that a worker may ask for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteWork:
    """A remote task, as the system needs it that does its work."""

    ref: TaskRef
    task_id: str
    """Name of the workflow."""
    name: str
    """What people call the step: its alias, or what does its work."""
    base: str
    """What does its work."""
    task_seq: int
    attempt: int
    """The number of this attempt; the outcome names it."""
    parameters: dict[str, Any] = field(repr=False)
    """As they are stored, with their secrets; see ``for_stream``."""
    input: Any = field(repr=False)
    """The same of its input."""
    idempotency_key: str
    """``flow:seq:run``: the same for all attempts until the task is rerun."""
    queue: str
    priority: int
    lease_seconds: float
    """How long the worker has it, from the claim or its last heartbeat."""

    def for_stream(self) -> RemoteWork:
        """The same with ``••••`` in place of what is secret, for what is kept outside the database."""
        secrets = secrets_of(*self.ref)
        parameters, value = masking.masked(self.parameters, secrets), masking.masked(self.input, secrets)
        return replace(self, parameters=parameters, input=value)


def claim_remote(
    worker: str, *, names: Collection[str] = (), limit: int = 1, seconds: float | None = None
) -> list[RemoteWork]:
    """Claim up to ``limit`` (at most 100) remote tasks that are ready: the most urgent first, then the oldest.

    ``names`` are aliases, or names of what does the work, or name spaces such as ``wait:`` and ``pdf:*``; none stands
    for all. The lease is the time limit of the step, else ``FLOWER["REMOTE_SECONDS"]``; ``seconds`` shortens the one
    and replaces the other. Raises InvalidValueError.
    """
    own, lease = remote_worker(worker), checked_lease(seconds)
    if type(limit) is not int or not 1 <= limit <= MOST_CLAIMED:
        raise InvalidValueError(f"limit must be a whole number from 1 to {MOST_CLAIMED}")
    wanted = Task.objects.named(checked_names(names))
    return _claimed(wanted, limit, own, lease)


def take_remote(
    ref: TaskRef, worker: str, *, attempt: int | None = None, seconds: float | None = None
) -> RemoteWork | None:
    """Claim one remote task; None if it is not ready, or already claimed.

    ``attempt`` is the number that the attempt is to have, as ``offered_remote`` announced it; None takes any. Raises
    InvalidValueError.
    """
    own, lease = remote_worker(worker), checked_lease(seconds)
    wanted = Task.objects.at(ref) if attempt is None else Task.objects.at(ref).filter(attempt=attempt - 1)
    return next(iter(_claimed(wanted, 1, own, lease)), None)


def offered_remote(ref: TaskRef) -> RemoteWork | None:
    """A remote task as it can be claimed now, with the number that its next attempt gets; None if it is not ready."""
    task = Task.objects.at(ref).offered().defer("output", "traceback").first()
    if task is None:
        return None
    return _work(task, lease_of(task.time_limit, conf.get().REMOTE_SECONDS), attempt=task.attempt + 1)


def beat_remote(
    ref: TaskRef, attempt: int, *, worker: str | None = None, seconds: float | None = None, progress: Any = None
) -> None:
    """Prolong the lease of an attempt, which then runs out ``seconds`` from now, or as after a claim.

    ``progress`` is an object such as ``{"done": 3, "total": 10}``; ``worker``, if given, must be the one that claimed
    it. Raises UnknownTaskError, InvalidValueError, and StateConflictError where that attempt no longer runs: the task
    was cancelled, or another worker has it.
    """
    own, at_most = remote_worker(worker) if worker is not None else "", checked_lease(seconds)
    task = get_task(*ref)
    lease = lease_of(task.time_limit, conf.get().REMOTE_SECONDS, at_most)
    shown = {} if progress is None else {"progress": _checked_progress(ref, progress)}
    if not Task.objects.prolong(ref, attempt, lease, worker=own, **shown):
        now = get_task(*ref)
        raise StateConflictError(_not_running(now, attempt, own), status=now.status.label, attempt=now.attempt)


def _checked_progress(ref: TaskRef, progress: Any) -> Any:
    if not isinstance(progress, dict):
        raise InvalidValueError('progress must be an object such as {"done": 3, "total": 10}')
    return masking.masked(values.check(progress, "progress"), secrets_of(*ref))


def _not_running(task: Task, attempt: int, worker: str) -> str:
    if task.is_remote and task.status is Status.RUNNING and task.attempt == attempt and worker:
        return f"attempt {attempt} of {task.mention} of flow {task.task_flow_id} is that of another worker"
    return remote.refusal(task, attempt)


def remote_worker(name: str) -> str:
    """The column ``worker`` of what a remote worker of this name runs. Raises InvalidValueError."""
    problems = list(name_problems(name, "worker"))
    if len(name) > identity.LONGEST_REMOTE:
        problems = [f"worker has {len(name)} characters; {identity.LONGEST_REMOTE} is the most"]
    if problems:
        raise InvalidValueError("; ".join(problems))
    return identity.REMOTE + name


def checked_lease(seconds: float | None) -> float | None:
    """Seconds of a lease that a worker asks for; None for what the step says. Raises InvalidValueError."""
    if seconds is None:
        return None
    if type(seconds) not in (int, float) or not 0 < seconds <= LONGEST_LEASE:
        raise InvalidValueError(f"seconds must be a number above 0, and at most {LONGEST_LEASE:,.0f}")
    return float(seconds)


def checked_names(names: Collection[str]) -> list[str]:
    """Names by which a worker chooses tasks. Raises InvalidValueError."""
    wanted = sorted(set(names))
    if len(wanted) > MOST_NAMES:
        raise InvalidValueError(f"{len(wanted)} names are given; {MOST_NAMES} is the most")
    if problems := [problem for name in wanted for problem in name_problems(name, "a name")]:
        raise InvalidValueError(problems[0])
    return wanted


def _claimed(wanted: Any, limit: int, worker: str, at_most: float | None) -> list[RemoteWork]:
    if not wanted.offered().exists():  # a look takes no lock and opens no transaction
        return []
    lease = conf.get().REMOTE_SECONDS
    with atomic():
        tasks = wanted.claim_remote(limit, worker, lease, at_most=at_most)
        begun = {flow_id for flow_id in sorted({task.task_flow_id for task in tasks}) if Flow.objects.begin(flow_id)}
        for task in tasks:
            first = task.task_flow_id in begun
            begun.discard(task.task_flow_id)
            record_events(task, [*(["start_flow"] if first else []), "task_start"])
    works = [_readable(task, lease_of(task.time_limit, lease, at_most)) for task in tasks]
    return [work for work in works if work is not None]


def _readable(task: Task, lease: float) -> RemoteWork | None:
    """The work of a claimed task; None where its input cannot be made, which fails it."""
    try:
        return _work(task, lease, attempt=task.attempt)
    except FlowerError as error:
        logger.warning("the input of %s cannot be made: %s", task.ref, error)
        with suppress(StateConflictError):  # its flow was cancelled meanwhile
            remote.fail_task(*task.ref, str(error), actor="engine", attempt=task.attempt, retry=False)
        return None


def _work(task: Task, lease: float, *, attempt: int) -> RemoteWork:
    return RemoteWork(
        ref=task.ref,
        task_id=task.task_id,
        name=task.alias or task.remote,
        base=task.remote,
        task_seq=task.task_seq,
        attempt=attempt,
        parameters=task.parameters,
        input=input_of(task.ref),
        idempotency_key=f"{task.task_flow_id}:{task.task_exec_seq}:{task.run}",
        queue=task.queue,
        priority=task.task_priority,
        lease_seconds=lease,
    )
