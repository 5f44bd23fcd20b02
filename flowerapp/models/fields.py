"""Field and constraint pieces that several tables share."""

from __future__ import annotations

from typing import Any

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q

from flowerapp import states


def status_field(**options: Any) -> models.SmallIntegerField[Any, Any]:
    """A column that holds a ``Status``."""
    return models.SmallIntegerField(choices=states.CHOICES, editable=False, **options)


def priority_field(**options: Any) -> models.SmallIntegerField[Any, Any]:
    """A column that holds a nice value."""
    return models.SmallIntegerField(
        default=0,
        validators=[MinValueValidator(states.HIGHEST_PRIORITY), MaxValueValidator(states.LOWEST_PRIORITY)],
        help_text="−20 (first) to 19 (last).",
        **options,
    )


def status_checks(table: str) -> list[models.CheckConstraint]:
    """The rules of a table with ``exec_status``, ``task_priority`` and ``finished_ts``."""
    satisfied = Q(exec_status__in=sorted(states.SATISFIED))
    return [
        models.CheckConstraint(name=f"{table}_exec_status", condition=Q(exec_status__in=sorted(states.Status))),
        priority_check(table),
        models.CheckConstraint(
            name=f"{table}_finished_ts",
            condition=(satisfied & Q(finished_ts__isnull=False)) | (~satisfied & Q(finished_ts__isnull=True)),
        ),
    ]


def priority_check(table: str) -> models.CheckConstraint:
    """``task_priority`` is a nice value."""
    return models.CheckConstraint(
        name=f"{table}_task_priority",
        condition=Q(task_priority__gte=states.HIGHEST_PRIORITY, task_priority__lte=states.LOWEST_PRIORITY),
    )


def not_negative(table: str, *names: str) -> list[models.CheckConstraint]:
    """Counters that never go below zero."""
    return [models.CheckConstraint(name=f"{table}_{name}", condition=Q(**{f"{name}__gte": 0})) for name in names]
