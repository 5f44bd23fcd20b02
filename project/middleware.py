"""What the reference project does around all its pages."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from django.core.exceptions import TooManyFieldsSent
from django.http import HttpRequest, HttpResponse

from flowerapp.admin import unusable


class RefuseUnusable:
    """400 for values that Django's own pages in the admin answer by a server error; flowerapp's need it not.

    Such are a date of the year 99999999999, a session's cookie with NUL on PostgreSQL, or a charset that is none of
    texts.
    """

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> Any:
        """The answer of the pages, which read the request as UTF-8, whatever charset it says."""
        with suppress(TooManyFieldsSent):  # the page that reads them says so
            request.encoding = unusable.UTF_8
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        """The refusal, if a value is at fault."""
        return unusable.refusal(request, error)
