"""The use-cases: register a flow, run its tasks, and the operators' verbs.

Only this module opens transactions. Messages go out on commit; a program never runs inside a transaction of ours.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
import traceback as tracebacks
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from django.db import IntegrityError, InterfaceError, OperationalError, connection, transaction

from flowerapp import conf, dispatch, graph, registry, values
from flowerapp.context import Context, input_of
from flowerapp.dispatch import Message
from flowerapp.exceptions import (
    FlowerError,
    IdempotencyConflictError,
    InvalidPlanError,
    Problem,
    RetryTask,
    StateConflictError,
    TimeLimitError,
    UnknownFlowError,
    UnknownTaskError,
    UnknownWorkflowError,
)
from flowerapp.models import Event, Flow, Task, TaskDefinition
from flowerapp.models.flows import NO_DEPENDENCY
from flowerapp.plan import Node, Plan, node_problems, priority_problems
from flowerapp.querysets import Claim, Finished, batched
from flowerapp.states import OPEN, SATISFIED, Status, clamp_priority

logger = logging.getLogger(__name__)

Result = TypeVar("Result")


# Register


def plan_of(task_id: str) -> Plan:
    """The stored workflow as a plan; raises UnknownWorkflowError."""
    plan = TaskDefinition.objects.plan(task_id)
    if plan is None:
        raise UnknownWorkflowError(f"workflow {task_id!r} has no rows in ms_task_definition")
    return plan


def register(
    task_id: str,
    *,
    input: Any = None,  # noqa: A002 - the field's word for it
    priority: int = 0,
    parameters: Mapping[int, Mapping[str, Any]] | None = None,
    entrance: int | None = None,
    idempotency_key: str | None = None,
    actor: str = "",
) -> Flow:
    """Write a flow and its tasks from a workflow, send the ready ones on commit, and return the flow.

    ``input`` is JSON (None is ``{}``), ``priority`` is added to each task's, ``parameters`` are over those of the
    definition by ``task_seq``, ``entrance`` is the ``task_seq`` to start at: only it and what follows it is run.
    The same ``idempotency_key`` of the same actor returns the same flow.
    Raises UnknownWorkflowError, InvalidPlanError, InvalidValueError, IdempotencyConflictError.
    """
    plan = _with_overrides(plan_of(task_id), parameters or {}).check()
    problems = [Problem(message, field="priority") for message in priority_problems(priority)]
    if entrance is not None and entrance not in plan.edges:
        problems.append(Problem(f"entrance {entrance} is not a step of {task_id!r}", field="entrance"))
    if problems:
        raise InvalidPlanError(problems, task_id)
    flow = Flow(
        task_flow_id=str(uuid7()),
        task_id=task_id,
        task_priority=priority,
        input=values.check({} if input is None else input, "input"),
        registered_by=actor,
        idempotency_key=idempotency_key,
    )
    if idempotency_key is not None:
        request = [task_id, flow.input, priority, {str(k): dict(v) for k, v in (parameters or {}).items()}, entrance]
        flow.request_hash = hashlib.sha256(values.dumps(request).encode()).hexdigest()
        if earlier := _earlier(flow):
            return earlier
    tasks = _tasks_of(flow, plan, entrance)
    try:
        with transaction.atomic():
            _insert(flow, tasks)
    except IntegrityError:
        if earlier := _earlier(flow):
            return earlier
        raise
    return flow


def _with_overrides(plan: Plan, parameters: Mapping[int, Mapping[str, Any]]) -> Plan:
    unknown = [seq for seq in parameters if seq not in plan.edges]
    if unknown:
        raise InvalidPlanError([Problem(f"no such step in {plan.name!r}", seq, "parameters") for seq in unknown])
    nodes = (replace(node, parameters={**node.parameters, **parameters.get(node.seq, {})}) for node in plan.nodes)
    return Plan(plan.name, tuple(nodes))


def _earlier(flow: Flow) -> Flow | None:
    """The flow that was registered with the same idempotency key."""
    found = Flow.objects.filter(
        registered_by=flow.registered_by, task_id=flow.task_id, idempotency_key=flow.idempotency_key
    ).first()
    if found is not None and found.request_hash != flow.request_hash:
        raise IdempotencyConflictError(
            f"Idempotency-Key {flow.idempotency_key!r} was used for flow {found.pk} with a different request; use a new key"
        )
    return found


def _tasks_of(flow: Flow, plan: Plan, entrance: int | None) -> list[Task]:
    """Rows of a flow, numbered 1… so that each comes after all it depends on."""
    exec_seqs = {task_seq: number for number, task_seq in enumerate(graph.order(plan.edges), start=1)}
    nodes = {exec_seqs[node.seq]: node for node in plan.nodes}
    edges = {seq: sorted(exec_seqs[each] for each in nodes[seq].depends_on) for seq in sorted(nodes)}
    tasks = [_task_of(flow, seq, node, edges[seq]) for seq, node in sorted(nodes.items())]
    if entrance is not None:
        _pass_over(tasks, edges, exec_seqs[entrance], flow.input)
    flow.open_sinks = _relink(tasks)
    return tasks


def _task_of(flow: Flow, seq: int, node: Node, depends_on: list[int]) -> Task:
    return Task(
        task_flow=flow,
        task_exec_seq=seq,
        depends_task_exec_seq=max(depends_on, default=NO_DEPENDENCY),
        depends_on=depends_on,
        task_id=flow.task_id,
        task_seq=node.seq,
        **_options_of(node, flow.task_priority),
    )


def _options_of(node: Node, flow_priority: int) -> dict[str, Any]:
    """Columns of a task that come from its definition."""
    return {
        "program": node.program,
        "parameters": dict(node.parameters),
        "task_priority": clamp_priority(node.priority + flow_priority),
        "queue": node.queue or registry.get(node.program).queue,
        "max_retries": node.max_retries,
        "retry_delay": node.retry_delay,
        "time_limit": node.time_limit,
    }


def _pass_over(tasks: list[Task], edges: graph.Edges, entrance: int, flow_input: Any) -> None:
    """Ignore what the entrance and its followers don't run; what lies before it hands the flow's input on."""
    run = graph.reach([entrance], graph.followers(edges))
    before = graph.reach([entrance], edges)
    now = _database_now()
    for task in tasks:
        if task.task_exec_seq not in run:
            task.exec_status = Status.IGNORE
            task.finished_ts = now
            task.output = flow_input if task.task_exec_seq in before else {}


def _relink(tasks: Sequence[Task]) -> int:
    """Set what follows from the state of all tasks of a flow: pending, dependents and canvas of the open ones.

    Returns the number of open sinks.
    """
    by_seq = {task.task_exec_seq: task for task in tasks}
    edges = {seq: [each for each in task.depends_on if each in by_seq] for seq, task in by_seq.items()}
    is_open = {seq for seq, task in by_seq.items() if task.exec_status in OPEN}
    links = graph.links(edges, is_open)
    inner = {seq: [each for each in edges[seq] if each in is_open] for seq in is_open}
    runs = graph.runs(inner, conf.get().CHAIN_LENGTH)
    for seq in is_open:
        task, run = by_seq[seq], runs.get(seq, graph.Run())
        task.pending = links.pending[seq]
        task.dependents = links.dependents[seq]
        join = by_seq[run.join].link if run.join is not None else None
        task.canvas = dispatch.canvas_of([by_seq[each].link for each in run.then], join)
    return links.sinks


def _insert(flow: Flow, tasks: list[Task]) -> None:
    now = _database_now()
    sent = now if dispatch.connected() else None
    flow.registered_ts = now
    for task in tasks:
        task.registered_ts = now
        task.sent_ts = sent if task.pending == 0 else None
    flow.save(force_insert=True)
    Task.objects.bulk_create(tasks, batch_size=1000)
    ready = [task for task in tasks if task.status is Status.WAIT and task.pending == 0]
    _send_on_commit([Message.of(flow.pk, task.link, task.canvas) for task in ready])


def _database_now() -> Any:
    """The database's clock, which is the only one that counts."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT STATEMENT_TIMESTAMP()")
            return cursor.fetchone()[0]
    from django.utils import timezone

    return timezone.now()


