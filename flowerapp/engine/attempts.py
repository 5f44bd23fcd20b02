"""One start of a task: claim → test its condition → look into the cache → run → record → propagate → deliver.

A program never runs inside a transaction of ours.
"""

from __future__ import annotations

import time
from functools import partial

from flowerapp import conf, registry, signals
from flowerapp.core import conditions, executor, identity, logs
from flowerapp.core.executor import Limits
from flowerapp.core.identity import Process
from flowerapp.core.messages import TaskRef
from flowerapp.engine import completion, hooks, log_writer, output_cache, propagation, recovery
from flowerapp.engine.completion import DB_RETRY_SECONDS, NO_CONTINUATION, Continuation
from flowerapp.engine.context import Context
from flowerapp.engine.propagation import REFUSED, Outcome
from flowerapp.engine.recorder import recording
from flowerapp.engine.results import Ignored, Interrupted, Refused, Result, Succeeded, WithChildren
from flowerapp.exceptions import TimeLimitError
from flowerapp.models import Task, Worker
from flowerapp.querysets import Claim
from flowerapp.querysets.db import atomic, retry_on_disconnect
from flowerapp.registry import Program
from flowerapp.runtimes.process import ProcessEnded, ProcessUnwanted, ProgramProcess

logger = logs.logger(__name__)

UNKNOWN_PROGRAM = "program {!r} is unknown to the worker that got it; deploy it there, or route it elsewhere"
"""Why a worker refuses a task."""
HEARTBEAT_PAUSE = 0.2
"""Seconds between looks whether the worker has sent a heartbeat again."""


def run(ref: TaskRef, worker: str, *, sent: bool = True, continuation: Continuation = NO_CONTINUATION) -> Outcome:
    """Look at a task: claim it for this process of ``worker``, run its program and record the result.

    ``sent`` is False where the process continues with the task without a message; ``continuation`` says what the
    process would continue with. Where there is nothing to claim, it does what ``look_again`` says.
    """
    process = Process(worker, identity.process().pid)
    claim = start(ref, process, sent=sent)
    if claim is None:
        return look_again(ref)
    if executor.current().isolates_limited and (limits := limits_of(claim)):
        return _perform_isolated(claim, limits, process)
    return perform(claim, continuation)


def start(ref: TaskRef, process: Process, *, sent: bool = True) -> Claim | None:
    """Claim a task for a process, also where its worker has to send a heartbeat first; None if it cannot be."""
    claim = _claim(ref, process, sent)
    if claim is None and _is_overdue(process.worker):
        return _claim_after_heartbeat(ref, process, sent)
    return claim


def _claim(ref: TaskRef, process: Process, sent: bool) -> Claim | None:
    if not signals.has_listeners(None, "start_flow", "task_start"):
        return _claim_at_once(ref, process, sent)
    claim, recorded = _claim_with_hooks(ref, process, sent)
    if claim is not None and recorded:
        hooks.try_deliver(claim.task_id, claim.flow_id)
    return claim


@retry_on_disconnect(DB_RETRY_SECONDS)
def _claim_at_once(ref: TaskRef, process: Process, sent: bool) -> Claim | None:
    return Task.objects.claim(ref, process, sent=sent)


@retry_on_disconnect(DB_RETRY_SECONDS)
@atomic()
def _claim_with_hooks(ref: TaskRef, process: Process, sent: bool) -> tuple[Claim | None, bool]:
    """The claim, and whether an event of it was recorded."""
    claim = Task.objects.claim(ref, process, sent=sent)
    if claim is None:
        return None, False
    names = [*(["start_flow"] if claim.begins else []), "task_start"]
    return claim, hooks.record(claim.task_id, ref, names, attempt=claim.attempt)


@retry_on_disconnect(DB_RETRY_SECONDS)
def _is_overdue(worker: str) -> bool:
    overdue: bool = Worker.objects.overdue(conf.get().LEASE_SECONDS).filter(pk=worker).exists()
    return overdue


def _claim_after_heartbeat(ref: TaskRef, process: Process, sent: bool) -> Claim | None:
    """Claim once the worker, which was stopped or asleep, has sent a heartbeat again."""
    deadline = time.monotonic() + DB_RETRY_SECONDS
    while _is_overdue(process.worker):
        if time.monotonic() > deadline:
            logger.warning("worker %s sends no heartbeat: %s is left to other workers", process.worker, ref)
            return None
        time.sleep(HEARTBEAT_PAUSE)
    return _claim(ref, process, sent)


