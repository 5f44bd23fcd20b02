"""What the output cache holds, without the outputs themselves."""

from __future__ import annotations

from typing import Any

from flowerapp.core import values
from flowerapp.exceptions import UnknownCacheEntryError
from flowerapp.models import CachedOutput
from flowerapp.selectors.shown import rows

COLUMNS = (
    "id",
    "task_id",
    "program",
    "key",
    "task_flow_id",
    "task_exec_seq",
    "attempt",
    "size",
    "taken_ts",
    "filled_ts",
    "expires_ts",
)
"""Columns of an entry that API and command line show."""
ORDER = ("-id",)
"""The newest first."""


def entries(program: str | None = None, workflow: str | None = None, key: str | None = None) -> Any:
    """Entries as people may see them: those of a program, of a workflow, of a key as ``COLUMNS`` shows it."""
    facts = {"program": program, "task_id": workflow, "key": key}
    chosen = {name: value for name, value in facts.items() if value is not None}
    if not all(map(values.storable, chosen.values())):
        return CachedOutput.objects.none()
    return rows(CachedOutput.objects.filter(**chosen).defer("output", "digest").order_by(*ORDER))


def get_entry(number: int) -> CachedOutput:
    """The entry of that id; raises UnknownCacheEntryError."""
    entry: CachedOutput | None = entries().filter(pk=number).first() if number < 2**63 else None
    if entry is None:
        raise UnknownCacheEntryError(f"the output cache has no entry {number}")
    return entry
