"""What routes of flows and tasks read from the address."""

from __future__ import annotations

from typing import Any

from django.db.models import Q
from rest_framework import serializers

from flowerapp.api import fields
from flowerapp.api.flow_serializers import DRAWINGS, JSON, FlowDetailSerializer, TaskDetailSerializer
from flowerapp.api.queries import OneOf, Query
from flowerapp.core.names import LONGEST_NAME
from flowerapp.exceptions import InvalidError
from flowerapp.selectors import status_words


class FlowQuerySerializer(Query):
    """Which of a flow's values is wanted most."""

    whole = OneOf(FlowDetailSerializer.values, required=False, help_text="The value to give where not all fit.")


class TaskQuerySerializer(Query):
    """Which of a task's values is wanted most."""

    whole = OneOf(TaskDetailSerializer.values, required=False, help_text="The value to give where not all fit.")


class GraphQuerySerializer(Query):
    """The form of a graph."""

    def get_fields(self) -> dict[str, Any]:
        """``as`` is a word of Python, so it is added here."""
        form = OneOf([JSON, *DRAWINGS], default=JSON, help_text="A drawing, or JSON.")
        meaning = "task_exec_seq of a step: of a graph that is too large to draw, the part around it."
        around = serializers.IntegerField(default=None, min_value=0, max_value=2**31 - 1, help_text=meaning)
        return {**super().get_fields(), "as": form, "around": around}


class TaskFilterSerializer(Query):
    """Filters of the list of tasks."""

    def get_fields(self) -> dict[str, Any]:
        """``parent`` is a word of DRF's, so it is added here."""
        meaning = "task_exec_seq: the children of that task; none: the steps alone."
        return {
            **super().get_fields(),
            "parent": serializers.CharField(required=False, max_length=10, help_text=meaning),
        }

    def validate_parent(self, value: str) -> int | None:
        """Seq of the parent, or None for the steps."""
        if value != "none" and not fields.is_seq(value):
            raise serializers.ValidationError("must be the task_exec_seq of a task, or none")
        return None if value == "none" else int(value)


class FlowFilterSerializer(Query):
    """Filters of the list of flows."""

    task_id = serializers.CharField(
        required=False, trim_whitespace=False, max_length=LONGEST_NAME, help_text="Name of the workflow."
    )
    status = serializers.CharField(
        required=False, max_length=200, help_text=f"Some of {status_words.FLOW_CHOICES}; joined by commas."
    )
    registered_after = fields.UtcField(required=False, help_text="ISO 8601.")
    registered_before = fields.UtcField(required=False, help_text="ISO 8601.")

    def validate_status(self, value: str) -> Q:
        """The flows in these states."""
        try:
            return status_words.filter_of(value)
        except InvalidError as error:
            raise serializers.ValidationError(str(error)) from None
