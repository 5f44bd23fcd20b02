"""One permission for one act, through the API and in the admin: the table of docs/security.md, and no other."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission, User
from django.test import Client, RequestFactory
from django.urls import reverse

from flowerapp import engine
from flowerapp.api import urls
from flowerapp.management.cli import parser
from flowerapp.models import Approval, CachedOutput, Latch, LatchHold, Worker
from flowerapp.testing import inline
from tests import permissions
from tests.cli.support import define
from tests.permissions import ACTS, CLOSED, Act

pytestmark = pytest.mark.django_db(transaction=True)

ROLES: dict[str, tuple[str, ...] | None] = {
    "anonymous": None,
    "without rights": (),
    "viewer": ("view_flow", "view_taskdefinition", "view_pool", "view_approval", "view_cachedoutput"),
    "forgetter": ("delete_cachedoutput",),
    "registrar": ("register_flow",),
    "operator": ("operate_flow",),
    "reporter": ("emit_event",),
    "definer": tuple(f"{verb}_{model}" for verb in ("add", "change", "delete") for model in ("taskdefinition", "pool")),
    "remote worker": ("remote_worker",),
    "cleaner": ("delete_flow",),
    "decider": ("decide_approval",),
    "archivist": ("add_flow",),
    "of other models": tuple(
        f"{verb}_{model}" for verb in ("view", "change") for model in ("workflow", "task", "event", "latch", "worker")
    ),
}
"""Role → permissions; None is a caller who is not logged in. A superuser may do all."""
SEES = {
    "view_flow": "operate_flow",
    "view_taskdefinition": "change_taskdefinition",
    "view_pool": "change_pool",
    "view_approval": "decide_approval",
    "view_cachedoutput": "delete_cachedoutput",
}
METHODS = ("get", "post", "put", "patch", "delete")
FORMS = ("add", "change", "delete", "register", "restore")
"""Pages of the admin that take a form."""


def allows(role: str, act: Act) -> bool:
    """Whether the table lets a role do it."""
    granted = ROLES.get(role, ())
    name = act.permission.removeprefix("flowerapp.")
    return role == "superuser" or not name or bool({name, SEES.get(name)} & set(granted or ()))


@pytest.fixture
def names() -> Iterator[dict[str, str]]:
    """What there is of each kind: an open flow and one that has ended."""
    with inline() as runner:
        define("etl", {"program": "Noop"}, {"program": "Noop"})
        engine.set_pool("gpu", 1)
        ended = engine.register("etl")
        runner.run()
        flow = engine.register("etl")
        Worker.objects.create(id="w", name="w", pid=1, concurrency=1, queues=[])
        task = flow.tasks.values_list("pk", flat=True)[0]
        LatchHold.objects.create(latch=Latch.objects.create(pk="gpu"), task_flow=flow, task_exec_seq=1)
        event = str(engine.emit("paid").pk)
        asked = Approval.objects.create(task_flow=flow, task_exec_seq=1, run=1)
        by = {"task_flow_id": flow.pk, "task_exec_seq": 1, "attempt": 1}
        entry = CachedOutput.objects.create(digest="d", program="Noop", **by)
        rows = {"flow": flow.pk, "ended": ended.pk, "task": str(task), "workflow": "etl", "pool": "gpu", "worker": "w"}
        yield rows | {"approval": str(asked.pk), "cachedoutput": str(entry.pk), "latch": "gpu", "event": event}


def client_of(role: str) -> Client:
    """A client of a member of the staff, or of an anonymous caller."""
    client = Client()
    granted = ROLES.get(role, ())
    if granted is not None:
        user = User.objects.create_user("ann", is_staff=True, is_superuser=role == "superuser")
        user.user_permissions.set(Permission.objects.filter(codename__in=granted, content_type__app_label="flowerapp"))
        assert user.user_permissions.count() == len(granted)
        client.force_login(user)
    return client


def api_lets(client: Client, door: str, names: dict[str, str]) -> bool:
    """Whether a route does what it is asked, or finds another reason not to."""
    method, name = door.split()
    parts = {"flow_id": names["flow"], "seq": "1", "task_id": "etl", "name": "gpu"}
    parts |= {"entry": names["cachedoutput"], "pk": names["approval"], "event_id": names["event"]}
    pattern = next(pattern for pattern in urls.urlpatterns if pattern.name == name)
    kwargs = {key: value for key, value in parts.items() if key in pattern.pattern.regex.groupindex}
    answer = client.generic(method, reverse(f"flowerapp:{name}", kwargs=kwargs), "{}", content_type="application/json")
    assert answer.status_code < 500
    return answer.status_code not in (401, 403)


def admin_lets(client: Client, door: str, names: dict[str, str]) -> bool:
    """The same of a page of the admin, a button, or an action on a list."""
    method, model, page = door.split()
    if method == "ACTION":
        return page in _actions(client, model)
    form = {"why": "", "confirmed": "1"}
    if method == "VERB":
        answer = client.post(reverse(f"admin:flowerapp_{model}_verb", args=[names[model], page]), form)
    else:
        row = names["ended"] if (model, page) == ("flow", "delete") else names[model]
        url = reverse(f"admin:flowerapp_{model}_{page}", args=[] if page in ("changelist", "add", "restore") else [row])
        answer = client.get(url) if method == "GET" else client.post(url, form)
    assert answer.status_code < 500
    refused = answer.status_code in (403, 405)
    return not refused and not answer.headers.get("Location", "").startswith(reverse("admin:login"))


def _actions(client: Client, model: str) -> Any:
    admins = {made._meta.model_name: one for made, one in admin.site._registry.items()}
    request = RequestFactory().get("/")
    request.user = User.objects.first() or User(is_active=False)
    return admins[model].get_actions(request)


@pytest.mark.parametrize("role", [*ROLES, "superuser"])
def test_each_door_asks_for_the_permission_of_the_table(names: dict[str, str], role: str) -> None:
    client = client_of(role)
    wrong = []
    for act in ACTS:
        lets = {f"API {door}": api_lets(client, door, names) for door in act.api}
        lets |= {f"admin {door}": admin_lets(client, door, names) for door in act.admin}
        wrong += [
            f"{door} {'lets' if let else 'refuses'} {role}" for door, let in lets.items() if let != allows(role, act)
        ]
    wrong += [f"admin {door} lets {role}" for door in CLOSED if admin_lets(client, door, names)]
    assert wrong == []


def test_the_table_has_every_route() -> None:
    routes = [
        f"{method.upper()} {pattern.name}"
        for pattern in urls.urlpatterns
        for method in METHODS
        if hasattr(pattern.callback.cls, method)  # type: ignore[attr-defined] # of DRF's views
    ]
    assert sorted(routes) == sorted(door for act in ACTS for door in act.api)


def test_the_table_has_every_page_button_and_action() -> None:
    doors = [
        door
        for model, one in admin.site._registry.items()
        if model._meta.app_label == "flowerapp"
        for door in _doors(model, one)
    ]
    assert sorted(doors) == sorted([*CLOSED, *(door for act in ACTS for door in act.admin)])


def _doors(model: Any, one: Any) -> Iterator[str]:
    name = model._meta.model_name
    pages = [pattern.name.removeprefix(f"flowerapp_{name}_") for pattern in one.get_urls() if pattern.name]
    for page in pages:
        if page == "verb":
            yield from (f"VERB {name} {verb}" for verb in one.verbs)
            continue
        yield f"GET {name} {page}"
        if page in FORMS:
            yield f"POST {name} {page}"
    request = RequestFactory().get("/")
    request.user = User(is_superuser=True)
    yield from (f"ACTION {name} {action}" for action in one.get_actions(request))


def test_the_table_has_every_command() -> None:
    made = argparse.ArgumentParser()
    parser.add_arguments(made)
    (verbs,) = [action for action in made._actions if isinstance(action, argparse._SubParsersAction)]
    commands = [name for act in ACTS for name in act.commands]
    assert sorted(verbs.choices) == sorted({*commands, *permissions.OTHER_COMMANDS})
    assert len(commands) == len(set(commands))


def test_the_page_has_the_table() -> None:
    page = permissions.PAGE.read_text(encoding="utf-8")
    assert permissions.table() in page
    assert permissions.written(page) == page, "python -m tests.permissions writes it"


def test_a_row_that_a_user_may_not_see_is_not_told_from_one_that_there_is_not(names: dict[str, str]) -> None:
    client = client_of("registrar")
    for row in (names["flow"], "nothing"):
        assert client.get(reverse("admin:flowerapp_flow_change", args=[row])).status_code == 403
        assert client.post(reverse("admin:flowerapp_flow_verb", args=[row, "cancel"])).status_code == 403
        assert client.get(reverse("flowerapp:flow", args=[row])).status_code == 403
