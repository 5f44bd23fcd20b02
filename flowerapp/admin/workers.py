"""The list of workers."""

from __future__ import annotations

from django.contrib import admin
from django.utils.safestring import SafeString

from flowerapp.admin import html
from flowerapp.admin.patient import PatientAdmin
from flowerapp.core.permissions import VIEW_FLOW
from flowerapp.models import Worker
from flowerapp.selectors import workers


@admin.register(Worker)
class WorkerAdmin(PatientAdmin):
    """Workers, read-only: they write their own rows, and the watcher deletes them."""

    permissions = {"view": VIEW_FLOW}

    list_display = ["name", "alive", "seen", "pool", "concurrency", "serves", "started"]
    list_display_links = None
    actions = None

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
