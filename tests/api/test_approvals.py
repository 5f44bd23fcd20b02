"""Approvals over the API: the list, one by itself, and a decision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import override_settings
from rest_framework.test import APIClient

from flowerapp import engine
from flowerapp.models import Flow
from flowerapp.testing import InlineRunner
from tests.engine.approvals import FORM, asked, asking

pytestmark = pytest.mark.django_db

Login = Callable[..., APIClient]
URL = "/api/approvals/"


def ids(client: APIClient, **query: Any) -> list[str]:
    """The flows of a list of approvals."""
    answer = client.get(URL, query)
    assert answer.status_code == 200, answer.content
    return [row["task_flow_id"] for row in answer.json()["results"]]


def decide(client: APIClient, flow: Flow, choice: str = "approve", **body: Any) -> Any:
    return client.post(f"{URL}{asked(flow).pk}/decide/", {"choice": choice, **body}, format="json")


def test_a_list_has_what_the_caller_may_decide(runner: InlineRunner, client_with: Login) -> None:
    open_to_all, of_finance = asking(runner), asking(runner, groups=["finance"])
    own, of_ann = asking(runner, actor="ann"), asking(runner, users=["ann"])
    ann, fay = client_with("decide_approval"), client_with("decide_approval", username="fay")
    User.objects.get(username="fay").groups.add(Group.objects.create(name="finance"))
    assert ids(ann) == [of_ann.pk, open_to_all.pk]
    assert ids(fay) == [own.pk, of_finance.pk, open_to_all.pk]
    assert ids(ann, flow=of_ann.pk) == [of_ann.pk]
    assert ids(ann, flow=of_finance.pk) == []
    assert ids(ann, mine="false") == [of_ann.pk, own.pk, open_to_all.pk]
    engine.decide(of_ann.pk, 2, "approve")
    assert ids(ann) == [open_to_all.pk]
    assert ids(ann, state="decided") == [of_ann.pk]
    assert ids(ann, state="any", mine="false") == [of_ann.pk, own.pk, open_to_all.pk]
    viewer = client_with("view_approval", username="vic")
    assert ids(viewer) == []
    assert len(ids(viewer, mine="false")) == 3


def test_what_a_caller_may_not_see_is_not_told_from_what_there_is_not(runner: InlineRunner, client_with: Login) -> None:
    of_finance = asking(runner, groups=["finance"])
    ann = client_with("decide_approval")
    for pk in (str(asked(of_finance).pk), "999999", "x", "9" * 30):
        assert ann.get(f"{URL}{pk}/").status_code == 404
        assert ann.post(f"{URL}{pk}/decide/", {"choice": "approve"}, format="json").status_code == 404
    assert asked(of_finance).state == "open"


def test_one_approval(runner: InlineRunner, client_with: Login) -> None:
    flow = asking(
        runner, title="Refund {input[order]}", form=FORM, input={"order": 7, "password": "hunter2"}, timeout=60
    )
    answer = client_with("decide_approval").get(f"{URL}{asked(flow).pk}/")
    body = answer.json()
    assert (body["title"], body["state"], body["may_decide"], body["task_exec_seq"]) == ("Refund 7", "open", True, 2)
    assert body["form"]["properties"]["amount"]["title"] == "Amount"
    assert [choice["name"] for choice in body["choices"]] == ["approve", "reject"]
    assert body["due_ts"] > body["opened_ts"]
    assert {"links", "notify", "deciders", "tries"} & set(body) == set()
    assert "hunter2" not in answer.text


def test_a_decision_and_a_second_one(runner: InlineRunner, client_with: Login) -> None:
    flow = asking(runner, form=FORM)
    ann, bob = client_with("decide_approval"), client_with("decide_approval", username="bob")
    answer = decide(ann, flow, data={"amount": 3, "password": "hunter2"}, comment="ok")
    assert answer.status_code == 200, answer.content
    body = answer.json()
    assert (body["state"], body["choice"], body["decided_by"], body["may_decide"]) == (
        "decided",
        "approve",
        "ann",
        False,
    )
    assert body["data"] == {"amount": 3, "password": "••••"}
    answer = decide(bob, flow, "reject")
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert "ann chose Approve at " in answer.json()["detail"]
    assert answer.json()["details"]["decided_by"] == "ann"
    runner.run()
    flow = engine.get_flow(flow.pk)
    assert flow.output["approval"]["data"]["password"] == "hunter2"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, "choice: This field is required."),
        ({"choice": 1}, "choice: must be text"),
        ({"choice": "maybe"}, "none of approve, reject"),
        ({"choice": "approve"}, "data.amount: is required"),
        ({"choice": "approve", "data": {"amount": "x"}}, "data.amount: must be a number"),
        ({"choice": "approve", "data": {"amount": 1, "b": 1}}, "data.b: is no field"),
        ({"choice": "approve", "why": "x"}, "why: unknown field"),
    ],
)
def test_a_wrong_body_is_refused(runner: InlineRunner, api: APIClient, body: dict[str, Any], says: str) -> None:
    flow = asking(runner, form=FORM)
    answer = api.post(f"{URL}{asked(flow).pk}/decide/", body, format="json")
    assert answer.status_code == 400
    assert says in answer.json()["detail"]
    assert asked(flow).state == "open"


@pytest.mark.parametrize("query", ["state=maybe", "mine=maybe", "color=red", "flow=a&flow=b"])
def test_a_wrong_query_is_refused(api: APIClient, query: str) -> None:
    assert api.get(f"{URL}?{query}").status_code == 400


def test_the_user_who_registered_is_refused_with_the_reason(runner: InlineRunner, client_with: Login) -> None:
    flow = asking(runner, actor="ann")
    answer = decide(client_with("decide_approval"), flow)
    assert (answer.status_code, "ann has registered the flow" in answer.json()["detail"]) == (403, True)


@override_settings(FLOWER={"OPEN_API": True})
def test_the_open_door_reads_and_does_not_decide(runner: InlineRunner) -> None:
    flow = asking(runner)
    client = APIClient(REMOTE_ADDR="127.0.0.1", SERVER_NAME="localhost")
    assert ids(client) == [flow.pk]
    assert decide(client, flow).status_code in (401, 403)
    assert asked(flow).state == "open"


def test_a_list_reads_no_more_rows_than_a_page(
    runner: InlineRunner, api: APIClient, django_assert_max_num_queries: Any
) -> None:
    flows = [asking(runner) for _ in range(4)]
    with django_assert_max_num_queries(12):
        body = api.get(URL, {"page_size": 2}).json()
    assert [row["task_flow_id"] for row in body["results"]] == [flows[3].pk, flows[2].pk]
    assert [row["task_flow_id"] for row in api.get(body["next"]).json()["results"]] == [flows[1].pk, flows[0].pk]
