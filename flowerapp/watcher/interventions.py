"""Interventions: what the watcher had to resend or rescue."""

from __future__ import annotations

from flowerapp import signals
from flowerapp.core import logs
from flowerapp.core.messages import TaskRef

logger = logs.logger(__name__)


def intervened(kind: str, ref: TaskRef) -> None:
    """Log that a message or a worker was lost and the watcher repaired it, and send the signal."""
    logger.warning("intervention: %s of %s", kind, ref)
    signals.intervened.send(sender=None, kind=kind, flow_id=ref.flow_id, seq=ref.seq)
