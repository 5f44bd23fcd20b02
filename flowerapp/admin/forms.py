"""Forms of the operators' verbs, and their fields."""

from __future__ import annotations

import json
import uuid
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.forms.fields import InvalidJSONInput

from flowerapp import states
from flowerapp.core import masking, values
from flowerapp.core.names import LONGEST_WHY, text_problems
from flowerapp.core.plan import Plan
from flowerapp.core.unmasking import equal
from flowerapp.exceptions import InvalidPlanError, InvalidValueError
from flowerapp.models import Task
from flowerapp.models.fields import LONGEST_TEXT
from flowerapp.selectors.shown import shown


class StrictJSONField(forms.JSONField):
    """JSON as ``core.values`` takes it; empty is ``{}``. Text with an error is shown again as it was typed."""

    widget = forms.Textarea(attrs={"rows": 4, "cols": 60, "spellcheck": "false", "class": "flower-json"})

    def __init__(self, *, only_objects: bool = False, **options: Any) -> None:
        super().__init__(**{"required": False, **options})
        self.only_objects = only_objects

    def to_python(self, value: Any) -> Any:
        """The value; a ValidationError says where the text stops being JSON."""
        if isinstance(value, (dict, list)):
            return value
        if value is None or not value.strip():
            return {}
        try:
            parsed = values.loads(value, "this")
        except InvalidValueError as error:
            raise ValidationError(str(error), code="invalid") from None
        if self.only_objects and not isinstance(parsed, dict):
            raise ValidationError('use a JSON object, such as {"KEY": "value"}', code="invalid")
        return parsed

    def validate(self, value: Any) -> None:
        """Every JSON value is fine."""

    def bound_data(self, data: Any, initial: Any) -> Any:
        """The text as it was typed."""
        return initial if self.disabled or data is None else InvalidJSONInput(data)

    def prepare_value(self, value: Any) -> Any:
        """Text for the box: empty for ``{}``."""
        if isinstance(value, InvalidJSONInput):
            return str(value)
        return "" if value in ({}, None) else json.dumps(value, ensure_ascii=False, indent=1)


class PriorityField(forms.IntegerField):
    """A nice value."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            **{
                "min_value": states.HIGHEST_PRIORITY,
                "max_value": states.LOWEST_PRIORITY,
                "help_text": "−20 (first) to 19 (last).",
                **options,
            }
        )


class WhyForm(forms.Form):
    """The reason that every verb takes."""

    why = forms.CharField(
        label="Why",
        required=False,
        max_length=LONGEST_WHY,
        help_text="Kept in the history with your name.",
        widget=forms.TextInput(attrs={"size": 60}),
    )

    def __init__(self, *args: Any, target: Any = None, **options: Any) -> None:
        super().__init__(*args, **options)
        self.target = target

    def clean_why(self) -> str:
        """A reason that people can read."""
        why: str = self.cleaned_data["why"]
        if problems := list(text_problems(why, "this")):
            raise ValidationError(problems)
        return why

    def refuse(self, error: InvalidPlanError) -> None:
        """Show the engine's problems at the fields that they name."""
        for problem in error.problems:
            name = {"task_priority": "priority"}.get(problem.field, problem.field.partition(".")[0])
            self.add_error(name if name in self.fields else None, problem.message)


class ChangeForm(WhyForm):
    """Parameters, priority and queue of one task."""

    parameters = StrictJSONField(
        only_objects=True,
        help_text=f"Replace those of the same names. {masking.MASKED} stands for a secret and leaves it as it is.",
        widget=forms.Textarea(attrs={"rows": 8, "cols": 60, "spellcheck": "false", "class": "flower-json"}),
    )
    priority = PriorityField()
    queue = forms.CharField(
        required=False, max_length=256, help_text="Empty for the queue that Celery routes the program to."
    )
    rerun = forms.BooleanField(required=False, label="Then rerun the failed tasks of this flow")

    field_order = ["parameters", "priority", "queue", "rerun", "why"]

    def __init__(self, *args: Any, target: Task, **options: Any) -> None:
        self.shown = shown(target).parameters
        initial = {
            "parameters": self.shown,
            "priority": target.task_priority,
            "queue": target.queue,
            "rerun": target.failed,
        }
        super().__init__(*args, target=target, initial=initial, **options)
        if not target.failed:
            del self.fields["rerun"]

    def clean_parameters(self) -> dict[str, Any]:
        """Only what differs from what was shown."""
        typed: dict[str, Any] = self.cleaned_data["parameters"]
        if gone := [key for key in self.shown if key not in typed]:
            raise ValidationError(f"{', '.join(gone)} cannot be removed, only changed; put it back")
        shown = self.shown
        return {key: value for key, value in typed.items() if key not in shown or not equal(shown[key], value)}

    def changes(self) -> dict[str, Any]:
        """The changes, as arguments of ``engine.change``."""
        data = self.cleaned_data
        task: Task = self.target
        changes = {
            "parameters": data["parameters"] or None,
            "priority": data["priority"] if data["priority"] != task.task_priority else None,
            "queue": data["queue"] if data["queue"] != task.queue else None,
        }
        return {name: value for name, value in changes.items() if value is not None}