def _send_on_commit(messages: Sequence[Message]) -> None:
    if messages:
        transaction.on_commit(lambda: send(messages), robust=True)


def send(messages: Sequence[Message]) -> None:
    """Send now; what the broker does not take is marked, and the watcher sends it when the broker is back."""
    try:
        dispatch.send(messages)
    except Exception:  # the rows are committed and the watcher will send them
        logger.warning("could not send %d tasks; the watcher will", len(messages), exc_info=True)
        by_flow: dict[str, list[int]] = {}
        for message in messages:
            by_flow.setdefault(message.flow_id, []).append(message.head.seq)
        for flow_id, seqs in by_flow.items():
            for some in batched(seqs):
                Task.objects.filter(task_flow_id=flow_id, task_exec_seq__in=some).ready().update(sent_ts=None)


def uuid7() -> uuid.UUID:
    """A UUID that sorts by time of making (RFC 9562, version 7)."""
    milliseconds = time.time_ns() // 1_000_000
    number = (milliseconds & (2**48 - 1)) << 80 | int.from_bytes(os.urandom(10), "big")
    number = number & ~(0xF << 76) | 0x7 << 76
    return uuid.UUID(int=number & ~(0x3 << 62) | 0x2 << 62)


# Run


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a message's task."""

    finished: bool
    """The task is satisfied, so what the message carries may go on."""
    released: tuple[Message, ...] = ()
    """Tasks that became ready and are to be sent."""


