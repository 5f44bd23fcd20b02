"""Workflows: the editor of their steps, and the button that registers a flow."""

from __future__ import annotations

from collections import Counter
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
from django.db.models import Count, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from flowerapp import engine, values
from flowerapp.admin import programs, show
from flowerapp.admin.forms import RegisterForm
from flowerapp.admin.steps import StepInline, editable_steps
from flowerapp.engine.registering import pool_problems
from flowerapp.exceptions import FlowerError, InvalidPlanError, UnknownWorkflowError
from flowerapp.models import Flow, TaskDefinition, Workflow
from flowerapp.plan import name_problems
from flowerapp.states import Status

REGISTER = "flowerapp.register_flow"


if TYPE_CHECKING:
    Base = admin.ModelAdmin[Workflow]
    FormBase = forms.ModelForm[Workflow]
else:
    Base, FormBase = admin.ModelAdmin, forms.ModelForm


class WorkflowForm(FormBase):
    """Name, description, limits and entrance; that the entrance is a step is checked with the steps."""

    max_active_flows = forms.IntegerField(
        label="Flows at once",
        required=False,
        min_value=1,
        max_value=2**31 - 1,
        help_text="The others wait. Empty for no limit.",
        widget=AdminIntegerFieldWidget,
    )

    class Meta:
        model = Workflow
        fields = ["task_id", "description", "max_active_flows", "unique", "entrance"]
        labels = {"task_id": "Name", "max_active_flows": "Flows at once", "entrance": "Start at step"}
        help_texts = {"entrance": "Its number. Empty for the beginning; who registers a flow may choose another."}
        widgets = {"description": forms.Textarea(attrs={"rows": 2, "cols": 80})}

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.instance.header = self  # type: ignore[attr-defined]  # for the formset, which checks both as one plan

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
        name: str = self.cleaned_data["task_id"]
        if problems := list(name_problems(name)):
            raise ValidationError(problems)
        if TaskDefinition.objects.filter(task_id=name).exists():
            raise ValidationError(f"workflow {name} exists; open it from the list to change it")
        return name


class WorkflowList(ChangeList):
    """All workflows by name, those without a header among them."""

    def get_results(self, request: HttpRequest) -> None:
        """Merge the headers with the names that only ``ms_task_definition`` knows, then cut a page."""
        named = TaskDefinition.objects.workflows()
        steps: dict[str, int] = {row["task_id"]: row["steps"] for row in named}
        found: dict[str, Workflow] = {workflow.task_id: workflow for workflow in self.queryset}
        headers = set(self.root_queryset.values_list("task_id", flat=True))
        words = self.query.lower().split()
        for name in steps:
            if name not in headers and all(word in name.lower() for word in words):
                found[name] = Workflow(task_id=name)
        ordered = sorted(found.values(), key=lambda each: each.task_id, reverse=self._reversed(request))
        self.paginator = Paginator(ordered, self.list_per_page)
        self.result_count = self.full_result_count = len(ordered)
        self.show_full_result_count = False
        self.show_admin_actions = True
        self.can_show_all, self.multi_page = len(ordered) <= self.list_max_show_all, len(ordered) > self.list_per_page
        everything = (self.show_all and self.can_show_all) or not self.multi_page
        page = ordered if everything else list(self.paginator.get_page(self.page_num).object_list)
        self._count(page, steps)
        self.result_list = page

    def _reversed(self, request: HttpRequest) -> bool:
        return "desc" in self.get_ordering_field_columns().values()

    def _count(self, page: Iterable[Workflow], steps: dict[str, int]) -> None:
        """Give each row its number of steps and of open flows: one statement for the page."""
        open_flows = Flow.objects.open().filter(task_id__in=[each.task_id for each in page]).order_by()
        counts: dict[str, Counter[Status]] = {}
        for row in open_flows.values("task_id", "exec_status").annotate(count=Count("pk")):
            counts.setdefault(row["task_id"], Counter())[Status(row["exec_status"])] = row["count"]
        for each in page:
            each.steps = steps.get(each.task_id, 0)  # type: ignore[attr-defined]
            each.open_flows = counts.get(each.task_id, Counter())  # type: ignore[attr-defined]


