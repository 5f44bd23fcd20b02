"""Overriding a step that holds masked values, through each door: the caller's rights reach the engine's one rule."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import current_app
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from rest_framework.test import APIClient

from flowerapp import engine
from flowerapp.exceptions import InvalidPlanError
from flowerapp.executors.celery.routes import REGISTER
from flowerapp.models import Flow, Task
from flowerapp.testing import InlineRunner, inline
from flowerapp.workflows import rows
from tests.cli.support import flow as command

pytestmark = pytest.mark.django_db(transaction=True)

STORED = {"URL": "https://example.com/", "BODY": "{}", "HEADERS": {"Authorization": "s3cret"}}
EVIL = {"URL": "https://evil/"}
EDITOR = "change_taskdefinition"
READERS = ("view_flow", "view_taskdefinition")


@pytest.fixture(autouse=True)
def runner() -> Iterator[InlineRunner]:
    """What is sent waits; the step's body may be overridden, its URL may not."""
    step = {"task_seq": 1, "program": "HTTPPostRequest", "parameters": STORED, "overridable": ["BODY"]}
    rows.store({"task_id": "pays", "tasks": [step]})
    with inline() as runner:
        yield runner


def user(*codenames: str) -> User:
    made = User.objects.create_user("ann", is_staff=True)
    made.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    return made


def client(*codenames: str) -> APIClient:
    made = APIClient()
    made.force_authenticate(user(*codenames))
    return made


def parameters() -> dict[str, Any]:
    """Those of the only task."""
    own: dict[str, Any] = Task.objects.get().parameters
    return own


# The API

Send = Callable[[APIClient, dict[str, Any]], Any]


def register(api: APIClient, overrides: dict[str, Any]) -> Any:
    return api.post("/register/pays", {"parameters": {"1": overrides}}, format="json")


def register_by_body(api: APIClient, overrides: dict[str, Any]) -> Any:
    return api.post("/register", {"taskId": "pays", "parameters": {"1": overrides}}, format="json")


def patch(api: APIClient, overrides: dict[str, Any]) -> Any:
    flow = engine.register("pays")
    return api.patch(f"/api/flows/{flow.pk}/tasks/1/", {"parameters": overrides}, format="json")


def rerun(api: APIClient, overrides: dict[str, Any]) -> Any:
    flow = engine.register("pays")
    body = {"all": True, "parameters": {"1": overrides}}
    return api.post(f"/api/flows/{flow.pk}/rerun/", body, format="json")


REQUESTS = pytest.mark.parametrize(
    ("send", "right"),
    [
        (register, "register_flow"),
        (register_by_body, "register_flow"),
        (patch, "operate_flow"),
        (rerun, "operate_flow"),
    ],
)


@REQUESTS
def test_api_refuses_users_who_may_not_edit(send: Send, right: str) -> None:
    answer = send(client(right), EVIL)
    assert answer.status_code == 400
    sentence = answer.json().get("description") or answer.json()["detail"]
    assert "step 1: parameter URL: the step holds masked values" in sentence
    assert "flowerapp.change_taskdefinition" in sentence
    assert "overridable" in sentence
    assert all(row.parameters == STORED for row in Task.objects.all())


@REQUESTS
def test_api_takes_listed_parameters_from_them(send: Send, right: str) -> None:
    assert send(client(right), {"BODY": "b"}).status_code == 200
    assert parameters() == STORED | {"BODY": "b"}


@REQUESTS
def test_api_takes_all_from_editors(send: Send, right: str) -> None:
    assert send(client(right, EDITOR), EVIL).status_code == 200
    assert parameters() == STORED | EVIL


@pytest.mark.parametrize("overrides", [EVIL, {"BODY": "b"}])
@pytest.mark.parametrize("permissions", [None, ("view_flow",)])
def test_open_api_overrides_nothing_on_such_steps(
    settings: Any, permissions: tuple[str, ...] | None, overrides: dict[str, Any]
) -> None:
    """Not for a user either who may call it only because it is open."""
    settings.FLOWER = {**settings.FLOWER, "OPEN_API": True}
    api = APIClient(REMOTE_ADDR="127.0.0.1", SERVER_NAME="localhost")
    if permissions is not None:
        api.force_authenticate(user(*permissions))
    answer = register(api, overrides)
    assert answer.status_code == 400
    assert "without a login" in answer.json()["description"]
    assert not Flow.objects.exists()
    assert api.post("/register/pays").status_code == 200
    assert parameters() == STORED


def test_error_in_the_api_is_at_the_parameter() -> None:
    answer = patch(client("operate_flow"), EVIL)
    assert list(answer.json()["parameters"]) == ["URL"]


