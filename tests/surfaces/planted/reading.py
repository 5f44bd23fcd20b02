"""Reads every surface: each route of the API, each page of the admin, each subcommand, each column that is recorded."""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from typing import Any

from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.admin.utils import quote
from django.core.management import load_command_class
from django.db import connection, models
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from flowerapp import engine
from flowerapp.admin.verbs import VerbAdmin
from flowerapp.api import urls
from flowerapp.models import Approval, CachedOutput, Event, Flow, Task, Workflow
from flowerapp.states import ACTIVE
from tests.cli.support import flow as command

Texts = dict[str, str]
"""``{what was read: all of its text}``."""

# The API


def routes() -> set[str]:
    """Names of all routes of the API."""
    return {str(pattern.name) for pattern in urls.urlpatterns}


def api(client: Client, flow_ids: list[str]) -> tuple[Texts, set[str]]:
    """Every route that reads, for these flows, their tasks and workflows, page by page; and the names of the routes."""
    texts: Texts = {}
    read: set[str] = set()
    for name, url in _samples(flow_ids):
        read.add(name)
        while url:
            answer = client.get(url)
            text = _text(answer)
            assert answer.status_code in (200, 503), (url, answer.status_code, text)
            texts[f"GET {url}"] = text + str(dict(answer.headers))
            url = _next(answer, text)
    return texts, read


def _text(answer: Any) -> str:
    """The body of an answer, which may be sent in pieces."""
    return b"".join(answer.streaming_content).decode() if answer.streaming else str(answer.text)


def _next(answer: Any, text: str) -> str:
    body = json.loads(text) if answer.headers["Content-Type"] == "application/json" else {}
    return (body.get("next") or "") if isinstance(body, dict) else ""


def _samples(flow_ids: list[str]) -> Iterator[tuple[str, str]]:
    """Names and addresses of routes that are read."""
    for name in (
        "root",
        "workflows",
        "flows",
        "events",
        "latches",
        "pools",
        "approvals",
        "cache",
        "programs",
        "queues",
        "workers",
        "schema",
        "docs",
        "livez",
        "readyz",
    ):
        yield name, reverse(f"flowerapp:{name}")
    yield "schema", f"{reverse('flowerapp:schema')}?format=json"
    for task_id in Flow.objects.filter(pk__in=flow_ids).values_list("task_id", flat=True).distinct():
        yield "workflow", reverse("flowerapp:workflow", args=[task_id])
        yield "flows", f"{reverse('flowerapp:flows')}?task_id={task_id}"
    yield "pool", reverse("flowerapp:pool", args=["planted"])
    for entry in CachedOutput.objects.values_list("pk", flat=True):
        yield "cache-entry", reverse("flowerapp:cache-entry", args=[entry])
    yield "approvals", f"{reverse('flowerapp:approvals')}?state=any&mine=false"
    for pk in Approval.objects.filter(task_flow__in=flow_ids).values_list("pk", flat=True):
        yield "approval", reverse("flowerapp:approval", args=[pk])
    yield "latch", reverse("flowerapp:latch", args=["planted"])
    yield from (("event", reverse("flowerapp:event", args=[pk])) for pk in Event.objects.values_list("pk", flat=True))
    for flow_id in flow_ids:
        for name in ("flow", "tasks", "flow-history", "flow-graph", "flow-logs", "flow-archive"):
            yield name, reverse(f"flowerapp:{name}", args=[flow_id])
        for form in ("svg", "mermaid", "ascii"):
            yield "flow-graph", f"{reverse('flowerapp:flow-graph', args=[flow_id])}?as={form}"
    for flow_id, seq in Task.objects.filter(task_flow_id__in=flow_ids).values_list("task_flow_id", "task_exec_seq"):
        yield "task", reverse("flowerapp:task", args=[flow_id, seq])
        yield "task-logs", reverse("flowerapp:task-logs", args=[flow_id, seq])
        yield "task-logs", reverse("flowerapp:task-logs", args=[flow_id, seq]) + "?as=text"