REFUSED = Outcome(finished=False)


def run(flow_id: str, seq: int, worker: str) -> Outcome:
    """Look at a task: claim it for this process of ``worker``, run its program and record the outcome.

    Where there is nothing to claim, it does what ``look_again`` says.
    """
    claim = _steady(lambda: Task.objects.claim(flow_id, seq, worker, os.getpid()))
    if claim is None:
        return look_again(flow_id, seq)
    try:
        output = _call(claim)
    except Exception as error:  # noqa: BLE001 - a program may raise anything, and it is recorded
        return failed(claim, error)
    return finished(claim, output)


def _call(claim: Claim) -> str:
    """Run the program; the JSON text of what it returned."""
    output = registry.get(claim.program).call(claim.parameters, Context(claim))
    return values.dumps({} if output is None else output, f"output of program {claim.program}")


def _steady(statement: Callable[[], Result]) -> Result:
    """Try a statement once more when the kept connection turns out to be broken."""
    try:
        return statement()
    except (OperationalError, InterfaceError):
        if connection.in_atomic_block:
            raise
        connection.close()
        return statement()


def finished(claim: Claim, output: str) -> Outcome:
    """Record a success; a late one is refused."""
    done = _steady(lambda: Task.objects.finish(claim.flow_id, claim.seq, claim.attempt, output))
    if done is None:
        logger.warning("late outcome of flow %s task %s attempt %s refused", claim.flow_id, claim.seq, claim.attempt)
        return REFUSED
    return _after(claim.flow_id, done)


def _after(flow_id: str, done: Finished) -> Outcome:
    if done.may_be_stuck:
        settle(flow_id)
    return Outcome(finished=True, released=() if done.held else done.released)


def look_again(flow_id: str, seq: int) -> Outcome:
    """For a message that claimed nothing: if its task is satisfied, send what waits for it and was not sent lately.

    Not sent lately, because two copies of each message of a chain would otherwise become four, eight, sixteen.
    """
    waiting = Task.objects.released_by(flow_id, seq) & Task.objects.silent(conf.get().RESEND_AFTER)
    with transaction.atomic():
        messages = waiting.messages(alone=True)
        if messages:
            Task.objects.filter(task_flow_id=flow_id, task_exec_seq__in=[m.head.seq for m in messages]).mark_sent()
    return Outcome(finished=False, released=tuple(messages))


