"""Strict fields and serializers: an int is an int, text is text, and unknown fields are refused."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from flowerapp.api.bounds import NAME, Bounds
from flowerapp.selectors import in_words
from flowerapp.selectors.shown import shown
from flowerapp.states import Status


class StrictIntegerField(serializers.IntegerField):
    """A JSON number without a fraction."""

    def __init__(self, *, bounds: Bounds | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.bounds = bounds or {}
        """What the document says; the engine checks it."""

    def to_internal_value(self, data: Any) -> int:
        """The number; raises ValidationError."""
        if type(data) is not int:
            raise serializers.ValidationError("must be a whole number")
        return data


class StrictNumberField(serializers.FloatField):
    """A JSON number."""

    def __init__(self, *, bounds: Bounds | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.bounds = bounds or {}
        """What the document says."""

    def to_internal_value(self, data: Any) -> float:
        """The number; raises ValidationError."""
        if type(data) not in (int, float):
            raise serializers.ValidationError("must be a number")
        return data  # type: ignore[no-any-return] # an int stays one, as some are too large for a float


class StrictBooleanField(serializers.BooleanField):
    """``true`` or ``false``."""

    def to_internal_value(self, data: Any) -> bool:
        """The value; raises ValidationError."""
        if not isinstance(data, bool):
            raise serializers.ValidationError("must be true or false")
        return data


class StrictTextField(serializers.CharField):
    """A JSON string, taken as it is."""

    def __init__(self, *, bounds: Bounds | None = None, **options: Any) -> None:
        super().__init__(**{"trim_whitespace": False, "allow_blank": True, **options})
        self.bounds = bounds or {}
        """What the document says; the engine checks it."""

    def to_internal_value(self, data: Any) -> str:
        """The text; raises ValidationError."""
        if not isinstance(data, str):
            raise serializers.ValidationError("must be text")
        return data


@extend_schema_field({"oneOf": [{"type": "integer"}, {"type": "string"}], "nullable": True})
class StepField(serializers.Field[Any, Any, Any, Any]):
    """A step by its ``task_seq`` or its name."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"allow_null": True, "default": None, **options})

    def to_internal_value(self, data: Any) -> int | str:
        """Number or name; raises ValidationError."""
        if type(data) is not int and not isinstance(data, str):
            raise serializers.ValidationError("must be the task_seq of a step, or its name")
        return data

    def to_representation(self, value: Any) -> Any:
        """The value."""
        return value


@extend_schema_field(OpenApiTypes.ANY)
class AnyField(serializers.Field[Any, Any, Any, Any]):
    """Any JSON value, null too."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"allow_null": True, **options})

    def to_internal_value(self, data: Any) -> Any:
        """The value; the parser has checked it."""
        return data

    def to_representation(self, value: Any) -> Any:
        """The value."""
        return value


@extend_schema_field(OpenApiTypes.OBJECT)
class ParametersField(serializers.Field[Any, Any, Any, Any]):
    """A JSON object of parameters; secrets show as ``••••``."""

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        """The object; raises ValidationError."""
        if not isinstance(data, dict):
            raise serializers.ValidationError('must be an object such as {"KEY": "value"}')
        return data

    def to_representation(self, value: Any) -> Any:
        """The object."""
        return value


@extend_schema_field({"type": "object", "additionalProperties": {"type": "object", "additionalProperties": {}}})
class StepParametersField(serializers.Field[Any, Any, Any, Any]):
    """``{"3": {"URL": …}}``: parameters by number of the step."""

    def to_internal_value(self, data: Any) -> dict[int, dict[str, Any]]:
        """The parameters by seq; raises ValidationError."""
        if not isinstance(data, dict):
            raise serializers.ValidationError('must be an object such as {"3": {"KEY": "value"}}')
        result: dict[int, dict[str, Any]] = {}
        for key, value in data.items():
            if not is_seq(key):
                raise serializers.ValidationError({key[:40]: ["is not the number of a step"]})
            if not isinstance(value, dict):
                raise serializers.ValidationError({key: ['must be an object such as {"KEY": "value"}']})
            if int(key) in result:
                raise serializers.ValidationError({key: ["names the same step twice"]})
            result[int(key)] = value
        return result

    def to_representation(self, value: Any) -> Any:
        """The object."""
        return value


def is_seq(text: str) -> bool:
    """Whether ``text`` may be the number of a step or task."""
    return text.isascii() and text.isdigit() and len(text) <= 10


class UtcField(serializers.DateTimeField):
    """ISO 8601 in UTC, whatever the host's formats and time zone."""

    def __init__(self, **options: Any) -> None:
        utc = datetime.UTC
        super().__init__(**{"format": "iso-8601", "input_formats": ["iso-8601"], "default_timezone": utc, **options})

    def to_internal_value(self, value: Any) -> datetime.datetime:
        """The time; a space that a URL made of a plus sign is read as one."""
        if isinstance(value, str) and value[-6:-5] == " ":
            value = value[:-6] + "+" + value[-5:]
        return super().to_internal_value(value)


