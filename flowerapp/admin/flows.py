"""Flows: a list to find what failed, and a page that says what to press."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.template.response import TemplateResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from flowerapp import engine
from flowerapp.admin import show
from flowerapp.admin.forms import WhyForm
from flowerapp.admin.lists import LongList, LongListAdmin
from flowerapp.admin.pages import flow_page
from flowerapp.admin.verbs import FLOW_VERBS, Verb, VerbAdmin
from flowerapp.exceptions import FlowerError
from flowerapp.models import Flow, Task, TaskDefinition
from flowerapp.states import CHOICES, SATISFIED, Status

MOST_MESSAGES = 10
"""Refused flows that a batch action names one by one."""
MOST_NAMES = 200
"""Workflows whose flows a search finds."""


class WorkflowFilter(admin.SimpleListFilter):
    """Flows of one workflow."""

    title = "workflow"
    parameter_name = "task_id"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Workflows that have steps."""
        return [(row["task_id"], row["task_id"]) for row in TaskDefinition.objects.workflows()[:200]]

    def has_output(self) -> bool:
        """Keep a workflow that was deleted usable as a filter."""
        return bool(self.lookup_choices) or self.value() is not None

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Rows of that workflow."""
        return queryset if self.value() is None else queryset.filter(task_id=self.value())


class StatusFilter(admin.SimpleListFilter):
    """Flows or tasks in one state, or with a failure."""

    title = "status"
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The five states."""
        return [(str(value), label) for value, label in CHOICES]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Rows in that state."""
        known = {str(value) for value, _ in CHOICES}
        return queryset.filter(exec_status=int(str(self.value()))) if self.value() in known else queryset


class FlowList(LongList):
    """A page of flows with the counts of their steps, fetched together."""

    def get_results(self, request: HttpRequest) -> None:
        """The page, then two statements for what the rows show beside their own columns."""
        super().get_results(request)
        flows: Sequence[Flow] = list(self.result_list)
        ids = [flow.pk for flow in flows]
        tasks = Task.objects.filter(task_flow_id__in=ids).order_by()
        counted = (
            tasks.filter(parent_seq=None)
            .values("task_flow_id")
            .annotate(total=Count("pk"), done=Count("pk", filter=Q(exec_status__in=SATISFIED)))
        )
        counts = {row["task_flow_id"]: row for row in counted}
        pointed = Q()
        for flow in flows:
            if flow.failed_seq is not None:
                pointed |= Q(task_flow_id=flow.pk, task_exec_seq=flow.failed_seq)
        failures = {task.task_flow_id: task for task in tasks.filter(pointed).only(*_FAILURE)} if pointed else {}
        for flow in flows:
            flow.counts = counts.get(flow.pk, {"total": 0, "done": 0})  # type: ignore[attr-defined]
            flow.failure = failures.get(flow.pk)  # type: ignore[attr-defined]
        self.result_list = flows


_FAILURE = ("task_flow_id", "task_exec_seq", "program", "error")


def _batch(verb: Verb) -> Callable[..., HttpResponse | None]:
    """An action that does a verb to each of the chosen flows."""

    @admin.action(description=f"{verb.label}: the chosen flows", permissions=["operate"])
    def action(model_admin: FlowAdmin, request: HttpRequest, queryset: QuerySet[Flow]) -> HttpResponse | None:
        return model_admin.batch(request, verb, queryset)

    action.__name__ = verb.name.replace("-", "_")
    return action


@admin.register(Flow)
class FlowAdmin(LongListAdmin, VerbAdmin):
    """Flows, read-only, with verbs."""

    verbs = FLOW_VERBS
    list_display = ["status", "flow", "workflow", "failure", "progress", "priority", "registered", "took"]
    list_display_links = None
    list_filter = [StatusFilter, WorkflowFilter, ("registered_ts", admin.DateFieldListFilter)]
    sortable_by = ["flow", "registered"]
    search_fields = ["task_flow_id__startswith"]
    search_help_text = "Start of a flow's id, or part of a workflow's name"
    list_per_page = 50
    list_max_show_all = 200
    actions = [_batch(FLOW_VERBS[name]) for name in ("rerun-failed", "resume", "suspend", "cancel")]

    def get_changelist(self, request: HttpRequest, **options: Any) -> type[ChangeList]:
        """The list that counts tasks for the whole page."""
        return FlowList

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Flows without what the list does not show."""
        return super().get_queryset(request).defer("request_hash", "idempotency_key")

    def found(self, queryset: QuerySet[Any], term: str) -> QuerySet[Any]:
        """By id, or by the names of the workflows that there are, which are few beside the flows."""
        names = TaskDefinition.objects.filter(task_id__icontains=term).order_by("task_id").values("task_id").distinct()
        named = [row["task_id"] for row in names[:MOST_NAMES]]
        return queryset.filter(Q(task_flow_id__startswith=term) | Q(task_id__in=[*named, term]))

    @admin.display(description="flow", ordering="task_flow_id")
    def flow(self, obj: Flow) -> SafeString:
        """Link to the page."""
        return show.flow_link(obj.pk)

    @admin.display(description="workflow", ordering="task_id")
    def workflow(self, obj: Flow) -> SafeString:
        """Link to the definition."""
        return show.link(show.workflow_url(obj.task_id), obj.task_id)

    @admin.display(description="status", ordering="exec_status")
    def status(self, obj: Flow) -> SafeString:
        """Badge."""
        return show.flow_badge(obj)

    @admin.display(description="failed task")
    def failure(self, obj: Any) -> SafeString | str:
        """Link to the task that failed first, with its error."""
        task = obj.failure
        if task is None:
            return ""
        text = task.error.partition("\n")[0]
        return format_html(
            '<a href="{}">{}: {}</a><br><span class="flower-error-line" title="{}">{}</span>',
            show.task_url(task.pk),
            task.task_exec_seq,
            task.program,
            text[:500],
            text if len(text) <= 80 else f"{text[:79]}…",
        )

    @admin.display(description="tasks")
    def progress(self, obj: Any) -> SafeString:
        """Satisfied of all."""
        done, total = obj.counts["done"], obj.counts["total"]
        return show.bar(done, total, f"{done} of {total}")

    @admin.display(description="registered", ordering="registered_ts")
    def registered(self, obj: Flow) -> SafeString | str:
        """Time of registration."""
        return show.moment(obj.registered_ts)

    @admin.display(description="priority", ordering="task_priority")
    def priority(self, obj: Flow) -> int:
        """Nice value."""
        return int(obj.task_priority)

    @admin.display(description="duration")
    def took(self, obj: Flow) -> str:
        """From the first start to the end, or until now."""
        return show.duration(obj.started_ts, obj.finished_ts)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The page of a flow; it only reads."""
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        flow: Flow = self.target(request, object_id)
        page = flow_page(flow)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": f"Flow of {flow.task_id}",
            "subtitle": flow.pk,
            "media": self.media,
            "buttons": self.buttons(request, flow),
            "can_delete": flow.ended and self.has_delete_permission(request, flow),
            **page,
            "failure_blocks": [self._mending(request, task) for task in page["failures"]],
            **(extra_context or {}),
        }
        return TemplateResponse(request, "admin/flowerapp/flow/page.html", context)

    def _mending(self, request: HttpRequest, task: Task) -> dict[str, Any]:
        """A failed task with the buttons that mend it, which are those of its own page."""
        tasks = self.admin_site._registry[Task]
        buttons = tasks.buttons(request, task) if isinstance(tasks, VerbAdmin) else []
        return {"task": task, "url": show.task_url(task.pk), "child": show.child(task), "buttons": buttons}

    def batch(self, request: HttpRequest, verb: Verb, queryset: QuerySet[Flow]) -> HttpResponse | None:
        """Do a verb to many flows; one that destroys asks first."""
        form = WhyForm(request.POST if "confirmed" in request.POST else None)
        if verb.destroys and not ("confirmed" in request.POST and form.is_valid()):
            return self._ask_batch(request, verb, queryset, form)
        if not form.is_bound:
            form = WhyForm({})
        form.is_valid()
        self._tell(request, verb, self._do_all(request, verb, form, queryset.order_by("registered_ts")))
        return None

    def _do_all(self, request: HttpRequest, verb: Verb, form: WhyForm, flows: Iterable[Flow]) -> tuple[int, list[str]]:
        done, refused = 0, []
        for flow in flows:
            try:
                verb.run(flow, form, request.user.get_username())
            except FlowerError as error:
                refused.append(str(error))
            else:
                done += 1
        return done, refused

    def _tell(self, request: HttpRequest, verb: Verb, result: tuple[int, list[str]]) -> None:
        done, refused = result
        for error in refused[:MOST_MESSAGES]:
            messages.error(request, error)
        if len(refused) > MOST_MESSAGES:
            messages.error(request, f"{len(refused) - MOST_MESSAGES} more flows refused")
        if done:
            messages.success(request, f"{verb.label}: {done} flow{'' if done == 1 else 's'}")

    def _ask_batch(self, request: HttpRequest, verb: Verb, queryset: QuerySet[Flow], form: WhyForm) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": f"{verb.label} flows",
            "verb": verb,
            "form": form,
            "flows": [(flow, show.flow_badge(flow)) for flow in queryset[:200]],
            "count": queryset.count(),
            "action": request.POST.get("action", ""),
            "selected": request.POST.getlist("_selected_action"),
            "across": request.POST.get("select_across", "0"),
            "media": self.media,
        }
        return TemplateResponse(request, "admin/flowerapp/verb_batch.html", context)

    # Deleting: ended flows only, through the engine.

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """With Django's permission, and only what has ended."""
        return super().has_delete_permission(request, obj) and (obj is None or obj.ended)

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[Any], dict[Any, int], set[str], list[str]]:
        """What would go: counts instead of a thousand tasks by name; flows that go on are in the way."""
        flows = list(objs)
        tasks = Task.objects.filter(task_flow_id__in=[flow.pk for flow in flows]).count()
        going = [
            f"flow {flow.pk} of {flow.task_id} is {flow.status.label}; cancel it first"
            for flow in flows
            if not flow.ended
        ]
        names = [f"flow {flow.pk} of {flow.task_id}" for flow in flows]
        return names, {"flows": len(flows), "tasks with their history": tasks}, set(), going

    def delete_model(self, request: HttpRequest, obj: Flow) -> None:
        """Delete one."""
        engine.delete([obj.pk])

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Delete many."""
        engine.delete(
            list(queryset.filter(exec_status__in=[Status.FINISH, Status.IGNORE]).values_list("pk", flat=True))
        )
