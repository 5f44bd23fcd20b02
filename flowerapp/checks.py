"""System checks of the setting ``FLOWER`` and of the workflow classes; ``executors.celery.checks`` checks Celery's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args, get_type_hints

from django.apps import apps
from django.conf import STATICFILES_STORAGE_ALIAS
from django.core.checks import CheckMessage, Error, Warning, register
from django.db import connections, router

from flowerapp import conf, workflows
from flowerapp.core.coercion import short
from flowerapp.core.task_log import LEVELS
from flowerapp.programs.redis_commands import setting_problems
from flowerapp.programs.requests import address_problems, header_problems
from flowerapp.querysets import db


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
            what = "" if kinds[0] in _DICTS else f", not {short(flower[name])}"
            yield Error(f"FLOWER[{name!r}] must be {words}{what}", id="flowerapp.E003")


_WORDS = {
    int: "a whole number above 0",
    float: "a number of seconds, 0 or more",
    bool: "True or False",
    str: "text",
    NoneType: "None",
    tuple[str, ...]: "a list of words",
    dict[str, str]: "a dict of texts",
    dict[str, dict[str, str]]: "a dict whose values are dicts of texts",
}
_DICTS = (dict[str, str], dict[str, dict[str, str]])
"""Types of settings that may hold secrets under any name."""


def _is_a(kind: Any, value: Any) -> bool:
    if kind is int:
        return type(value) is int and value > 0
    if kind is float:
        return type(value) in (int, float) and 0 <= value < float("inf")
    if kind in (bool, str, NoneType):
        return isinstance(value, kind)
    if kind in _DICTS:
        return isinstance(value, dict) and all(
            _is_a(str, key) and _is_a(get_args(kind)[1], value[key]) for key in value
        )
    return isinstance(value, (list, tuple, set)) and all(isinstance(item, str) for item in value)


@register("flowerapp")
def check_task_log(**_: Any) -> list[CheckMessage]:
    """Check that ``TASK_LOG`` names a level (E024), if the settings are right."""
    level = conf.get().TASK_LOG
    if check_settings() or level is None or level in LEVELS:
        return []
    hint = f"Write one of {', '.join(LEVELS)}, or None for no logs."
    return [Error(f"FLOWER['TASK_LOG'] is {level!r}, which is no level", hint=hint, id="flowerapp.E024")]


STREAM_SCHEMES = ("redis://", "rediss://", "unix://")
"""How addresses of the stream's Redis begin."""


@register("flowerapp")
def check_stream(**_: Any) -> list[CheckMessage]:
    """Check that ``STREAM_URL`` is the address of a Redis (E027), if the settings are right."""
    url = conf.get().STREAM_URL
    if check_settings() or not url or url.startswith(STREAM_SCHEMES):
        return []
    hint = f"Write one that begins with {', '.join(STREAM_SCHEMES)}; None for the broker's Redis; '' for no stream."
    return [Error("FLOWER['STREAM_URL'] is no address of a Redis server", hint=hint, id="flowerapp.E027")]


@register("flowerapp")
def check_requests(**_: Any) -> list[CheckMessage]:
    """Check the base addresses of ``request:*``, and the headers that go there (E031), if the settings are right."""
    if check_settings():
        return []
    settings = conf.get()
    hint = "Write REQUEST_URLS as {'environ:category': 'https://…'}, and REQUEST_HEADERS with the same keys."
    problems = [*address_problems(settings.REQUEST_URLS), *header_problems(settings.REQUEST_HEADERS)]
    return [Error(problem, hint=hint, id="flowerapp.E031") for problem in problems]


@register("flowerapp")
def check_redis_tasks(**_: Any) -> list[CheckMessage]:
    """Check the server and the commands of ``redis:*`` (E032), if the settings are right."""
    if check_settings():
        return []
    return [
        Error(problem, hint="docs/operations.md has an example.", id="flowerapp.E032") for problem in setting_problems()
    ]


@register("flowerapp")
def check_retention_archive(**_: Any) -> list[CheckMessage]:
    """Check that ``RETENTION_ARCHIVE`` names a storage or a folder that can be written (E033)."""
    place = conf.get().RETENTION_ARCHIVE
    if check_settings() or place is None or (problem := _place_problem(place)) is None:
        return []
    hint = "Write an alias of STORAGES, the absolute path of a folder that flowerapp may write, or None."
    return [Error(f"FLOWER['RETENTION_ARCHIVE'] is {place!r}, {problem}", hint=hint, id="flowerapp.E033")]