def failed(claim: Claim, error: BaseException) -> Outcome:
    """Record that an attempt ended by an error: a retry if the program's policy has one left, else a failure."""
    text = "".join(tracebacks.format_exception(error)).replace("\0", "\N{REPLACEMENT CHARACTER}")
    delay = _retry_delay(claim, error)
    message = _message_of(error)
    with transaction.atomic():
        if delay is None:
            moved = Task.objects.fail(claim.flow_id, claim.seq, claim.attempt, message, text)
            Flow.objects.point_to_failure(claim.flow_id, claim.seq) if moved else None
        else:
            moved = Task.objects.retry(claim.flow_id, claim.seq, claim.attempt, delay, message, text)
        if moved:
            verb, details = ("fail", {}) if delay is None else ("retry", {"delay": round(delay, 3)})
            Event.objects.record(
                verb, claim.flow_id, claim.seq, attempt=claim.attempt, actor="program", reason=message, **details
            )
    if moved and delay is None:
        settle(claim.flow_id)
    elif not moved:
        logger.warning("late error of flow %s task %s attempt %s refused", claim.flow_id, claim.seq, claim.attempt)
    return REFUSED


def _message_of(error: BaseException) -> str:
    text = str(error).replace("\0", "\N{REPLACEMENT CHARACTER}").strip()
    name = type(error).__name__
    return text if text and isinstance(error, FlowerError) else f"{name}: {text}" if text else name


def _retry_delay(claim: Claim, error: BaseException) -> float | None:
    """Seconds until the next start, or None if there is to be none."""
    try:
        program = registry.get(claim.program)
    except FlowerError:
        return None
    limit = program.max_retries if claim.max_retries is None else claim.max_retries
    given = claim.max_retries is not None
    timed_out = isinstance(error, TimeLimitError) and (given or bool(program.autoretry_for))
    if not (timed_out or program.retries_on(error, limit_given=given)):
        return None
    if limit is not None and claim.retries >= limit:
        return None
    if isinstance(error, RetryTask) and error.delay is not None:
        return max(0.0, error.delay)
    return claim.retry_delay if claim.retry_delay is not None else program.delay(claim.retries)


def lost(flow_id: str, seq: int, reason: str, *, worker: str, pid: int | None = None) -> Outcome:
    """The process that ran a task is gone: send the task again, or suspend it when that has happened too often.

    ``worker`` and ``pid`` name the process; an attempt of another one is left alone. If the task had finished, what
    it released is sent.
    """
    with transaction.atomic():
        task = Task.objects.select_for_update().filter(worker=worker).one(flow_id, seq).first()
        if task is None or (pid is not None and task.pid != pid):
            return REFUSED
        if task.status is not Status.RUNNING:
            return Outcome(finished=False, released=tuple(Task.objects.released_by(flow_id, seq).messages(alone=True)))
        given_up = task.rescues >= conf.get().MAX_RESCUES
        if given_up:
            reason = f"{reason}; its worker was lost {task.rescues + 1} times, so it is not started again"
            Task.objects.fail(flow_id, seq, task.attempt, reason, "")
            Flow.objects.point_to_failure(flow_id, seq)
        else:
            Task.objects.rescue(flow_id, seq, task.attempt)
        verb = "fail" if given_up else "rescue"
        Event.objects.record(verb, flow_id, seq, attempt=task.attempt, worker=worker, actor="watcher", reason=reason)
    if given_up:
        settle(flow_id)
    messages = Task.objects.filter(task_exec_seq=seq, task_flow_id=flow_id).startable().messages(alone=True)
    return Outcome(finished=False, released=tuple(messages))


def timed_out(flow_id: str, seq: int, seconds: float, *, worker: str, pid: int | None = None) -> Outcome:
    """The process that ran a task was killed at its time limit: retry or suspend it."""
    claim = _running(flow_id, seq, worker, pid)
    return failed(claim, TimeLimitError(f"timed out after {seconds:g} s")) if claim else REFUSED


