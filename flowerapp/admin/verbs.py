"""The operators' verbs as buttons, confirmation pages and actions: each is one call of the engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from flowerapp import engine
from flowerapp.admin import html
from flowerapp.admin.forms import ChangeForm, EndForm, FailForm, WakeForm, WhyForm
from flowerapp.admin.patient import PatientAdmin
from flowerapp.core.permissions import OPERATE, VIEW_FLOW, may
from flowerapp.exceptions import FlowerError, InvalidPlanError
from flowerapp.models import Flow, Task

Run = Callable[[Any, Any, Any], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """One thing that an operator may do to a flow or a task; when it fits, ``selectors.next_steps`` says."""

    name: str
    label: str
    does: str
    """A sentence that says what will happen."""
    run: Run
    """Called with the flow or task, the valid form and the user."""
    form: type[WhyForm] = WhyForm
    has_page: bool = False
    """Whether it has a page of its own, to confirm it or to fill in a form."""
    destroys: bool = False
    """Whether it loses outputs or ends what could run."""

    def done(self, target: Any) -> str:
        """The message after it."""
        if not isinstance(target, (Flow, Task)):
            return f"{self.label}: {target}"
        task = f" {target.mention}" if isinstance(target, Task) else ""
        return f"{self.label}: flow {target.task_flow_id}{task}"


def _on_flow(call: Callable[..., Any], **options: Any) -> Run:
    """Call the engine with the id of the flow."""

    def run(target: Flow | Task, form: WhyForm, user: Any) -> None:
        call(target.task_flow_id, **options, actor=user.get_username(), why=form.cleaned_data["why"])

    return run


def _skip(task: Task, form: WhyForm, user: Any) -> None:
    may, why = engine.MayOverride.of(user, OPERATE), form.cleaned_data["why"]
    engine.skip(task.task_flow_id, task.task_exec_seq, actor=user.get_username(), why=why, may_override=may)


def _rerun_from(task: Task, form: WhyForm, user: Any) -> None:
    _on_flow(engine.rerun, from_seq=task.task_exec_seq)(task, form, user)


def _change(task: Task, form: ChangeForm, user: Any) -> None:
    actor, why = user.get_username(), form.cleaned_data["why"]
    if changes := form.changes():
        may = engine.MayOverride.of(user, OPERATE)
        engine.change(task.task_flow_id, task.task_exec_seq, **changes, actor=actor, why=why, may_override=may)
    if form.cleaned_data.get("rerun"):
        engine.rerun(task.task_flow_id, actor=actor, why=why)


def _end(task: Task, form: EndForm, user: Any) -> None:
    facts: dict[str, Any] = {"actor": user.get_username(), "why": form.cleaned_data["why"]}
    may, output = engine.MayOverride.of(user, OPERATE), form.cleaned_data["output"]
    engine.end_task(task.task_flow_id, task.task_exec_seq, output=output, may_override=may, **facts)


def _fail(task: Task, form: FailForm, user: Any) -> None:
    reason, why = form.cleaned_data["reason"], form.cleaned_data["why"]
    engine.fail_task(task.task_flow_id, task.task_exec_seq, reason, retry=False, actor=user.get_username(), why=why)


def _wake(task: Task, form: WakeForm, user: Any) -> None:
    facts: dict[str, Any] = {"actor": user.get_username(), "why": form.cleaned_data["why"]}
    may, output = engine.MayOverride.of(user, OPERATE), form.cleaned_data["output"]
    engine.wake(task.task_flow_id, task.task_exec_seq, output=output, may_override=may, **facts)


def _named(*verbs: Verb) -> dict[str, Verb]:
    return {verb.name: verb for verb in verbs}


FLOW_VERBS = _named(
    Verb(
        name="rerun-failed",
        label="Rerun failed",
        does="The failed tasks are started again; finished tasks stay as they are.",
        run=_on_flow(engine.rerun),
    ),
    Verb(
        name="resume",
        label="Resume",
        does="The held flow continues: its ready tasks are started.",
        run=_on_flow(engine.resume),
    ),
    Verb(
        name="suspend",
        label="Hold",
        does="Running tasks end, no other is started until the flow is resumed.",
        run=_on_flow(engine.suspend),
    ),
    Verb(
        name="rerun-all",
        label="Rerun all",
        does="Every task is reset and run again from the beginning. The present outputs are lost; the history stays.",
        run=_on_flow(engine.rerun, all_tasks=True),
        has_page=True,
        destroys=True,
    ),
    Verb(
        name="cancel",
        label="Cancel",
        does="The flow ends now: waiting and failed tasks are cancelled, running ones are asked to stop.",
        run=_on_flow(engine.cancel),
        has_page=True,
        destroys=True,
    ),
)
"""In the order of their buttons."""

TASK_VERBS = _named(
    Verb(
        name="end",
        label="End",
        does="The task is Finished with this output, and its followers are released: another system has done its work.",
        run=_end,
        form=EndForm,
        has_page=True,
    ),
    Verb(
        name="fail",
        label="Fail",
        does="The task is Failed with this reason: another system could not do its work. A rerun lets it wait again.",
        run=_fail,
        form=FailForm,
        has_page=True,
        destroys=True,
    ),
    Verb(
        name="wake",
        label="End the wait",
        does="The task does not wait any longer. A wait passes its input on, or the output that is given here; a "
        "program that parked is started again, unless an output is given.",
        run=_wake,
        form=WakeForm,
        has_page=True,
    ),
    Verb(
        name="rerun-failed",
        label="Rerun failed",
        does="This task, and any other failed one of the flow, is started again.",
        run=_on_flow(engine.rerun),
    ),
    Verb(
        name="change",
        label="Change parameters",
        does="The task keeps what is not changed here.",
        run=_change,
        form=ChangeForm,
        has_page=True,
    ),
    Verb(
        name="skip",
        label="Skip",
        does="The task does not run: its input becomes its output, and its followers are released.",
        run=_skip,
        has_page=True,
        destroys=True,
    ),
    Verb(
        name="rerun-from",
        label="Rerun from here",
        does="This task and all that follows it are reset and run again. Their outputs are lost; the history stays.",
        run=_rerun_from,
        has_page=True,
        destroys=True,
    ),
)


@dataclass(frozen=True, slots=True)
class Button:
    """A verb on a page."""

    verb: Verb
    url: str


def changelist_url(of_model: PatientAdmin) -> str:
    """The list of an admin's rows."""
    route = f"admin:{of_model.opts.app_label}_{of_model.opts.model_name}_changelist"
    return reverse(route, current_app=of_model.admin_site.name)


