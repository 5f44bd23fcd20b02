"""System checks of the setting ``FLOWER`` and of the workflow classes; ``executors.celery.checks`` checks Celery's."""

from __future__ import annotations

from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Any, get_args, get_type_hints

from django.core.checks import CheckMessage, Error, Warning, register

from flowerapp import conf, workflows


@register("flowerapp")
def check_settings(**_: Any) -> list[CheckMessage]:
    """Check ``settings.FLOWER``: a dict (E001) with known names (E002) and values of the right type (E003)."""
    from django.conf import settings

    value = getattr(settings, "FLOWER", {})
    if not isinstance(value, dict):
        return [Error("FLOWER must be a dict", id="flowerapp.E001")]
    return [*_unknown_names(value), *_wrong_types(value)]


def _unknown_names(flower: dict[str, Any]) -> Iterator[CheckMessage]:
    hint = f"The settings are: {', '.join(sorted(conf.NAMES))}."
    for name in sorted(set(flower) - conf.NAMES):
        yield Error(f"FLOWER has no setting {name!r}", hint=hint, id="flowerapp.E002")


def _wrong_types(flower: dict[str, Any]) -> Iterator[CheckMessage]:
    hints = get_type_hints(conf.Settings)
    for name in sorted(set(flower) & conf.NAMES):
        kinds = get_args(hints[name]) if isinstance(hints[name], UnionType) else (hints[name],)
        if not any(_is_a(kind, flower[name]) for kind in kinds):
            words = " or ".join(_WORDS[kind] for kind in kinds)
            yield Error(f"FLOWER[{name!r}] must be {words}, not {flower[name]!r}", id="flowerapp.E003")


_WORDS = {
    int: "a whole number above 0",
    float: "a number of seconds, 0 or more",
    bool: "True or False",
    NoneType: "None",
    tuple[str, ...]: "a list of words",
}


def _is_a(kind: Any, value: Any) -> bool:
    if kind is int:
        return type(value) is int and value > 0
    if kind is float:
        return type(value) in (int, float) and 0 <= value < float("inf")
    if kind in (bool, NoneType):
        return isinstance(value, kind)
    return isinstance(value, (list, tuple, set)) and all(isinstance(item, str) for item in value)


@register("flowerapp")
def check_workflows(**_: Any) -> list[CheckMessage]:
    """Check the plans of the workflow classes as far as that needs no database (W007), if the settings are right."""
    if check_settings():
        return []
    return [
        Warning(
            f"{cls.__module__}.{cls.__qualname__}: {problem}",
            hint="Fix the class; until then it is not stored.",
            id="flowerapp.W007",
        )
        for cls in workflows.known_classes()
        for problem in cls.plan().problems()
    ]