def refused(flow_id: str, seq: int, worker: str, reason: str) -> Outcome:
    """A worker cannot run this task: suspend it with the reason."""
    claim = Task.objects.claim(flow_id, seq, worker, os.getpid())
    return failed(claim, FlowerError(reason)) if claim else REFUSED


def _running(flow_id: str, seq: int, worker: str, pid: int | None) -> Claim | None:
    """The attempt that this process runs."""
    task = Task.objects.one(flow_id, seq).filter(exec_status=Status.RUNNING, worker=worker).first()
    if task is None or (pid is not None and task.pid != pid):
        return None
    names = ("task_id", "task_seq", "program", "parameters", "attempt", "retries", "run")
    options = ("max_retries", "retry_delay", "time_limit")
    return Claim(flow_id=flow_id, seq=seq, **{name: getattr(task, name) for name in names + options})


def settle(flow_id: str) -> int:
    """Bring a flow's state in line with its tasks; 1 if it changed."""
    with transaction.atomic():
        return Flow.objects.settle(flow_id)


# Operators


def delete(flow_ids: Sequence[str]) -> int:
    """Delete ended flows with their tasks and history; the number deleted."""
    with transaction.atomic():
        ended = Flow.objects.filter(pk__in=flow_ids, exec_status__in=SATISFIED)
        return int(ended.delete()[1].get("flowerapp.Flow", 0))


def get_flow(flow_id: str) -> Flow:
    """The flow; raises UnknownFlowError."""
    found = Flow.objects.filter(pk=flow_id).first() if "\0" not in flow_id else None
    if found is None:
        raise UnknownFlowError(f"there is no flow {flow_id!r}")
    return found


def get_task(flow_id: str, seq: int) -> Task:
    """The task; raises UnknownFlowError or UnknownTaskError."""
    flow = get_flow(flow_id)
    found = flow.tasks.filter(task_exec_seq=seq).first() if abs(seq) < 2**31 else None
    if found is None:
        raise UnknownTaskError(f"flow {flow_id} has no task {seq}")
    return found


def suspend(flow_id: str, *, actor: str = "", why: str = "") -> Flow:
    """Hold a flow: running tasks go on, no other is started. Raises StateConflictError if it is held or has ended."""
    flow = get_flow(flow_id)
    with transaction.atomic():
        if not Flow.objects.hold(flow_id):
            flow.refresh_from_db()
            raise StateConflictError(f"flow {flow_id} is already {'held' if flow.held else flow.status.label}")
        Event.objects.record("suspend", flow_id, actor=actor, reason=why)
    return get_flow(flow_id)


def resume(flow_id: str, *, actor: str = "", why: str = "") -> Flow:
    """Let a held flow go on, and send what is ready. Raises StateConflictError if it is not held."""
    flow = get_flow(flow_id)
    with transaction.atomic():
        if not Flow.objects.release(flow_id):
            raise StateConflictError(_not_held(flow))
        Flow.objects.settle(flow_id)
        Event.objects.record("resume", flow_id, actor=actor, reason=why)
        _send_ready(flow_id)
    return get_flow(flow_id)


def _not_held(flow: Flow) -> str:
    if flow.status is Status.SUSPEND and flow.failed_seq is not None:
        return f"flow {flow.pk} is not held; its task {flow.failed_seq} failed: rerun or skip it"
    return f"flow {flow.pk} is not held; it is {flow.status.label}"


def _send_ready(flow_id: str) -> None:
    ready = Task.objects.filter(task_flow_id=flow_id).startable()
    messages = ready.messages(alone=True)
    if dispatch.connected():
        for some in batched([message.head.seq for message in messages]):
            Task.objects.filter(task_flow_id=flow_id, task_exec_seq__in=some).mark_sent()
    _send_on_commit(messages)


