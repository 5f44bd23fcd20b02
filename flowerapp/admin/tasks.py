"""Tasks: what one step of a flow got, did and gave."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.template.response import TemplateResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from flowerapp.admin import show
from flowerapp.admin.flows import StatusFilter, WorkflowFilter
from flowerapp.admin.lists import MOST_COUNTED, LongListAdmin
from flowerapp.admin.pages import task_page
from flowerapp.admin.verbs import TASK_VERBS, VerbAdmin
from flowerapp.models import Flow, Task
from flowerapp.states import OPEN, Status

MOST_FLOWS = 200
"""Flows whose tasks a search finds."""


def _of_one_flow(request: HttpRequest) -> bool:
    return any(name.startswith("task_flow") for name in request.GET)


class TaskStatusFilter(StatusFilter):
    """Tasks in one state; those that are open are in open flows."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Rows in that state."""
        chosen = super().queryset(request, queryset)
        is_open = str(self.value()) in {str(int(status)) for status in OPEN}
        return chosen.filter(task_flow__exec_status__in=OPEN) if is_open else chosen


class TaskWorkflowFilter(WorkflowFilter):
    """Tasks of one workflow."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Rows of that workflow; those of a rare one are found by its flows, of a common one among the latest."""
        found = super().queryset(request, queryset)
        flows = Flow.objects.filter(task_id=self.value() or "").order_by().values_list("pk", flat=True)
        few = list(flows[: MOST_COUNTED + 1])
        return found.filter(task_flow_id__in=few) if 0 < len(few) <= MOST_COUNTED else found


class KindFilter(admin.SimpleListFilter):
    """Steps, children, or the children of one task."""

    title = "kind"
    parameter_name = "parent_seq"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The two kinds, within one flow, and the one parent whose children are looked at."""
        if not _of_one_flow(request):
            return []
        kinds = [("none", "steps"), ("any", "children")]
        return kinds if self._parent() is None else [*kinds, (str(self.value()), f"children of task {self._parent()}")]

    def _parent(self) -> int | None:
        text = str(self.value())
        return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else None

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Rows of that kind."""
        if self.value() in ("none", "any"):
            return queryset.filter(parent_seq__isnull=self.value() == "none")
        return queryset if self._parent() is None else queryset.filter(parent_seq=self._parent())


@admin.register(Task)
class TaskAdmin(LongListAdmin, VerbAdmin):
    """Tasks, read-only, with verbs."""

    verbs = TASK_VERBS
    list_display = ["seq", "runs", "state", "flow", "workflow", "took", "attempt", "queue", "error_line"]
    list_display_links = None
    list_filter = [TaskStatusFilter, KindFilter, TaskWorkflowFilter]
    search_fields = ["task_flow__task_flow_id__startswith"]
    search_help_text = "Start of a flow's id"
    list_per_page = 100
    list_max_show_all = 500
    actions = None

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Tasks with their flows."""
        return super().get_queryset(request).select_related("task_flow")

    def found(self, queryset: QuerySet[Any], term: str) -> QuerySet[Any]:
        """By the flows that are meant, the latest first."""
        flows = Flow.objects.filter(task_flow_id__startswith=term).order_by("-task_flow_id")
        return queryset.filter(task_flow_id__in=list(flows.values_list("pk", flat=True)[:MOST_FLOWS]))

    def get_ordering(self, request: HttpRequest) -> list[Any]:
        """One flow's tasks in their order, else the latest first."""
        return ["task_exec_seq"] if _of_one_flow(request) else ["-id"]

    def get_sortable_by(self, request: HttpRequest) -> Any:
        """One flow's tasks by any column; all of them have no other order than their own."""
        return list(self.list_display) if _of_one_flow(request) else []

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Tasks go with their flow."""
        return False

    @admin.display(description="task", ordering="task_exec_seq")
    def seq(self, obj: Task) -> SafeString:
        """Link to the page."""
        return show.link(show.task_url(obj.pk), obj.task_exec_seq)

    @admin.display(description="program", ordering="program")
    def runs(self, obj: Task) -> SafeString | str:
        """Program, and of a child what it is to its parent."""
        child = show.child(obj)
        return (
            format_html('{}<br><small class="flower-nowrap">{}</small>', obj.program, child) if child else obj.program
        )

    @admin.display(description="status", ordering="exec_status")
    def state(self, obj: Task) -> SafeString:
        """Badge."""
        return show.task_badge(obj)

    @admin.display(description="flow")
    def flow(self, obj: Task) -> SafeString:
        """Link to the flow."""
        return show.flow_link(obj.task_flow_id)

    @admin.display(description="workflow", ordering="task_id")
    def workflow(self, obj: Task) -> SafeString:
        """Link to the definition."""
        return show.link(show.workflow_url(obj.task_id), obj.task_id)

    @admin.display(description="duration")
    def took(self, obj: Task) -> str:
        """From the start to the end, or until now."""
        end = obj.finished_ts or (obj.suspended_ts if obj.failed else None)
        return "" if obj.status is Status.WAIT else show.duration(obj.started_ts, end)

    @admin.display(description="error")
    def error_line(self, obj: Task) -> SafeString | str:
        """Start of the error."""
        line = obj.error.partition("\n")[0][:120]
        return format_html('<span class="flower-error-line">{}</span>', line) if line else ""

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The page of a task; it only reads."""
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        task: Task = self.target(request, object_id)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": f"Task {task.task_exec_seq}: {task.program}",
            "subtitle": task.task_flow_id,
            "media": self.media,
            "buttons": self.buttons(request, task),
            **task_page(task),
            **(extra_context or {}),
        }
        return TemplateResponse(request, "admin/flowerapp/task/page.html", context)
