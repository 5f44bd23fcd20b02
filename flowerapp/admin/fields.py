"""Fields of a step as users type them."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError

NONE = "none"
"""Text for a step without dependencies."""


class DependsField(forms.CharField):
    """Dependencies as text: ``1, 2``; empty is the step before (None), ``none`` is ``[]``."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            required=False,
            help_text="Steps, as 1, 2; none; empty: the step before.",
            widget=forms.TextInput(attrs={"size": 12, "placeholder": "the step before"}),
            **options,
        )

    def to_python(self, value: Any) -> Any:
        """A sorted list of steps, or None."""
        if value is None or isinstance(value, list):
            return value
        text = str(value).strip().strip("[]").strip()
        if not text:
            return [] if str(value).strip() == "[]" else None
        if text.lower() == NONE:
            return []
        try:
            return sorted({int(seq) for seq in text.replace(",", " ").split()})
        except ValueError:
            raise ValidationError("use numbers of steps, as 1, 2; or none; or leave it empty") from None

    def prepare_value(self, value: Any) -> Any:
        """Text for the box."""
        if value == []:
            return NONE
        return ", ".join(map(str, value)) if isinstance(value, list) else value

    def has_changed(self, initial: Any, data: Any) -> bool:
        """Compare as lists."""
        try:
            return bool(self.to_python(initial) != self.to_python(data))
        except ValidationError:
            return True


class NamesField(forms.CharField):
    """Names as text: ``URL, BODY``."""

    def __init__(self, **options: Any) -> None:
        widget = forms.TextInput(attrs={"size": 40, "placeholder": "names, as URL, BODY", "spellcheck": "false"})
        super().__init__(required=False, widget=widget, **options)

    def to_python(self, value: Any) -> Any:
        """A list of names, each once."""
        if isinstance(value, list):
            return value
        names = (name.strip() for name in str(value or "").split(","))
        return list(dict.fromkeys(name for name in names if name))

    def prepare_value(self, value: Any) -> Any:
        """Text for the box."""
        return ", ".join(map(str, value)) if isinstance(value, list) else value

    def has_changed(self, initial: Any, data: Any) -> bool:
        """Compare as lists."""
        return bool(self.to_python(initial) != self.to_python(data))


class ValueField(forms.CharField):
    """A parameter's value: kept as typed, spaces and line ends included."""

    def __init__(self, **options: Any) -> None:
        widget = forms.Textarea(attrs={"rows": 1, "cols": 18, "placeholder": "value", "spellcheck": "false"})
        super().__init__(**{**options, "strip": False, "widget": widget, "label_suffix": ""})

    def to_python(self, value: Any) -> Any:
        """The text with ``\\n`` as line end; browsers send ``\\r\\n``."""
        text = super().to_python(value)
        return text.replace("\r\n", "\n") if isinstance(text, str) else text


class KeyField(forms.CharField):
    """A parameter's name."""

    def __init__(self, **options: Any) -> None:
        widget = forms.TextInput(attrs={"size": 18, "placeholder": "name", "spellcheck": "false"})
        super().__init__(**{**options, "widget": widget})
