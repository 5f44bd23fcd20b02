"""One start of a task. A program never runs inside a transaction of ours."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable

from django.db import transaction

from flowerapp import conf, identity, registry, signals, values
from flowerapp.context import Context
from flowerapp.engine import hooks
from flowerapp.engine.ending import told_to_end
from flowerapp.engine.outcomes import (
    NOBODY,
    PATIENCE,
    Continuation,
    Outcome,
    added_children,
    finished,
    lost,
    went_wrong,
)
from flowerapp.models import Task, Worker
from flowerapp.querysets import Claim
from flowerapp.querysets.steady import steady

logger = logging.getLogger(__name__)

SIGN_PAUSE = 0.2
"""Seconds between looks whether the worker has given a sign of life again."""


def run(flow_id: str, seq: int, worker: str, *, sent: bool = True, continuation: Continuation = NOBODY) -> Outcome:
    """Look at a task: claim it for this process of ``worker``, run its program and record the outcome.

    ``sent`` is False where the process goes on with the task without a message; ``continuation`` is asked at its end
    whether it would go on with the next. Where there is nothing to claim, it does what ``look_again`` says.
    """
    claim = _claim(flow_id, seq, worker, sent)
    if claim is None and _overdue(worker):
        claim = _claim_when_seen(flow_id, seq, worker, sent)
    if claim is None:
        return steady(lambda: look_again(flow_id, seq), PATIENCE)
    return _performer(claim, continuation)


def _claim(flow_id: str, seq: int, worker: str, sent: bool) -> Claim | None:
    if not (signals.wanted("start_flow") or signals.wanted("task_start")):
        return steady(lambda: Task.objects.claim(flow_id, seq, worker, os.getpid(), sent=sent), PATIENCE)
    claim, heard = steady(lambda: _claim_with_hooks(flow_id, seq, worker, sent), PATIENCE)
    if heard:
        hooks.tell_quietly(flow_id)
    return claim


@transaction.atomic
def _claim_with_hooks(flow_id: str, seq: int, worker: str, sent: bool) -> tuple[Claim | None, bool]:
    claim = Task.objects.claim(flow_id, seq, worker, os.getpid(), sent=sent)
    if claim is None:
        return None, False
    names = [*(["start_flow"] if claim.begins else []), "task_start"]
    return claim, hooks.record(claim.task_id, flow_id, seq, names, attempt=claim.attempt)


def _overdue(worker: str) -> bool:
    lease = conf.get().LEASE_SECONDS
    return steady(lambda: Worker.objects.overdue(lease).filter(pk=worker).exists(), PATIENCE)


def _claim_when_seen(flow_id: str, seq: int, worker: str, sent: bool) -> Claim | None:
    """Claim once the worker, which was stopped or asleep, has given a sign of life again."""
    deadline = time.monotonic() + PATIENCE
    while _overdue(worker):
        if time.monotonic() > deadline:
            logger.warning("worker %s gives no sign of life: flow %s task %s is left to others", worker, flow_id, seq)
            return None
        time.sleep(SIGN_PAUSE)
    return _claim(flow_id, seq, worker, sent)


def perform(claim: Claim, continuation: Continuation = NOBODY) -> Outcome:
    """Run the program of a claim in this process, record the outcome, and tell of it.

    ``continuation`` says what this process would go on with, and takes what is then claimed.
    """
    context = Context(claim)
    try:
        output = _call(claim, context)
    except signals.ERRORS as error:
        if told_to_end():
            return _interrupted(claim)
        outcome = went_wrong(claim, error)
    else:
        added = context.added.children
        outcome = added_children(claim, added) if added else finished(claim, output, continuation)
    if hooks.heard(claim.task_id, *signals.HOOKS):
        hooks.tell_quietly(claim.flow_id)
    return outcome


def _interrupted(claim: Claim) -> Outcome:
    """This process was told to end, so the error is not the program's: another process may start the task."""
    reason = "its process was told to end"
    return lost(claim.flow_id, claim.seq, reason, worker=identity.worker(), pid=os.getpid())


_performer: Callable[[Claim, Continuation], Outcome] = perform


def use_performer(performer: Callable[[Claim, Continuation], Outcome]) -> None:
    """Let ``performer`` run the programs of this process's claims, wherever it likes, and record the outcomes."""
    global _performer
    _performer = performer


def _call(claim: Claim, context: Context) -> str:
    """Run the program; the JSON text of what it returned."""
    output = registry.get(claim.program).call(claim.parameters, context)
    return values.dumps({} if output is None else output, f"output of program {claim.program}")


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
