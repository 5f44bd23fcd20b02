"""Results and arguments of host tasks as JSON that keeps the types of Celery's JSON serializer: dates, decimals, …"""

from __future__ import annotations

import json
from typing import Any

from kombu.utils import json as kombu_json

from flowerapp.core import values
from flowerapp.exceptions import InvalidValueError


def encode(value: Any, what: str) -> Any:
    """A value as JSON that keeps its types; raises InvalidValueError, naming ``what``, if Celery cannot serialize it.

    A value that is JSON is returned as it is.
    """
    try:
        values.dumps(value, what)
    except InvalidValueError:
        value = json.loads(_text(value, what))
        values.dumps(value, what)
    return value


def _text(value: Any, what: str) -> str:
    try:
        return kombu_json.dumps(value)
    except RecursionError:
        raise InvalidValueError(f"{what} is nested too deeply, or holds itself") from None
    except Exception as error:  # Celery's serializer calls methods of the value's classes
        raise InvalidValueError(f"{what} is not JSON for Celery's serializer: {error}") from None


def decode(value: Any) -> Any:
    """A JSON value with Celery's typed values as Python has them; what cannot be read stays as it is."""
    if isinstance(value, list):
        return [decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    decoded = {key: decode(item) for key, item in value.items()}
    try:
        return kombu_json.object_hook(decoded)
    except (ValueError, TypeError, AttributeError, ArithmeticError):
        return decoded