# The admin


def pages() -> set[str]:
    """Names of all pages of the admin."""
    return set(_names(get_resolver(None).url_patterns))


def _names(patterns: list[Any], inside: bool = False) -> Iterator[str]:
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            yield from _names(pattern.url_patterns, inside or pattern.app_name == "admin")
        elif isinstance(pattern, URLPattern) and inside and pattern.name:
            yield pattern.name


def admin_pages(client: Client, flow_ids: list[str]) -> tuple[Texts, set[str]]:
    """Every page that shows something, for these flows and all other rows; and the names of the pages."""
    texts: Texts = {}
    read: set[str] = set()
    for name, url in [*_admin_samples(flow_ids)]:
        answer = client.get(url, follow=True)
        assert answer.status_code == 200, (url, answer.status_code)
        read.add(name)
        texts[f"page {url}"] = _text(answer)
    return texts, read


def _admin_samples(flow_ids: list[str]) -> Iterator[tuple[str, str]]:
    for name in ("index", "jsi18n"):
        yield name, reverse(f"admin:{name}")
    query = "?app_label=flowerapp&model_name=task&field_name=task_flow&term=planted"
    yield "autocomplete", reverse("admin:autocomplete") + query
    yield "flowerapp_flow_restore", reverse("admin:flowerapp_flow_restore")
    for model, of_model in admin.site._registry.items():
        prefix = f"{model._meta.app_label}_{model._meta.model_name}"
        yield "app_list", reverse("admin:app_list", args=[model._meta.app_label])
        yield f"{prefix}_changelist", reverse(f"admin:{prefix}_changelist")
        if of_model.has_add_permission(_Everything()):  # type: ignore[arg-type]
            yield f"{prefix}_add", reverse(f"admin:{prefix}_add")
        for row in [*_rows(model, flow_ids)]:
            yield from _pages_of(of_model, prefix, row)


class _Everything:
    """A request of a user who may do everything."""

    class user:  # noqa: N801 - an attribute of a request
        is_active = is_staff = is_superuser = True

        @staticmethod
        def has_perm(*_: Any) -> bool:
            return True


def _rows(model: type[models.Model], flow_ids: list[str]) -> Iterator[Any]:
    """Rows of a model; workflows have some without a row of their own."""
    rows = model._default_manager.all()
    if model is Workflow:
        yield from map(Workflow, Flow.objects.filter(pk__in=flow_ids).values_list("task_id", flat=True).distinct())
    elif model in (Flow, Task):
        yield from rows.filter(task_flow_id__in=flow_ids)
    else:
        yield from rows[:20]


def _pages_of(of_model: Any, prefix: str, row: Any) -> Iterator[tuple[str, str]]:
    pk = quote(row.pk)
    yield f"{prefix}_change", reverse(f"admin:{prefix}_change", args=[pk])
    yield f"{prefix}_history", reverse(f"admin:{prefix}_history", args=[pk])
    if isinstance(row, Flow):
        yield f"{prefix}_archive", reverse(f"admin:{prefix}_archive", args=[pk])
    if isinstance(row, Workflow):
        yield f"{prefix}_register", reverse(f"admin:{prefix}_register", args=[pk])
    if of_model.has_delete_permission(_Everything(), row):
        yield f"{prefix}_delete", reverse(f"admin:{prefix}_delete", args=[pk])
    for verb in of_model.verbs if isinstance(of_model, VerbAdmin) else ():
        yield f"{prefix}_verb", reverse(f"admin:{prefix}_verb", args=[pk, verb])


# The command line


def subcommands() -> dict[str, bool]:
    """All subcommands of ``flow``, and whether each prints JSON if it is asked to."""
    parser = load_command_class("flowerapp", "flow").create_parser("manage.py", "flow")
    choices: dict[str, argparse.ArgumentParser] = next(
        action.choices for action in parser._actions if isinstance(action, argparse._SubParsersAction)
    )
    return {name: "--json" in sub._option_string_actions for name, sub in choices.items()}


