"""Programs and their parameters, as help."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from flowerapp import registry
from flowerapp.registry import Program
from flowerapp.selectors.programs import parameters


def described() -> list[dict[str, Any]]:
    """Every program with its parameters, for the help panel and its live copy beside the choice."""
    return [_describe(program) for program in registry.programs()]


def _describe(program: Program) -> dict[str, Any]:
    return {
        "name": program.name,
        "description": program.description.replace("``", ""),
        "parameters": [asdict(parameter) for parameter in parameters(program)],
        "open": bool(program.schema.get("additionalProperties")),
    }
