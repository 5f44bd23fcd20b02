"""Approvals in the admin: the list, the page with its form, and the form on the page of the task."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from flowerapp import engine
from flowerapp.admin import html
from flowerapp.admin.approvals import approval_url
from flowerapp.models import Flow
from flowerapp.testing import InlineRunner
from tests.admin.conftest import Staff
from tests.engine.approvals import FORM, asked, asking
from tests.engine.support import task

pytestmark = pytest.mark.django_db

LIST = reverse("admin:flowerapp_approval_changelist")


def decide(client: Client, flow: Flow, **fields: Any) -> Any:
    url = reverse("admin:flowerapp_approval_verb", args=[asked(flow).pk, "decide"])
    return client.post(url, {"choice": "approve", **fields}, follow=True)


def test_the_list_has_open_ones_first(runner: InlineRunner, admin_client: Client) -> None:
    first, second, third = (asking(runner, title=title) for title in ("Alpha", "Beta", "Gamma"))
    engine.decide(third.pk, 2, "reject", actor="ann")
    page = admin_client.get(LIST).text
    assert page.index("Beta") < page.index("Alpha") < page.index("Gamma")
    assert "Reject" in page
    assert [flow.pk for flow in (first, second)] == [asked(first).task_flow_id, asked(second).task_flow_id]
    for query, there, not_there in (("state=open", "Alpha", "Gamma"), ("state=decided", "Gamma", "Alpha")):
        page = admin_client.get(f"{LIST}?{query}").text
        assert (there in page, not_there in page) == (True, False)
    assert "Alpha" in admin_client.get(f"{LIST}?q={first.pk[:20]}").text
    assert admin_client.get(f"{LIST}?data__password__startswith=h").status_code in (302, 400)


def test_a_user_sees_and_decides_what_is_theirs(runner: InlineRunner, staff: Staff) -> None:
    asking(runner, title="Theirs", groups=["finance"])
    flow = asking(runner, title="Mine", users=["clerk"], form=FORM, input={"password": "hunter2"})
    client = staff("decide_approval")
    page = client.get(LIST).text
    assert ("Mine" in page, "Theirs" in page) == (True, False)
    assert "Mine" in client.get(f"{LIST}?state=mine").text
    page = client.get(approval_url(asked(flow).pk)).text
    assert '<button type="submit" name="choice" value="approve"' in page
    assert "Amount" in page
    assert "hunter2" not in page
    answer = decide(client, flow)
    assert "is required; fill it in" in answer.text
    assert asked(flow).state == "open"
    answer = decide(client, flow, **{"data-0": "3", "data-1": "hunter3", "comment": "ok"})
    assert "Decided: clerk chose Approve at " in answer.text
    assert "hunter3" not in answer.text
    assert asked(flow).data == {"amount": 3, "password": "hunter3"}
    assert "clerk chose Approve at " in decide(client, flow, choice="reject").text
    assert asked(flow).choice == "approve"


def test_the_page_of_the_task_has_the_form_and_the_state(runner: InlineRunner, admin_client: Client) -> None:
    flow = asking(runner, title="Pay?", message="Now")
    url = html.task_url(task(flow, 2).pk)
    page = admin_client.get(url).text
    assert "for a decision by users with the permission flowerapp.decide_approval since" in page
    assert '<button type="submit" name="choice" value="reject"' in page
    decide(admin_client, flow, choice="reject", comment="too much")
    page = admin_client.get(url).text
    assert "admin chose Reject at " in page
    assert "rejected by admin: too much" in page
    assert 'name="choice"' not in page


def test_the_user_who_registered_reads_why_there_are_no_buttons(runner: InlineRunner, admin_client: Client) -> None:
    flow = asking(runner, actor="admin")
    page = admin_client.get(approval_url(asked(flow).pk)).text
    assert "admin has registered the flow" in page
    assert 'name="choice"' not in page
    decide(admin_client, flow)
    assert asked(flow).state == "open"


def test_a_viewer_reads_and_has_no_buttons(runner: InlineRunner, staff: Staff) -> None:
    flow = asking(runner)
    client = staff("view_approval")
    assert 'name="choice"' not in client.get(approval_url(asked(flow).pk)).text
    assert decide(client, flow).status_code == 403
    assert asked(flow).state == "open"


def test_a_list_takes_as_many_statements_for_many_rows(
    runner: InlineRunner, admin_client: Client, django_assert_max_num_queries: Any
) -> None:
    asking(runner)
    admin_client.get(LIST)
    for _ in range(6):
        asking(runner, groups=["a", "b"])
    with django_assert_max_num_queries(9):
        admin_client.get(LIST)
    assert User.objects.count() == 1
