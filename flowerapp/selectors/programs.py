"""Programs with their parameters, retry policy and limits."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from flowerapp.core import masking
from flowerapp.registry import Program
from flowerapp.selectors import queues

COLUMNS = (
    "name",
    "description",
    "schema",
    "max_retries",
    "default_retry_delay",
    "retry_backoff",
    "retry_backoff_max",
    "retry_jitter",
    "time_limit",
    "soft_time_limit",
)
"""Attributes of a program that API and command line show."""

_BY_NAME = ("properties", "$defs")
"""Keys of a JSON schema under which schemas stand by name."""
_TYPES = {"string": "text", "integer": "whole number", "boolean": "true or false", "array": "list", "null": "null"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A parameter of a program, in words."""

    name: str
    type: str
    """``text``, ``whole number``, ``text or null``, …"""
    required: bool
    default: str
    """Text as it is, any other value as JSON; empty where there is none."""
    description: str


def document(program: Program) -> dict[str, Any]:
    """A program as JSON: its columns, the queue of tasks that name none, and the errors that lead to a retry."""
    return {name: getattr(program, name) for name in COLUMNS} | {
        "schema": shown_schema(program.schema),
        "queue": queues.queue_of(program.name, program.queue),
        "autoretry_for": [error.__name__ for error in program.autoretry_for],
        "dont_autoretry_for": [error.__name__ for error in program.dont_autoretry_for],
    }


def parameters(program: Program) -> list[Parameter]:
    """The parameters of a program in the order of its signature."""
    schema = shown_schema(program.schema)
    properties = schema.get("properties", {})
    required = set(schema.get("required", ()))
    return [
        Parameter(
            name=name,
            type=_type_words(properties.get(name, {})),
            required=name in required,
            default=_default_text(properties.get(name, {})),
            description=str(properties.get(name, {}).get("description", "")),
        )
        for name in properties or program.fields
    ]


def shown_schema(schema: Any, name: str = "") -> Any:
    """A JSON schema, or a part of it that is about ``name``, with its defaults and examples masked."""
    if isinstance(schema, list):
        return [shown_schema(item, name) for item in schema]
    if not isinstance(schema, dict):
        return schema
    masks = {key: masking.masked({name: schema[key]})[name] for key in ("default", "examples") if key in schema}
    parts = {key: shown_schema(value, name) for key, value in schema.items() if key not in {*masks, *_BY_NAME}}
    named = {
        key: {inner: shown_schema(value, inner) for inner, value in schema[key].items()}
        for key in _BY_NAME
        if isinstance(schema.get(key), dict)
    }
    return {key: (parts | masks | named).get(key, value) for key, value in schema.items()}


def _default_text(schema: dict[str, Any]) -> str:
    if "default" not in schema:
        return ""
    default = schema["default"]
    return default if isinstance(default, str) and default.strip() else json.dumps(default, ensure_ascii=False)


def _type_words(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return " or ".join(map(str, schema["enum"]))
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_type_words(option) for option in schema["anyOf"]))
    kind = schema.get("type")
    return _TYPES.get(kind, kind) if isinstance(kind, str) else "any"
