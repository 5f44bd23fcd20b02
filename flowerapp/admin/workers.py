"""Workers: who runs the tasks."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from django.contrib import admin
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from flowerapp import conf
from flowerapp.admin import show
from flowerapp.models import Worker

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
        """They alone."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Worker | None = None) -> bool:
        """The watcher forgets them."""
        return False

    @admin.display(description="status")
    def alive(self, obj: Worker) -> SafeString:
        """Whether it gave a sign of life lately."""
        if obj.stopped_ts is not None:
            word, kind, symbol = "Stopped", "ignore", "⊘"
        elif timezone.now() - obj.seen_ts > timedelta(seconds=conf.get().LEASE_SECONDS):
            word, kind, symbol = "Silent", "suspend", "✖"
        else:
            word, kind, symbol = "Alive", "finish", "✔"
        return format_html(
            '<span class="flower-badge flower-{}"><span aria-hidden="true">{}</span> {}</span>', kind, symbol, word
        )

    @admin.display(description="last sign of life", ordering="seen_ts")
    def seen(self, obj: Worker) -> SafeString | str:
        """Time of it."""
        return show.moment(obj.seen_ts)

    @admin.display(description="started", ordering="started_ts")
    def started(self, obj: Worker) -> SafeString | str:
        """Time of it."""
        return show.moment(obj.started_ts)

    @admin.display(description="queues")
    def serves(self, obj: Worker) -> str:
        """Names of its queues."""
        return ", ".join(map(str, obj.queues))

    class Media:
        css = {"all": ["flowerapp/admin.css"]}
