"""Workflows: the editor of their steps, and the button that registers a flow."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import quote, unquote
from django.contrib.admin.views.main import ChangeList
from django.contrib.admin.widgets import AdminIntegerFieldWidget
from django.core.exceptions import PermissionDenied, ValidationError
from django.core.paginator import Paginator
from django.db import IntegrityError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from flowerapp import engine
from flowerapp.admin import html, programs
from flowerapp.admin.forms import RegisterForm, StrictJSONField
from flowerapp.admin.named import NamedAdmin, check_name
from flowerapp.admin.steps import StepInline, editable_steps
from flowerapp.core import values
from flowerapp.core.permissions import (
    ADD_DEFINITION,
    CHANGE_DEFINITION,
    DELETE_DEFINITION,
    REGISTER,
    VIEW_DEFINITION,
    may,
)
from flowerapp.core.unmasking import unmasked
from flowerapp.core.waits import start_problems
from flowerapp.engine import admission
from flowerapp.engine.registration import pool_problems
from flowerapp.exceptions import FlowerError, InvalidPlanError
from flowerapp.models import Flow, Pool, TaskDefinition, Workflow
from flowerapp.selectors import flows, times, workflows

HEADER_FIELDS = ["task_id", "description", "max_active_flows", "unique", "entrance", "start_event", "start_match"]

if TYPE_CHECKING:
    FormBase = forms.ModelForm[Workflow]
else:
    FormBase = forms.ModelForm


class WorkflowForm(FormBase):
    """Name, description, limits, entrance and event; that the entrance is a step is checked with the steps."""

    max_active_flows = forms.IntegerField(
        label="Flows at once",
        required=False,
        min_value=1,
        max_value=2**31 - 1,
        help_text="The others wait. Empty for no limit.",
        widget=AdminIntegerFieldWidget,
    )

    start_match = StrictJSONField(
        label="Event contains",
        only_objects=True,
        help_text="Members that such an event must have, as a JSON object. Empty for any event of the kind.",
    )

    class Meta:
        model = Workflow
        fields = HEADER_FIELDS
        labels = {
            "task_id": "Name",
            "max_active_flows": "Flows at once",
            "entrance": "Start at step",
            "start_event": "Start by event",
        }
        help_texts = {
            "entrance": "Its number. Empty for the beginning; a registration may choose another.",
            "start_event": "Kind of the events that start a flow each, with their data as its input. Empty for none.",
        }
        widgets = {"description": forms.Textarea(attrs={"rows": 2, "cols": 80})}

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.initial["start_match"] = workflows.shown_match(self.instance)
        self.instance.header = self  # type: ignore[attr-defined]  # for the formset, which checks both as one plan

    def clean_start_match(self) -> Any:
        """None for an empty one; a mask keeps what is stored."""
        match = self.cleaned_data["start_match"]
        return unmasked(match, self.instance.start_match) if match else None

    def clean(self) -> None:
        """An event and a match that fit together."""
        super().clean()
        data = self.cleaned_data
        for field, message in start_problems(data.get("start_event", ""), data.get("start_match")):
            if field in data:
                self.add_error(field, message)

    def clean_entrance(self) -> int | None:
        """A stored step, where the steps are not edited with the header."""
        entrance: int | None = self.cleaned_data.get("entrance")
        if entrance is None or "steps-TOTAL_FORMS" in self.data:
            return entrance
        if not TaskDefinition.objects.filter(task_id=self.instance.task_id, task_seq=entrance).exists():
            raise ValidationError(f"{entrance} is not a step of this workflow")
        return entrance

    def clean_task_id(self) -> str:
        """A name that is good for URLs, and is not taken by steps written by SQL."""
        name = check_name(self.cleaned_data["task_id"], "task_id")
        if TaskDefinition.objects.filter(task_id=name).exists():
            raise ValidationError(f"workflow {name} exists; open it from the list to change it")
        return name


class WorkflowList(ChangeList):
    """All workflows by name, those without a header among them."""

    def get_results(self, request: HttpRequest) -> None:
        """Merge the headers with the names that only ``ms_task_definition`` has, then cut a page."""
        steps: dict[str, int] = {row["task_id"]: row["steps"] for row in TaskDefinition.objects.workflows()}
        ordered = sorted(self._matches(steps), key=lambda workflow: workflow.task_id, reverse=self._reversed(request))
        self.paginator = Paginator(ordered, self.list_per_page)
        self.result_count = self.full_result_count = len(ordered)
        self.show_full_result_count = False
        self.show_admin_actions = True
        self.can_show_all, self.multi_page = len(ordered) <= self.list_max_show_all, len(ordered) > self.list_per_page
        everything = (self.show_all and self.can_show_all) or not self.multi_page
        page: list[Any] = ordered if everything else list(self.paginator.get_page(self.page_num).object_list)
        open_flows = flows.open_by_workflow([workflow.task_id for workflow in page])
        for workflow in page:
            workflow.steps = steps.get(workflow.task_id, 0)
            workflow.open_flows = open_flows[workflow.task_id]
        self.result_list = page

    def _matches(self, names: Iterable[str]) -> list[Workflow]:
        """The headers that the search leaves, and an unsaved one for each other of ``names`` that matches."""
        headers = set(self.root_queryset.values_list("task_id", flat=True))
        words = self.query.lower().split()
        others = [name for name in names if name not in headers and all(word in name.lower() for word in words)]
        return [*self.queryset, *(Workflow(task_id=name) for name in others)]

    def _reversed(self, request: HttpRequest) -> bool:
        return "desc" in self.get_ordering_field_columns().values()


@admin.register(Workflow)
class WorkflowAdmin(NamedAdmin):
    """Workflows with their steps; one that was written by SQL gets its header when it is first saved here."""

    permissions = {
        "view": VIEW_DEFINITION,
        "add": ADD_DEFINITION,
        "change": CHANGE_DEFINITION,
        "delete": DELETE_DEFINITION,
    }
    name_field = "task_id"
    form = WorkflowForm
    inlines = [StepInline]
    list_display = ["task_id", "about", "step_count", "flows", "run"]
    search_fields = ["task_id"]
    sortable_by = ["task_id"]
    change_form_template = "admin/flowerapp/workflow/form.html"

    def get_changelist(self, request: HttpRequest, **options: Any) -> type[ChangeList]:
        """The list that knows workflows without a header."""
        return WorkflowList

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Workflow | None:
        """The header, or an unsaved one where there are only steps."""
        stored: Workflow | None = super().get_object(request, object_id, from_field)
        if stored is None and TaskDefinition.objects.filter(task_id=object_id).exists():
            return Workflow(task_id=object_id)
        return stored

    def has_change_permission(self, request: HttpRequest, obj: Workflow | None = None) -> bool:
        """With the permission, and only without a class that defines it."""
        return super().has_change_permission(request, obj) and not (obj and obj.source)

    def get_fields(self, request: HttpRequest, obj: Workflow | None = None) -> list[Any]:
        """Without the right to change it, the match as people may see it."""
        edits = obj is None or self.has_change_permission(request, obj)
        return HEADER_FIELDS if edits else [*HEADER_FIELDS[:-1], "shown_match"]

    @admin.display(description="Event contains")
    def shown_match(self, obj: Workflow) -> str:
        """Its JSON, masked."""
        return "" if obj.start_match is None else values.dumps(workflows.shown_match(obj))

    def get_inline_instances(self, request: HttpRequest, obj: Workflow | None = None) -> list[Any]:
        """The editor of steps, for users who may edit and while one form can hold them; else the steps are listed."""
        return super().get_inline_instances(request, obj) if self._editable(request, obj) else []

    def _editable(self, request: HttpRequest, obj: Workflow | None) -> bool:
        if obj is None:
            return self.has_add_permission(request)
        return self.has_change_permission(request, obj) and self._steps(obj).count() <= editable_steps()

    def _steps(self, obj: Workflow) -> Any:
        return workflows.steps(obj.task_id)

    @admin.display(description="steps")
    def step_count(self, obj: Any) -> int:
        """Number of steps."""
        return int(obj.steps)

    @admin.display(description="open flows")
    def flows(self, obj: Any) -> SafeString:
        """Open flows by state, each a link."""
        return format_html_join(
            " ",
            '<a href="{}" class="flower-nowrap">{} {}</a>',
            (
                (html.flows_url(obj.task_id, status), count, html.badge(style, value=status.label))
                for (status, style), count in sorted(obj.open_flows.items(), key=lambda item: item[0][0])
            ),
        )

    @admin.display(description="")
    def run(self, obj: Any) -> SafeString:
        """Link to the registration page."""
        return format_html('<a class="flower-button" href="{}">Register…</a>', register_url(obj.task_id))

    # Editing

    def details(self, request: HttpRequest, name: str) -> dict[str, Any]:
        """Links of a stored workflow, and the list of its steps where the user may not edit them."""
        workflow = self.get_object(request, name)
        if workflow is None:
            return {}
        may_register = may(request.user, REGISTER)
        return {
            "register_url": register_url(workflow.task_id) if may_register else "",
            "flows_url": html.flows_url(workflow.task_id),
            **({} if self._editable(request, workflow) else self._listed(workflow)),
        }

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """The form with the help on programs; a saved limit admits the flows that fit it now.

        Of a workflow that is not stored, such as one that a text was, the list of its flows.
        """
        if request.method == "GET" and object_id is not None and (others := self._flows_alone(request, object_id)):
            return others
        help_on_programs = {
            "programs": programs.described(),
            "pools": Pool.objects.order_by("name"),
            **(extra_context or {}),
        }
        try:
            answer = super().changeform_view(request, object_id, form_url, help_on_programs)
        except IntegrityError:
            messages.error(request, "another user changed this workflow at the same time; nothing was saved")
            return HttpResponseRedirect(request.path)
        if object_id is not None and isinstance(answer, HttpResponseRedirect):
            admission.admit_flows(unquote(object_id))
        return answer

    def _flows_alone(self, request: HttpRequest, object_id: str) -> HttpResponse | None:
        """Leads to the flows of a name that no stored workflow has; None where there is one, or no flow."""
        name = unquote(object_id)
        if not self.has_view_permission(request) or self.get_object(request, name) is not None:
            return None
        if not flows.shown_flows().filter(task_id=name).exists():
            return None
        messages.info(request, f"no workflow {name} is stored; these are the flows of that name")
        return HttpResponseRedirect(html.flows_url(name))

    def save_model(self, request: HttpRequest, obj: Workflow, form: Any, change: bool) -> None:
        """Write the header, unless a class defines the workflow by now."""
        engine.may_change(obj.task_id)
        super().save_model(request, obj, form, change)

    def _listed(self, obj: Workflow) -> dict[str, Any]:
        steps = self._steps(obj)
        rows = [(step, values.dumps(step.all_parameters)) for step in steps[:200]]
        return {"step_rows": rows, "step_count": steps.count(), "most_steps": editable_steps()}

    # Deleting: a workflow is deleted with its steps; its flows remain.

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[Any], dict[Any, int], set[str], list[str]]:
        """What would be deleted."""
        names = [workflow.task_id for workflow in objs]
        steps = TaskDefinition.objects.filter(task_id__in=names)
        listed = [f"workflow {name}" for name in names] + [f"step {step}" for step in steps[:200]]
        return listed, {"workflows": len(names), "steps": steps.count()}, set(), []

    def delete_model(self, request: HttpRequest, obj: Workflow) -> None:
        """Delete the steps and the header."""
        engine.undefine(obj.task_id)

    # Registering

    def get_urls(self) -> list[URLPattern]:
        """The registration page beside Django's own pages."""
        view = self.admin_site.admin_view(self.register_view)
        return [path("<path:object_id>/register/", view, name="flowerapp_workflow_register"), *super().get_urls()]

    def register_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask for input, priority and entrance; register on POST and go to the flow."""
        if not may(request.user, REGISTER):
            raise PermissionDenied
        task_id = unquote(object_id)
        if self.get_object(request, task_id) is None:
            raise Http404(f"there is no workflow {task_id}")
        plan = TaskDefinition.objects.plan(task_id)
        if plan is None:
            messages.error(request, f"workflow {task_id} has no steps; add one")
            return HttpResponseRedirect(html.workflow_url(task_id))
        form = RegisterForm(request.POST if request.method == "POST" else None, target=plan)
        if form.is_bound and form.is_valid() and (flow := self._register(request, task_id, form)):
            return HttpResponseRedirect(html.flow_url(flow.pk))
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": f"Register {task_id}",
            "task_id": task_id,
            "problems": [*plan.problems(), *pool_problems(plan)],
            "plan": plan,
            "form": form,
            "back": html.workflow_url(task_id),
            "media": self.media + form.media,
        }
        return TemplateResponse(request, "admin/flowerapp/workflow/register.html", context)

    def _register(self, request: HttpRequest, task_id: str, form: RegisterForm) -> Flow | None:
        data = form.cleaned_data
        key = None if data["key"] is None else f"admin:{data['key']}"
        try:
            flow = engine.register(
                task_id,
                input=data["input"],
                priority=data["priority"],
                parameters=form.parameters,
                entrance=data["entrance"],
                idempotency_key=key,
                actor=request.user.get_username(),
                may_override=engine.MayOverride.of(request.user, REGISTER),
            )
        except InvalidPlanError as error:
            form.refuse(error)
            return None
        except FlowerError as error:
            form.add_error(None, str(error))
            return None
        if flows.was_open(flow, key, request.user.get_username()):
            messages.warning(request, _already_open(flow))
        else:
            messages.success(request, f"Registered: flow {flow.pk}")
        return flow

    class Media:
        css = {"all": ["flowerapp/admin.css"]}
        js = ["flowerapp/steps.js"]


def _already_open(flow: Flow) -> str:
    """That the unique workflow has an open flow, so that no other was registered."""
    if flow.started_ts is None:
        since = f"registered since {times.plain(flow.registered_ts)}"
    else:
        since = f"running since {times.plain(flow.started_ts)}"
    return f"workflow {flow.task_id} is already {since}: nothing new was started, this is its flow"


def register_url(task_id: str) -> str:
    """The registration page of a workflow."""
    return reverse("admin:flowerapp_workflow_register", args=[quote(task_id)])