def cancel(flow_id: str, *, actor: str = "", why: str = "") -> Flow:
    """End a flow: its open tasks become Ignore, running ones are told to stop. StateConflictError if it has ended."""
    get_flow(flow_id)
    with transaction.atomic():
        flow, _ = _lock(flow_id)
        if flow.ended:
            raise StateConflictError(f"flow {flow_id} has ended: it is {flow.status.label}")
        Task.objects.cancel(flow_id)
        Flow.objects.cancel(flow_id)
        Event.objects.record("cancel", flow_id, actor=actor, reason=why)
    return get_flow(flow_id)


def skip(flow_id: str, seq: int, *, actor: str = "", why: str = "") -> Flow:
    """Pass a task over: its input becomes its output and its followers go on.

    Raises UnknownTaskError, or StateConflictError unless the task is Wait or Suspend.
    """
    get_task(flow_id, seq)
    with transaction.atomic():
        flow, tasks = _lock(flow_id)
        task = _by_seq(tasks)[seq]
        _must_be_open(flow)
        if not Task.objects.skip(flow_id, seq, input_of(flow_id, seq)):
            raise StateConflictError(f"task {seq} of flow {flow_id} is {task.status.label}; skip takes Wait or Suspend")
        task.exec_status = Status.IGNORE
        Event.objects.record("skip", flow_id, seq, attempt=task.attempt, actor=actor, reason=why)
        _store_links(flow, tasks)
    return get_flow(flow_id)


def change(
    flow_id: str,
    seq: int,
    *,
    parameters: Mapping[str, Any] | None = None,
    priority: int | None = None,
    queue: str | None = None,
    actor: str = "",
    why: str = "",
) -> Task:
    """Change a task that is not running: ``parameters`` are laid over those it has.

    Raises UnknownTaskError, InvalidPlanError, or StateConflictError unless the task is Wait or Suspend.
    """
    get_task(flow_id, seq)
    with transaction.atomic():
        flow, tasks = _lock(flow_id)
        _must_be_open(flow)
        _change(flow, tasks, seq, parameters=parameters, priority=priority, queue=queue, actor=actor, why=why)
        _store_links(flow, tasks)
    return get_task(flow_id, seq)


def _change(
    flow: Flow,
    tasks: Sequence[Task],
    seq: int,
    *,
    parameters: Mapping[str, Any] | None = None,
    priority: int | None = None,
    queue: str | None = None,
    actor: str,
    why: str,
) -> None:
    task = _by_seq(tasks).get(seq)
    if task is None:
        raise UnknownTaskError(f"flow {flow.pk} has no task {seq}")
    if parameters is not None:
        task.parameters = {**task.parameters, **parameters}
    if priority is not None:
        task.task_priority = priority
    if queue is not None:
        task.queue = queue
    node = Node(
        seq=seq, program=task.program, parameters=task.parameters, priority=task.task_priority, queue=task.queue
    )
    if problems := list(node_problems(node)):
        raise InvalidPlanError(problems, flow.task_id)
    columns = {"parameters": task.parameters, "task_priority": task.task_priority, "queue": task.queue}
    if priority is not None or queue is not None:
        columns["sent_ts"] = None
    if not Task.objects.change(flow.pk, seq, **columns):
        raise StateConflictError(f"task {seq} of flow {flow.pk} is {task.status.label}; change takes Wait or Suspend")
    details = {"parameters": values.masked(dict(parameters or {})), "priority": priority, "queue": queue}
    told = {name: value for name, value in details.items() if value not in (None, {})}
    Event.objects.record("change", flow.pk, seq, attempt=task.attempt, actor=actor, reason=why, **told)


