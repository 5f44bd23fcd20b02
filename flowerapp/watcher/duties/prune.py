"""Delete flows past their retention, where one is set, workers that are long gone, and what the output cache drops."""

from __future__ import annotations

from flowerapp import conf, engine
from flowerapp.engine import output_cache
from flowerapp.models import Flow, Worker
from flowerapp.querysets import batched
from flowerapp.watcher.pages import PAGE

FORGET_WORKERS = 86_400
"""Seconds after its last heartbeat that a worker's row is kept."""


def prune() -> int:
    """One page; the number of flows and of stored outputs deleted."""
    Worker.objects.forget(FORGET_WORKERS)
    outputs = output_cache.prune_cache()
    days = conf.get().RETENTION_DAYS
    if days is None:
        return outputs
    old = list(Flow.objects.ended_before(days).values_list("pk", flat=True)[:PAGE])
    return outputs + sum(engine.delete(batch) for batch in batched(old, 100))
