"""What the admins of workflows and pools share: rows that are known by a name, and written by the engine."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.text import Truncator

from flowerapp.admin.patient import PatientAdmin
from flowerapp.core.names import name_problems
from flowerapp.exceptions import FlowerError, NotFoundError

LONGEST_DESCRIPTION = 200
"""Characters of a description in a list."""


def check_name(name: str, field: str) -> str:
    """The name; raises ValidationError for one that is not good for URLs."""
    if problems := list(name_problems(name, field)):
        raise ValidationError(problems)
    return name


class NamedAdmin(PatientAdmin):
    """Rows that keep their name; what the engine refuses becomes a message."""

    name_field: str
    show_full_result_count = False
    list_per_page = 100
    actions = None

    @admin.display(description="description")
    def about(self, obj: Any) -> str:
        """The beginning of the description."""
        return Truncator(obj.description).chars(LONGEST_DESCRIPTION)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        """The name of a stored row: others refer to it by that."""
        return [self.name_field] if obj is not None else []

    def details(self, request: HttpRequest, name: str) -> dict[str, Any]:
        """What the page of a row shows beside its form."""
        return {}

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Django's form with ``details``."""
        details = {} if object_id is None else self.details(request, unquote(object_id))
        try:
            return super().changeform_view(request, object_id, form_url, {**details, **(extra_context or {})})
        except FlowerError as error:
            messages.error(request, str(error))
            return HttpResponseRedirect(request.path)

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Django's question; after a refusal the page of the row, or the list where there is no row."""
        try:
            return super().delete_view(request, object_id, extra_context)
        except FlowerError as error:
            messages.error(request, str(error))
            route, args = ("changelist", []) if isinstance(error, NotFoundError) else ("change", [object_id])
            names = [quote(unquote(name)) for name in args]
            return HttpResponseRedirect(
                reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_{route}", args=names)
            )
