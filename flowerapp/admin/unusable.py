"""Requests whose values no page can use: 400 and a sentence in place of a server error."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.contrib.admin.utils import unquote
from django.core.exceptions import SuspiciousOperation
from django.db import DataError
from django.http import Http404, HttpRequest, HttpResponse

from flowerapp.core import values

_PAGE = """<!doctype html><title>Not usable</title><h1>This request cannot be answered</h1>
<p>{}. Go back, and change it.</p>"""
UTF_8 = "utf-8"
NOT_OFFERED = "The address or the form asks for what this page does not offer"
OUT_OF_RANGE = "A value of the address or of the form is out of range, or the database cannot store it"


def check(request: HttpRequest, names: dict[str, Any]) -> HttpResponse | None:
    """The refusal of a request that holds text which cannot be stored, such as NUL; None for any other.

    ``names`` are the parts of the path. Raises Http404 for one of these, because no row has such a name.
    Address and form are read as UTF-8, whatever charset the request says, which may be none of texts.
    """
    if (request.encoding or settings.DEFAULT_CHARSET).lower() != UTF_8:  # Django forgets a form that it has read
        request.encoding = UTF_8
    if not all(values.storable(unquote(str(name))) for name in names.values()):
        raise Http404("no row has this name")
    for place, text in _texts(request):
        if not values.storable(text):
            return page(f"The {place} holds a character that cannot be stored")
    return None


def _texts(request: HttpRequest) -> Iterator[tuple[str, str]]:
    """The texts of a request, each with the word for its place."""
    for place, query in (("address", request.GET), ("form", request.POST)):
        for name, texts in query.lists():
            yield from ((place, str(text)) for text in (name, *texts))
    yield from (("cookie", text) for text in request.COOKIES.values())


def refusal(request: HttpRequest, error: Exception) -> HttpResponse | None:
    """The answer to an error that comes from the values of the request; None for any other.

    A list compares columns with values of its address as they are; so there a ValueError is one of these too, such as
    Python's for the year 99999999999.
    """
    if isinstance(error, SuspiciousOperation):
        return page(NOT_OFFERED)
    if isinstance(error, (DataError, OverflowError, UnicodeError)):
        return page(OUT_OF_RANGE)
    at_fault = isinstance(error, ValueError) and request.GET and _is_list(request)
    return page(OUT_OF_RANGE) if at_fault else None


def _is_list(request: HttpRequest) -> bool:
    route = request.resolver_match.url_name if request.resolver_match else None
    return request.method in ("GET", "HEAD") and str(route).endswith("_changelist")


def page(sentence: str) -> HttpResponse:
    """400 with a sentence."""
    return HttpResponse(_PAGE.format(sentence), status=400)