class EndForm(WhyForm):
    """What another system made for a remote task."""

    output = StrictJSONField(label="Output", help_text="JSON; empty is {}.")

    field_order = ["output", "why"]


class WakeForm(WhyForm):
    """What a wait that is ended gives."""

    output = StrictJSONField(label="Output", help_text="JSON; empty for none: a wait then passes its input on.")

    field_order = ["output", "why"]

    def clean_output(self) -> Any:
        """None for an empty box."""
        return self.cleaned_data["output"] if self.data.get("output", "").strip() else None


class FailForm(WhyForm):
    """Why another system could not do a remote task."""

    reason = forms.CharField(
        max_length=LONGEST_TEXT, help_text="Shown as the task's error.", widget=forms.Textarea(attrs={"rows": 3})
    )

    field_order = ["reason", "why"]


class RegisterForm(WhyForm):
    """Input, priority and entrance of a new flow."""

    input = StrictJSONField(label="Input", help_text="JSON for the first steps; empty is {}.")
    priority = PriorityField(initial=0, help_text="Added to the steps' priorities: −20 (first) to 19 (last).")
    entrance = forms.TypedChoiceField(
        label="Start at", required=False, coerce=int, empty_value=None, help_text="Steps before it are skipped."
    )
    key = forms.UUIDField(widget=forms.HiddenInput, required=False)

    field_order = ["input", "priority", "entrance"]

    def __init__(self, *args: Any, target: Plan, **options: Any) -> None:
        super().__init__(*args, target=target, initial={"key": uuid.uuid4()}, **options)
        del self.fields["why"]
        steps = [(node.seq, f"{node.seq}: {node.program}") for node in target.nodes]
        entrance = self.fields["entrance"]
        self.asked: dict[str, tuple[int, str]] = {}
        for node in target.nodes:
            for name in node.required_at_register:
                self._ask_for(node.seq, name)
        if isinstance(entrance, forms.TypedChoiceField):
            usual = "the beginning" if target.entrance is None else f"step {target.entrance}, as the workflow says"
            entrance.choices = [("", usual), *steps]

    def _ask_for(self, seq: int, name: str) -> None:
        """A field for a parameter that the step wants at register; the engine decides whether it must be filled in."""
        field = f"given-{len(self.asked)}"
        self.asked[field] = seq, name
        widget = forms.PasswordInput() if masking.secret(name) else forms.TextInput()
        options: dict[str, Any] = {"required": False, "strip": False, "help_text": "Text or JSON.", "widget": widget}
        wanted = forms.CharField(label=f"Step {seq}: {name}", **options)
        self.fields[field] = wanted

    @property
    def parameters(self) -> dict[int, dict[str, str]]:
        """What was typed of them, as ``engine.register`` takes it."""
        typed: dict[int, dict[str, str]] = {}
        for field, (seq, name) in self.asked.items():
            if value := self.cleaned_data[field]:
                typed.setdefault(seq, {})[name] = value
        return typed

    def refuse(self, error: InvalidPlanError) -> None:
        """Show the problems of those parameters at their fields, and the others as usual."""
        fields = {(seq, f"parameters.{name}"): field for field, (seq, name) in self.asked.items()}
        others = [problem for problem in error.problems if (problem.seq, problem.field) not in fields]
        for problem in error.problems:
            if field := fields.get((problem.seq or 0, problem.field)):
                self.add_error(field, problem.message)
        super().refuse(InvalidPlanError(others))
