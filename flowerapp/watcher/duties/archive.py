"""Archive flows past their retention and then delete them, where an archive is set."""

from __future__ import annotations

import time

from flowerapp import conf
from flowerapp.engine import archive_files
from flowerapp.models import Flow
from flowerapp.querysets.db import each_isolated

FEW = 20
"""Flows that one run archives at most."""
SECONDS = 1.0
"""Seconds after which a run begins with no other flow: further duties wait."""
LATER = 3600.0
"""Seconds after which a flow that could not be archived is tried again."""


class Archive:
    """Archives the oldest flows; those that cannot be are kept, and do not block the others."""

    def __init__(self) -> None:
        self.refused: dict[str, float] = {}
        """When flows were tried that could not be archived."""

    def __call__(self) -> int:
        """A few flows; the number deleted."""
        days, target = conf.get().RETENTION_DAYS, archive_files.retention_target()
        if days is None or target is None:
            return 0
        begun = time.monotonic()
        self.refused = {flow_id: at for flow_id, at in self.refused.items() if begun - at < LATER}
        done = 0
        for flow_id in self._old(days):
            if time.monotonic() - begun > SECONDS:
                break
            done += self._archive(flow_id, target)
        return done

    def _old(self, days: int) -> list[str]:
        """The oldest flows that are to be archived."""
        page = Flow.objects.ended_before(days).values_list("pk", flat=True)[: FEW + len(self.refused)]
        return [flow_id for flow_id in page if flow_id not in self.refused][:FEW]

    def _archive(self, flow_id: str, target: str) -> int:
        def repair(row: str) -> int:
            archive_files.archive_and_delete(row, target)
            return 1

        done = each_isolated([flow_id], repair)
        if not done:
            self.refused[flow_id] = time.monotonic()
        return done
