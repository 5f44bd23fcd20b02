"""The steps of a workflow inline: rows of ``ms_task_definition``, which belong to a workflow by name alone."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from django import forms
from django.conf import settings
from django.contrib import admin
from django.contrib.admin.checks import InlineModelAdminChecks
from django.contrib.admin.utils import flatten_fieldsets
from django.contrib.admin.widgets import AdminIntegerFieldWidget
from django.forms.formsets import DELETION_FIELD_NAME
from django.forms.models import BaseModelFormSet, modelformset_factory
from django.http import HttpRequest
from django.utils.html import format_html

from flowerapp import registry
from flowerapp.admin.fields import DependsField, KeyField, NamesField, ValueField
from flowerapp.admin.forms import StrictJSONField
from flowerapp.core import masking
from flowerapp.core.caching import SCOPES
from flowerapp.core.permissions import ADD_DEFINITION, CHANGE_DEFINITION, VIEW_DEFINITION, may
from flowerapp.core.plan import Plan
from flowerapp.core.unmasking import unmasked
from flowerapp.engine.registration import pool_problems
from flowerapp.exceptions import Problem
from flowerapp.models import Pool, TaskDefinition, Workflow
from flowerapp.models.definitions import PAIRS
from flowerapp.querysets.definitions import HEADER

_GONE = {"program": "not registered", "child_program": "not registered", "pool": "does not exist"}
"""Note on a stored name that is not offered."""


def _offering(names: str, placeholder: str, **attrs: str) -> forms.TextInput:
    """A text box that offers names; ``workflow/steps.html`` lists them once for all steps."""
    offered = {
        "list": f"flower-{names}-names",
        "placeholder": placeholder,
        "autocomplete": "off",
        "spellcheck": "false",
    }
    return forms.TextInput(attrs={**offered, **attrs})


def _expression() -> forms.Textarea:
    """A box for an expression."""
    return forms.Textarea(attrs={"rows": 1, "cols": 50, "spellcheck": "false", "class": "flower-json"})


if TYPE_CHECKING:
    FormBase = forms.ModelForm[TaskDefinition]
    FormSetBase = BaseModelFormSet[TaskDefinition, "StepForm"]
    InlineBase = admin.StackedInline[TaskDefinition, Workflow]
else:
    FormBase, FormSetBase, InlineBase = forms.ModelForm, BaseModelFormSet, admin.StackedInline


class StepForm(FormBase):
    """One step; the formset checks it together with the others."""

    program = forms.CharField(
        max_length=256, widget=_offering("program", "choose a program", **{"class": "flower-program"})
    )
    task_seq = forms.IntegerField(
        label="Step", min_value=0, help_text="Its number.", widget=AdminIntegerFieldWidget(attrs={"size": 6})
    )
    depends_on = DependsField(label="Waits for")
    pool = forms.CharField(
        required=False, max_length=256, widget=_offering("pool", "none"), help_text="Its tasks share the pool's slots."
    )
    child_program = forms.CharField(
        required=False,
        max_length=256,
        widget=_offering("program", "none", **{"class": "flower-program"}),
        help_text="Runs once for each child that the step adds.",
    )
    max_concurrency = forms.IntegerField(
        label="Children at once",
        required=False,
        min_value=1,
        max_value=2**31 - 1,
        help_text="Empty: as many as there are worker processes.",
        widget=AdminIntegerFieldWidget,
    )
    parameters = StrictJSONField(
        only_objects=True,
        label="More parameters",
        help_text="Beyond the five, or that are not text: a JSON object.",
        widget=forms.Textarea(attrs={"rows": 2, "cols": 50, "spellcheck": "false", "class": "flower-json"}),
    )

    cache_scope = forms.ChoiceField(
        label="Cached in", choices=SCOPES, required=False, help_text="Whose tasks take its outputs."
    )

    required_at_register = NamesField(
        label="Required at register", help_text="Parameters that each registration gives, in place of the step."
    )

    overridable = NamesField(
        label="Overridable", help_text="Parameters that users may override although the step holds masked values."
    )

    class Meta:
        model = TaskDefinition
        exclude = ["task_id"]
        field_classes = {f"param{n}_key": KeyField for n in PAIRS} | {f"param{n}_value": ValueField for n in PAIRS}
        labels = {
            "task_priority": "Priority",
            "exit_on_failed": "Fails with a child",
            "when": "Condition",
            "cache_key": "Cache by",
            "cache_seconds": "Cached for",
            **{f"param{n}_key": f"Parameter {n}" for n in PAIRS},
            **{f"param{n}_value": "=" for n in PAIRS},
        }
        widgets = {name: _expression() for name in ("when", "cache_key")}
        help_texts = {"exit_on_failed": "And its siblings stop; else a failed child is tolerated."}

    def __init__(self, *args: Any, offered: Mapping[str, Collection[str]] | None = None, **options: Any) -> None:
        super().__init__(*args, **options)
        for name, names in (offered or {}).items():
            self._note_if_gone(name, names)
        self.stored = self.instance.all_parameters
        self.stored_pairs = self.stored | self.instance.pairs
        self._mask()

    def _note_if_gone(self, name: str, names: Collection[str]) -> None:
        """Say so where the stored name is not among those that are offered."""
        stored = getattr(self.instance, name)
        if stored and stored not in names:
            self.fields[name].help_text = format_html("{} ({})", stored, _GONE[name])

    def _mask(self) -> None:
        """Show secret-looking values masked; a masked value that comes back keeps what is stored."""
        pairs, more = masking.masked(self.stored_pairs), masking.masked(self.stored)
        for number in PAIRS:
            key = self.initial.get(f"param{number}_key")
            if key:
                self.initial[f"param{number}_value"] = pairs.get(key, masking.MASKED)
        if isinstance(self.initial.get("parameters"), dict):
            own = map(masking.masked, self.initial["parameters"])
            self.initial["parameters"] = {key: more.get(key, masking.MASKED) for key in own}

    def _unmask(self, data: dict[str, Any]) -> None:
        """Put back what is stored; the plan's check refuses a mask that remains."""
        names = {f"param{number}_value": data.get(f"param{number}_key") for number in PAIRS}
        typed = {key: data.get(name) for name, key in names.items() if key}
        more = data.get("parameters", {})
        pairs = unmasked(more | typed, self.stored_pairs)
        data |= {name: pairs[key] for name, key in names.items() if key and isinstance(pairs.get(key), str)}
        if "parameters" in data:
            everything = unmasked(typed | more, self.stored)
            data["parameters"] = {key: everything.get(key, value) for key, value in more.items()}

    def clean(self) -> dict[str, Any]:
        """Check that every pair has a name, and no name occurs twice."""
        data = super().clean() or {}
        self._unmask(data)
        seen: set[str] = set()
        for number in PAIRS:
            key, value = data.get(f"param{number}_key"), data.get(f"param{number}_value")
            if value and not key:
                self.add_error(f"param{number}_key", "give the parameter a name")
            if key and key in seen:
                self.add_error(f"param{number}_key", f"{key} occurs twice")
            seen.add(key or "")
        return data

    def refuse(self, problem: Problem) -> None:
        """Show what is wrong with this step at the field it names."""
        name = self._field_of(problem.field)
        self.add_error(name if name in self.fields else None, problem.message)

    def _field_of(self, field: str) -> str:
        """Field for a problem of the plan; a parameter is shown at its value, a missing one where it may be typed."""
        kind, _, key = field.partition(".")
        if kind != "parameters" or not key:
            return kind
        pairs = {number: self.cleaned_data.get(f"param{number}_key") for number in PAIRS}
        for number, name in pairs.items():
            if name and (key == name or key.startswith(f"{name}.")):
                return f"param{number}_value"
        if key.partition(".")[0] in self.cleaned_data["parameters"]:
            return "parameters"
        return next((f"param{number}_key" for number, name in pairs.items() if not name), "parameters")