def rerun(
    flow_id: str,
    *,
    from_seq: int | None = None,
    all_tasks: bool = False,
    parameters: Mapping[int, Mapping[str, Any]] | None = None,
    refresh: bool = False,
    actor: str = "",
    why: str = "",
) -> Flow:
    """Put tasks back to Wait and send the ready ones: the failed ones, ``from_seq`` and all after it, or all.

    ``parameters`` are changed first, by ``task_exec_seq``; ``refresh`` takes the definition's present program,
    parameters and options for the tasks it resets. Raises UnknownFlowError, UnknownTaskError, InvalidPlanError, or
    StateConflictError if nothing failed, or a task in the affected set is Running (``details["running"]`` lists them).
    """
    get_flow(flow_id)
    with transaction.atomic():
        flow, tasks = _lock(flow_id)
        affected = _affected(flow, tasks, from_seq, all_tasks=all_tasks)
        reset = [task for task in tasks if task.task_exec_seq in affected]
        moved = Task.objects.rerun(flow_id, [task.task_exec_seq for task in reset if task.status is not Status.WAIT])
        for task in reset:
            task.exec_status = Status.WAIT
        if refresh:
            _refresh(flow, reset)
        for seq, changed in (parameters or {}).items():
            _change(flow, tasks, seq, parameters=changed, actor=actor, why=why)
        for task in reset:
            if problems := list(node_problems(Node(seq=task.task_exec_seq, program=task.program, parameters=task.parameters))):
                raise InvalidPlanError(problems, flow.task_id)
        how = {"all": True} if all_tasks else {"from": from_seq} if from_seq is not None else {"failed": True}
        Event.objects.record(
            "rerun", flow_id, from_seq, actor=actor, reason=why, **how, refresh=refresh, tasks=moved, seqs=sorted(affected)[:100]
        )
        _store_links(flow, tasks)
    return get_flow(flow_id)


def _affected(flow: Flow, tasks: Sequence[Task], from_seq: int | None, *, all_tasks: bool) -> set[int]:
    by_seq = _by_seq(tasks)
    if from_seq is None and not all_tasks:
        failed_seqs = {seq for seq, task in by_seq.items() if task.failed}
        if not failed_seqs:
            raise StateConflictError(f"no task of flow {flow.pk} has failed; name one with from, or take all")
        return failed_seqs
    if from_seq is not None and from_seq not in by_seq:
        raise UnknownTaskError(f"flow {flow.pk} has no task {from_seq}")
    edges = {seq: task.depends_on for seq, task in by_seq.items()}
    affected = set(by_seq) if from_seq is None else graph.reach([from_seq], graph.followers(edges))
    running = sorted(seq for seq in affected if by_seq[seq].status is Status.RUNNING)
    if running:
        listed = ", ".join(map(str, running[:20]))
        raise StateConflictError(
            f"tasks {listed} of flow {flow.pk} are Running; wait for them, or cancel the flow", running=running
        )
    return affected


def _refresh(flow: Flow, tasks: Sequence[Task]) -> None:
    """Take the definition's present state for these tasks; steps that are gone from it stay as they are."""
    nodes = {node.seq: node for node in plan_of(flow.task_id).nodes}
    for task in tasks:
        if node := nodes.get(task.task_seq):
            if problems := list(node_problems(node)):
                raise InvalidPlanError(problems, flow.task_id)
            options = _options_of(node, flow.task_priority)
            for name, value in options.items():
                setattr(task, name, value)
            Task.objects.one(flow.pk, task.task_exec_seq).update(**options)


def _lock(flow_id: str) -> tuple[Flow, list[Task]]:
    """All rows of a flow, locked in the one order: tasks by seq, then the flow."""
    tasks = Task.objects.for_update(flow_id)
    flow = Flow.objects.for_update(flow_id)
    if flow is None:
        raise UnknownFlowError(f"there is no flow {flow_id!r}")
    return flow, tasks


def _by_seq(tasks: Sequence[Task]) -> dict[int, Task]:
    return {task.task_exec_seq: task for task in tasks}


def _must_be_open(flow: Flow) -> None:
    if flow.ended:
        raise StateConflictError(f"flow {flow.pk} has ended: it is {flow.status.label}; rerun it from a task or all")


