"""The queries of requests: a route takes the parameters that it names, each once."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from rest_framework import exceptions, serializers
from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request

from flowerapp.core import values

IGNORED = frozenset({"format"})
"""Parameters that every route takes and ignores: clients made for DRF send it, and the answers are JSON anyway."""
SHOWN = 40
"""Most characters of a name that the refusal quotes."""


class OneOf(serializers.ChoiceField):
    """One of some words."""

    def to_internal_value(self, data: Any) -> str:
        """The word; raises ValidationError."""
        if data not in self.choices:
            raise serializers.ValidationError(f"must be one of {', '.join(self.choices)}")
        return str(data)


class Query(serializers.Serializer[Any]):
    """The parameters of a route; this one has none."""


def checked(request: Request, query: Query, paging: Collection[str], *, writes: bool = False) -> dict[str, Any]:
    """The parameters as ``query`` makes them; raises ValidationError.

    ``paging`` names those that the paginator reads. Only reading methods take parameters, unless ``writes``.
    """
    names = [*query.fields, *paging] if writes or request.method in SAFE_METHODS else []
    for name, texts in request.query_params.lists():
        if problem := _problem(name, texts, names):
            raise exceptions.ValidationError({name[:SHOWN]: [problem]})
    query.is_valid(raise_exception=True)
    return dict(query.validated_data)


def _problem(name: str, texts: list[Any], names: Collection[str]) -> str:
    """What is wrong with a parameter; empty if nothing is."""
    if name not in names and name not in IGNORED:
        return f"no such parameter; this takes {', '.join(names) or 'none'}"
    if len(texts) > 1:
        return f"is given {len(texts)} times; give it once"
    return "" if values.storable(texts[0]) else "holds a character that cannot be stored"