def _offered() -> dict[str, frozenset[str]]:
    """Names that each field offers, read once for all steps."""
    names = frozenset(program.name for program in registry.programs())
    return {"program": names, "child_program": names, "pool": frozenset(Pool.objects.values_list("name", flat=True))}


class StepFormSet(FormSetBase):
    """The steps of one workflow, checked together as a plan."""

    instance: Workflow

    def __init__(self, *args: Any, instance: Workflow | None = None, save_as_new: bool = False, **options: Any) -> None:
        self.instance = instance or Workflow()
        steps = options.pop("queryset", TaskDefinition.objects.all())
        name = self.instance.task_id
        options["queryset"] = (steps.filter(task_id=name) if name else steps.none()).order_by("task_seq")
        options["form_kwargs"] = {"offered": _offered(), **options.get("form_kwargs", {})}
        self._header_refused = False
        super().__init__(*args, **options)

    @classmethod
    def get_default_prefix(cls) -> str:
        """Prefix of the fields."""
        return "steps"

    def rows(self) -> Iterator[StepForm]:
        """Forms of rows to save: neither deleted nor empty."""
        for form in self.forms:
            deleted = form.cleaned_data.get(DELETION_FIELD_NAME) if hasattr(form, "cleaned_data") else False
            if not deleted and (form.has_changed() or form.instance.pk):
                yield form

    def clean(self) -> None:
        """Show all problems of the plan at the rows that have them."""
        super().clean()
        for form in self.initial_forms:
            if form.instance.pk is None:
                form.add_error(None, "another user has deleted this step; open the workflow again")
        rows = list(self.rows())
        if any(form.errors for form in rows) or self._twice(rows):
            return
        rows.sort(key=lambda form: form.cleaned_data["task_seq"])
        by_seq = {form.cleaned_data["task_seq"]: form for form in rows}
        plan = self._plan(by_seq)
        for problem in [*plan.problems(), *pool_problems(plan)]:
            if problem.seq in by_seq:
                by_seq[problem.seq].refuse(problem)
            elif problem.field != "task_id":
                self._refuse(problem)

    def _refuse(self, problem: Problem) -> None:
        """Show what is wrong with the workflow as a whole at the field of its header, or above the steps."""
        header: forms.BaseForm | None = getattr(self.instance, "header", None)
        if header is not None and problem.field in header.fields:
            header.add_error(problem.field, problem.message)
            self._header_refused = True
        else:
            self._non_form_errors.extend(self.error_class([problem.message]))  # type: ignore[attr-defined]

    def is_valid(self) -> bool:
        """Whether the steps, and the header with them, may be saved."""
        return super().is_valid() and not self._header_refused

    def _twice(self, rows: Iterable[StepForm]) -> bool:
        seen: set[int] = set()
        twice = False
        for form in rows:
            seq = form.cleaned_data["task_seq"]
            if seq in seen:
                form.add_error("task_seq", f"task_seq {seq} is used twice; give each step its own")
                twice = True
            seen.add(seq)
        return twice

    def _plan(self, by_seq: dict[int, StepForm]) -> Plan:
        """The submitted rows as a plan; a step that names no dependencies waits for the row before it."""
        befores = [None, *by_seq]
        nodes = (form.instance.node(before) for form, before in zip(by_seq.values(), befores, strict=False))
        settings = {name: getattr(self.instance, name) for name in HEADER if name != "description"}
        return Plan(self.instance.task_id or "this workflow", tuple(nodes), **settings)

    def save_new(self, form: StepForm, commit: bool = True) -> TaskDefinition:
        """A new step belongs to this workflow."""
        form.instance.task_id = self.instance.task_id
        return super().save_new(form, commit=commit)

    def save(self, commit: bool = True) -> list[TaskDefinition]:
        """Write the steps; renumbered ones are deleted first, so that two may change places."""
        if commit:
            renumbered = [form.instance.pk for form in self.initial_forms if "task_seq" in form.changed_data]
            deleted = [form.instance.pk for form in self.deleted_forms]
            TaskDefinition.objects.filter(pk__in=renumbered + deleted).delete()
        return super().save(commit=commit)


