"""Addresses of lists: only declared lookups, so that no masked value can be found out letter by letter."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib import admin
from django.db import models
from django.test import Client
from django.urls import reverse

from flowerapp import engine
from flowerapp.admin.patient import PatientAdmin
from flowerapp.models import Flow
from flowerapp.testing import InlineRunner
from tests.admin.conftest import Steps

pytestmark = pytest.mark.django_db

S = "sesame-4711"
OURS = {model: ours for model, ours in admin.site._registry.items() if isinstance(ours, PatientAdmin)}
ENDS = ("", "__exact", "__startswith", "__contains", "__icontains", "__regex", "__gt", "__isnull", "__in", "__has_key")
MASKED_COLUMNS = {"input", "state", "parameters", "item", "output", "error", "traceback", "progress", "child_id"}
TRANSFORMS = ("", "__api_key", "__a__0__b", "__0")


def url(model: type[models.Model]) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")


def declared(ours: Any) -> set[str]:
    """What may stand in the address of a list."""
    names = {entry.parameter_name for entry in ours.list_filter if not isinstance(entry, tuple)}
    times = {f"{entry[0]}__{end}" for entry in ours.list_filter if isinstance(entry, tuple) for end in ("gte", "lt")}
    return names | times | set(ours.lookups)


def paths(model: type[models.Model], depth: int = 2) -> Iterator[str]:
    """All columns that a lookup can reach, those of related rows included, and keys within JSON."""
    for field in model._meta.get_fields():
        if field.is_relation and depth and field.related_model:
            related: Any = field.related_model
            yield from (f"{field.name}__{path}" for path in paths(related, depth - 1))
        yield from (f"{field.name}{transform}" for transform in TRANSFORMS)


def test_every_model_with_secrets_is_listed_by_an_admin_of_ours() -> None:
    names = {model._meta.model_name for model in OURS}
    assert names == {"approval", "cachedoutput", "event", "flow", "latch", "pool", "task", "worker", "workflow"}
    assert not [
        ours for model, ours in admin.site._registry.items() if "flowerapp" in model.__module__ and model not in OURS
    ]


@pytest.mark.parametrize("model", OURS)
def test_no_lookup_but_the_declared_ones_is_allowed(model: type[models.Model], rf: Any) -> None:
    ours, request = OURS[model], rf.get("/")
    every = {f"{path}{end}" for path in paths(model) for end in ENDS}
    allowed = {lookup for lookup in every if ours.lookup_allowed(lookup, "x", request)}
    assert len(every) > 50
    assert allowed <= declared(ours) | {"registered_ts__isnull"}


@pytest.mark.parametrize("model", OURS)
def test_declared_lookups_are_answered(model: type[models.Model], admin_client: Client) -> None:
    for lookup in declared(OURS[model]):
        value = "2026-01-01 00:00:00+00:00" if "_ts" in lookup else "1"
        assert admin_client.get(url(model), {lookup: value}).status_code == 200, lookup


@pytest.fixture
def flow(runner: InlineRunner, steps: Steps) -> Flow:
    steps("w", {"program": "Return", "parameters": {"value": {"api_key": S}}})
    flow = engine.register("w", input={"api_key": S})
    Flow.objects.filter(pk=flow.pk).update(state={"password": S})
    return flow


@pytest.mark.parametrize(
    ("name", "lookup"),
    [
        ("task", "parameters__value__api_key__startswith"),
        ("task", "parameters__contains"),
        ("task", "output__api_key"),
        ("task", "error__contains"),
        ("task", "task_flow__input__api_key__startswith"),
        ("flow", "input__api_key__startswith"),
        ("flow", "state__password__gt"),
        ("flow", "tasks__parameters__value__api_key__regex"),
        ("flow", "history__reason__contains"),
        ("workflow", "description__contains"),
        ("pool", "description__regex"),
        ("worker", "queues__0"),
        ("flow", "registered_ts__year"),
    ],
)
@pytest.mark.parametrize("value", [S[:3], "x", "99999999999"])
def test_a_guess_is_refused_whether_it_is_right_or_wrong(
    name: str, lookup: str, value: str, flow: Flow, admin_client: Client
) -> None:
    answer = admin_client.get(reverse(f"admin:flowerapp_{name}_changelist"), {lookup: value})
    assert answer.status_code == 400
    assert S not in answer.text


@pytest.mark.parametrize("model", OURS)
def test_no_search_finds_a_masked_value(model: type[models.Model], flow: Flow, admin_client: Client) -> None:
    guess, miss = (admin_client.get(url(model), {"q": text}) for text in (S, "no-such-text"))
    assert guess.status_code == 200
    assert guess.text.replace(S, "no-such-text").count("<tr") == miss.text.count("<tr")
    assert not {column.partition("__")[0] for column in OURS[model].search_fields} & MASKED_COLUMNS


@pytest.mark.parametrize("model", OURS)
def test_no_list_is_ordered_by_a_masked_column(model: type[models.Model], flow: Flow, admin_client: Client) -> None:
    for name in OURS[model].list_display:
        method = getattr(OURS[model], str(name), None)
        order = name if method is None else getattr(method, "admin_order_field", "")
        assert str(order).lstrip("-") not in MASKED_COLUMNS


def test_autocompletion_offers_no_masked_value(flow: Flow, admin_client: Client) -> None:
    query = {"app_label": "flowerapp", "model_name": "task", "field_name": "task_flow", "term": S[:3]}
    answer = admin_client.get(reverse("admin:autocomplete"), query)
    assert answer.json()["results"] == []