def perform(claim: Claim, continuation: Continuation = NO_CONTINUATION) -> Outcome:
    """Run the program of a claim in this process, record its result, do what that led to, and deliver its events.

    ``continuation`` says what this process would continue with, and receives what is then claimed.
    """
    return conclude(claim, run_program(claim), continuation)


def conclude(claim: Claim, result: Result, continuation: Continuation = NO_CONTINUATION) -> Outcome:
    """Record how an attempt ended, do what that led to, and deliver its events."""
    recorded = completion.record(claim, result, continuation)
    outcome = propagation.after_attempt(claim, recorded)
    if claim.cache_seconds:
        output_cache.after_attempt(claim, result)
    if not isinstance(result, Interrupted):
        hooks.try_deliver(claim.task_id, claim.flow_id)
    return outcome


def run_program(claim: Claim) -> Result:
    """Call the program if the task's condition holds.

    In a process that was asked to stop, an exception is taken for the interruption.
    """
    if registry.find(claim.program) is None and not executor.current().runs_here:  # another worker may know it
        return Refused(UNKNOWN_PROGRAM.format(claim.program))
    context = Context(claim)
    try:
        if claim.when and not conditions.holds(claim.when, context.input):
            return Ignored(context.passed_on)
        if claim.cache_seconds and (result := output_cache.look_up(claim, context)) is not None:
            return result
        program = registry.get(claim.program)
        with recording(context.recorder):
            text = executor.current().call(partial(_output_of, program, claim, context), limits_of(claim))
            keep = bool(claim.cache_seconds) and output_cache.may_keep(text, context)
    except signals.ERRORS as error:
        stopped = executor.current().is_stopping()
        return Interrupted() if stopped else completion.result_of(claim, error, context.secrets)
    if context.added.children:
        return WithChildren(context.added.children)
    return Succeeded(text, keep)


def _output_of(program: Program, claim: Claim, context: Context) -> str:
    """What a program returns, as JSON text."""
    return program.encode(program.call(claim.parameters, context))


def limits_of(claim: Claim) -> Limits:
    """The tighter of the program's limit and the task's own."""
    program = registry.find(claim.program)
    if program is None:
        return Limits()
    hard = min((limit for limit in (program.time_limit, claim.time_limit) if limit), default=None)
    soft = program.soft_time_limit
    return Limits(hard=hard, soft=soft if soft and (hard is None or soft < hard) else None)


def _perform_isolated(claim: Claim, limits: Limits, process: Process) -> Outcome:
    """Perform in a process of its own; that process records the outcome, unless it is killed first."""
    program = ProgramProcess(_perform_for, (claim, process.worker), limits, executor.current().soft_limit_error)
    try:
        outcome: Outcome = program.result(wanted=Task.objects.attempt(claim.ref, claim.attempt).exists)
    except TimeLimitError as error:
        return recovery.record_error(claim, error)
    except ProcessUnwanted:
        return REFUSED
    except ProcessEnded as error:
        record = recovery.hand_back if executor.current().hands_back() else recovery.record_lost
        return record(claim.ref, str(error), Process(process.worker, None))
    return outcome


def _perform_for(attempt: tuple[Claim, str]) -> Outcome:
    """Perform for a worker, and write the log, as the process ends after that."""
    claim, worker = attempt
    identity.use(worker)
    outcome = perform(claim)
    log_writer.writer.write()
    return outcome


@retry_on_disconnect(DB_RETRY_SECONDS)
def look_again(ref: TaskRef) -> Outcome:
    """For a message that claimed nothing: if its task is satisfied, send what waits for it and was not sent lately.

    Not sent lately, because two copies of each message of a chain would otherwise become four, eight, sixteen.
    """
    waiting = Task.objects.released_by(ref) & Task.objects.silent(conf.get().RESEND_AFTER)
    with atomic():
        messages = waiting.messages(alone=True)
        if messages:
            seqs = [message.head.seq for message in messages]
            Task.objects.filter(task_flow_id=ref.flow_id, task_exec_seq__in=seqs).mark_sent()
    return Outcome(finished=False, released=tuple(messages))