@admin.register(Workflow)
class WorkflowAdmin(Base):
    """Workflows with their steps; one that was written by SQL gets its header when it is first saved here."""

    form = WorkflowForm
    inlines = [StepInline]
    fields = ["task_id", "description", "max_active_flows", "unique", "entrance"]
    list_display = ["task_id", "description", "step_count", "flows", "run"]
    search_fields = ["task_id"]
    sortable_by = ["task_id"]
    show_full_result_count = False
    list_per_page = 100
    actions = None
    change_form_template = "admin/flowerapp/workflow/form.html"

    def get_changelist(self, request: HttpRequest, **options: Any) -> type[ChangeList]:
        """The list that knows workflows without a header."""
        return WorkflowList

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Workflow | None:
        """The header, or an unsaved one where there are only steps."""
        if "\0" in object_id:
            return None
        found = super().get_object(request, object_id, from_field)
        if found is None and TaskDefinition.objects.filter(task_id=object_id).exists():
            return Workflow(task_id=object_id)
        return found

    def get_readonly_fields(self, request: HttpRequest, obj: Workflow | None = None) -> list[str]:
        """A workflow keeps its name: flows and steps know it by that."""
        return ["task_id"] if obj is not None else []

    def has_change_permission(self, request: HttpRequest, obj: Workflow | None = None) -> bool:
        """With Django's permission, and only what people define."""
        return super().has_change_permission(request, obj) and not (obj and obj.source)

    def get_inline_instances(self, request: HttpRequest, obj: Workflow | None = None) -> list[Any]:
        """The editor of steps, for who may edit and while one form can hold them; else they are listed."""
        return super().get_inline_instances(request, obj) if self._editable(request, obj) else []

    def _editable(self, request: HttpRequest, obj: Workflow | None) -> bool:
        if obj is None:
            return self.has_add_permission(request)
        return self.has_change_permission(request, obj) and self._steps(obj).count() <= editable_steps()

    def _steps(self, obj: Workflow) -> QuerySet[Any]:
        return TaskDefinition.objects.filter(task_id=obj.task_id).order_by("task_seq")

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
                (show.flows_url(obj.task_id, status), count, show.badge(status))
                for status, count in sorted(obj.open_flows.items())
            ),
        )

    @admin.display(description="")
    def run(self, obj: Any) -> SafeString:
        """The way to the registration page."""
        return format_html('<a class="flower-button" href="{}">Register…</a>', register_url(obj.task_id))

    # Editing

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Django's form with the help on programs, and the list of steps where they are not to be edited."""
        name = None if object_id is None else unquote(object_id)
        found = self.get_object(request, name) if name is not None else None
        extra: dict[str, Any] = {"programs": programs.described()}
        if found is not None:
            extra |= {
                "register_url": register_url(found.task_id) if request.user.has_perm(REGISTER) else "",
                "flows_url": show.flows_url(found.task_id),
            }
            if not self._editable(request, found):
                extra |= self._listed(found)
        try:
            answer = super().changeform_view(request, object_id, form_url, {**extra, **(extra_context or {})})
        except IntegrityError:
            messages.error(request, "somebody else changed this workflow at the same time; nothing was saved")
            return HttpResponseRedirect(request.path)
        except FlowerError as error:
            messages.error(request, str(error))
            return HttpResponseRedirect(request.path)
        if name is not None and isinstance(answer, HttpResponseRedirect):
            engine.admit_flows(name)
        return answer

    def save_model(self, request: HttpRequest, obj: Workflow, form: Any, change: bool) -> None:
        """Write the header, unless a class has come to define the workflow meanwhile."""
        engine.may_change(obj.task_id)
        super().save_model(request, obj, form, change)

    def _listed(self, obj: Workflow) -> dict[str, Any]:
        steps = self._steps(obj)
        rows = [(step, values.dumps(values.masked(step.all_parameters))) for step in steps[:200]]
        return {"step_rows": rows, "step_count": steps.count(), "most_steps": editable_steps()}

    # Deleting: the steps go with the workflow; its flows stay.

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[Any], dict[Any, int], set[str], list[str]]:
        """What would go."""
        names = [each.task_id for each in objs]
        steps = TaskDefinition.objects.filter(task_id__in=names)
        listed = [f"workflow {name}" for name in names] + [f"step {step}" for step in steps[:200]]
        return listed, {"workflows": len(names), "steps": steps.count()}, set(), []

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Django's question; what is gone meanwhile is told on the list."""
        try:
            return super().delete_view(request, object_id, extra_context)
        except UnknownWorkflowError as error:
            messages.error(request, str(error))
            return HttpResponseRedirect(reverse("admin:flowerapp_workflow_changelist"))

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
        if not request.user.has_perm(REGISTER):
            raise PermissionDenied
        task_id = unquote(object_id)
        if self.get_object(request, task_id) is None:
            raise Http404(f"there is no workflow {task_id}")
        plan = TaskDefinition.objects.plan(task_id)
        if plan is None:
            messages.error(request, f"workflow {task_id} has no steps; add one")
            return HttpResponseRedirect(show.workflow_url(task_id))
        form = RegisterForm(request.POST if request.method == "POST" else None, target=plan)
        if form.is_bound and form.is_valid() and (flow := self._register(request, task_id, form)):
            return HttpResponseRedirect(show.flow_url(flow.pk))
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": f"Register {task_id}",
            "task_id": task_id,
            "problems": [*plan.problems(), *pool_problems(plan)],
            "plan": plan,
            "form": form,
            "back": show.workflow_url(task_id),
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
                entrance=data["entrance"],
                idempotency_key=key,
                actor=request.user.get_username(),
            )
        except InvalidPlanError as error:
            form.refuse(error)
            return None
        except FlowerError as error:
            form.add_error(None, str(error))
            return None
        if flow.created or (key is not None and flow.idempotency_key == key):
            messages.success(request, f"Registered: flow {flow.pk}")
        else:
            messages.warning(request, _already(flow))
        return flow

    class Media:
        css = {"all": ["flowerapp/admin.css"]}
        js = ["flowerapp/admin.js"]


def _already(flow: Flow) -> str:
    """That a flow of a unique workflow goes on, so that no other was registered."""
    if flow.started_ts is None:
        since = f"registered since {show.clock(flow.registered_ts)}"
    else:
        since = f"running since {show.clock(flow.started_ts)}"
    return f"workflow {flow.task_id} is already {since}: nothing new was started, this is its flow"


def register_url(task_id: str) -> str:
    """The registration page of a workflow."""
    return reverse("admin:flowerapp_workflow_register", args=[quote(task_id)])
