"""No page of the admin is a server error: 503 while the database is unreachable, 400 for values that cannot be used."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin
from django.db import connections, transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern

from flowerapp.admin import seen, unusable
from flowerapp.core import logs
from flowerapp.core.permissions import may
from flowerapp.querysets.outages import RETRY_SECONDS, is_outage
from flowerapp.selectors.shown import rows

logger = logs.logger(__name__)
_ENDS: dict[Any, tuple[str, ...]] = {admin.DateFieldListFilter: ("gte", "lt", "isnull")}
"""What each filter of Django's may ask of its column."""
_PAGE = """<!doctype html><title>Try again</title><h1>The database is busy or unreachable</h1>
<p>Go back, and try again in {} seconds.</p>"""

if TYPE_CHECKING:
    Base = admin.ModelAdmin[Any]
else:
    Base = admin.ModelAdmin


class PatientAdmin(Base):
    """The first base of our admins: it shows rows as people may see them, and no page of it is a server error while the
    database is unreachable."""

    permissions: Mapping[str, str] = {}
    """``view``, ``add``, ``change`` and ``delete``, each with its permission; what is left out, no user may do."""
    lookups: ClassVar[frozenset[str]] = frozenset()
    """Lookups that a list's address may have beside those of its filters."""

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """Only what is declared: any other lookup would find out, letter by letter, what a masked column holds."""
        return lookup in self.lookups or any(lookup in _lookups_of(declared) for declared in self.list_filter)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Rows with masked columns."""
        masked: QuerySet[Any] = rows(super().get_queryset(request))
        return masked

    def may(self, request: HttpRequest, act: str) -> bool:
        """Whether the user may do it to the rows of this admin."""
        permission = self.permissions.get(act)
        return permission is not None and may(request.user, permission)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whether the user may see the row, or any."""
        return self.may(request, "view")

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whether the user may make a row."""
        return self.may(request, "add")

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whether the user may change the row, or any."""
        return self.may(request, "change")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whether the user may delete the row, or any."""
        return self.may(request, "delete")

    @property
    def urls(self) -> list[URLPattern]:
        """The pages, each outside the transaction that the host's ATOMIC_REQUESTS would open around it."""
        patterns = self.get_urls()
        for pattern in patterns:
            pattern.callback = _patient(pattern.callback)
        return patterns


def _lookups_of(declared: Any) -> set[str]:
    """The lookups of one entry of ``list_filter``: a filter of ours, or a column with ``DateFieldListFilter``."""
    if isinstance(declared, tuple):
        column, kind = declared
        return {f"{column}__{end}" for end in _ENDS[kind]}
    return {declared.parameter_name}


def _patient(view: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(view)
    def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        if refusal := unusable.check(request, kwargs):
            return refusal
        response = _or_refusal(request, lambda: view(request, *args, **kwargs))
        if not getattr(response, "is_rendered", True):  # it is rendered later, and its lists are read then
            response.add_post_render_callback(seen.show)
            response.render = functools.partial(_or_refusal, request, response.render)
            return response
        return seen.show(response)

    for alias in connections:
        transaction.non_atomic_requests(using=alias)(answer)
    return answer


def _or_refusal(request: HttpRequest, make: Callable[[], Any]) -> Any:
    """What ``make`` returns; 503 if the database does not let it, or 400 if the values of the request do not."""
    try:
        return make()
    except Exception as error:
        if refusal := unusable.refusal(request, error):
            logger.warning("%s %s: a value cannot be used: %s", request.method, request.path, error)
            return refusal
        if not is_outage(error):
            raise
        logger.warning("%s %s: the database is busy or unreachable: %s", request.method, request.path, error)
        page = _PAGE.format(RETRY_SECONDS)
        return HttpResponse(page, status=503, headers={"Retry-After": str(RETRY_SECONDS)})
