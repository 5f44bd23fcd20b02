"""Pages of lists: by cursor, 50 rows, without a count."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError as DjangoValidationError
from django.db import DataError
from rest_framework import exceptions
from rest_framework.pagination import BasePagination, Cursor, CursorPagination
from rest_framework.request import Request
from rest_framework.response import Response

PAGE_SIZE = 50


class Cursors(CursorPagination):
    """The pages of a list of rows; ``ordering`` is the view's ``cursor_ordering``."""

    page_size = PAGE_SIZE
    page_size_query_param = "page_size"
    max_page_size = 500
    cursor_query_param = "cursor"

    def get_ordering(self, request: Request, queryset: Any, view: Any) -> tuple[str, ...]:
        """Columns that the view sorts by; the first is the cursor's."""
        return tuple(view.cursor_ordering)

    def decode_cursor(self, request: Request) -> Cursor | None:
        """The cursor of the query; raises ValidationError."""
        try:
            return super().decode_cursor(request)
        except exceptions.NotFound:
            raise _bad_cursor() from None

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> Any:
        """The rows of the page; raises ValidationError for a cursor of another list."""
        try:
            return super().paginate_queryset(queryset, request, view)
        except (ValueError, TypeError, OverflowError, DjangoValidationError, DataError):
            if self.cursor_query_param not in request.query_params:
                raise
            raise _bad_cursor() from None


def _bad_cursor() -> exceptions.ValidationError:
    return exceptions.ValidationError({"cursor": ["not a cursor of this list; follow next or previous of a page"]})


class OnePage(BasePagination):
    """A list that is always short, in the same shape."""

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any]:
        """All of it."""
        return list(queryset)

    def get_paginated_response(self, data: Any) -> Response:
        """One page, without next and previous."""
        return Response({"next": None, "previous": None, "results": data})

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        """The shape for OpenAPI."""
        link = {"type": "string", "nullable": True, "format": "uri"}
        return {
            "type": "object",
            "required": ["results"],
            "properties": {"next": link, "previous": link, "results": schema},
        }
