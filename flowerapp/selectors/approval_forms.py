"""The form of an approval as a page shows it: the fields of its JSON schema, and the comment."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from flowerapp.core import json_forms, masking, values
from flowerapp.core.approval_options import Choice
from flowerapp.core.names import LONGEST_WHY, text_problems
from flowerapp.exceptions import InvalidValueError
from flowerapp.models import Approval

PREFIX = "data-"
"""Of the names of the fields of the schema."""
LONG = 200
"""Characters above which a text is typed into several lines."""
ROWS = 4


class DecisionForm(forms.Form):
    """What a person decides; the button that is pressed is the field ``choice``."""

    choice = forms.CharField(required=False, widget=forms.HiddenInput)
    comment = forms.CharField(
        label="Comment",
        required=False,
        max_length=LONGEST_WHY,
        widget=forms.Textarea(attrs={"rows": ROWS, "cols": 60}),
    )

    def __init__(self, *args: Any, target: Approval, **options: Any) -> None:
        super().__init__(*args, **options)
        self.target = target
        self.names: dict[str, str] = {}
        """Name of a field of the page → its name in the schema."""
        for number, (name, field) in enumerate(_fields(target.form or {})):
            self.names[f"{PREFIX}{number}"] = name
            self.fields[f"{PREFIX}{number}"] = field
        self._describe()

    def _describe(self) -> None:
        """Say which choices take the comment and the fields, and put the comment last."""
        required = [way.label for way in self.target.ways if way.comment == "required"]
        if all(way.comment == "none" for way in self.target.ways):
            del self.fields["comment"]
        else:
            self.fields["comment"].help_text = f"Required for: {', '.join(required)}." if required else ""
            self.order_fields(["choice", *self.names, "comment"])

    def clean_comment(self) -> str:
        """A comment that people can read."""
        comment: str = self.cleaned_data["comment"]
        if problems := list(text_problems(comment, "this")):
            raise ValidationError(problems)
        return comment

    def clean(self) -> dict[str, Any]:
        """The choice, with the comment and the data that it takes."""
        cleaned = super().clean() or self.cleaned_data
        way = self.target.way(cleaned.get("choice", ""))
        if way is None:
            raise ValidationError("press the button of one choice")
        self._check_comment(way)
        self.data_of_form = dict(self._values()) if way.form else None
        if way.form and self.target.form is not None:
            self._check_data(self.target.form)
        return cleaned

    def _check_comment(self, way: Choice) -> None:
        if way.comment == "required" and not self.cleaned_data.get("comment", "").strip():
            self.add_error("comment", f"{way.label} needs a comment; say why")

    def _check_data(self, schema: dict[str, Any]) -> None:
        fields = {name: field for field, name in self.names.items()}
        for problem in json_forms.problems(schema, self.data_of_form):
            inside, field = problem.place.removeprefix(problem.field), fields.get(problem.field)
            if field not in self.errors:
                self.add_error(field, f"{inside} {problem.message}".strip())

    def _values(self) -> Iterator[tuple[str, Any]]:
        """The fields that were filled in, as JSON values."""
        properties = (self.target.form or {}).get("properties", {})
        for field, name in self.names.items():
            value = self.cleaned_data.get(field)
            if value in (None, ""):
                continue
            try:
                yield name, _read_as(properties[name])(value)
            except InvalidValueError as error:
                self.add_error(field, str(error))

    def decision(self) -> dict[str, Any]:
        """Choice, comment and data of a valid form, as arguments of a decision."""
        way = self.target.way(self.cleaned_data["choice"])
        comment = self.cleaned_data.get("comment", "") if way and way.comment != "none" else ""
        return {"choice": self.cleaned_data["choice"], "comment": comment, "data": self.data_of_form}


def _fields(schema: Mapping[str, Any]) -> Iterator[tuple[str, forms.Field]]:
    """The fields by name, the required ones first, in the order of ``required``: PostgreSQL keeps none of names."""
    properties, required = schema.get("properties", {}), schema.get("required", [])
    for name in dict.fromkeys([*required, *properties]):
        if name in properties:
            yield name, _field(name, properties[name], "Required." if name in required else "")


def _field(name: str, schema: Mapping[str, Any], note: str) -> forms.Field:
    """The field of a page for one of a schema; whether it must be filled in depends on the choice."""
    options: dict[str, Any] = {
        "label": schema.get("title") or name,
        "help_text": f"{note} {schema.get('description', '')}".strip(),
        "initial": schema.get("default"),
        "required": False,
    }
    if "enum" in schema:
        offered = [(values.dumps(value), _label(value)) for value in schema["enum"]]
        initial = {"initial": values.dumps(schema["default"])} if "default" in schema else {}
        return forms.ChoiceField(choices=[("", "–"), *offered], **options | initial)
    made: dict[str, type[forms.Field]] = {
        "boolean": forms.BooleanField,
        "integer": forms.IntegerField,
        "number": forms.FloatField,
    }
    if (kind := made.get(schema["type"])) is not None:
        return kind(**options)
    if schema["type"] == "string":
        return _text_field(name, schema, options)
    initial = {"initial": json.dumps(schema["default"], ensure_ascii=False)} if "default" in schema else {}
    options["help_text"] = f"{options['help_text']} JSON.".strip()
    return forms.CharField(widget=forms.Textarea(attrs={"rows": ROWS, "cols": 60}), **options | initial)


def _text_field(name: str, schema: Mapping[str, Any], options: dict[str, Any]) -> forms.Field:
    form = schema.get("format")
    if masking.secret(name):
        return forms.CharField(strip=False, widget=forms.PasswordInput(attrs={"autocomplete": "off"}), **options)
    if form == "date":
        return forms.DateField(widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"), **options)
    if form == "email":
        return forms.EmailField(**options)
    if form == "textarea" or schema.get("maxLength", 0) > LONG:
        return forms.CharField(widget=forms.Textarea(attrs={"rows": ROWS, "cols": 60}), **options)
    return forms.CharField(widget=forms.TextInput(attrs={"size": 60}), **options)


def _label(value: Any) -> str:
    return value if isinstance(value, str) else values.dumps(value)


def _read_as(schema: Mapping[str, Any]) -> Callable[[Any], Any]:
    """What makes a JSON value of what a field of a page gives."""
    if "enum" in schema or schema["type"] in ("array", "object"):
        return lambda text: values.loads(text, "this")
    return str if schema["type"] == "string" else lambda value: value
