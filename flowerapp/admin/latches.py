"""Latches: the tasks that hold them and those that wait for them."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString

from flowerapp import engine
from flowerapp.admin import html
from flowerapp.admin.forms import WhyForm
from flowerapp.admin.lists import LongListAdmin
from flowerapp.admin.verbs import Verb, VerbAdmin, changelist_url
from flowerapp.core.permissions import VIEW_FLOW
from flowerapp.models import Latch
from flowerapp.selectors.latches import LatchUse
from flowerapp.selectors.waiters import MOST_TASKS


def _release(latch: Any, form: WhyForm, user: Any) -> None:
    engine.release_latch(latch.pk, actor=user.get_username(), why=form.cleaned_data["why"])


RELEASE = Verb(
    name="release",
    label="Release",
    does="All counts of the latch are taken away, and what waits for it continues. The flows that hold it do not "
    "notice: do it only if they will not release it themselves.",
    run=_release,
    has_page=True,
    destroys=True,
)


@admin.register(Latch)
class LatchAdmin(LongListAdmin, VerbAdmin):
    """Latches that are held, read-only, with the verb that frees one."""

    permissions = {"view": VIEW_FLOW}
    verbs = {RELEASE.name: RELEASE}
    list_display = ["named", "held", "waiting", "since"]
    list_display_links = None
    sortable_by = ()
    ordering = ["name"]
    search_fields = ["name"]
    search_help_text = "The beginning of a latch's name"
    actions = None

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Latches with the numbers of their tasks, counted in the same statement."""
        latches: Any = super().get_queryset(request)
        with_use: QuerySet[Any] = latches.with_use()
        return with_use

    def matching(self, queryset: QuerySet[Any], term: str) -> QuerySet[Any]:
        """Those whose names begin so."""
        return queryset.filter(name__startswith=term)

    @admin.display(description="latch")
    def named(self, obj: Latch) -> SafeString:
        """Link to the page."""
        return html.link(self.page_url(obj), obj.pk)

    @admin.display(description="count")
    def held(self, obj: Any) -> int:
        """How often it is held."""
        return int(obj.count)

    @admin.display(description="waiting")
    def waiting(self, obj: Any) -> int:
        """Tasks that wait until it is at zero."""
        return int(obj.waiting)

    @admin.display(description="since")
    def since(self, obj: Latch) -> SafeString | str:
        """When it was first acquired."""
        return html.moment(obj.ts)

    def fitting(self, target: Latch) -> set[str]:
        """One that is there is held."""
        return set(self.verbs)

    def url_after(self, target: Latch) -> str:
        """The list, as it is gone."""
        return changelist_url(self)

    def page(self, request: HttpRequest, target: Any) -> dict[str, Any]:
        """What the page of a latch shows."""
        use = LatchUse(target.pk)
        return {
            "title": f"Latch {target.pk}",
            "facts": [("Count", target.count), ("Waiting", target.waiting), ("Held since", html.moment(target.ts))],
            "most": MOST_TASKS,
            "holders": [html.named_task(named) for named in use.holders],
            "waiters": [html.named_task(named) for named in use.waiters],
        }

    class Media:
        css = {"all": ["flowerapp/admin.css"]}
