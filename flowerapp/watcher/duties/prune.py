"""Delete flows, events and stored outputs past their retention, and workers that are long gone."""

from __future__ import annotations

from flowerapp import conf, engine
from flowerapp.engine import due_waits, output_cache
from flowerapp.models import Flow, Worker
from flowerapp.querysets import batched
from flowerapp.watcher.pages import PAGE

FORGET_WORKERS = 86_400
"""Seconds after its last heartbeat that a worker's row is kept."""


def prune() -> int:
    """One page; the number of flows, events and stored outputs deleted."""
    Worker.objects.forget(FORGET_WORKERS)
    return output_cache.prune_cache() + _prune_events() + _prune_flows()


def _prune_events() -> int:
    days = conf.get().EVENT_DAYS
    return 0 if days is None else due_waits.prune_events(days, PAGE)


def _prune_flows() -> int:
    days = conf.get().RETENTION_DAYS
    if days is None or conf.get().RETENTION_ARCHIVE:
        return 0
    old = list(Flow.objects.ended_before(days).values_list("pk", flat=True)[:PAGE])
    return sum(engine.delete(batch) for batch in batched(old, 100))
