"""The operators' verbs as buttons, confirmation pages and actions: each is one call of the engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from flowerapp import engine
from flowerapp.admin import show
from flowerapp.admin.forms import ChangeForm, WhyForm
from flowerapp.exceptions import FlowerError, InvalidPlanError
from flowerapp.models import Flow, Task
from flowerapp.states import OPEN, Status, allows

OPERATE = "flowerapp.operate_flow"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """One thing that an operator may do to a flow or a task."""

    name: str
    label: str
    does: str
    """A sentence that says what will happen."""
    run: Callable[[Any, Any, str], None]
    """Called with the flow or task, the valid form and the user's name."""
    fits: Callable[[Any], bool]
    """Whether the button is shown; the engine decides when it is pressed."""
    form: type[WhyForm] = WhyForm
    asks: bool = False
    """It has a page of its own, to confirm or to fill in."""
    destroys: bool = False

    def done(self, target: Flow | Task) -> str:
        """What is told afterwards."""
        return f"{self.label}: flow {_flow_id(target)}" + (
            f" task {target.task_exec_seq}" if isinstance(target, Task) else ""
        )


def _flow_id(target: Flow | Task) -> str:
    return target.task_flow_id


def _suspend(flow: Flow, form: WhyForm, actor: str) -> None:
    engine.suspend(flow.pk, actor=actor, why=form.cleaned_data["why"])


def _resume(flow: Flow, form: WhyForm, actor: str) -> None:
    engine.resume(flow.pk, actor=actor, why=form.cleaned_data["why"])


def _cancel(flow: Flow, form: WhyForm, actor: str) -> None:
    engine.cancel(flow.pk, actor=actor, why=form.cleaned_data["why"])


def _rerun_failed(target: Flow | Task, form: WhyForm, actor: str) -> None:
    engine.rerun(_flow_id(target), actor=actor, why=form.cleaned_data["why"])


def _rerun_all(flow: Flow, form: WhyForm, actor: str) -> None:
    engine.rerun(flow.pk, all_tasks=True, actor=actor, why=form.cleaned_data["why"])


def _rerun_from(task: Task, form: WhyForm, actor: str) -> None:
    engine.rerun(_flow_id(task), from_seq=task.task_exec_seq, actor=actor, why=form.cleaned_data["why"])


def _skip(task: Task, form: WhyForm, actor: str) -> None:
    engine.skip(_flow_id(task), task.task_exec_seq, actor=actor, why=form.cleaned_data["why"])


def _change(task: Task, form: ChangeForm, actor: str) -> None:
    why = form.cleaned_data["why"]
    if changes := form.changes():
        engine.change(_flow_id(task), task.task_exec_seq, **changes, actor=actor, why=why)
    if form.cleaned_data.get("rerun"):
        engine.rerun(_flow_id(task), actor=actor, why=why)


def _named(*verbs: Verb) -> dict[str, Verb]:
    return {verb.name: verb for verb in verbs}


FLOW_VERBS = _named(
    Verb(
        name="rerun-failed",
        label="Rerun failed",
        does="The failed tasks are started again; what has finished stays as it is.",
        run=_rerun_failed,
        fits=lambda flow: flow.failed_seq is not None,
    ),
    Verb(
        name="resume",
        label="Resume",
        does="The flow goes on where it was held.",
        run=_resume,
        fits=lambda flow: flow.held,
    ),
    Verb(
        name="suspend",
        label="Suspend",
        does="Running tasks go on, no other is started until the flow is resumed.",
        run=_suspend,
        fits=lambda flow: not flow.ended and not flow.held,
    ),
    Verb(
        name="rerun-all",
        label="Rerun all",
        does="Every task is reset and run again from the beginning. The present outputs are lost; the history stays.",
        run=_rerun_all,
        fits=lambda flow: True,
        asks=True,
        destroys=True,
    ),
    Verb(
        name="cancel",
        label="Cancel",
        does="The flow ends now: what waits or failed is ignored, what runs is told to stop.",
        run=_cancel,
        fits=lambda flow: not flow.ended,
        asks=True,
        destroys=True,
    ),
)
"""In the order of their buttons."""

