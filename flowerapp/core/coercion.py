"""From the JSON values and texts of a row to the types of a signature."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, PydanticUserError, create_model

from flowerapp.core import logs, masking

logger = logs.logger(__name__)


def model_of(name: str, config: Any, fields: Mapping[str, tuple[Any, Any]]) -> type[BaseModel]:
    """The model of these fields; if pydantic cannot check their types, one that takes any values."""
    reason = "a type is not defined"
    try:
        model = create_model(name, __config__=config, **fields)  # type: ignore[call-overload]
        if model.__pydantic_complete__:
            return model  # type: ignore[no-any-return]
    except (PydanticUserError, NameError, TypeError) as error:
        reason = repr(error)
    logger.debug("the parameters of program %s are not checked: %s", name, reason)
    untyped: dict[str, Any] = {field: (Any, default) for field, (_, default) in fields.items()}
    return create_model(name, __config__=config, **untyped)


def short(value: Any) -> str:
    """A value in at most 60 characters, with secrets masked."""
    text = str(masking.masked(repr(masking.masked(value))))
    return text if len(text) <= 60 else text[:57] + "…"


def from_json(value: Any) -> Any:
    """The value of a JSON text; any other value as it is."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value
