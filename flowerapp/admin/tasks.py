"""Tasks: a list, and a page with input, output, attempts and log of one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from flowerapp.admin import html
from flowerapp.admin.approvals import approval_parts
from flowerapp.admin.flows import StatusFilter, WorkflowFilter
from flowerapp.admin.lists import MOST_COUNTED, LongList, LongListAdmin
from flowerapp.admin.pages import task_page
from flowerapp.admin.verbs import TASK_VERBS, VerbAdmin
from flowerapp.core.gates import APPROVAL
from flowerapp.models import Task
from flowerapp.selectors import approvals, search
from flowerapp.selectors.flows import shown_flows
from flowerapp.selectors.naming import child_label, mentions, with_parents
from flowerapp.selectors.next_steps import task_verbs
from flowerapp.selectors.tasks import duration_of, program_text
from flowerapp.states import OPEN


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
        """Rows of that workflow: by its flows if they are few, else by name, the latest first."""
        chosen = super().queryset(request, queryset)
        flows = shown_flows().filter(task_id=self.value() or "").order_by().values_list("pk", flat=True)
        few = list(flows[: MOST_COUNTED + 1])
        return chosen.filter(task_flow_id__in=few) if 0 < len(few) <= MOST_COUNTED else chosen


class KindFilter(admin.SimpleListFilter):
    """Steps, children, or the children of one task."""

    title = "kind"
    parameter_name = "parent_seq"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Within one flow: steps, children, and the children of the parent in the address."""
        if not _of_one_flow(request):
            return []
        kinds = [("none", "steps"), ("any", "children")]
        return (
            kinds if self._parent() is None else [*kinds, (str(self.value()), f"children of {self._mention(request)}")]
        )

    def _mention(self, request: HttpRequest) -> str:
        """The parent in the address, by the name of its step."""
        flow_id = request.GET.get("task_flow", request.GET.get("task_flow__exact", ""))
        parent = self._parent() or 0
        return mentions({flow_id: {parent}})[flow_id][parent]

    def _parent(self) -> int | None:
        text = str(self.value())
        return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else None

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """The chosen rows."""
        if self.value() in ("none", "any"):
            return queryset.filter(parent_seq__isnull=self.value() == "none")
        return queryset if self._parent() is None else queryset.filter(parent_seq=self._parent())


class TaskList(LongList):
    """A page of tasks without what may be large and is not shown."""

    def get_queryset(self, *arguments: Any, **options: Any) -> QuerySet[Any]:
        """The rows, whose columns are read as far as they are shown."""
        large = ("parameters", "item", "output", "traceback", "canvas", "depends_on", "dependents")
        of_flow = ("task_flow__input", "task_flow__state", "task_flow__source")
        return super().get_queryset(*arguments, **options).defer(*large, *of_flow)

    def get_results(self, request: HttpRequest) -> None:
        """The page, then a statement for the parents of its children."""
        super().get_results(request)
        self.result_list: Sequence[Task] = list(self.result_list)
        with_parents(self.result_list)


@admin.register(Task)
class TaskAdmin(LongListAdmin, VerbAdmin):
    """Tasks, read-only, with verbs."""

    verbs = TASK_VERBS
    list_display = ["seq", "runs", "state", "flow", "workflow", "took", "attempt", "queue", "error_line"]
    list_display_links = None
    lookups = frozenset({"task_flow", "task_flow__exact"})
    list_filter = [TaskStatusFilter, KindFilter, TaskWorkflowFilter]
    search_fields = ["task_flow__task_flow_id__startswith"]
    search_help_text = (
        "The start of a flow's id, or any part of a step's name, a program or an error, "
        f"of the newest {search.MOST_SEARCHED:,} tasks that the filters leave"
    )
    list_per_page = 100
    list_max_show_all = 500
    actions = None

    def get_changelist(self, request: HttpRequest, **options: Any) -> type[ChangeList]:
        """The list that reads no large values."""
        return TaskList

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Tasks with their flows."""
        return super().get_queryset(request).select_related("task_flow")

    def matching(self, queryset: QuerySet[Any], term: str) -> QuerySet[Any]:
        """By any part of the step's name, the program or the error, and those of a flow by its id."""
        matches: QuerySet[Any] = search.search_tasks(queryset, term)
        return matches

    def get_list_display(self, request: HttpRequest) -> Any:
        """Of one flow's tasks, the workflow is the same in each row."""
        shown = super().get_list_display(request)
        return [name for name in shown if name != "workflow"] if _of_one_flow(request) else shown

    def get_ordering(self, request: HttpRequest) -> list[Any]:
        """One flow's tasks in their order, else the latest first."""
        return ["task_exec_seq"] if _of_one_flow(request) else ["-id"]

    def get_sortable_by(self, request: HttpRequest) -> Any:
        """One flow's tasks by any column; those of all flows only in their own order."""
        return list(self.get_list_display(request)) if _of_one_flow(request) else []

    @admin.display(description="task", ordering="task_exec_seq")
    def seq(self, obj: Task) -> SafeString:
        """Link to the page."""
        return html.link(html.task_url(obj.pk), obj.own_title)

    @admin.display(description="program", ordering="program")
    def runs(self, obj: Task) -> SafeString | str:
        """Program, and of a child what it is to its parent."""
        child = child_label(obj)
        return (
            format_html('{}<br><small class="flower-nowrap">{}</small>', obj.program, child)
            if child
            else program_text(obj)
        )

    @admin.display(description="status", ordering="exec_status")
    def state(self, obj: Task) -> SafeString:
        """State, with a retry's delay, progress, or why it was skipped."""
        return html.task_badge(obj)

    @admin.display(description="flow")
    def flow(self, obj: Task) -> SafeString:
        """Link to the flow."""
        return html.flow_link(obj.task_flow_id)

    @admin.display(description="workflow", ordering="task_id")
    def workflow(self, obj: Task) -> SafeString:
        """Link to the definition."""
        return html.link(html.workflow_url(obj.task_id), obj.task_id)

    @admin.display(description="duration")
    def took(self, obj: Task) -> str:
        """From the start to the end, or until now."""
        return duration_of(obj)

    @admin.display(description="error")
    def error_line(self, obj: Task) -> SafeString | str:
        """Start of the error."""
        line = obj.error.partition("\n")[0][:120]
        return format_html('<span class="flower-error-line">{}</span>', line) if line else ""

    def fitting(self, target: Task) -> set[str]:
        """Names of the verbs that fit a task now."""
        return task_verbs(target)

    def page(self, request: HttpRequest, target: Task) -> dict[str, Any]:
        """What the page of a task shows."""
        page = {"title": f"Task {target.title}", "subtitle": target.task_flow_id, **task_page(target)}
        asked = approvals.of_task(target.ref) if target.program == APPROVAL else None
        return page if asked is None else approval_parts(request, asked) | page