TASK_VERBS = _named(
    Verb(
        name="rerun-failed",
        label="Rerun failed",
        does="This task, and any other failed one of the flow, is started again.",
        run=_rerun_failed,
        fits=lambda task: task.failed,
    ),
    Verb(
        name="change",
        label="Change parameters",
        does="The task keeps what is not changed here.",
        run=_change,
        fits=lambda task: allows("change", task.exec_status) and task.task_flow.exec_status in OPEN,
        form=ChangeForm,
        asks=True,
    ),
    Verb(
        name="skip",
        label="Skip",
        does="The task is passed over without running: its input becomes its output, and its followers go on.",
        run=_skip,
        fits=lambda task: allows("skip", task.exec_status) and task.task_flow.exec_status in OPEN,
        asks=True,
        destroys=True,
    ),
    Verb(
        name="rerun-from",
        label="Rerun from here",
        does="This task and all that follows it are reset and run again. Their outputs are lost; the history stays.",
        run=_rerun_from,
        fits=lambda task: task.status is not Status.RUNNING,
        asks=True,
        destroys=True,
    ),
)


@dataclass(frozen=True, slots=True)
class Button:
    """A verb on a page."""

    verb: Verb
    url: str


if TYPE_CHECKING:
    Base = admin.ModelAdmin[Any]
else:
    Base = admin.ModelAdmin


class VerbAdmin(Base):
    """An admin that reads, and offers verbs."""

    verbs: Mapping[str, Verb] = {}

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Rows come from the engine alone."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nothing is edited; the verbs change things."""
        return False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Who may operate flows may see them."""
        return super().has_view_permission(request, obj) or self.has_operate_permission(request)

    def has_operate_permission(self, request: HttpRequest) -> bool:
        """Whether the verbs are for this user."""
        return request.user.has_perm(OPERATE)

    def get_urls(self) -> list[URLPattern]:
        """A page for each verb beside Django's own pages."""
        view = self.admin_site.admin_view(self.verb_view)
        name = f"{self.opts.app_label}_{self.opts.model_name}_verb"
        return [path("<path:object_id>/verb/<slug:name>/", view, name=name), *super().get_urls()]

    def buttons(self, request: HttpRequest, target: Any) -> list[Button]:
        """The verbs that fit a row now and are for this user."""
        if not self.has_operate_permission(request):
            return []
        return [Button(verb, self.verb_url(target, name)) for name, verb in self.verbs.items() if verb.fits(target)]

    def verb_url(self, target: Any, name: str) -> str:
        """Where a verb is posted to."""
        route = f"admin:{self.opts.app_label}_{self.opts.model_name}_verb"
        return reverse(route, args=[quote(target.pk), name], current_app=self.admin_site.name)

    def target(self, request: HttpRequest, object_id: str) -> Any:
        """The row that a page is about; 404 if there is none, or the user may not see it."""
        found = self.get_object(request, unquote(object_id)) if "\0" not in unquote(object_id) else None
        if found is None:
            raise Http404(f"there is no {self.opts.verbose_name} {object_id}")
        if not self.has_view_permission(request, found):
            raise PermissionDenied
        return found

    def verb_view(self, request: HttpRequest, object_id: str, name: str) -> HttpResponse:
        """Do a verb on POST; a verb that asks does it only from its own page."""
        verb = self.verbs.get(name)
        target = self.target(request, object_id)
        if verb is None:
            raise Http404(f"there is no verb {name}")
        if not self.has_operate_permission(request):
            raise PermissionDenied
        posted = request.method == "POST" and (not verb.asks or "confirmed" in request.POST)
        form = verb.form(request.POST if posted else None, target=target)
        if posted and form.is_valid() and self._do(request, verb, target, form):
            return HttpResponseRedirect(show.flow_url(_flow_id(target)))
        return self._ask(request, verb, target, form)

    def _do(self, request: HttpRequest, verb: Verb, target: Any, form: WhyForm) -> bool:
        """Call the engine and tell the user; False if the form is to be shown again with errors."""
        try:
            verb.run(target, form, request.user.get_username())
        except InvalidPlanError as error:
            if verb.asks:
                form.refuse(error)
                return False
            messages.error(request, str(error))
            return True
        except FlowerError as error:
            messages.error(request, str(error))
            return True
        messages.success(request, verb.done(target))
        return True

    def _ask(self, request: HttpRequest, verb: Verb, target: Any, form: WhyForm) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": verb.label,
            "verb": verb,
            "target": target,
            "form": form,
            "back": self.page_url(target),
            "media": self.media + form.media,
        }
        return TemplateResponse(request, "admin/flowerapp/verb.html", context)

    def page_url(self, target: Any) -> str:
        """The page of a row."""
        route = f"admin:{self.opts.app_label}_{self.opts.model_name}_change"
        return reverse(route, args=[quote(target.pk)], current_app=self.admin_site.name)

    class Media:
        css = {"all": ["flowerapp/admin.css"]}
        js = ["flowerapp/admin.js"]
