"""Programs, queues, workers, health, and the schema."""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
import yaml
from django.core.management import call_command
from rest_framework.test import APIClient

from flowerapp.models import Worker

pytestmark = pytest.mark.django_db


def test_programs(api: APIClient) -> None:
    programs = {row["name"]: row for row in api.get("/api/programs/").json()["results"]}
    sleep = programs["EchoParamTimeSleep"]
    assert "SLEEP_TIME_SECOND" in sleep["schema"]["properties"]
    assert sleep["queue"] == "default"
    retried = programs["FailUntil"]
    assert (retried["autoretry_for"], retried["max_retries"], retried["retry_backoff"]) == (["ListedError"], 3, 1)


def test_workers(api: APIClient, django_assert_max_num_queries: Callable[..., Any]) -> None:
    Worker.objects.bulk_create(
        Worker(id=f"{number:03}", name="w@here", pid=1, pool="prefork", concurrency=2, queues=["default"])
        for number in range(60)
    )
    Worker.objects.filter(pk="000").stopped("000")
    with django_assert_max_num_queries(4):  # session, user, living, page
        page = api.get("/api/workers/").json()
    assert len(page["results"]) == 50
    assert [row["alive"] for row in page["results"][:2]] == [False, True]
    assert [row["id"] for row in api.get(page["next"]).json()["results"]] == [f"{n:03}" for n in range(50, 60)]


def test_readiness_says_that_no_worker_is_alive(
    api: APIClient, django_assert_max_num_queries: Callable[..., Any]
) -> None:
    with django_assert_max_num_queries(1):
        answer = api.get("/readyz")
    assert answer.status_code == 200
    assert {**answer.json(), "broker": ""} == {
        "status": "ok",
        "database": "ok",
        "workers": "none is alive; flows wait",
        "broker": "",
    }
    Worker.objects.create(pk="w", name="w@here", pid=1, pool="prefork", concurrency=2)
    assert api.get("/readyz").json()["workers"] == "ok"
    Worker.objects.filter(pk="w").stopped("w")
    assert api.get("/readyz").json()["workers"] != "ok"


def test_schema_is_ours_and_sound(api: APIClient) -> None:
    answer = api.get("/api/schema/")
    assert answer.status_code == 200
    schema = yaml.safe_load(answer.content)
    assert {"/register", "/register/{task_id}", "/api/flows/{flow_id}/rerun/", "/livez"} <= set(schema["paths"])
    assert schema["info"]["title"] == "flowerapp"
    assert set(schema["components"]["schemas"]["Ready"]["properties"]) == {"status", "database", "broker", "workers"}
    call_command("spectacular", "--validate", "--fail-on-warn", stdout=StringIO())


def test_docs_need_no_internet(api: APIClient) -> None:
    page = api.get("/api/docs/").content.decode()
    assert "swagger-ui" in page
    assert "https://" not in page


@pytest.mark.parametrize("accept", ["text/html", "text/yaml", "*/*", "nonsense"])
def test_json_whatever_is_accepted(api: APIClient, accept: str) -> None:
    answer = api.get("/api/flows/?format=xml", HTTP_ACCEPT=accept)
    assert (answer.status_code, answer["Content-Type"]) == (200, "application/json")
