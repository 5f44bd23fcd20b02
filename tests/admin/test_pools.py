"""Pools: the list, the editor, and who has slots and who waits for one."""

from __future__ import annotations

import re

import pytest
from django.test import Client
from django.urls import reverse

from flowerapp import engine
from flowerapp.models import Flow, Pool, Task
from flowerapp.states import Status
from flowerapp.testing import InlineRunner
from tests.admin.conftest import Staff, Steps
from tests.admin.test_pages import READERS, flow_page, statements, task_page

pytestmark = pytest.mark.django_db

LIST = reverse("admin:flowerapp_pool_changelist")
ADD = reverse("admin:flowerapp_pool_add")


def pool_page(name: str) -> str:
    return reverse("admin:flowerapp_pool_change", args=[name])


def delete_page(name: str) -> str:
    return reverse("admin:flowerapp_pool_delete", args=[name])


@pytest.fixture
def busy(runner: InlineRunner, steps: Steps) -> list[Flow]:
    """Four flows that want the one slot of pool ``tape``; the last is the most urgent."""
    engine.set_pool("tape", 1, "the tape drive")
    steps("backup", {"pool": "tape"}, {})
    flows = [engine.register("backup", priority=priority) for priority in (0, 0, 5, -5)]
    runner.waiting.clear()
    return flows


def test_list_shows_slots_and_waiting_tasks(admin_client: Client, busy: list[Flow]) -> None:
    engine.set_pool("idle", 3)
    page = admin_client.get(LIST).text
    assert pool_page("tape") in page
    assert "the tape drive" in page
    assert "1 of 1" in page
    assert "0 of 3" in page
    assert re.search(r'class="field-waiting">3<', page)


def test_page_names_holders_and_waiters_in_order(admin_client: Client, busy: list[Flow]) -> None:
    first, second, slow, urgent = busy
    page = admin_client.get(pool_page("tape")).text
    holds, waits = page.split("Tasks that wait for a slot")
    assert task_page(first, 1) in holds
    assert flow_page(first) in holds
    assert "1 of 1 slots held" in holds
    assert "3 tasks wait" in waits
    places = [waits.index(task_page(flow, 1)) for flow in (urgent, second, slow)]
    assert places == sorted(places)
    assert "for a slot of pool tape" in waits
    assert task_page(first, 1) not in waits


def test_statements_do_not_grow_with_the_waiting_tasks(
    admin_client: Client, runner: InlineRunner, busy: list[Flow]
) -> None:
    counts = []
    for _ in range(2):
        counts.append([statements(admin_client, url) for url in (LIST, pool_page("tape"))])
        for _ in range(120):
            engine.register("backup")
        engine.set_pool("tape", 20)
        engine.set_pool("idle", 1)
    assert counts[0] == counts[1]
    assert max(counts[1]) < 20
    page = admin_client.get(pool_page("tape")).text
    assert "104 tasks wait" not in page
    assert page.count("for a slot of pool tape") == 100
    assert "the first 100 are listed" in page


def test_make_and_change_a_pool(admin_client: Client) -> None:
    assert admin_client.post(ADD, {"name": "tape", "slots": "2", "description": "x"}).status_code == 302
    assert admin_client.post(pool_page("tape"), {"slots": "0", "description": ""}).status_code == 302
    assert Pool.objects.values_list("name", "slots", "description").get() == ("tape", 0, "")


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({"name": "tape"}, "name"),
        ({"name": "a/b"}, "name"),
        ({"name": ""}, "name"),
        ({"slots": "-1"}, "slots"),
        ({"slots": ""}, "slots"),
        ({"slots": "99999999999"}, "slots"),
    ],
)
def test_errors_are_shown_at_their_fields(admin_client: Client, data: dict[str, str], field: str) -> None:
    engine.set_pool("tape", 1)
    answer = admin_client.post(ADD, {"name": "new", "slots": "1", "description": "", **data})
    assert set(answer.context["adminform"].form.errors) == {field}
    assert Pool.objects.count() == 1


def test_more_slots_admit_tasks_at_once(admin_client: Client, runner: InlineRunner, busy: list[Flow]) -> None:
    admin_client.post(pool_page("tape"), {"slots": "3", "description": ""})
    assert Task.objects.filter(pool="tape", admitted=True).count() == 3
    runner.run()
    assert [engine.get_flow(flow.pk).status for flow in busy] == [Status.WAIT, *[Status.FINISH] * 3]
    assert "None." in admin_client.get(pool_page("tape")).text


def test_delete(admin_client: Client, busy: list[Flow]) -> None:
    answer = admin_client.post(delete_page("tape"), {"post": "yes"}, follow=True)
    assert answer.status_code == 200
    assert "is named by steps of backup" in answer.text
    assert Pool.objects.filter(pk="tape").exists()
    engine.set_pool("idle", 3)
    assert admin_client.get(delete_page("idle")).status_code == 200
    assert admin_client.post(delete_page("idle"), {"post": "yes"}).status_code == 302
    assert not Pool.objects.filter(pk="idle").exists()


@pytest.mark.parametrize("name", ["nothing", "a_00b", "_2F"])
def test_unknown_pools(admin_client: Client, name: str) -> None:
    for end in ("change", "delete"):
        assert admin_client.get(f"/admin/flowerapp/pool/{name}/{end}/").status_code in (302, 404)


def test_names_are_escaped(admin_client: Client, steps: Steps, runner: InlineRunner) -> None:
    name = "<script>1<_script>"
    engine.set_pool(name, 0, "<script>2")
    steps("odd", {"pool": name})
    flow = engine.register("odd")
    urls = [LIST, pool_page("_3Cscript_3E1_3C_5Fscript_3E"), flow_page(flow), task_page(flow, 1)]
    for url in urls:
        page = admin_client.get(url)
        assert page.status_code == 200
        assert "<script>1" not in page.text
        assert "<script>2" not in page.text


def test_reader_sees_and_changes_nothing(staff: Staff, busy: list[Flow]) -> None:
    client = staff(*READERS)
    page = client.get(pool_page("tape"))
    assert "3 tasks wait" in page.text
    assert client.post(pool_page("tape"), {"slots": "9"}).status_code == 403
    assert client.post(delete_page("tape"), {"post": "yes"}).status_code == 403
    assert client.get(ADD).status_code == 403
