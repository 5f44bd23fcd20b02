"""Ids of flows with ``workflow:`` in front, as littleflow writes them, wherever the id of a flow is taken."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from rest_framework.test import APIClient

from flowerapp import engine
from flowerapp.api import littleflow_urls, urls
from flowerapp.management.cli import parser
from flowerapp.models import Flow, Task
from flowerapp.selectors.flow_ids import id_of
from flowerapp.states import Status
from flowerapp.testing import InlineRunner
from flowerapp.workflows import arrow
from tests.cli.support import flow

pytestmark = pytest.mark.django_db(transaction=True)

BODIES = {"task-fail": {"reason": "no glue"}, "task": {"priority": 3}}
"""Bodies of the routes that need more than ``{}``."""


@pytest.fixture
def api() -> APIClient:
    """A client logged in as a superuser."""
    client = APIClient(raise_request_exception=True)
    client.force_login(User.objects.create_superuser("root"))
    return client


def remote() -> Flow:
    """A flow that waits for another system."""
    return engine.register_plan(arrow.plan_of_text("A → B"), source="A → B")


def routes(patterns: Any) -> Iterator[tuple[str, str]]:
    """Method and name of each route that takes the id of a flow."""
    for pattern in patterns:
        if "flow_id" in pattern.pattern.regex.groupindex:
            view = pattern.callback.cls
            yield from ((name, str(pattern.name)) for name in view.http_method_names if hasattr(view, name))


OURS = [route for route in routes(urls.urlpatterns) if route[0] != "options"]
THEIRS = [route for route in routes(littleflow_urls.urlpatterns) if route[0] != "options"]


def call(api: APIClient, space: str, route: tuple[str, str], flow_id: str) -> Any:
    """The answer of a route."""
    method, name = route
    patterns = (littleflow_urls if space == "littleflow" else urls).urlpatterns
    (pattern,) = (pattern for pattern in patterns if pattern.name == name)
    parts = {"flow_id": flow_id, "seq": "1", "vector": "S"}
    kwargs = {key: parts[key] for key in pattern.pattern.regex.groupindex}
    generic: Any = api.generic
    body = "" if method == "get" else json.dumps(BODIES.get(name, {}))
    return generic(method.upper(), reverse(f"{space}:{name}", kwargs=kwargs), body, content_type="application/json")


def timeless(text: str) -> str:
    """An answer without how long a task has waited, and without when it was archived and what follows from that."""
    return re.sub(r'for [\d.]+ m?s|"(archived_ts|checksum)": ?"[^"]*"', "", text)


def text_of(answer: Any) -> str:
    """The whole of an answer, also of one that is sent in parts."""
    body: bytes = answer.getvalue()
    return body.decode()


@pytest.mark.parametrize("route", OURS, ids=" ".join)
def test_a_route_of_the_api(api: APIClient, runner: InlineRunner, route: tuple[str, str]) -> None:
    first, second = remote().pk, remote().pk
    plain, prefixed = call(api, "flowerapp", route, first), call(api, "flowerapp", route, f"workflow:{second}")
    assert prefixed.status_code == plain.status_code != 404
    assert "workflow:" not in text_of(prefixed)
    if route[0] == "get":
        again = call(api, "flowerapp", route, f"workflow:{first}")
        assert timeless(text_of(again)) == timeless(text_of(plain))


@pytest.mark.parametrize("route", THEIRS, ids=" ".join)
def test_a_route_of_littleflow(api: APIClient, runner: InlineRunner, route: tuple[str, str]) -> None:
    first, second = remote().pk, remote().pk
    plain, prefixed = call(api, "littleflow", route, first), call(api, "littleflow", route, f"workflow:{second}")
    assert prefixed.status_code == plain.status_code != 404
    assert "workflow:" not in text_of(prefixed)


def test_the_flow_that_a_body_names(api: APIClient, runner: InlineRunner) -> None:
    begun = remote()
    answer = api.post("/workflows/terminate", {"workflow": f"workflow:{begun.pk}"}, format="json")
    assert answer.json()["workflow"] == begun.pk


def test_both_kinds_of_routes_were_called() -> None:
    assert {name for _, name in OURS} >= {"flow", "tasks", "task-end", "flow-logs", "flow-rerun"}
    assert {name for _, name in THEIRS} >= {"state", "trace", "restart"}


def verbs() -> Iterator[str]:
    """The subcommands that take the id of a flow."""
    made = argparse.ArgumentParser()
    parser.add_arguments(made)
    (commands,) = (action for action in made._actions if isinstance(action, argparse._SubParsersAction))
    for name, command in commands.choices.items():
        metavars = {str(action.metavar) for action in command._actions if not action.option_strings}
        if any("ID" in metavar.replace("|", " ").split() for metavar in metavars):
            yield name


MORE = {
    **{name: ["1"] for name in ("task", "skip", "end")},
    "fail": ["1", "--reason", "no glue"],
    "set": ["1", "--priority", "3"],
}
"""What verbs take behind the id."""


@pytest.mark.parametrize("verb", [*verbs()])
def test_a_verb_of_the_command_line(runner: InlineRunner, verb: str) -> None:
    first, second = remote().pk, remote().pk
    if verb == "follow":
        engine.cancel(first)
        engine.cancel(second)
    plain = flow(verb, first, *MORE.get(verb, []))
    prefixed = flow(verb, f"workflow:{second}", *MORE.get(verb, []))
    assert prefixed.code == plain.code
    if verb != "archive":  # one line, with the times of the flow
        assert prefixed.out.replace(second, first).splitlines()[:1] == plain.out.splitlines()[:1]
    assert "there is no" not in prefixed.err


def test_all_verbs_were_called() -> None:
    assert {*verbs()} >= {"show", "inspect", "graph", "logs", "follow", "task", "rerun", "end", "set", "cancel"}


def test_the_beginning_of_an_id(runner: InlineRunner) -> None:
    begun = remote().pk
    for verb in ("show", "graph"):
        assert flow(verb, f"workflow:{begun[:30]}").code == 0
        assert flow(verb, "workflow:01").code == 2


def test_ids_in_a_pipe(runner: InlineRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = remote().pk
    answer = flow("suspend", f"workflow:{begun}", begun, "--json")
    assert [row["task_flow_id"] for row in answer.json] == [begun]


@pytest.mark.parametrize("model", ["flow", "task"])
def test_a_search_of_the_admin(admin_client: Client, runner: InlineRunner, model: str) -> None:
    begun = remote().pk
    remote()
    lines = {"flow": "1 flow", "task": "3 tasks"}
    for term in (f"workflow:{begun}", f"workflow:{begun[:8]}…{begun[-6:]}"):
        page = admin_client.get(reverse(f"admin:flowerapp_{model}_changelist"), {"q": term}).content.decode()
        assert lines[model] in " ".join(page.split())
    page = admin_client.get(reverse(f"admin:flowerapp_{model}_changelist"), {"q": "workflow:"}).content.decode()
    assert f"0 {model}s" in " ".join(page.split())


def test_an_id_that_itself_begins_so(api: APIClient, runner: InlineRunner) -> None:
    Flow.objects.bulk_create([Flow(task_flow_id=name, task_id="batch") for name in ("workflow:7", "7", "8")])
    Task.objects.create(task_flow_id="workflow:7", task_exec_seq=1, task_id="batch", task_seq=1, program="Noop")
    assert [id_of(text) for text in ("workflow:7", "7", "workflow:8", "workflow:")] == [
        *("workflow:7", "7", "8", "workflow:")
    ]
    assert api.get("/api/flows/workflow:7/").json()["task_flow_id"] == "workflow:7"
    assert api.post("/api/flows/workflow:7/cancel/", {}, format="json").json()["task_flow_id"] == "workflow:7"
    assert flow("show", "workflow:7", "--json").json["task_flow_id"] == "workflow:7"
    assert Flow.objects.get(pk="7").status is Status.WAIT


@pytest.mark.parametrize("text", ["workflow:\0", "\0", "workflow:nothing", "workflow:workflow:1"])
def test_what_is_no_id(api: APIClient, text: str) -> None:
    assert api.get(reverse("flowerapp:flow", kwargs={"flow_id": text})).status_code == 404
    assert flow("show", text).code == 2
