"""Approvals: what people are asked to decide, the open ones first, and a page with the form of each."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from flowerapp.admin import html
from flowerapp.admin.forms import WhyForm
from flowerapp.admin.lists import LongListAdmin
from flowerapp.admin.verbs import Verb, VerbAdmin
from flowerapp.core.approval_options import ApprovalState
from flowerapp.core.permissions import DECIDE, VIEW_APPROVAL, VIEW_FLOW, may
from flowerapp.engine.decisions import Decision, decide_approval
from flowerapp.exceptions import FlowerError, InvalidError
from flowerapp.models import Approval
from flowerapp.selectors import approvals, times
from flowerapp.selectors.approval_forms import DecisionForm

COLORS = {
    ApprovalState.OPEN: "held",
    ApprovalState.DECIDED: "finished",
    ApprovalState.EXPIRED: "failed",
    ApprovalState.CLOSED: "ignored",
}
WORDS = {
    ApprovalState.OPEN: "Open",
    ApprovalState.DECIDED: "Decided",
    ApprovalState.EXPIRED: "Expired",
    ApprovalState.CLOSED: "Withdrawn",
}
"""The states as people read them."""


def _must_be_decided_by_its_form(target: Any, form: WhyForm, user: Any) -> None:
    """What the buttons of other verbs do; those of an approval post its form."""


VERBS = {
    "decide": Verb(name="decide", label="Decide", does="The flow continues.", run=_must_be_decided_by_its_form),
}


class StateFilter(admin.SimpleListFilter):
    """Approvals in one state, or those that are for the user to decide."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The states, and what is for the user."""
        return [("mine", "For me to decide"), *((state.value, word) for state, word in WORDS.items())]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """The chosen rows."""
        if self.value() == "mine":
            own: QuerySet[Any] = approvals.decidable_by(request.user, queryset.filter(state=ApprovalState.OPEN))
            return own
        return queryset.filter(state=self.value()) if self.value() in list(ApprovalState) else queryset


@admin.register(Approval)
class ApprovalAdmin(LongListAdmin, VerbAdmin):
    """Approvals, with a button for each choice of an open one."""

    permissions = {"view": VIEW_APPROVAL}
    verbs = VERBS
    list_display = ["name", "status", "workflow", "asked", "until", "who"]
    list_display_links = None
    lookups = frozenset({"task_flow", "task_flow__exact"})
    list_filter = [StateFilter]
    search_fields = ["task_flow__task_flow_id__startswith"]
    search_help_text = "The start of a flow's id, or its workflow"
    list_per_page = 50
    actions = None

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Those that the user may see, with their flows."""
        listed = super().get_queryset(request).select_related("task_flow").defer("form", "links")
        visible: QuerySet[Any] = approvals.visible_to(request.user, listed)
        return visible

    def get_ordering(self, request: HttpRequest) -> list[Any]:
        """Open ones first, then the last that ended."""
        return list(approvals.OPEN_FIRST)

    def get_sortable_by(self, request: HttpRequest) -> Any:
        """No other order."""
        return []

    def matching(self, queryset: QuerySet[Any], term: str) -> QuerySet[Any]:
        """By the start of the flow's id, or the name of the workflow."""
        return queryset.filter(Q(task_flow__task_flow_id__startswith=term) | Q(task_flow__task_id=term))

    def has_operate_permission(self, request: HttpRequest) -> bool:
        """Whether the user may decide at all."""
        return may(request.user, DECIDE)

    def fitting(self, target: Any) -> set[str]:
        """The page has a button for each choice instead."""
        return set()

    @admin.display(description="approval")
    def name(self, obj: Approval) -> SafeString:
        """Link to its page."""
        return html.link(approval_url(obj.pk), obj.title or f"task {obj.task_exec_seq}")

    @admin.display(description="state")
    def status(self, obj: Approval) -> SafeString:
        """The state, with the choice."""
        return badge(obj)

    @admin.display(description="workflow")
    def workflow(self, obj: Approval) -> str:
        """Name of the workflow."""
        return obj.task_flow.task_id

    @admin.display(description="asked")
    def asked(self, obj: Approval) -> SafeString | str:
        """Since when."""
        return html.moment(obj.opened_ts)

    @admin.display(description="until")
    def until(self, obj: Approval) -> SafeString | str:
        """When its time runs out."""
        return html.moment(obj.due_ts)

    @admin.display(description="who")
    def who(self, obj: Approval) -> str:
        """Who may decide, or who has."""
        return approvals.deciders(obj) if obj.is_open else obj.decided_by

    def page(self, request: HttpRequest, target: Approval) -> dict[str, Any]:
        """The question, its form, and what was decided."""
        return {"title": target.title or "Approval", **approval_parts(request, target)}

    def verb_view(self, request: HttpRequest, object_id: str, name: str) -> HttpResponse:
        """Decide, by a form that is posted; its errors are shown at its fields."""
        target = self.target(request, object_id)
        if name not in self.verbs:
            raise Http404(f"there is no verb {name}")
        if not self.has_operate_permission(request):
            raise PermissionDenied
        if request.method != "POST":
            return HttpResponseRedirect(approval_url(target.pk))
        form = DecisionForm(request.POST, target=target)
        if form.is_valid() and self._decided(request, target, form):
            return HttpResponseRedirect(approval_url(target.pk))
        context = {"buttons": [], **self.page(request, target), "form": form}
        return self.render(request, "approval/page.html", context)

    def _decided(self, request: HttpRequest, target: Approval, form: DecisionForm) -> bool:
        """Decide, with a message for the user; False if the form must be shown again with errors."""
        user: Any = request.user
        decision = Decision(**form.decision(), actor=user.get_username(), user=user)
        try:
            decided = decide_approval(target.pk, decision)
        except InvalidError as error:
            form.add_error(None, str(error))
            return False
        except FlowerError as error:
            messages.error(request, str(error))
            return True
        messages.success(request, f"Decided: {approvals.outcome(decided)}")
        return True


