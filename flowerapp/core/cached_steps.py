"""Which steps have a cache, and the problems of what they say about it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from flowerapp.core import expressions, programs
from flowerapp.core.caching import INPUT, NOT_CACHED, PARAMETERS, WHOLE, CacheScope, Caching
from flowerapp.core.expressions import ExpressionError
from flowerapp.core.gates import EACH, UNSENT
from flowerapp.exceptions import Problem

if TYPE_CHECKING:
    from flowerapp.core.plan import Node


def caching_of_step(step: Node) -> Caching:
    """What holds for a step: what it says itself, or else what its program says; 0 seconds turn that off."""
    if _refusal(step):
        return NOT_CACHED
    default = _default(step)
    return Caching(step.cache_key or default.key, default.seconds if step.cache_seconds is None else step.cache_seconds)


def _default(step: Node) -> Caching:
    program = programs.find(step.program) if step.program else None
    return (program and program.cache) or NOT_CACHED


def _refusal(step: Node) -> str:
    """Why the outputs of a step cannot be kept; empty if they can."""
    if step.is_remote or step.program in UNSENT:
        return "no worker runs this step, so it needs no cache"
    if step.child_program or step.program == EACH:
        return "this step has children, and outputs that are joined are not kept"
    return ""


def cache_problems(step: Node) -> Iterator[Problem]:
    """The problems of what a step says about its cache."""
    if step.cache_scope not in list(CacheScope):
        message = f"cache_scope {step.cache_scope!r} is unknown; use {' or '.join(CacheScope)}"
        yield Problem(message, step.seq, "cache_scope")
    if step.cache_seconds is None and not step.cache_key:
        return
    if (step.cache_seconds or step.cache_key) and (refusal := _refusal(step)):
        yield Problem(f"{refusal}; leave it out", step.seq, "cache_seconds" if step.cache_seconds else "cache_key")
    elif step.cache_key and step.cache_seconds is None and not _default(step).seconds:
        yield Problem("a key needs a lifetime: set cache_seconds, or drop the key", step.seq, "cache_key")
    yield from (Problem(message, step.seq, "cache_key") for message in _key_problems(step))


def _key_problems(step: Node) -> Iterator[str]:
    if step.cache_key in WHOLE:
        return
    try:
        expression = expressions.parse(step.cache_key)
        program = programs.find(step.program) if step.program else None
        parameters = [name for name in expression.names if program is None or program.accepts(name)]
        expression.check_names([INPUT, PARAMETERS, *(program.fields if program else ()), *parameters])
    except ExpressionError as error:
        yield str(error).partition("\n")[0]