def _place_problem(place: str) -> str | None:
    from django.conf import settings

    if place == STATICFILES_STORAGE_ALIAS:
        return "which holds the files that the web server shows"
    if place in settings.STORAGES:
        return None
    folder = Path(place)
    if not folder.is_absolute():
        return "which is no storage and no absolute path"
    return None if folder.is_dir() and os.access(folder, os.W_OK) else "which is no folder that can be written"


@register("flowerapp")
def check_authentication(**_: Any) -> list[CheckMessage]:
    """Check that the API's authentication classes can be used (E015), if the settings are right."""
    if check_settings():
        return []
    from flowerapp.api import authentication

    hint = "Write the dotted path of each class, and install what it needs."
    return [
        Error(f"FLOWER['AUTHENTICATION'] names {problem}", hint=hint, id="flowerapp.E015")
        for problem in authentication.problems()
    ]


@register("flowerapp")
def check_open_api(**_: Any) -> list[CheckMessage]:
    """Check ``OPEN_API_CLIENTS`` (E021), and that the settings do not speak of a proxy while OPEN_API is on (W021)."""
    if check_settings():
        return []
    from flowerapp.api import loopback

    problems: list[CheckMessage] = [
        Error(
            f"FLOWER['OPEN_API_CLIENTS'] has {name!r}, which is no IP address and no network",
            hint="Write addresses as 172.31.255.1, or networks as 172.31.255.0/24.",
            id="flowerapp.E021",
        )
        for name in loopback.unusable_clients()
    ]
    if conf.get().OPEN_API and (why := loopback.published()):
        hint = "Set OPEN_API to False, and let callers log in or send tokens."
        problems.append(Warning(f"FLOWER['OPEN_API'] has no effect: {why}", hint=hint, id="flowerapp.W021"))
    return problems


@register("flowerapp", deploy=True)
def check_open_api_deployed(**_: Any) -> list[CheckMessage]:
    """Warn of an open API on a server that is deployed (W022)."""
    if check_settings() or not conf.get().OPEN_API:
        return []
    return [
        Warning(
            "FLOWER['OPEN_API'] lets every program on this machine register flows and read without a login; "
            "a proxy on this machine that adds no header lets its callers do so too",
            hint="Set OPEN_API to False, or put no proxy in front of this server: docs/security.md.",
            id="flowerapp.W022",
        )
    ]


@register("flowerapp")
def check_database(**_: Any) -> list[CheckMessage]:
    """Check that flowerapp's tables are in a database that it can use (E014)."""
    refusal = db.refused_database(db.alias())
    return [Error(refusal.reason, hint=f"{refusal.cure}.", id="flowerapp.E014")] if refusal else []


@register("flowerapp")
def check_one_database(**_: Any) -> list[CheckMessage]:
    """Check that the routers give all of flowerapp's tables one database to write to (E020)."""
    aliases: dict[str, list[str]] = {}
    for model in apps.get_app_config("flowerapp").get_models():
        aliases.setdefault(router.db_for_write(model), []).append(model.__name__)
    if len(aliases) == 1:
        return []
    parts = "; ".join(f"{', '.join(names)} in {alias!r}" for alias, names in sorted(aliases.items()))
    hint = "Let DATABASE_ROUTERS decide by the app's label, 'flowerapp', alone."
    return [Error(f"flowerapp's tables are in several databases: {parts}", hint=hint, id="flowerapp.E020")]


@register("flowerapp")
def check_sqlite(**_: Any) -> list[CheckMessage]:
    """Check that SQLite lets writers wait for each other (W020)."""
    alias = db.alias()
    database = connections.settings.get(alias, {})
    options = database.get("OPTIONS", {})
    if not str(database.get("ENGINE", "")).endswith("sqlite3"):
        return []
    if str(options.get("transaction_mode", "")).upper() in ("IMMEDIATE", "EXCLUSIVE"):
        return []
    return [
        Warning(
            f"SQLite's transactions in {alias!r} begin as readers; writers then block each other",
            hint=f"Add to DATABASES[{alias!r}]: 'OPTIONS': {{'transaction_mode': 'IMMEDIATE', 'timeout': 30}}.",
            id="flowerapp.W020",
        )
    ]


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