def with_status(columns: Sequence[str]) -> list[str]:
    """``columns`` with ``status``, the name of the state, before its number, and behind it what people read."""
    at = columns.index("exec_status")
    return [*columns[:at], "status", "exec_status", *in_words.COLUMNS, *columns[at + 1 :]]


def _own_field(mapped: Any) -> Any:
    """The field that takes the place of one of DRF's whose form the host's REST_FRAMEWORK sets."""
    if issubclass(mapped, serializers.DateTimeField):
        return UtcField
    return serializers.IntegerField if issubclass(mapped, serializers.IntegerField) else mapped


class ModelSerializer(serializers.ModelSerializer[Any]):
    """Rows as people may see them, with times in UTC, numbers as numbers and JSON columns as JSON."""

    serializer_field_mapping = {
        field: _own_field(mapped) for field, mapped in serializers.ModelSerializer.serializer_field_mapping.items()
    }

    def to_representation(self, instance: Any) -> Any:
        """The row, masked."""
        return super().to_representation(shown(instance))


class InWordsField(serializers.CharField):
    """What people read of a row of a ``StatusSerializer``."""

    def __init__(self, **options: Any) -> None:
        super().__init__(read_only=True, **options)

    def get_attribute(self, instance: Any) -> Any:
        """The text of this name."""
        parent: Any = self.parent
        return parent.words[self.field_name]


class StatusSerializer(ModelSerializer):
    """Rows of flows or tasks, whose state is shown by its name too, and as people read it."""

    status = serializers.SerializerMethodField(help_text="The state by its name.")
    word = InWordsField(help_text="The state as people read it.")
    symbol = InWordsField(help_text="One character for the word.")
    note = InWordsField(help_text="What the word does not say; may be empty.")
    counts = InWordsField(help_text="How many tasks of a flow, or children of a task, are done; may be empty.")
    duration = InWordsField(help_text="How long it has run; empty before its start.")
    duration_seconds = serializers.SerializerMethodField(help_text="The same in seconds; null before its start.")

    def in_words(self, row: Any) -> dict[str, Any]:
        """The row by ``in_words.COLUMNS``."""
        raise NotImplementedError

    def to_representation(self, instance: Any) -> Any:
        """The row with its words."""
        self.words = self.in_words(instance)
        return super().to_representation(instance)

    def get_duration_seconds(self, row: Any) -> float | None:
        """How long it has run."""
        seconds: float | None = self.words["duration_seconds"]
        return seconds

    @extend_schema_field(serializers.ChoiceField(choices=[status.label for status in Status]))
    def get_status(self, row: Any) -> str:
        """The name of the state."""
        return Status(row.exec_status).label


class StrictSerializer(serializers.Serializer[Any]):
    """An object that refuses fields that it does not declare."""

    ignored: ClassVar[frozenset[str]] = frozenset()
    """Read-only fields, which a body may repeat."""

    def to_internal_value(self, data: Any) -> Any:
        """The checked values; raises ValidationError that names unknown fields."""
        if not isinstance(data, Mapping):
            raise serializers.ValidationError({"non_field_errors": ["must be a JSON object"]})
        declared = [name for name, field in self.fields.items() if not field.read_only]
        unknown = [str(name) for name in data if name not in declared and name not in self.ignored]
        if unknown:
            raise serializers.ValidationError(
                {name[:100]: [f"unknown field; this takes {', '.join(declared) or 'none'}"] for name in unknown[:20]}
            )
        return super().to_internal_value(data)


class NamedSerializer(StrictSerializer):
    """An object whose name may be left out where the URL has it."""

    name_field: ClassVar[str]

    def get_fields(self) -> dict[str, Any]:
        """The name is by default that of the URL."""
        declared = super().get_fields()
        if self.name_field in self.context:
            declared[self.name_field] = StrictTextField(bounds=NAME, default=self.context[self.name_field])
        return declared

    def same_name(self, value: str) -> str:
        """The name; raises ValidationError if the URL has another."""
        expected = self.context.get(self.name_field, value)
        if value != expected:
            raise serializers.ValidationError(f"is {value[:256]!r}, but the URL names {expected!r}")
        return value


class SourceSerializer(serializers.Serializer[Any]):
    """The task that stored an output."""

    flow_id = serializers.CharField()
    seq = serializers.IntegerField()