# The admin


def staff(*codenames: str) -> Client:
    made = Client()
    made.force_login(user(*READERS, *codenames))
    return made


def change_in_admin(page: Client, text: str) -> Any:
    task = Task.objects.get()
    url = reverse("admin:flowerapp_task_verb", args=[task.pk, "change"])
    data = {"priority": task.task_priority, "queue": task.queue, "parameters": text}
    return page.post(url, {**data, "confirmed": "1"})


def test_admin_refuses_operators_who_may_not_edit() -> None:
    engine.register("pays")
    page = staff("operate_flow")
    shown = '{"URL": "https://%s/", "BODY": "%s", "HEADERS": {"Authorization": "••••"}}'
    answer = change_in_admin(page, shown % ("evil", "b"))
    assert answer.status_code == 200
    assert "parameter URL: the step holds masked values" in answer.text
    assert parameters() == STORED
    assert change_in_admin(page, shown % ("example.com", "b")).status_code == 302
    assert parameters() == STORED | {"BODY": "b"}


def test_admin_takes_all_from_editors() -> None:
    engine.register("pays")
    answer = change_in_admin(staff("operate_flow", EDITOR), '{"URL": "https://evil/", "BODY": "", "HEADERS": {}}')
    assert answer.status_code == 302
    assert parameters() == {"URL": "https://evil/", "BODY": "", "HEADERS": {}}


@pytest.mark.parametrize(("right", "status"), [("register_flow", 200), (EDITOR, 302)])
def test_admin_checks_the_entrance(right: str, status: int) -> None:
    """The only thing in its form of a registration that may override a parameter without being required."""
    step = {"program": "tests.probe.tasks.mul", "parameters": {"y": {"token": "s3cret"}}}
    rows.store({"task_id": "sends", "tasks": [{"task_seq": 1, "program": "Noop"}, {"task_seq": 2, **step}]})
    page = staff("register_flow", right)
    url = reverse("admin:flowerapp_workflow_register", args=["sends"])
    answer = page.post(url, {"input": '"https://evil/"', "priority": "0", "entrance": "2"})
    assert answer.status_code == status
    assert Flow.objects.count() == (status == 302)
    if status == 200:
        assert "its input becomes a parameter; parameter x" in answer.text


@pytest.mark.parametrize(("right", "status"), [("operate_flow", 400), (EDITOR, 200)])
def test_skip_is_checked_in_api_and_admin(right: str, status: int) -> None:
    step = {"program": "tests.probe.tasks.mul", "parameters": {"y": {"token": "s3cret"}}}
    rows.store({"task_id": "sends", "tasks": [{"task_seq": 1, "program": "Noop"}, {"task_seq": 2, **step}]})
    page = staff("operate_flow", right)
    api = APIClient()
    api.force_authenticate(User.objects.get())
    flow = engine.register("sends", input="https://evil/")
    answer = api.post(f"/api/flows/{flow.pk}/tasks/1/skip/")
    assert answer.status_code == status
    other = engine.register("sends", input="https://evil/")
    url = reverse("admin:flowerapp_task_verb", args=[other.tasks.get(task_exec_seq=1).pk, "skip"])
    shown = page.post(url, {"confirmed": "1"})
    assert shown.status_code == {400: 200, 200: 302}[status]
    if status == 400:
        assert "step 2: its input becomes a parameter; parameter x" in answer.json()["detail"]
        assert "its input becomes a parameter; parameter x" in shown.text
        assert not Task.objects.exclude(exec_status=0).exists()


# The host itself


def test_command_line_and_python_are_trusted() -> None:
    flow_id = command("run", "pays", "--set", "1.URL=https://a/", "--json").json["task_flow_id"]
    assert parameters()["URL"] == "https://a/"
    assert command("set", flow_id, 1, "URL=https://b/").code == 0
    assert parameters()["URL"] == "https://b/"
    assert command("rerun", flow_id, "--all", "--set", "1.URL=https://c/").code == 0
    assert parameters()["URL"] == "https://c/"
    assert engine.change(flow_id, 1, parameters={"URL": "https://d/"}).parameters["URL"] == "https://d/"


def test_message_to_the_register_task_overrides_what_is_listed() -> None:
    def fire(**overrides: Any) -> Any:
        task: Any = current_app.tasks[REGISTER]
        return task.apply(args=["pays"], kwargs={"parameters": {"1": overrides}}, throw=False)

    with pytest.raises(InvalidPlanError, match="parameter URL: the step holds masked values"):
        fire(**EVIL).get()
    fire(BODY="b").get()
    assert parameters() == STORED | {"BODY": "b"}
