"""The output cache in the admin: the list with its action, the task's page, the form of a step."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse

from flowerapp import engine
from flowerapp.models import CachedOutput, Flow, TaskDefinition
from flowerapp.testing import InlineRunner
from tests.admin.conftest import Staff, Steps
from tests.admin.test_pages import flow_page, statements, task_page
from tests.admin.test_workflows import ADD, GOOD, form

pytestmark = pytest.mark.django_db

LIST = reverse("admin:flowerapp_cachedoutput_changelist")


@pytest.fixture
def flows(runner: InlineRunner, steps: Steps) -> list[Flow]:
    """Three flows; the second took the output of the first."""
    steps("etl", {"program": "Echo", "cache_seconds": 600, "cache_key": "input.n"})
    flows = [engine.register("etl", input={"n": number}) for number in (1, 1, 2)]
    runner.run()
    return flows


def test_the_list_shows_who_stored_what_and_for_whom(admin_client: Client, flows: list[Flow]) -> None:
    page = admin_client.get(LIST).text
    assert flow_page(flows[0]) in page
    assert flow_page(flows[1]) not in page
    assert ">etl</a>" in page
    narrowed = admin_client.get(LIST, {"q": "2"}).text
    assert flow_page(flows[2]) in narrowed
    assert flow_page(flows[0]) not in narrowed


def test_the_list_takes_as_many_statements_for_many_entries(admin_client: Client, flows: list[Flow]) -> None:
    few = statements(admin_client, LIST)
    rows = [
        CachedOutput(digest=str(number), program="P", task_flow_id="f", task_exec_seq=1, attempt=1)
        for number in range(50)
    ]
    CachedOutput.objects.bulk_create(rows)
    assert statements(admin_client, LIST) == few


def test_selected_outputs_are_forgotten(staff: Staff, flows: list[Flow]) -> None:
    chosen = CachedOutput.objects.get(key="1").pk
    data = {"action": "forget", "_selected_action": [str(chosen)]}
    client = staff("delete_cachedoutput")
    assert "1 output forgotten" in client.post(LIST, data, follow=True).text
    assert list(CachedOutput.objects.values_list("key", flat=True)) == ["2"]


def test_who_may_only_see_may_not_forget(staff: Staff, flows: list[Flow]) -> None:
    client = staff("view_cachedoutput")
    data = {"action": "forget", "_selected_action": [str(CachedOutput.objects.first().pk)]}  # type: ignore[union-attr]
    assert "Forget the selected outputs" not in client.get(LIST).text
    client.post(LIST, data)
    assert CachedOutput.objects.count() == 2


def test_a_task_shows_whose_output_it_took(admin_client: Client, flows: list[Flow]) -> None:
    page = admin_client.get(task_page(flows[1], 1)).text
    assert f'<a href="{flow_page(flows[0])}">task 1 of flow {flows[0].pk}</a>' in page
    assert " by key input.n, workflow" in page
    assert "cached" in admin_client.get(flow_page(flows[1])).text


def test_the_form_of_a_step_has_its_cache(admin_client: Client) -> None:
    step = {**GOOD, "cache_key": "input.n", "cache_seconds": "60", "cache_scope": "global"}
    admin_client.post(ADD, form(step, task_id="kept"))
    row = TaskDefinition.objects.get(task_id="kept")
    assert (row.cache_key, row.cache_seconds, row.cache_scope) == ("input.n", 60, "global")
    page = admin_client.post(ADD, form({**step, "cache_key": "input."}, task_id="wrong")).text
    assert "line 1" in page
    assert not TaskDefinition.objects.filter(task_id="wrong").exists()