def commands(flow_ids: list[str]) -> tuple[Texts, set[tuple[str, bool]]]:
    """Every subcommand that reads, for these flows, with and without JSON; and which were called how."""
    texts: Texts = {}
    called: set[tuple[str, bool]] = set()
    for verb, arguments in [*_command_samples(flow_ids)]:
        as_json = "--json" in arguments
        answer = command(verb, *arguments)
        assert answer.code in (0, 1), (verb, arguments, answer.err)
        called.add((verb, as_json))
        texts[f"flow {verb} {' '.join(map(str, arguments))}"] = answer.out + answer.err
    return texts, called


def _seqs(flow_id: str) -> list[int]:
    return list(Task.objects.filter(task_flow_id=flow_id).values_list("task_exec_seq", flat=True).order_by("pk"))


def _waits(flow_id: str) -> bool:
    """Whether ``follow`` would wait for the flow."""
    return Flow.objects.get(pk=flow_id).status in ACTIVE


def _archive(flow_id: str) -> str:
    """A file with the archive of a flow, which is there."""
    with tempfile.NamedTemporaryFile("w", suffix=".json", delete=False, encoding="utf-8") as file:
        json.dump(engine.archive(flow_id), file, ensure_ascii=False)
    return file.name


def _command_samples(flow_ids: list[str]) -> Iterator[tuple[str, list[Any]]]:
    for more in ([], ["--json"]):
        for verb in ("list", "workflows", "events", "latches", "pools", "programs", "workers", "queues"):
            yield verb, [*more]
        yield "cache", ["list", *more]
        yield "approvals", ["--all", *more]
        for flow_id in flow_ids:
            yield "show", [flow_id, *more]
            yield "logs", [flow_id, *more]
            yield "inspect", [flow_id, "--all", *more]
            yield from (("task", [flow_id, seq, *more]) for seq in _seqs(flow_id))
            if not _waits(flow_id):
                yield "follow", [flow_id, *more]
            yield "archive", [flow_id, *more]
        yield "restore", [_archive(flow_ids[0]), *more]
    for flow_id in flow_ids:
        yield "show", [flow_id, "--traceback"]
        for form in ("ascii", "mermaid", "svg", "json"):
            yield "graph", [flow_id, "--format", form]
    yield "graph", ["planted-api"]


# What is recorded


RECORDED = {
    "kr_task_stat": ("error", "traceback"),
    "kr_task_history": ("reason", "details", "actor"),
    "kr_task_log": ("message", "source"),
    "kr_hook": ("error",),
    "django_celery_results_taskresult": ("task_args", "task_kwargs", "result", "traceback", "meta"),
    "django_admin_log": ("object_repr", "change_message"),
}
"""Tables and columns that hold no secret at all."""


def recorded() -> Texts:
    """The columns of ``RECORDED`` as they are in the database."""
    texts: Texts = {}
    with connection.cursor() as cursor:
        for table, columns in RECORDED.items():
            for column in columns:
                cursor.execute(f"SELECT {column} FROM {table}")  # noqa: S608 - our own names
                texts[f"{table}.{column}"] = json.dumps([str(row[0]) for row in cursor.fetchall()], ensure_ascii=False)
    assert LogEntry.objects.exists()
    return texts


def stored() -> Texts:
    """Every column of JSON or text of flowerapp's tables as it is in the database."""
    from django.apps import apps

    texts: Texts = {}
    with connection.cursor() as cursor:
        for model in apps.get_app_config("flowerapp").get_models():
            for field in model._meta.concrete_fields:
                if isinstance(field, (models.JSONField, models.TextField, models.CharField)):
                    cursor.execute(f'SELECT "{field.column}" FROM {model._meta.db_table}')  # noqa: S608 - the same
                    texts[f"{model.__name__}.{field.name}"] = "\n".join(str(row[0]) for row in cursor.fetchall())
    return texts
