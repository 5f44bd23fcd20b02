"""Flows: a list to find what failed, and a page with what failed and what to press."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotModified
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from flowerapp import engine
from flowerapp.admin import html
from flowerapp.admin.archives import ArchiveAdmin
from flowerapp.admin.forms import WhyForm
from flowerapp.admin.lists import LongList, LongListAdmin
from flowerapp.admin.pages import flow_page
from flowerapp.admin.verbs import FLOW_VERBS, Verb, VerbAdmin
from flowerapp.core.permissions import DELETE_FLOW, VIEW_FLOW
from flowerapp.exceptions import FlowerError
from flowerapp.models import Flow, Task, TaskDefinition
from flowerapp.selectors import counts, flows, search
from flowerapp.selectors.durations import duration
from flowerapp.selectors.naming import child_label
from flowerapp.selectors.next_steps import flow_verbs
from flowerapp.selectors.status_style import flow_style
from flowerapp.states import CHOICES, SATISFIED

MOST_MESSAGES = 10
"""Refused flows that a batch action names one by one."""
PART, LIVE = "part", "live"
"""The parameter with which the page of a flow asks for the part of itself that changes, and its value."""


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
        values = {str(value) for value, _ in CHOICES}
        return queryset.filter(exec_status=int(str(self.value()))) if self.value() in values else queryset


def _version(flow: Flow) -> str:
    """The ETag of what the page of a flow shows."""
    return f'"{flows.version(flow)}"'


class FlowList(LongList):
    """A page of flows with the counts of their tasks, fetched together, and without their values."""

    def get_queryset(self, *arguments: Any, **options: Any) -> QuerySet[Any]:
        """The flows, without what may be large."""
        return super().get_queryset(*arguments, **options).defer("input", "state", "source")

    def get_results(self, request: HttpRequest) -> None:
        """The page, then two statements for what the rows show beside their own columns."""
        super().get_results(request)
        page: Sequence[Flow] = list(self.result_list)
        numbers = counts.of_flows(page)
        failures = flows.first_failures(page)
        for flow in page:
            flow.counts = numbers[flow.pk]  # type: ignore[attr-defined]
            flow.failure = failures.get(flow.pk)  # type: ignore[attr-defined]
        self.result_list = page


def _batch(verb: Verb) -> Callable[..., HttpResponse | None]:
    """An action that calls a verb on each of the chosen flows."""

    @admin.action(description=f"{verb.label}: the chosen flows", permissions=["operate"])
    def action(model_admin: FlowAdmin, request: HttpRequest, queryset: QuerySet[Flow]) -> HttpResponse | None:
        return model_admin.batch(request, verb, queryset)

    action.__name__ = verb.name.replace("-", "_")
    return action


@admin.register(Flow)
class FlowAdmin(LongListAdmin, ArchiveAdmin):
    """Flows, read-only, with verbs."""

    permissions = {"view": VIEW_FLOW, "delete": DELETE_FLOW}
    verbs = FLOW_VERBS
    list_display = ["status", "flow", "workflow", "progress", "took", "failure", "priority", "registered"]
    list_display_links = None
    list_filter = [StatusFilter, WorkflowFilter, ("registered_ts", admin.DateFieldListFilter)]
    sortable_by = ["flow", "registered"]
    search_fields = ["task_flow_id__startswith"]
    search_help_text = (
        "Any part of an id, a key, a workflow's name or an error, "
        f"of the newest {search.MOST_SEARCHED:,} flows that the filters leave, and older ones by id or workflow"
    )
    list_per_page = 50
    list_max_show_all = 200
    actions = [_batch(FLOW_VERBS[name]) for name in ("rerun-failed", "resume", "suspend", "cancel")]

    def get_changelist(self, request: HttpRequest, **options: Any) -> type[ChangeList]:
        """The list that counts tasks for the whole page."""
        return FlowList

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Flows without what the list does not show."""
        return super().get_queryset(request).defer("request_hash", "idempotency_key")

    def matching(self, queryset: QuerySet[Any], term: str) -> QuerySet[Any]:
        """By any part of the id, the key, the workflow's name or the error."""
        matches: QuerySet[Any] = search.search_flows(queryset, term)
        return matches

    @admin.display(description="flow", ordering="task_flow_id")
    def flow(self, obj: Flow) -> SafeString:
        """Link to the page."""
        return html.flow_link(obj.pk)

    @admin.display(description="workflow", ordering="task_id")
    def workflow(self, obj: Flow) -> SafeString:
        """Link to the definition."""
        return html.link(html.workflow_url(obj.task_id), obj.task_id)

    @admin.display(description="status", ordering="exec_status")
    def status(self, obj: Any) -> SafeString:
        """State, with the number of failures."""
        return html.flow_badge(obj, obj.counts)

    @admin.display(description="failed task")
    def failure(self, obj: Any) -> SafeString | str:
        """Link to the task that failed first, with its error."""
        task = obj.failure
        if task is None:
            return ""
        text = task.error.partition("\n")[0]
        return format_html(
            '<a href="{}">{}</a><br><span class="flower-error-line" title="{}">{}</span>',
            html.task_url(task.pk),
            task.title,
            text[:500],
            text if len(text) <= 80 else f"{text[:79]}…",
        )

    @admin.display(description="tasks")
    def progress(self, obj: Any) -> SafeString:
        """Finished ones of all."""
        return html.bar(obj.counts.done, obj.counts.total, obj.counts.text)

    @admin.display(description="registered", ordering="registered_ts")
    def registered(self, obj: Flow) -> SafeString | str:
        """Time of registration."""
        return html.moment(obj.registered_ts)

    @admin.display(description="priority", ordering="task_priority")
    def priority(self, obj: Flow) -> int:
        """Nice value."""
        return int(obj.task_priority)

    @admin.display(description="duration")
    def took(self, obj: Flow) -> str:
        """As ``selectors.durations`` has it."""
        return duration(obj)

    def fitting(self, target: Flow) -> set[str]:
        """Names of the verbs that fit a flow now."""
        return flow_verbs(target)

    def change_view(self, request: HttpRequest, object_id: str, *arguments: Any, **options: Any) -> HttpResponse:
        """The page of a flow, or what a refresh needs of it, unless the reader has that already."""
        if request.method != "GET" or request.GET.get(PART) != LIVE:
            return super().change_view(request, object_id, *arguments, **options)
        target = self.target(request, object_id)
        version = _version(target)
        if request.headers.get("If-None-Match") == version:
            return HttpResponseNotModified()
        answer = self.render(request, "flow/live.html", {**self._shown(request, target), "version": version})
        answer["ETag"] = version
        return answer

    def page(self, request: HttpRequest, target: Flow) -> dict[str, Any]:
        """What the page of a flow shows; its version is read first, so that the page is never older than that."""
        version = _version(target)
        shown = self._shown(request, target)
        return {"title": f"Flow of {target.task_id}", "subtitle": target.pk, "version": version, **shown}

    def _shown(self, request: HttpRequest, target: Flow) -> dict[str, Any]:
        """What changes on the page of a flow, which is all of it but its frame."""
        page = flow_page(target)
        return {
            "buttons": self.buttons(request, target),
            "archive_url": self.archive_url(target),
            "can_delete": target.ended and self.has_delete_permission(request, target),
            **page,
            "failure_blocks": [self._failure_block(request, task) for task in page["failures"]],
        }

    def _failure_block(self, request: HttpRequest, task: Task) -> dict[str, Any]:
        """A failed task with the buttons of its own page."""
        tasks = self.admin_site._registry[Task]
        buttons = tasks.buttons(request, task) if isinstance(tasks, VerbAdmin) else []
        return {"task": task, "url": html.task_url(task.pk), "child": child_label(task), "buttons": buttons}

    def batch(self, request: HttpRequest, verb: Verb, queryset: QuerySet[Flow]) -> HttpResponse | None:
        """Call a verb on many flows; a destructive one after its page is confirmed."""
        confirmed = "confirmed" in request.POST
        unasked: dict[str, Any] | None = None if verb.destroys else {}
        form = WhyForm(request.POST if confirmed else unasked)
        if not form.is_valid():
            return self._ask_batch(request, verb, queryset, form)
        self._report(request, verb, *self._call_all(request, verb, form, queryset.order_by("registered_ts")))
        return None

    def _call_all(
        self, request: HttpRequest, verb: Verb, form: WhyForm, chosen: Iterable[Flow]
    ) -> tuple[int, list[str]]:
        """Number of flows that took the verb, and the errors of the others."""
        done, refused = 0, []
        for flow in chosen:
            try:
                verb.run(flow, form, request.user)
            except FlowerError as error:
                refused.append(str(error))
            else:
                done += 1
        return done, refused

    def _report(self, request: HttpRequest, verb: Verb, done: int, refused: list[str]) -> None:
        for error in refused[:MOST_MESSAGES]:
            messages.error(request, error)
        if len(refused) > MOST_MESSAGES:
            messages.error(request, f"{len(refused) - MOST_MESSAGES} more flows refused")
        if done:
            messages.success(request, f"{verb.label}: {done} flow{'' if done == 1 else 's'}")

    def _ask_batch(self, request: HttpRequest, verb: Verb, queryset: QuerySet[Flow], form: WhyForm) -> HttpResponse:
        listed = list(queryset[:200])
        numbers = counts.of_flows(listed)
        return self.ask(
            request,
            verb,
            form,
            flows=[(flow, html.flow_badge(flow, numbers[flow.pk])) for flow in listed],
            count=queryset.count(),
            action=request.POST.get("action", ""),
            selected=request.POST.getlist("_selected_action"),
            across=request.POST.get("select_across", "0"),
            back=reverse("admin:flowerapp_flow_changelist"),
        )

    # Deleting: ended flows only, through the engine.

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """With the permission, and only what has ended."""
        return super().has_delete_permission(request, obj) and (obj is None or obj.ended)

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[Any], dict[Any, int], set[str], list[str]]:
        """What would be deleted: counts instead of a thousand tasks by name; open flows prevent it."""
        chosen = list(objs)
        tasks = sum(numbers.total for numbers in counts.of_flows(chosen).values())
        still_open = [
            f"flow {flow.pk} of {flow.task_id} is {flow_style(flow).word}; cancel it first"
            for flow in chosen
            if not flow.ended
        ]
        names = [f"flow {flow.pk} of {flow.task_id}" for flow in chosen]
        return names, {"flows": len(chosen), "tasks with their history": tasks}, set(), still_open

    def delete_model(self, request: HttpRequest, obj: Flow) -> None:
        """Delete one."""
        engine.delete([obj.pk])

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Delete many."""
        engine.delete(list(queryset.filter(exec_status__in=SATISFIED).values_list("pk", flat=True)))
