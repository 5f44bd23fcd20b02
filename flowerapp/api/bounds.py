"""The bounds of fields, as the OpenAPI document says them; what checks them is the engine."""

from __future__ import annotations

from typing import Any

from flowerapp import states
from flowerapp.core.names import LONGEST_NAME
from flowerapp.core.plan import LARGEST, SMALLEST

Bounds = dict[str, Any]
"""Keywords of JSON schema."""

NAME: Bounds = {"minLength": 1, "maxLength": LONGEST_NAME, "pattern": r"^[^/\u0000-\u001f\u007f-\u009f]+$"}
"""A name; further characters are refused that cannot be seen."""
OPTIONAL_NAME: Bounds = {"maxLength": LONGEST_NAME, "pattern": r"^[^/\u0000-\u001f\u007f-\u009f]*$"}
ID: Bounds = {"minLength": 1, "maxLength": LONGEST_NAME}
PRIORITY: Bounds = {"minimum": states.HIGHEST_PRIORITY, "maximum": states.LOWEST_PRIORITY}
COUNT: Bounds = {"minimum": 1, "maximum": LARGEST}
SEQ: Bounds = {"minimum": 0, "maximum": LARGEST}


def of(option: str) -> Bounds:
    """Those of an option that is a whole number."""
    return {"minimum": SMALLEST[option], "maximum": LARGEST}
