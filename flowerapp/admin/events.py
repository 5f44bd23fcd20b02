"""Events that were reported, and a form to report one; they are not changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.safestring import SafeString

from flowerapp import engine
from flowerapp.admin import html
from flowerapp.admin.forms import StrictJSONField
from flowerapp.admin.lists import LongList, LongListAdmin
from flowerapp.admin.named import check_name
from flowerapp.admin.verbs import VerbAdmin
from flowerapp.core import values
from flowerapp.core.permissions import EMIT_EVENT, VIEW_FLOW
from flowerapp.exceptions import FlowerError
from flowerapp.models import Event
from flowerapp.selectors import events
from flowerapp.selectors.short import left_out, short_rows

MOST_DATA = 200
"""Characters of an event's data in a list."""

if TYPE_CHECKING:
    FormBase = forms.ModelForm[Event]
else:
    FormBase = forms.ModelForm


class EventForm(FormBase):
    """Kind and data of a new event."""

    data: Any = StrictJSONField(only_objects=True, help_text="What happened, as a JSON object. Empty is {}.")

    class Meta:
        model = Event
        fields = ["kind", "data"]
        help_texts = {"kind": "What waits for events of this kind ends, and flows that it starts are registered."}

    def clean_kind(self) -> str:
        """A name that is good for URLs."""
        return check_name(self.cleaned_data["kind"], "kind")


class EventList(LongList):
    """A page of events without large data."""

    def get_queryset(self, *arguments: Any, **options: Any) -> QuerySet[Any]:
        """The events, as lists show them."""
        short: QuerySet[Any] = short_rows(super().get_queryset(*arguments, **options), "data")
        return short


@admin.register(Event)
class EventAdmin(LongListAdmin, VerbAdmin):
    """Events, read-only, and a form to report one."""

    permissions = {"view": VIEW_FLOW, "add": EMIT_EVENT}
    form = EventForm
    list_display = ["number", "kind", "when", "actor", "taken", "content"]
    list_display_links = None
    sortable_by = ()
    ordering = ["-id"]
    search_fields = ["kind"]
    search_help_text = "Kind of the events"
    actions = None

    def get_changelist(self, request: HttpRequest, **options: Any) -> type[ChangeList]:
        """The list that reads no large values."""
        return EventList

    def matching(self, queryset: QuerySet[Any], term: str) -> QuerySet[Any]:
        """Those of a kind."""
        return queryset.filter(kind=term)

    @admin.display(description="event")
    def number(self, obj: Event) -> SafeString:
        """Link to the page."""
        return html.link(self.page_url(obj), obj.pk)

    @admin.display(description="when")
    def when(self, obj: Event) -> SafeString | str:
        """When it was reported."""
        return html.moment(obj.ts)

    @admin.display(description="taken")
    def taken(self, obj: Event) -> SafeString | str:
        """When a wait took it with a receipt."""
        return html.moment(obj.consumed_ts)

    @admin.display(description="data")
    def content(self, obj: Event) -> str:
        """The beginning of its data."""
        size = left_out(obj).get("data")
        return f"{size:,} bytes" if size else values.cut(values.dumps(obj.data), MOST_DATA)

    def fitting(self, target: Event) -> set[str]:
        """There are no verbs on an event."""
        return set()

    def page(self, request: HttpRequest, target: Event) -> dict[str, Any]:
        """What the page of an event shows."""
        facts = [
            ("Kind", target.kind),
            ("Reported", html.moment(target.ts)),
            ("By", target.actor),
            ("Offered", "" if target.offered else "not yet to all that wait for it"),
            ("Taken", html.moment(target.consumed_ts)),
        ]
        return {
            "title": f"Event {target.pk}",
            "facts": [(name, value) for name, value in facts if value],
            "data": html.pretty(target.data),
            "waiters": [html.named_task(named) for named in events.waiters(target.kind)],
        }

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Django's form; what the engine refuses becomes a message."""
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)
        except FlowerError as error:
            messages.error(request, str(error))
            return HttpResponseRedirect(request.path)

    def save_model(self, request: HttpRequest, obj: Event, form: Any, change: bool) -> None:
        """Report the event."""
        event = engine.emit(obj.kind, obj.data, actor=request.user.get_username()[:150])
        obj.pk, obj.ts = event.pk, event.ts

    class Media:
        css = {"all": ["flowerapp/admin.css"]}