def approval_url(pk: int) -> str:
    """Page of an approval."""
    return reverse("admin:flowerapp_approval_change", args=[pk])


def badge(approval: Approval) -> SafeString:
    """The state, with the choice beside it."""
    state = ApprovalState(approval.state)
    note = format_html("<small>, {}</small>", approval.label) if approval.choice else ""
    text = '<span class="flower-badge flower-{}">{}{}</span>'
    return format_html(text, COLORS[state], WORDS[state], note)


def approval_parts(request: HttpRequest, approval: Approval) -> dict[str, Any]:
    """What the page of an approval, and that of its task, show of it."""
    refused = approvals.refusal(approval, request.user) if approval.is_open else ""
    may_decide = approval.is_open and not refused
    return {
        "approval": approval,
        "approval_badge": badge(approval),
        "approval_url": approval_url(approval.pk),
        "approval_facts": _facts(request, approval),
        "form": DecisionForm(target=approval) if may_decide else None,
        "decide_url": reverse("admin:flowerapp_approval_verb", args=[approval.pk, "decide"]),
        "refused": refused,
        "decided": "" if approval.is_open else approvals.outcome(approval),
        "data": "" if approval.data in (None, {}) else html.pretty(approval.data),
    }


def _facts(request: HttpRequest, approval: Approval) -> list[tuple[str, Any]]:
    sees_flows = may(request.user, VIEW_FLOW)
    flow_id = approval.task_flow_id
    facts = [
        ("Workflow", approval.task_flow.task_id),
        ("Flow", html.flow_link(flow_id) if sees_flows else flow_id),
        ("Task", approval.task_exec_seq),
        ("Run", approval.run if approval.run > 1 else ""),
        ("A decision", approvals.deciders(approval)),
        ("Asked", html.moment(approval.opened_ts)),
        ("Until", html.moment(approval.due_ts)),
        ("At the time-out", approval.default_choice or ("the task fails" if approval.due_ts else "")),
        ("Reminder", times.plain(approval.remind_ts) if approval.remind_ts else ""),
    ]
    return [(name, value) for name, value in facts if value not in ("", None)]
