"""Leaves out some of the watcher's duties, so that a test sees what happens without their help."""

from __future__ import annotations

from collections.abc import Collection

from flowerapp.watcher import leader
from flowerapp.watcher.duties import rota

VARIABLE = "FLOWER_PROBE_WITHOUT_DUTIES"
"""Environment variable with the names of the duties, separated by commas."""


def leave_out(names: Collection[str]) -> None:
    """From now on, leaders of this process do all duties but these; raises ValueError for a name that is none."""
    if unknown := set(names) - {name for name, _, _ in rota()}:
        raise ValueError(f"no duties: {', '.join(sorted(unknown))}")
    leader.rota = lambda: [duty for duty in rota() if duty[0] not in names]  # type: ignore[attr-defined] # its import
