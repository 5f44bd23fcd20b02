"""The list of workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import admin
from django.http import HttpRequest
from django.utils.safestring import SafeString

from flowerapp.admin import html
from flowerapp.models import Worker
from flowerapp.selectors import workers

if TYPE_CHECKING:
    Base = admin.ModelAdmin[Worker]
else:
    Base = admin.ModelAdmin


@admin.register(Worker)
class WorkerAdmin(Base):
    """Workers, read-only."""

    list_display = ["name", "alive", "seen", "pool", "concurrency", "serves", "started"]
    list_display_links = None
    actions = None

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Workers write their own rows."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Worker | None = None) -> bool:
        """Workers write their own rows."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Worker | None = None) -> bool:
        """The watcher deletes them."""
        return False

    @admin.display(description="status")
    def alive(self, obj: Worker) -> SafeString:
        """Whether its last heartbeat is recent."""
        return html.badge(workers.style_of(obj))

    @admin.display(description="last heartbeat", ordering="seen_ts")
    def seen(self, obj: Worker) -> SafeString | str:
        """Time of its last heartbeat."""
        return html.moment(obj.seen_ts)

    @admin.display(description="started", ordering="started_ts")
    def started(self, obj: Worker) -> SafeString | str:
        """Time of its start."""
        return html.moment(obj.started_ts)

    @admin.display(description="queues")
    def serves(self, obj: Worker) -> str:
        """Names of its queues."""
        return ", ".join(map(str, obj.queues))

    class Media:
        css = {"all": ["flowerapp/admin.css"]}
