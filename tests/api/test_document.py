"""The OpenAPI document names the errors of each route, and the bounds of each field."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings

from flowerapp.api import schema_generator

DOCUMENT: dict[str, Any] = schema_generator.document(settings.ROOT_URLCONF, None)
OPERATIONS = [
    (method, path, operation) for path, methods in DOCUMENT["paths"].items() for method, operation in methods.items()
]
OF_EVERY_ROUTE = {"400", "411", "413", "415"}
OF_LOGINS = {"401", "403", "503"}
UNBOUNDED = {"description", "items", "input", "entrance", "parameters", "item"}
"""Fields without bounds of their own; the size of the body bounds them."""


@pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS)
def test_errors(method: str, path: str, operation: dict[str, Any]) -> None:
    responses = operation["responses"]
    wanted = OF_EVERY_ROUTE | (set() if path in ("/livez", "/readyz") else OF_LOGINS)
    wanted |= {"404"} if "{" in path or "register" in path else set()
    wanted |= {"409"} if method != "get" else set()
    assert wanted <= set(responses)
    for code in wanted:
        schema = responses[code]["content"]["application/json"]["schema"]["$ref"]
        assert schema.endswith("/FailedRegister" if "register" in path else "/Error")
        assert responses[code]["description"]
    if path != "/readyz" and "503" in responses:
        assert "Retry-After" in responses["503"]["headers"]


def test_kinds_of_graphs() -> None:
    answer = DOCUMENT["paths"]["/api/flows/{flow_id}/graph/"]["get"]["responses"]["200"]
    assert set(answer["content"]) == {"application/json", "image/svg+xml", "text/plain"}


def fields(name: str, schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The numbers and texts of a body, by name."""
    for key, value in schema.get("properties", {}).items():
        yield from fields(f"{name}.{key}", value)
    if schema.get("type") in ("integer", "string", "array"):
        yield name, schema


def test_bounds_of_bodies() -> None:
    schemas = DOCUMENT["components"]["schemas"].items()
    bodies = {name: schema for name, schema in schemas if name.endswith("Request") and "oneOf" not in schema}
    assert {"RegisterByBodyRequest", "RegisterItemRequest"} <= set(bodies)
    for body, schema in bodies.items():
        assert schema["additionalProperties"] is False
        for name, field in fields(body, schema):
            if name.rsplit(".", 1)[-1] in UNBOUNDED:
                continue
            bounds = {"integer": {"minimum", "maximum"}, "string": {"maxLength"}, "array": {"items"}}[field["type"]]
            assert bounds <= set(field), name


def test_bounds_of_addresses() -> None:
    for method, path, operation in OPERATIONS:
        for parameter in operation.get("parameters", []):
            schema = parameter["schema"]
            bounded = {"maximum", "maxLength", "enum", "format", "minimum", "pattern"} & set(schema)
            assert bounded or parameter["name"] == "flow_id", (method, path, parameter)
