"""Permissions, and the open API."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from rest_framework.authtoken.models import Token
from rest_framework.test import APIClient

from flowerapp import engine
from flowerapp.models import Flow

Make = Callable[..., str]
pytestmark = pytest.mark.django_db

READS = ["/api/workflows/", "/api/flows/", "/api/programs/", "/api/workers/", "/api/queues/", "/api/pools/"]


@pytest.fixture
def opened(settings: Any) -> None:
    settings.FLOWER = {**settings.FLOWER, "OPEN_API": True}


@pytest.fixture
def anonymous() -> APIClient:
    return APIClient(enforce_csrf_checks=True, REMOTE_ADDR="127.0.0.1", SERVER_NAME="localhost")


@pytest.mark.parametrize("path", [*READS, "/api/schema/", "/api/docs/", "/api/flows/x/", "/api/flows/x/tasks/1/"])
def test_nothing_anonymous(anonymous: APIClient, path: str) -> None:
    answer = anonymous.get(path)
    assert answer.status_code == 401


def test_register_needs_a_login(anonymous: APIClient, workflow: Make) -> None:
    workflow("etl", {"program": "Return"})
    answer = anonymous.post("/register/etl")
    assert answer.status_code == 401
    assert answer.json()["status"] == "failed"


def test_health_is_open(anonymous: APIClient) -> None:
    assert anonymous.get("/livez").json() == {"status": "ok"}
    ready = anonymous.get("/readyz")
    assert (ready.status_code, ready.json()["database"]) == (200, "ok")
    assert "broker" in ready.json()


def test_permission_per_verb(client_with: Callable[..., APIClient], workflow: Make) -> None:
    workflow("etl", {"program": "Return"})
    flow = engine.register("etl")
    reader = client_with("view_flow", "view_taskdefinition", "view_pool", username="reader")
    starter = client_with("register_flow", username="starter")
    operator = client_with("operate_flow", username="operator")
    for path in READS:
        assert reader.get(path).status_code == 200
        assert starter.get(path).status_code == 403
    refused = reader.post("/register/etl")
    assert refused.status_code == 403
    assert "flowerapp.register_flow" in refused.json()["description"]
    assert starter.post("/register/etl").status_code == 200
    for verb in ("suspend", "resume", "rerun", "cancel", "tasks/1/skip"):
        assert starter.post(f"/api/flows/{flow.pk}/{verb}/").status_code == 403
    assert reader.patch(f"/api/flows/{flow.pk}/tasks/1/", {"priority": 1}, format="json").status_code == 403
    assert operator.post(f"/api/flows/{flow.pk}/suspend/").status_code == 200
    assert flow.history.get().actor == "operator"


def test_writing_workflows_needs_the_models_permissions(client_with: Callable[..., APIClient]) -> None:
    document = {"task_id": "etl", "tasks": [{"task_seq": 1, "program": "Return"}]}
    adder = client_with("add_taskdefinition", username="adder")
    changer = client_with("change_taskdefinition", username="changer")
    remover = client_with("delete_taskdefinition", username="remover")
    assert changer.post("/api/workflows/", document, format="json").status_code == 403
    assert adder.post("/api/workflows/", document, format="json").status_code == 201
    assert adder.put("/api/workflows/etl/", document, format="json").status_code == 403
    assert changer.put("/api/workflows/etl/", document, format="json").status_code == 200
    assert changer.delete("/api/workflows/etl/").status_code == 403
    assert remover.delete("/api/workflows/etl/").status_code == 204


def test_token(workflow: Make) -> None:
    workflow("etl", {"program": "Return"})
    token = Token.objects.create(user=User.objects.create_superuser("robot"))
    client = APIClient(HTTP_AUTHORIZATION=f"Token {token.key}")
    assert client.post("/register/etl", HTTP_ORIGIN="https://elsewhere.example").status_code == 200
    assert Flow.objects.get().registered_by == "robot"
    assert APIClient(HTTP_AUTHORIZATION="Token nothing").get("/api/flows/").status_code == 401


def test_a_session_needs_the_csrf_token(workflow: Make) -> None:
    workflow("etl", {"program": "Return"})
    client = APIClient(enforce_csrf_checks=True)
    client.force_login(User.objects.create_superuser("root"))
    answer = client.post("/register/etl")
    assert answer.status_code == 403
    assert "CSRF" in answer.json()["description"]


@pytest.mark.usefixtures("opened")
def test_the_open_door(anonymous: APIClient, workflow: Make) -> None:
    workflow("etl", {"program": "Return"})
    answer = anonymous.post("/register/etl")
    assert answer.status_code == 200, answer.content
    own: dict[str, Any] = {"HTTP_ORIGIN": "http://localhost", "HTTP_SEC_FETCH_SITE": "same-origin"}
    assert anonymous.post("/register", {"taskId": "etl"}, format="json", **own).status_code == 200
    for path in READS:
        assert anonymous.get(path).status_code == 200
    flow = Flow.objects.first()
    assert flow is not None
    assert anonymous.get(f"/api/flows/{flow.pk}/tasks/1/").status_code == 200
    assert anonymous.post(f"/api/flows/{flow.pk}/cancel/").status_code == 401
    assert anonymous.patch(f"/api/flows/{flow.pk}/tasks/1/", {"priority": 1}, format="json").status_code == 401
    assert anonymous.post("/api/workflows/", {}, format="json").status_code == 401
    assert anonymous.delete("/api/workflows/etl/").status_code == 401


OUTSIDE = [
    {"REMOTE_ADDR": "192.0.2.1"},
    {"REMOTE_ADDR": ""},
    {"HTTP_ORIGIN": "https://elsewhere.example"},
    {"HTTP_ORIGIN": "null"},
    {"HTTP_ORIGIN": ""},
    {"HTTP_ORIGIN": "http://localhost:3000"},
    {"HTTP_ORIGIN": "https://localhost"},
    {"HTTP_SEC_FETCH_SITE": "cross-site"},
    {"HTTP_SEC_FETCH_SITE": "same-site"},
    {"HTTP_X_FORWARDED_FOR": "127.0.0.1"},
    {"HTTP_FORWARDED": "for=127.0.0.1"},
    {"HTTP_HOST": "rebound.example"},
]


@pytest.mark.usefixtures("opened")
@pytest.mark.parametrize("extra", OUTSIDE)
@pytest.mark.parametrize(("method", "path"), [("GET", "/api/flows/"), ("POST", "/register/etl")])
def test_open_api_refuses_other_callers(
    anonymous: APIClient, workflow: Make, settings: Any, extra: dict[str, Any], method: str, path: str
) -> None:
    settings.ALLOWED_HOSTS = ["*"]
    workflow("etl", {"program": "Return"})
    answer = anonymous.generic(method, path, **extra)
    assert answer.status_code == 403
    assert not Flow.objects.exists()


@pytest.mark.usefixtures("opened")
def test_a_form_of_another_page(anonymous: APIClient, workflow: Make) -> None:
    workflow("etl", {"program": "Return"})
    form: dict[str, Any] = {"HTTP_ORIGIN": "https://elsewhere.example", "HTTP_SEC_FETCH_SITE": "cross-site"}
    kind = "application/x-www-form-urlencoded"
    for path, body in [("/register/etl", ""), ("/register", "taskId=etl"), ("/register", '{"taskId":"etl"}')]:
        answer = anonymous.generic("POST", path, body, content_type=kind, **form)
        assert answer.status_code == 403
        assert answer.json()["status"] == "failed"
    answer = anonymous.generic("POST", "/register", '{"taskId":"etl"}', content_type="text/plain", **form)
    assert answer.status_code == 403
    assert not Flow.objects.exists()


HERE = [
    ("127.0.0.1", "127.0.0.1"),
    ("127.8.9.1", "[::1]:8000"),
    ("::1", "localhost:80"),
    ("::ffff:127.0.0.1", "a.localhost"),
]


@pytest.mark.parametrize("address", HERE)
@pytest.mark.usefixtures("opened")
def test_names_of_this_machine(anonymous: APIClient, settings: Any, address: tuple[str, str]) -> None:
    settings.ALLOWED_HOSTS = ["*"]
    assert anonymous.get("/api/flows/", REMOTE_ADDR=address[0], HTTP_HOST=address[1]).status_code == 200


def test_the_door_is_shut_by_default() -> None:
    assert settings.FLOWER["OPEN_API"] is False