class StepChecks(InlineModelAdminChecks):
    """The checks of inlines without those for a foreign key."""

    def _check_exclude_of_parent_model(self, obj: Any, parent_model: Any) -> list[Any]:
        return []

    def _check_relation(self, obj: Any, parent_model: Any) -> list[Any]:
        return []


def editable_steps() -> int:
    """Most steps that one form may hold: Django bounds the fields of a request (``DATA_UPLOAD_MAX_NUMBER_FIELDS``)."""
    limit: int | None = settings.DATA_UPLOAD_MAX_NUMBER_FIELDS
    fields_per_step, others = len(StepForm.base_fields) + 2, 20
    return MOST_STEPS if limit is None else max(1, min(MOST_STEPS, (limit - others) // fields_per_step))


MOST_STEPS = 60
"""Most steps that a form of under 2 MiB holds."""


class StepInline(InlineBase):
    """The editor of steps; users who may edit a workflow may edit its steps."""

    model = TaskDefinition
    form = StepForm
    formset = StepFormSet  # type: ignore[assignment]  # the stubs want a foreign key
    checks_class = StepChecks
    template = "admin/flowerapp/workflow/steps.html"
    verbose_name = "step"
    verbose_name_plural = "steps"
    extra = 0
    classes = ["flower-steps"]
    fieldsets = [
        (None, {"fields": [("task_seq", "program", "depends_on", "task_priority")]}),
        (
            None,
            {
                "classes": ["flower-pairs"],
                "fields": [tuple(f"param{number}_{part}" for part in ("key", "value")) for number in PAIRS],
            },
        ),
        (
            "More: JSON parameters, those given at register, queue, pool, retries, limits, condition, cache, children",
            {
                "classes": ["collapse"],
                "fields": [
                    "parameters",
                    ("required_at_register", "overridable"),
                    ("queue", "pool"),
                    ("max_retries", "retry_delay", "time_limit"),
                    ("name", "merge"),
                    "when",
                    "cache_key",
                    ("cache_seconds", "cache_scope"),
                    ("child_program", "max_concurrency", "exit_on_failed"),
                ],
            },
        ),
    ]

    def get_formset(self, request: HttpRequest, obj: Any = None, **options: Any) -> Any:
        """A formset that knows its workflow by name, in place of Django's by foreign key."""
        return modelformset_factory(
            TaskDefinition,
            form=self.form,
            formset=self.formset,
            fields=flatten_fieldsets(self.get_fieldsets(request, obj)),
            formfield_callback=partial(self.formfield_for_dbfield, request=request),
            extra=0 if obj is not None else 1,
            can_delete=self.has_change_permission(request, obj),
            max_num=editable_steps(),
            **options,
        )

    def _allowed(self, request: HttpRequest, obj: Any) -> bool:
        return may(request.user, ADD_DEFINITION if obj is None else CHANGE_DEFINITION)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """As the workflow's."""
        return may(request.user, VIEW_DEFINITION) or self._allowed(request, obj)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """As the workflow's."""
        return self._allowed(request, obj)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """As the workflow's."""
        return self._allowed(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """As the workflow's."""
        return self._allowed(request, obj)
