"""Pools: their slots, the tasks that have them and those that wait for one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.contrib.admin.widgets import AdminIntegerFieldWidget
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString

from flowerapp import engine
from flowerapp.admin import html
from flowerapp.admin.named import NamedAdmin, check_name
from flowerapp.core.permissions import ADD_POOL, CHANGE_POOL, DELETE_POOL, VIEW_POOL
from flowerapp.exceptions import UnknownPoolError
from flowerapp.models import Pool, Task
from flowerapp.selectors.naming import child_label, with_parents
from flowerapp.selectors.pools import PoolUse, get_pool
from flowerapp.selectors.tasks import ROW_COLUMNS
from flowerapp.selectors.wait_reasons import wait_reasons

MOST_ROWS = 100
"""Tasks that each table of a pool's page shows."""

if TYPE_CHECKING:
    FormBase = forms.ModelForm[Pool]
else:
    FormBase = forms.ModelForm


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
        return check_name(self.cleaned_data["name"], "name")


@admin.register(Pool)
class PoolAdmin(NamedAdmin):
    """Pools, written by the engine, which admits tasks to free slots."""

    permissions = {"view": VIEW_POOL, "add": ADD_POOL, "change": CHANGE_POOL, "delete": DELETE_POOL}
    name_field = "name"
    form = PoolForm
    fields = ["name", "slots", "description"]
    list_display = ["name", "slots", "held", "waiting", "about"]
    search_fields = ["name"]
    change_form_template = "admin/flowerapp/pool/form.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Pool]:
        """Pools with the numbers of their tasks, counted in the same statement."""
        pools: Any = super().get_queryset(request)
        with_use: QuerySet[Pool] = pools.with_use()
        return with_use

    @admin.display(description="held")
    def held(self, obj: Any) -> SafeString:
        """Slots that tasks have."""
        return html.bar(obj.held, obj.slots, f"{obj.held} of {obj.slots}")

    @admin.display(description="waiting")
    def waiting(self, obj: Any) -> int:
        """Tasks that wait for a slot."""
        return int(obj.waiting)

    def details(self, request: HttpRequest, name: str) -> dict[str, Any]:
        """The tasks that have its slots and those that wait for one."""
        return _use(name)

    def save_model(self, request: HttpRequest, obj: Pool, form: Any, change: bool) -> None:
        """Create the pool or change it; more slots admit tasks at once."""
        engine.set_pool(obj.name, obj.slots, obj.description, new=not change)

    def delete_model(self, request: HttpRequest, obj: Pool) -> None:
        """Delete a pool that no step and no open task names."""
        engine.delete_pool(obj.name)

    class Media:
        css = {"all": ["flowerapp/admin.css"]}


def _use(name: str) -> dict[str, Any]:
    try:
        use = PoolUse(get_pool(name))
    except UnknownPoolError:
        return {}
    waiting = list(use.waiters.only(*ROW_COLUMNS)[:MOST_ROWS])
    holders = list(use.holders.only(*ROW_COLUMNS)[:MOST_ROWS])
    with_parents([*waiting, *holders])
    reasons = wait_reasons(waiting)
    return {
        "use": use,
        "use_bar": html.bar(use.held, use.pool.slots, f"{use.held:,} of {use.pool.slots:,} slots held"),
        "holders": [_line(task) for task in holders],
        "waiters": [_line(task) | {"why": reasons.get(task.pk, "")} for task in waiting],
    }


def _line(task: Task) -> dict[str, Any]:
    return {
        "flow": html.flow_link(task.task_flow_id),
        "workflow": html.link(html.workflow_url(task.task_id), task.task_id),
        "task": html.link(html.task_url(task.pk), task.own_title),
        "child": child_label(task),
        "program": task.program,
        "priority": task.task_priority,
        "badge": html.task_badge(task),
        "since": html.moment(task.started_ts if task.started_ts else task.sent_ts),
    }
