"""The output cache: by what key an output is found again, for how long, and for which tasks."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any

from flowerapp.core import expressions

INPUT, PARAMETERS = "input", "parameters"
"""Names of a key's context; the others are those of single parameters."""
WHOLE = frozenset({"", "*"})
"""Keys that stand for the whole input."""
LONGEST = 2**31 - 1
"""Seconds; the longest lifetime."""


class CacheScope(StrEnum):
    """Which tasks share the outputs of a step."""

    WORKFLOW = "workflow"
    """Those of the same workflow."""
    GLOBAL = "global"
    """Those of all workflows."""


SCOPES = [(scope.value, scope.value) for scope in CacheScope]
"""For a Django model field."""


@dataclass(frozen=True, slots=True)
class Caching:
    """How long outputs are kept, and by what key."""

    key: str
    """An expression over ``input``, ``parameters`` and single parameters; empty or ``*`` for the whole input."""
    seconds: int
    """0 means that nothing is kept."""


NOT_CACHED = Caching("", 0)


def caching_of(value: Any, where: str = "") -> Caching:
    """What ``cache=…`` means: a lifetime in seconds or as a timedelta, or a pair of a key and a lifetime.

    Raises ValueError with what was expected; ``where`` is the beginning of its message.
    """
    key, lifetime = value if isinstance(value, (tuple, list)) and len(value) == 2 else ("", value)
    seconds = lifetime.total_seconds() if isinstance(lifetime, timedelta) else lifetime
    if not isinstance(key, str) or type(seconds) not in (int, float) or not 0 <= seconds <= LONGEST:
        raise ValueError(f"{where}cache is a lifetime, in seconds or as a timedelta, or (key, lifetime); got {value!r}")
    return Caching(key, math.ceil(seconds))


def key_of(text: str, value: Any, parameters: Mapping[str, Any]) -> Any:
    """The value of a key over an input and the parameters, of which one that is missing is null.

    None for the whole input. Raises ExpressionError.
    """
    if text in WHOLE:
        return None
    expression = expressions.parse(text)
    named = {name: parameters.get(name) for name in expression.names}
    return expression.evaluate(named | {INPUT: value, PARAMETERS: dict(parameters)})


def identity_of(program: str, text: str, key: Any, value: Any, parameters: Mapping[str, Any]) -> str:
    """What has to be the same for an output to be taken, as a text that may hold secrets.

    That is the program's name, the value of the key, or the whole input without one, and the parameters, except those
    that the key names: they count as far as it reads them.
    """
    if text in WHOLE:
        return _canonical([program, "", value, dict(parameters)])
    named = expressions.parse(text).names
    others = {} if PARAMETERS in named else {name: parameters[name] for name in parameters if name not in named}
    return _canonical([program, text, key, others])


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
