"""The output cache: a task takes the output that another one has stored, waits for it, or stores its own.

An entry without an output belongs to the attempt that fills it. Other tasks that look for it are parked, and woken once
it is filled, or once that attempt no longer runs: then the first of them fills it. The attempt that loses its entry,
because it was forgotten or took too long, ends as usual and stores nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from django.utils.crypto import salted_hmac

from flowerapp import conf
from flowerapp.core import caching, executor, identity, logs, masking, values
from flowerapp.core.caching import WHOLE, CacheScope
from flowerapp.core.expressions import ExpressionError
from flowerapp.core.messages import TaskRef
from flowerapp.engine.dispatching import send
from flowerapp.engine.results import LATE, Awaiting, Cached, Interrupted, Recorded, Result, Succeeded
from flowerapp.models import CachedOutput, HistoryEntry, Task
from flowerapp.querysets import Claim, Completion
from flowerapp.querysets.db import CONNECTION_ERRORS, atomic, retry_on_disconnect
from flowerapp.querysets.output_cache import Attempt

if TYPE_CHECKING:
    from flowerapp.engine.context import Context

logger = logs.logger(__name__)

DB_SECONDS = 30.0
"""Seconds to try to read the cache, or to record that a task waits, while the database is unreachable."""
PAGE = 500
"""Tasks that one look wakes, and entries that one look deletes."""
LONGEST_KEY = 200
"""Characters of a key that people are shown."""
SALT = "flowerapp.output_cache"
TRIES = 3
"""Times to make an entry that others delete at the same moment."""


class _Wish(NamedTuple):
    """The entry that a task looks for."""

    digest: str
    task_id: str
    program: str
    key: str
    """As people may see it."""


def look_up(claim: Claim, context: Context) -> Cached | Awaiting | None:
    """The stored output for a task, or that it waits for one; None if its program is to run.

    The attempt then fills the entry, unless its key says nothing. A task of a rerun takes no output that is stored.
    """
    wish = _wish(claim, context)
    return None if wish is None else _look_up(claim, wish)


def _wish(claim: Claim, context: Context) -> _Wish | None:
    """None, and a line in the log of the task, where the key has no value."""
    try:
        key = caching.key_of(claim.cache_key, context.input, claim.parameters)
    except ExpressionError as error:
        context.log(f"no cache: its key cannot be evaluated: {error}")
        return None
    if key is None and claim.cache_key not in WHOLE:
        context.log("no cache: its key is null")
        return None
    text = caching.identity_of(claim.program, claim.cache_key, key, context.input, claim.parameters)
    task_id = "" if claim.cache_scope == CacheScope.GLOBAL else claim.task_id
    digest = salted_hmac(SALT, f"{task_id}\n{text}", algorithm="sha256").hexdigest()
    return _Wish(digest, task_id, claim.program, "*" if claim.cache_key in WHOLE else shown_key(key, context.secrets))


def shown_key(key: object, secrets: masking.Secrets = masking.NO_SECRETS) -> str:
    """The value of a key as people may see it, and by which ``forget`` finds it."""
    shown = json.dumps(masking.masked(key, secrets), ensure_ascii=False)
    return shown if len(shown) <= LONGEST_KEY else f"{shown[:LONGEST_KEY]}…"


@retry_on_disconnect(DB_SECONDS)
def _look_up(claim: Claim, wish: _Wish) -> Cached | Awaiting | None:
    return _taken(claim, wish.digest) or _take(claim, wish)


def _taken(claim: Claim, digest: str) -> Cached | None:
    if claim.run > 1:
        return None
    entry = CachedOutput.objects.fresh(claim.cache_seconds or 0).filter(digest=digest).first()
    return None if entry is None else Cached(entry.output, TaskRef(entry.task_flow_id, entry.task_exec_seq))


@atomic()
def _take(claim: Claim, wish: _Wish) -> Cached | Awaiting | None:
    """Let this attempt fill the entry, unless another one has filled it just now, or is about to."""
    mine = _attempt_of(claim)
    entry = _locked(wish, mine)
    if entry is None or entry.by == mine:
        return None
    if taken := _taken(claim, wish.digest):
        return taken
    longest = conf.get().CACHE_WAIT_SECONDS
    if CachedOutput.objects.being_filled(longest).filter(pk=entry.pk).exists():
        return Awaiting(wish.digest, TaskRef(entry.task_flow_id, entry.task_exec_seq))
    CachedOutput.objects.take(wish.digest, mine)
    return None


def _attempt_of(claim: Claim) -> Attempt:
    return Attempt(claim.flow_id, claim.seq, claim.attempt)


def _locked(wish: _Wish, mine: Attempt) -> CachedOutput | None:
    """The entry, made where there is none, and locked."""
    for _ in range(TRIES):
        if entry := CachedOutput.objects.locked(wish.digest):
            return entry
        CachedOutput.objects.add(wish.digest, mine, task_id=wish.task_id, program=wish.program, key=wish.key)
    return CachedOutput.objects.locked(wish.digest)


def may_keep(output: str, context: Context) -> bool:
    """Whether an output, JSON text, may be stored for other tasks: not if it holds or quotes a secret."""
    value = json.loads(output)
    kept = bool(masking.masked(value, context.secrets) == value)
    if not kept:
        context.log("no cache: the output holds a secret")
    return kept


def with_success(claim: Claim, result: Result) -> Callable[[], object] | None:
    """What is to be written in the transaction that records a success; None for most."""
    if isinstance(result, Cached):
        return partial(_mark, claim, result)
    if isinstance(result, Succeeded) and result.keep:
        return partial(CachedOutput.objects.fill, _attempt_of(claim), result.output, claim.cache_seconds or 0)
    return None


def _mark(claim: Claim, result: Cached) -> None:
    source = {"flow_id": result.source.flow_id, "seq": result.source.seq}
    Task.objects.mark_cached(claim.ref, source)
    _record(claim, "cached", f"took the stored output of {result.source}", **source)


@retry_on_disconnect(DB_SECONDS)
@atomic()
def record_awaiting(claim: Claim, result: Awaiting) -> Recorded:
    """Let an attempt wait, without a worker, for the output that another task is about to store."""
    if not Task.objects.park(claim.ref, claim.attempt, None, awaits_output=result.digest):
        return LATE
    _record(claim, "park", f"waits for the output of {result.source}, which has the same key")
    return Recorded(Completion())


def _record(claim: Claim, verb: str, reason: str, **details: Any) -> None:
    facts: dict[str, Any] = {"attempt": claim.attempt, "worker": identity.worker(), "actor": "engine"}
    HistoryEntry.objects.record(verb, *claim.ref, **facts, reason=reason, details=details)


def after_attempt(claim: Claim, result: Result) -> None:
    """Wake what waits for the output of an attempt that has ended; the duty does what is missed."""
    if isinstance(result, (Cached, Interrupted)):
        return
    try:
        digests = [result.digest] if isinstance(result, Awaiting) else _leave(_attempt_of(claim))
        for digest in digests:
            wake_waiting(digest)
    except CONNECTION_ERRORS as error:
        logger.warning("what waits for the output of %s is left to the watcher: %r", claim.ref, error)


@retry_on_disconnect()
@atomic()
def _leave(attempt: Attempt) -> list[str]:
    """Delete what the attempt has not filled; the digests of its entries."""
    digests = list(CachedOutput.objects.by_attempt(attempt).values_list("digest", flat=True))
    if digests:
        CachedOutput.objects.give_up(attempt)
    return digests


@retry_on_disconnect()
def wake_waiting(digest: str | None = None) -> int:
    """Wake the tasks whose entry, that one or any, is filled, and the first of those whose entry no attempt fills."""
    keys = _due(digest)
    if not keys:
        return 0
    Task.objects.filter(pk__in=keys).awaiting_output().wake()
    if executor.current().connected():
        send(Task.objects.filter(pk__in=keys).take_unsent(len(keys)))
    return len(keys)


def _due(digest: str | None) -> list[int]:
    waiting = Task.objects.awaiting_output(digest)
    rows = waiting.awaited(CachedOutput.objects.all(), conf.get().CACHE_WAIT_SECONDS)[:PAGE]
    keys: list[int] = []
    seen: set[str] = set()
    for key, awaited, is_filled in rows:
        if is_filled or awaited not in seen:
            keys.append(key)
        seen.add(awaited)
    return keys


def forget_cache(
    *, program: str | None = None, workflow: str | None = None, key: object = ..., entry: int | None = None
) -> int:
    """Forget stored outputs; the number of entries.

    Those of a program, of a workflow (``task_id``; empty for those of all workflows), of the value of a key (JSON), or
    the entry of that number; what is given has to hold together, and nothing given means all. What a task is about to
    store is forgotten too: it ends as usual. Tasks that wait for it run themselves.
    """
    facts = {"program": program, "task_id": workflow, "pk": entry, "key": None if key is ... else text_of_key(key)}
    chosen = {name: value for name, value in facts.items() if value is not None}
    if not all(values.storable(value) for value in chosen.values() if isinstance(value, str)):
        return 0
    with atomic():
        forgotten: int = CachedOutput.objects.filter(**chosen).delete()[0]
    return forgotten


def text_of_key(key: object) -> str:
    """The value of a key as entries show it; ``*`` stands for the whole input."""
    return "*" if key == "*" else shown_key(key)


def prune_cache() -> int:
    """Delete outputs that have expired, entries that no attempt fills, and the oldest of too many; their number."""
    entries, settings = CachedOutput.objects, conf.get()
    old = list(entries.expired().values_list("pk", flat=True)[:PAGE])
    left = list(entries.abandoned(settings.CACHE_WAIT_SECONDS).values_list("pk", flat=True)[:PAGE])
    deleted: int = entries.delete_keys([*old, *left])
    return deleted + int(entries.delete_oldest(settings.CACHE_ENTRIES, settings.CACHE_BYTES, PAGE))
