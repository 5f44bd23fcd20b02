"""Ids of flows as callers write them: as they are stored, or with ``workflow:`` in front, as littleflow writes them."""

from __future__ import annotations

from flowerapp.core import values
from flowerapp.models import Flow

PREFIX = "workflow:"


def possible_ids(text: str) -> list[str]:
    """The ids that a text may mean: itself, and what follows ``workflow:``, if anything does."""
    rest = text.removeprefix(PREFIX)
    return [text, rest] if rest not in ("", text) else [text]


def id_of(text: str) -> str:
    """The id that a text means: without ``workflow:``, unless there is a flow whose own id begins so."""
    *own, plain = possible_ids(text)
    if own and values.storable(text) and Flow.objects.filter(pk__in=own).exists():
        return text
    return plain
