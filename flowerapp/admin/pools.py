"""Pools: their slots, who has them and who waits for one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import quote, unquote
from django.contrib.admin.widgets import AdminIntegerFieldWidget
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.safestring import SafeString

from flowerapp import engine
from flowerapp.admin import show
from flowerapp.admin.rows import COLUMNS
from flowerapp.exceptions import FlowerError, UnknownPoolError
from flowerapp.models import Pool, Task
from flowerapp.plan import name_problems

MOST_ROWS = 100
"""Tasks that each table of a pool's page shows."""

if TYPE_CHECKING:
    Base = admin.ModelAdmin[Pool]
    FormBase = forms.ModelForm[Pool]
else:
    Base, FormBase = admin.ModelAdmin, forms.ModelForm


class PoolForm(FormBase):
    """Name, slots and description."""

    slots = forms.IntegerField(
        min_value=0,
        max_value=2**31 - 1,
        help_text="Tasks that may run at once; 0 lets none start.",
        widget=AdminIntegerFieldWidget,
    )

    class Meta:
        model = Pool
        fields = ["name", "slots", "description"]
        widgets = {"description": forms.Textarea(attrs={"rows": 2, "cols": 80})}

    def clean_name(self) -> str:
        """A name that is good for URLs."""
        name: str = self.cleaned_data["name"]
        if problems := list(name_problems(name, "name")):
            raise ValidationError(problems)
        return name


@admin.register(Pool)
class PoolAdmin(Base):
    """Pools, written by the engine, which lets tasks in where there is room."""

    form = PoolForm
    fields = ["name", "slots", "description"]
    list_display = ["name", "slots", "held", "waiting", "description"]
    search_fields = ["name"]
    show_full_result_count = False
    list_per_page = 100
    actions = None
    change_form_template = "admin/flowerapp/pool/form.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Pool]:
        """Pools with the numbers of their tasks, counted in the same statement."""
        pools: Any = super().get_queryset(request)
        found: QuerySet[Pool] = pools.with_use()
        return found

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Pool | None:
        """The pool; none has a name that cannot be stored."""
        return None if "\0" in object_id else super().get_object(request, object_id, from_field)

    def get_readonly_fields(self, request: HttpRequest, obj: Pool | None = None) -> list[str]:
        """A pool keeps its name: steps know it by that."""
        return ["name"] if obj is not None else []

    @admin.display(description="held")
    def held(self, obj: Any) -> SafeString:
        """Slots that tasks have."""
        return show.bar(obj.held, obj.slots, f"{obj.held} of {obj.slots}")

    @admin.display(description="waiting")
    def waiting(self, obj: Any) -> int:
        """Tasks that wait for a slot."""
        return int(obj.waiting)

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Django's form, with who uses the pool below it; what the engine refuses is told."""
        extra = {} if object_id is None else _use(unquote(object_id))
        try:
            return super().changeform_view(request, object_id, form_url, {**extra, **(extra_context or {})})
        except FlowerError as error:
            messages.error(request, str(error))
            return HttpResponseRedirect(request.path)

    def save_model(self, request: HttpRequest, obj: Pool, form: Any, change: bool) -> None:
        """Make the pool or change it; more slots let tasks in at once."""
        engine.set_pool(obj.name, obj.slots, obj.description, new=not change)

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Django's question; what the engine refuses is told on the page of the pool."""
        try:
            return super().delete_view(request, object_id, extra_context)
        except FlowerError as error:
            messages.error(request, str(error))
            listed = isinstance(error, UnknownPoolError)
            route, args = ("changelist", []) if listed else ("change", [quote(unquote(object_id))])
            return HttpResponseRedirect(reverse(f"admin:flowerapp_pool_{route}", args=args))

    def delete_model(self, request: HttpRequest, obj: Pool) -> None:
        """Delete one that nobody names."""
        engine.delete_pool(obj.name)

    class Media:
        css = {"all": ["flowerapp/admin.css"]}


def _use(name: str) -> dict[str, Any]:
    """Who has the slots of a pool and who waits for one, for its page."""
    try:
        use = engine.PoolUse(engine.get_pool(name))
    except UnknownPoolError:
        return {}
    waiting = list(use.waiters.only(*COLUMNS, "task_id")[:MOST_ROWS])
    whys = engine.why_wait(waiting)
    return {
        "use": use,
        "use_bar": show.bar(use.held, use.pool.slots, f"{use.held:,} of {use.pool.slots:,} slots held"),
        "holders": [_line(task) for task in use.holders.only(*COLUMNS, "task_id")[:MOST_ROWS]],
        "waiters": [_line(task) | {"why": whys.get(task.pk, "")} for task in waiting],
    }


def _line(task: Task) -> dict[str, Any]:
    return {
        "flow": show.flow_link(task.task_flow_id),
        "workflow": show.link(show.workflow_url(task.task_id), task.task_id),
        "task": show.link(show.task_url(task.pk), task.task_exec_seq),
        "child": show.child(task),
        "program": task.program,
        "priority": task.task_priority,
        "badge": show.task_badge(task),
        "since": show.moment(task.started_ts if task.started_ts else task.sent_ts),
    }
