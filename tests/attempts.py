"""Ends of attempts, as the process that ran them records them."""

from __future__ import annotations

from flowerapp import signals
from flowerapp.engine import completion, hooks, propagation
from flowerapp.engine.completion import NO_CONTINUATION, Continuation
from flowerapp.engine.propagation import Outcome
from flowerapp.engine.results import Result, Succeeded
from flowerapp.querysets import Claim


def succeed(claim: Claim, output: str, continuation: Continuation = NO_CONTINUATION) -> Outcome:
    """The program of a claim has returned ``output``, JSON text."""
    return end(claim, Succeeded(output), continuation)


def fail(claim: Claim, error: BaseException) -> Outcome:
    """The program of a claim has raised ``error``."""
    return end(claim, completion.result_of(claim, error))


def end(claim: Claim, result: Result, continuation: Continuation = NO_CONTINUATION) -> Outcome:
    """Record the result, and do what it led to; its events are left to a worker."""
    recorded = completion.record(claim, result, continuation)
    if signals.has_listeners(claim.task_id, *signals.HOOKS):
        hooks.deliver_on_commit(claim.flow_id)
    return propagation.after_attempt(claim, recorded)