def _store_links(flow: Flow, tasks: Sequence[Task]) -> None:
    """Write what an operator's verb made of the tasks' links and the flow, and send what it released."""
    before = {task.pk: (task.pending, task.dependents, task.canvas) for task in tasks}
    open_sinks = _relink(tasks)
    changed = [task for task in tasks if before[task.pk] != (task.pending, task.dependents, task.canvas)]
    Task.objects.bulk_update(changed, ["pending", "dependents", "canvas"], batch_size=500)
    failures = sorted((task for task in tasks if task.failed), key=lambda task: (str(task.suspended_ts), task.task_exec_seq))
    Flow.objects.relinked(flow.pk, open_sinks, failures[0].task_exec_seq if failures else None)
    Flow.objects.settle(flow.pk)
    _send_released(flow.pk)


def _send_released(flow_id: str) -> None:
    """Send the startable tasks of a flow that no message was sent for yet, and those that wait for their queue to change."""
    ready = Task.objects.filter(task_flow_id=flow_id).startable().filter(sent_ts__isnull=True)
    messages = ready.messages()
    if dispatch.connected():
        for some in batched([message.head.seq for message in messages]):
            Task.objects.filter(task_flow_id=flow_id, task_exec_seq__in=some).mark_sent()
    _send_on_commit(messages)


# Adoption


def adopt() -> int:
    """Take over rows that others put straight into ``kr_task_stat``; the number of rows adopted."""
    count = 0
    for flow_id in Task.objects.inserted().order_by("task_flow_id").values_list("task_flow_id", flat=True).distinct()[:100]:
        with transaction.atomic():
            count += _adopt(flow_id)
    return count


def _adopt(flow_id: str) -> int:
    tasks = Task.objects.for_update(flow_id)
    new = [task for task in tasks if not task.program]
    if not new:
        return 0
    flow, _ = Flow.objects.get_or_create(
        task_flow_id=flow_id,
        defaults={"task_id": new[0].task_id, "task_priority": 0, "registered_by": "", "exec_status": Status.WAIT},
    )
    Flow.objects.for_update(flow_id)
    known = set(_by_seq(tasks))
    plans = {task_id: _nodes(task_id) for task_id in {task.task_id for task in new}}
    adopted, changed = 0, False
    for task in new:
        changed |= _take_over(task, plans[task.task_id].get(task.task_seq), known)
        adopted += bool(task.program)
    if adopted:
        Event.objects.record("adopt", flow_id, actor="watcher", tasks=adopted)
    if changed:
        _store_links(flow, tasks)
    return adopted


def _nodes(task_id: str) -> dict[int, Node]:
    plan = TaskDefinition.objects.plan(task_id)
    return {node.seq: node for node in plan.nodes} if plan else {}


def _take_over(task: Task, node: Node | None, known: set[int]) -> bool:
    """Give an inserted row its program and dependencies; what cannot run yet is suspended, saying why.

    Whether anything about the row changed.
    """
    waits_for = [task.depends_task_exec_seq] if task.depends_task_exec_seq > 0 else []
    error = _adoption_error(task, node, set(waits_for) - known)
    moved: dict[str, Any] = {"depends_on": waits_for, "error": error}
    if task.registered_ts is None:
        moved["registered_ts"] = _database_now()
    if not error and node is not None:
        moved |= _options_of(node, 0) | {"parameters": task.parameters or {}, "task_priority": task.task_priority}
    if task.exec_status not in SATISFIED:
        moved["exec_status"] = Status.SUSPEND if error else Status.WAIT
        moved["suspended_ts"] = (task.suspended_ts or _database_now()) if error else None
    changed = any(getattr(task, name) != value for name, value in moved.items())
    if changed:
        for name, value in moved.items():
            setattr(task, name, value)
        task.save(update_fields=list(moved))
    return changed


def _adoption_error(task: Task, node: Node | None, missing: set[int]) -> str:
    if node is None:
        return f"ms_task_definition has no row {task.task_id!r}, {task.task_seq}; add it"
    if missing:
        return f"depends on task {task.depends_task_exec_seq}, which flow {task.task_flow_id} does not have; insert it"
    node = replace(node, parameters=task.parameters or {}, priority=task.task_priority)
    return "; ".join(map(str, node_problems(node)))
