"""Lists of tables that grow for years: nothing here reads the whole table."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest

from flowerapp.admin.patient import PatientAdmin

MOST_COUNTED = 1000
"""Most rows that are counted and paged through; a search or filter leads to others."""


class LongPaginator(Paginator):  # type: ignore[type-arg]
    """Counts no further than ``MOST_COUNTED``."""

    @cached_property
    def _count_to_limit(self) -> int:
        rows: Any = self.object_list
        return len(rows.order_by().values_list("pk")[: MOST_COUNTED + 1]) if isinstance(rows, QuerySet) else len(rows)

    @cached_property
    def count(self) -> int:
        """Rows of the list, at most ``MOST_COUNTED``."""
        return min(self._count_to_limit, MOST_COUNTED)

    @property
    def more(self) -> bool:
        """Whether there are more rows than were counted."""
        return self._count_to_limit > MOST_COUNTED


class LongList(ChangeList):
    """Sorts only by the columns that it offers, whatever the URL says."""

    def get_ordering_field(self, field_name: Any) -> Any:
        """The column behind one of the list's, or None."""
        return super().get_ordering_field(field_name) if field_name in (self.sortable_by or ()) else None


class LongListAdmin(PatientAdmin):
    """An admin of such a table."""

    paginator = LongPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER

    def get_changelist(self, request: HttpRequest, **options: Any) -> type[ChangeList]:
        """The list that sorts by indexed columns alone."""
        return LongList

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """The rows that ``matching`` leaves."""
        term = search_term.strip()
        return (self.matching(queryset, term) if term else queryset), False

    def matching(self, queryset: QuerySet[Any], term: str) -> QuerySet[Any]:
        """The rows of the list that match a search, by indexed columns."""
        raise NotImplementedError

    def response_action(self, request: HttpRequest, queryset: QuerySet[Any], *more: Any, **options: Any) -> Any:
        """Refuse an action on all rows of a list that is too long to be counted."""
        across = request.POST.get("select_across", "") not in ("", "0", "false", "False")
        if across and LongPaginator(queryset, 1).more:
            sentence = f"over {MOST_COUNTED:,} rows match; narrow the list before you act on all of them"
            self.message_user(request, sentence, messages.ERROR)
            return None
        return super().response_action(request, queryset, *more, **options)
