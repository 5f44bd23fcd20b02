"""The list of what the output cache holds."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString

from flowerapp import engine
from flowerapp.admin import html
from flowerapp.admin.lists import LongListAdmin
from flowerapp.core import values
from flowerapp.core.permissions import DELETE_CACHE, VIEW_CACHE, may
from flowerapp.models import CachedOutput


@admin.register(CachedOutput)
class CacheAdmin(LongListAdmin):
    """Stored outputs, without their values: tasks write them, and users forget them."""

    permissions = {"view": VIEW_CACHE}

    list_display = ["program", "workflow", "key", "source", "size", "stored", "expires"]
    list_display_links = None
    sortable_by = ()
    search_fields = ["program"]
    search_help_text = "Whole name of a program or a workflow, or a key as the list shows it"
    actions = ["forget"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Entries without their outputs, the newest first."""
        return super().get_queryset(request).defer("output").order_by("-pk")

    def matching(self, queryset: QuerySet[Any], term: str) -> QuerySet[Any]:
        """Those of a program, of a workflow or of a key."""
        if not values.storable(term):
            return queryset.none()
        return queryset.filter(program=term) | queryset.filter(task_id=term) | queryset.filter(key=term)

    def has_forget_permission(self, request: HttpRequest) -> bool:
        """Whether the user may forget what is kept."""
        return may(request.user, DELETE_CACHE)

    @admin.action(description="Forget the selected outputs", permissions=["forget"])
    def forget(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Forget outputs; tasks that need them run anew."""
        number = sum(engine.forget_cache(entry=key) for key in queryset.values_list("pk", flat=True))
        messages.success(request, f"{number:,} {'output' if number == 1 else 'outputs'} forgotten")

    @admin.display(description="workflow")
    def workflow(self, obj: CachedOutput) -> SafeString | str:
        """Whose tasks take it."""
        return html.link(html.workflow_url(obj.task_id), obj.task_id) if obj.task_id else "all"

    @admin.display(description="stored by")
    def source(self, obj: CachedOutput) -> SafeString | str:
        """The task that stored it, or is about to."""
        return html.link(html.flow_url(obj.task_flow_id), f"{obj.task_flow_id} {obj.task_exec_seq}")

    @admin.display(description="stored")
    def stored(self, obj: CachedOutput) -> SafeString | str:
        """When it was stored."""
        return html.moment(obj.filled_ts) if obj.filled_ts else "is being stored"

    @admin.display(description="expires")
    def expires(self, obj: CachedOutput) -> SafeString | str:
        """Until when it is taken."""
        return html.moment(obj.expires_ts)

    class Media:
        css = {"all": ["flowerapp/admin.css"]}
