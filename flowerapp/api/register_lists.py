"""Bodies of ``/register`` that are lists: a flow for each item, all or none."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from rest_framework import serializers

from flowerapp.api import errors, fields
from flowerapp.api.bounds import NAME, PRIORITY
from flowerapp.engine import Registration
from flowerapp.engine.registration import check_number
from flowerapp.exceptions import (
    MOST_PROBLEMS,
    InvalidError,
    RefusedRegistration,
    RegistrationsRefusedError,
)

LONGEST_KEY = 255
KEY = {"minLength": 1, "maxLength": LONGEST_KEY, "pattern": r"^[\x20-\x7e]*[\x21-\x7e][\x20-\x7e]*$"}
"""Bounds of an idempotency key."""
_PRINTABLE = re.compile(r"[\x20-\x7e]+")


def key_problem(key: str) -> str:
    """What is wrong with an idempotency key; empty if it can be used."""
    usable = _PRINTABLE.fullmatch(key) and key.strip() and len(key) <= LONGEST_KEY
    return "" if usable else f"must be 1 to {LONGEST_KEY} printable ASCII characters"


class RegisterSerializer(fields.StrictSerializer):
    """Body of a registration."""

    input = fields.AnyField(default=None, help_text="The flow's input.")
    priority = fields.StrictIntegerField(
        bounds=PRIORITY, default=0, help_text="Added to each task's, −20 (first) to 19 (last)."
    )
    parameters = fields.StepParametersField(default=dict, help_text="By task_seq, over those of the definition.")
    entrance = fields.StepField(help_text="Step to start at: its task_seq, or its name.")


class RegisterByBodySerializer(RegisterSerializer):
    """The same with the workflow's name."""

    taskId = fields.StrictTextField(bounds=NAME, help_text="Name of the workflow.")  # noqa: N815 - the original's name


class RegisterItemSerializer(RegisterByBodySerializer):
    """One of several, with a key of its own."""

    idempotency_key = fields.StrictTextField(
        bounds=KEY, required=False, help_text="In place of the header Idempotency-Key, for this item."
    )

    def validate_idempotency_key(self, value: str) -> str:
        """The key; raises ValidationError."""
        if problem := key_problem(value):
            raise serializers.ValidationError(problem)
        return value


class RefusedItemSerializer(serializers.Serializer[Any]):
    """An item of a list that cannot be registered."""

    index = serializers.IntegerField(help_text="Its place in the list, from 0.")
    status = serializers.CharField(default="failed")
    taskId = serializers.CharField()  # noqa: N815 - the original's name
    description = serializers.CharField(help_text="What is wrong with it.")


def registrations(body: Sequence[Any], context: Any) -> list[Registration]:
    """The items of a body; raises InvalidError for none or too many, RegistrationsRefusedError for wrong ones."""
    check_number(len(body))
    made: list[Registration] = []
    refusals: list[RefusedRegistration] = []
    for index, item in enumerate(body):
        checked = RegisterItemSerializer(data=[] if item is None else item, context=context)
        if checked.is_valid():
            values = dict(checked.validated_data)
            made.append(Registration(values.pop("taskId"), **values))
        else:
            refusals.append(RefusedRegistration(index, _name_in(item), InvalidError(errors.sentence(checked.errors))))
        if len(refusals) == MOST_PROBLEMS:
            break
    if refusals:
        raise RegistrationsRefusedError(refusals)
    return made


def _name_in(item: Any) -> str:
    """The workflow's name in an item, as far as it has one."""
    name = item.get("taskId", "") if isinstance(item, dict) else ""
    return name[:256] if isinstance(name, str) else ""


def refused_items(error: RegistrationsRefusedError) -> Iterator[dict[str, Any]]:
    """The refused items of a list."""
    for item in error.refusals:
        described = errors.short(str(item.error))
        yield {"index": item.index, "status": "failed", "taskId": item.task_id, "description": described}
