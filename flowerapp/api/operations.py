"""What our OpenAPI document says about an operation beside what drf-spectacular finds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from drf_spectacular.extensions import OpenApiSerializerExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import Direction
from rest_framework.permissions import SAFE_METHODS
from rest_framework.renderers import JSONRenderer

from flowerapp.api import examples

MEANINGS = {
    400: "The request is invalid; the sentence says where.",
    401: "The caller is unknown: neither a login nor a token.",
    403: "The caller may not do this.",
    404: "There is none of this name.",
    409: "The present state does not allow it.",
    411: "The body has no Content-Length.",
    413: "The body is too large.",
    415: "The body is not JSON.",
    503: "The database is busy or unreachable.",
}
"""Status of an error → what it means."""
HEADERS = {
    401: {"WWW-Authenticate": {"schema": {"type": "string"}, "description": "How to log in."}},
    503: {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}},
}
"""Status of an error → its headers."""


class Operation(AutoSchema):
    """An operation with the parameters of its query, and with its errors."""

    def get_override_parameters(self) -> list[Any]:
        """Those that the view reads from the query, if it reads any."""
        view: Any = self.view
        return [view.query] if self.method in SAFE_METHODS and view.query().fields else []

    def get_operation(self, *args: Any, **options: Any) -> Any:
        """The operation with its errors."""
        operation: Any = super().get_operation(*args, **options)
        if operation is not None:
            errors = {str(code): self._error(code) for code in self._codes()}
            operation["responses"] = dict(sorted({**errors, **operation["responses"]}.items()))
            self._add_request_example(operation)
        return operation

    def get_description(self) -> str:  # type: ignore[override] # as in drf-spectacular's class
        """What it does: of a verb on a flow, what the view says, which has the verb."""
        view: Any = self.view
        return str(type(view).__doc__ if hasattr(view, "verb") else super().get_description())

    def get_summary(self) -> str:
        """The beginning of the description."""
        return re.split(r"[:;.](?:\s|$)", self.get_description(), maxsplit=1)[0].replace("\n", " ")

    def _codes(self) -> Iterator[int]:
        """The errors that every view of this kind can answer."""
        view: Any = self.view
        yield from (400, 411, 413, 415)
        yield from (401, 403, 503) if view.needs_login else ()
        yield from (404,) if "{" in self.path or view.names_in_body else ()
        yield from (view.conflict_status,) if self.method not in SAFE_METHODS else ()

    def _add_request_example(self, operation: dict[str, Any]) -> None:
        for kind in operation.get("requestBody", {}).get("content", {}).values():
            if "examples" not in kind:
                kind["example"] = examples.REQUESTS[operation["operationId"]]

    def _error(self, code: int) -> dict[str, Any]:
        view: Any = self.view
        schema = self.resolve_serializer(view.failure, "response").ref
        content = {"content": {JSONRenderer.media_type: {"schema": schema}}}
        return {"description": MEANINGS[code], **content, **({"headers": HEADERS[code]} if code in HEADERS else {})}


class Strict(OpenApiSerializerExtension):  # type: ignore[no-untyped-call]
    """Bodies: they refuse unknown fields, and their fields have bounds that the engine checks."""

    target_class = "flowerapp.api.fields.StrictSerializer"
    match_subclasses = True

    def map_serializer(self, auto_schema: Any, direction: Direction) -> Any:
        """The schema of the body."""
        schema = auto_schema._map_serializer(self.target, direction, bypass_extensions=True)
        if direction == "request":
            schema["additionalProperties"] = False
            for name, field in self.target.fields.items():
                _bound(schema["properties"].get(name, {}), field)
        return schema


def _bound(schema: dict[str, Any], field: Any) -> None:
    schema.update(getattr(field, "bounds", {}))
    schema.get("items", {}).update(getattr(getattr(field, "child", None), "bounds", {}))