class VerbAdmin(PatientAdmin):
    """An admin that reads, and offers verbs."""

    permissions = {"view": VIEW_FLOW}
    verbs: Mapping[str, Verb] = {}

    def fitting(self, target: Any) -> set[str]:
        """Names of the verbs that fit a row now."""
        raise NotImplementedError

    def has_operate_permission(self, request: HttpRequest) -> bool:
        """Whether the user may call the verbs."""
        return may(request.user, OPERATE)

    def get_urls(self) -> list[URLPattern]:
        """A page for each verb beside Django's own pages."""
        view = self.admin_site.admin_view(self.verb_view)
        name = f"{self.opts.app_label}_{self.opts.model_name}_verb"
        return [path("<path:object_id>/verb/<slug:name>/", view, name=name), *super().get_urls()]

    def buttons(self, request: HttpRequest, target: Any) -> list[Button]:
        """The verbs that fit a row now, if the user may call them."""
        fitting = self.fitting(target) if self.has_operate_permission(request) else set()
        return [Button(verb, self.verb_url(target, name)) for name, verb in self.verbs.items() if name in fitting]

    def verb_url(self, target: Any, name: str) -> str:
        """The URL that a verb is posted to."""
        route = f"admin:{self.opts.app_label}_{self.opts.model_name}_verb"
        return reverse(route, args=[quote(target.pk), name], current_app=self.admin_site.name)

    def target(self, request: HttpRequest, object_id: str) -> Any:
        """The row that a page is about; 404 if there is none, or the user may not see it."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        target = self.get_object(request, unquote(object_id))
        if target is None:
            raise Http404(f"there is no {self.opts.verbose_name} {object_id}")
        return target

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The page of a row; it only reads."""
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        target = self.target(request, object_id)
        context = {"buttons": self.buttons(request, target), **self.page(request, target), **(extra_context or {})}
        return self.render(request, f"{self.opts.model_name}/page.html", context)

    def page(self, request: HttpRequest, target: Any) -> dict[str, Any]:
        """What the page of a row shows beside the buttons of its verbs."""
        raise NotImplementedError

    def render(self, request: HttpRequest, template: str, context: Mapping[str, Any]) -> HttpResponse:
        """One of our templates in the frame of the admin's pages."""
        frame = {**self.admin_site.each_context(request), "opts": self.opts, "media": self.media}
        return TemplateResponse(request, f"admin/flowerapp/{template}", {**frame, **context})

    def verb_view(self, request: HttpRequest, object_id: str, name: str) -> HttpResponse:
        """Call a verb on POST; one that has a page, only from that page."""
        verb = self.verbs.get(name)
        target = self.target(request, object_id)
        if verb is None:
            raise Http404(f"there is no verb {name}")
        if not self.has_operate_permission(request):
            raise PermissionDenied
        posted = request.method == "POST" and (not verb.has_page or "confirmed" in request.POST)
        form = verb.form(request.POST if posted else None, target=target)
        if posted and form.is_valid() and self._do(request, verb, target, form):
            return HttpResponseRedirect(self.url_after(target))
        return self.ask(request, verb, form, target=target, back=self.page_url(target))

    def _do(self, request: HttpRequest, verb: Verb, target: Any, form: WhyForm) -> bool:
        """Call the engine, with a message for the user; False if the form must be shown again with errors."""
        try:
            verb.run(target, form, request.user)
        except InvalidPlanError as error:
            if verb.has_page:
                form.refuse(error)
                return False
            messages.error(request, str(error))
            return True
        except FlowerError as error:
            messages.error(request, str(error))
            return True
        messages.success(request, verb.done(target))
        return True

    def ask(self, request: HttpRequest, verb: Verb, form: WhyForm, **context: Any) -> HttpResponse:
        """The page that confirms a verb on one row (``target``) or on several (``flows``)."""
        page = {"title": verb.label, "verb": verb, "form": form, "media": self.media + form.media}
        return self.render(request, "verb.html", {**page, **context})

    def url_after(self, target: Any) -> str:
        """The page that follows a verb."""
        return html.flow_url(target.task_flow_id)

    def page_url(self, target: Any) -> str:
        """The page of a row."""
        route = f"admin:{self.opts.app_label}_{self.opts.model_name}_change"
        return reverse(route, args=[quote(target.pk)], current_app=self.admin_site.name)

    class Media:
        css = {"all": ["flowerapp/admin.css", "flowerapp/graph.css"]}
        js = ["flowerapp/vendor/idiomorph.min.js", "flowerapp/live.js"]
