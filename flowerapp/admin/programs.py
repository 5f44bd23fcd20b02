"""Programs as a choice, and their parameters as help."""

from __future__ import annotations

import json
from typing import Any

from flowerapp import registry
from flowerapp.registry import Program

Choice = tuple[str, Any]


def choices(empty: str = "choose a program") -> list[Choice]:
    """Options of a select: ``empty`` for none, our programs, then the host's Celery tasks."""
    own = [each.name for each in registry.registered()]
    elsewhere = [each.name for each in registry.programs() if each.name not in set(own)]
    groups: list[Choice] = [("", empty), *[(name, name) for name in own]]
    if elsewhere:
        groups.append(("Celery tasks", [(name, name) for name in elsewhere]))
    return groups


def described() -> list[dict[str, Any]]:
    """Every program with its parameters, for the help panel and its live copy beside the choice."""
    return [_describe(each) for each in registry.programs()]


def _describe(program: Program) -> dict[str, Any]:
    schema = program.schema
    required = set(schema.get("required", ()))
    parameters = [
        {
            "name": name,
            "type": _type(field),
            "required": name in required,
            "default": _default(field),
            "description": str(field.get("description", "")),
        }
        for name, field in schema.get("properties", {}).items()
    ]
    return {
        "name": program.name,
        "description": program.description.replace("``", ""),
        "parameters": parameters,
        "open": bool(schema.get("additionalProperties")),
    }


def _default(field: dict[str, Any]) -> str:
    if "default" not in field:
        return ""
    default = field["default"]
    return default if isinstance(default, str) and default.strip() else json.dumps(default, ensure_ascii=False)


def _type(field: dict[str, Any]) -> str:
    """The type as a person would say it."""
    if "enum" in field:
        return " or ".join(map(str, field["enum"]))
    if "anyOf" in field:
        return " or ".join(_type(each) for each in field["anyOf"])
    words = {"string": "text", "integer": "whole number", "boolean": "true or false", "array": "list", "null": "null"}
    kind = field.get("type")
    return words.get(kind, str(kind)) if isinstance(kind, str) else "any"
