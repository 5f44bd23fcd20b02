"""Field and constraint pieces that several tables share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.db.models.query_utils import DeferredAttribute

from flowerapp import states
from flowerapp.core import values

LONGEST_TEXT = 20_000
"""Characters of an error or a reason that are kept."""
LONGEST_TRACEBACK = 100_000


class OutputAttribute(DeferredAttribute):
    """The output of a task; that of one which passes its input on is worked out when it is asked for."""

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        """The stored output, or what is passed on."""
        output = super().__get__(instance, owner)
        if instance is None or output is not None or not self._may_pass_on(instance):
            return output
        instance.__dict__[self.field.attname] = output = type(instance).objects.passed_on(instance)
        return output

    def _may_pass_on(self, instance: Any) -> bool:
        """Not before it is stored, and not in a list, which has its own way to read the outputs of all its rows."""
        return bool(instance.passes_on) and not instance._state.adding and "left_out" not in instance.__dict__

    def __set__(self, instance: Any, value: Any) -> None:
        """Keep it; with this method Python asks ``__get__`` for what is kept too."""
        instance.__dict__[self.field.attname] = value


class OutputField(models.JSONField):
    """What a program returned; dates, decimals and so on of a Celery task are read as text.

    ``TYPED_OUTPUT`` of ``querysets/outputs.py`` reads them as they are stored.
    """

    descriptor_class = OutputAttribute

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        """The JSON value with text in place of typed values."""
        output = super().from_db_value(value, expression, connection)
        return values.plain(output) if isinstance(value, str) and values.TYPED in value else output

    def deconstruct(self) -> Any:
        """For migrations it is a JSONField: the column is the same."""
        name, _, args, kwargs = super().deconstruct()
        return name, "django.db.models.JSONField", args, kwargs


if TYPE_CHECKING:
    TextBase = models.TextField[str, str]
else:
    TextBase = models.TextField


class CutTextField(TextBase):
    """Text of which at most ``most`` characters are kept: its beginning and its end."""

    def __init__(self, *arguments: Any, most: int = LONGEST_TEXT, **options: Any) -> None:
        self.most = most
        super().__init__(*arguments, **options)

    def get_prep_value(self, value: Any) -> Any:
        """The text as it is kept."""
        prepared = super().get_prep_value(value)
        return values.cut(prepared, self.most) if isinstance(prepared, str) else prepared

    def deconstruct(self) -> Any:
        """For migrations it is a TextField: the column is the same."""
        name, _, args, kwargs = super().deconstruct()
        return name, "django.db.models.TextField", args, kwargs


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


def status_checks(table: str, unless: Q | None = None) -> list[models.CheckConstraint]:
    """The rules of a table with ``exec_status``, ``task_priority`` and ``finished_ts``.

    ``finished_ts`` may be anything in rows for which ``unless`` holds.
    """
    satisfied = Q(exec_status__in=sorted(states.SATISFIED))
    timed = (satisfied & Q(finished_ts__isnull=False)) | (~satisfied & Q(finished_ts__isnull=True))
    return [
        models.CheckConstraint(name=f"{table}_exec_status", condition=Q(exec_status__in=sorted(states.Status))),
        priority_check(table),
        models.CheckConstraint(
            name=f"{table}_finished_ts",
            condition=timed if unless is None else unless | timed,
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
