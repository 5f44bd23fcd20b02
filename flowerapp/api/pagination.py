"""Pages of lists: by cursor, 50 rows, without a count."""

from __future__ import annotations

import base64
import json
from typing import Any

from rest_framework import exceptions
from rest_framework.pagination import BasePagination, CursorPagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param

from flowerapp.core import answers
from flowerapp.selectors import pages
from flowerapp.selectors.pages import Anchor

PAGE_SIZE = 50
_LONGEST = 8192
"""Characters of a cursor; the names of two columns need fewer."""
_DIGITS = 10
"""A number of so many digits is larger than any page."""


class Cursors(CursorPagination):
    """The pages of a list of rows that is sorted by the view's ``cursor_ordering``.

    A cursor names a row by all columns of that order, so a list is read to its end whatever its rows have in common.
    DRF's own is a value of the first column alone, and an offset of at most 1,000 rows from there.
    """

    page_size = PAGE_SIZE
    page_size_query_param = "page_size"
    max_page_size = 500
    cursor_query_param = "cursor"
    parameters = (cursor_query_param, page_size_query_param)
    """The parameters of the query that it reads."""

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> Any:
        """The rows of the page; raises ValidationError for a cursor of another list."""
        self.request = request
        self.base_url = request.build_absolute_uri()
        self.anchor = _decoded(request.query_params.get(self.cursor_query_param))
        self.ordering = tuple(view.cursor_ordering)
        size = self._size(request)
        try:
            rows = pages.page(queryset, self.ordering, self.anchor, size + 1)
        except ValueError:
            raise _bad_cursor() from None
        self.more = len(rows) > size
        self.page = rows[:size][::-1] if self.anchor and self.anchor.backward else rows[:size]
        return self.page

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        """The parameters for OpenAPI."""
        parameters = super().get_schema_operation_parameters(view)
        bounds = {self.cursor_query_param: {"maxLength": _LONGEST}, self.page_size_query_param: {"minimum": 1}}
        return [one | {"schema": one["schema"] | bounds[one["name"]]} for one in parameters]

    def _size(self, request: Request) -> int:
        """Rows of a page, at most ``max_page_size``; raises ValidationError."""
        text = request.query_params.get(self.page_size_query_param, str(PAGE_SIZE))
        if not (text.isascii() and text.isdigit()) or not text.strip("0"):
            raise exceptions.ValidationError({"page_size": [f"must be a number from 1 to {self.max_page_size}"]})
        return int(text) if len(text) < _DIGITS and int(text) < self.max_page_size else self.max_page_size

    def get_paginated_response(self, data: Any) -> Response:
        """The rows that fit into one answer, in DRF's shape; the next page begins with the one that does not."""
        onward = data[::-1] if self.anchor and self.anchor.backward else data
        number = answers.fitting(onward)
        if number < len(data):
            self.more = True
            at = slice(-number, None) if onward is not data else slice(number)
            data, self.page = data[at], (self.page or [])[at]
        return super().get_paginated_response([answers.fitted_row(row) for row in data])

    def get_next_link(self) -> str | None:
        """Address of the page after this one; None if there is none."""
        return self._link(backward=False)

    def get_previous_link(self) -> str | None:
        """Address of the page before this one; None if there is none."""
        return self._link(backward=True)

    def _link(self, *, backward: bool) -> str | None:
        came = self.anchor
        onward = backward == (came is not None and came.backward)
        if not (self.more if onward else came):
            return None
        if self.page:
            anchor = Anchor(pages.anchor_of(self.page[0 if backward else -1], self.ordering), backward)
        else:  # the rows of the page are gone: back to the row that led here
            anchor = Anchor(came.columns if came else [], backward, inclusive=True)
        return str(replace_query_param(self.base_url or "", self.cursor_query_param, _encoded(anchor)))


def _encoded(anchor: Anchor) -> str:
    text = json.dumps([anchor.columns, int(anchor.backward), int(anchor.inclusive)], ensure_ascii=False)
    return base64.urlsafe_b64encode(text.encode()).decode()


def _decoded(cursor: str | None) -> Anchor | None:
    """The anchor that a cursor stands for; raises ValidationError."""
    if cursor is None:
        return None
    try:
        if len(cursor) > _LONGEST:
            raise _bad_cursor()
        columns, backward, inclusive = json.loads(base64.b64decode(cursor, altchars="-_", validate=True))
    except (ValueError, TypeError, RecursionError):
        raise _bad_cursor() from None
    if not isinstance(columns, list) or not all(flag in (0, 1) for flag in (backward, inclusive)):
        raise _bad_cursor()
    return Anchor(columns, bool(backward), bool(inclusive))


def _bad_cursor() -> exceptions.ValidationError:
    return exceptions.ValidationError({"cursor": ["not a cursor of this list; follow next or previous of a page"]})


class OnePage(BasePagination):
    """A list that is put together anew for each request, and is nearly always one page, in the same shape.

    Its cursor is the number of rows before the page.
    """

    parameters = ("cursor",)
    most_rows = 500

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any]:
        """The rows of the page; raises ValidationError for a cursor of another list."""
        cursor = request.query_params.get("cursor", "0")
        if not (cursor.isascii() and cursor.isdecimal() and len(cursor) < 10):
            raise _bad_cursor()
        self.url, self.first = request.build_absolute_uri(), int(cursor)
        rows = list(queryset)
        self.rest = max(0, len(rows) - self.first)
        return rows[self.first : self.first + self.most_rows]

    def get_paginated_response(self, data: Any) -> Response:
        """The rows that fit into one answer."""
        number = answers.fitting(data)
        after = self._link(self.first + number) if number < self.rest else None
        before = self._link(max(0, self.first - self.most_rows)) if self.first else None
        return Response({"next": after, "previous": before, "results": data[:number]})

    def _link(self, first: int) -> str:
        return str(replace_query_param(self.url, "cursor", first))

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        """The shape for OpenAPI."""
        link = {"type": "string", "nullable": True, "format": "uri"}
        return {
            "type": "object",
            "required": ["results"],
            "properties": {"next": link, "previous": link, "results": schema},
        }

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        """Its parameter for OpenAPI."""
        meaning = "Where the page begins; follow next and previous."
        schema = {"type": "string", "pattern": "^[0-9]{1,9}$"}
        return [{"name": "cursor", "required": False, "in": "query", "description": meaning, "schema": schema}]
