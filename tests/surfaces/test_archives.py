"""A flow that was archived, deleted and restored shows on every surface as before; in another installation too."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from flowerapp import engine
from flowerapp.models import Flow, Log, Task
from flowerapp.querysets import LogRow, clock
from flowerapp.testing import InlineRunner, inline
from tests.cli.support import flow as command
from tests.services import sqlite_site
from tests.surfaces import scenes
from tests.surfaces.scenes import NOW, SCENES, Build, at_known_times

pytestmark = pytest.mark.django_db(transaction=True)

RESTING = [
    *(scenes.ended_well, scenes.held, scenes.cancelled, scenes.failed, scenes.failed_without_a_name),
    *(scenes.failed_and_held, scenes.two_failed, scenes.skipped_step, scenes.skipped_before_the_entrance),
    *(scenes.finished_after_a_rerun, scenes.failed_child, scenes.tolerated_failures, scenes.a_wait_that_has_ended),
]
"""Kinds of flows in which nothing can continue by itself: they show as they were in all."""


@pytest.fixture
def runner() -> Iterator[InlineRunner]:
    """Runs what is sent, when asked to."""
    with inline() as runner:
        yield runner


@pytest.fixture
def admin() -> Client:
    """A client of the admin and of the API."""
    return client_of_root()


def client_of_root() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    return client


@pytest.fixture(params=RESTING, ids=lambda build: build.__name__)
def build(request: pytest.FixtureRequest) -> Build:
    """Makes a scene."""
    made: Build = request.param
    return made


def seen(client: Client, flow_id: str) -> dict[str, Any]:
    """What the surfaces show of a flow, but for the ids of rows, which are new."""
    pks = dict(Task.objects.filter(task_flow_id=flow_id).values_list("pk", "task_exec_seq"))
    api = f"/api/flows/{flow_id}/"
    texts: dict[str, Any] = {
        "page": client.get(reverse("admin:flowerapp_flow_change", args=[flow_id])).text,
        "list": client.get(reverse("admin:flowerapp_flow_changelist")).text,
        **{f"graph {form}": client.get(f"{api}graph/?as={form}").text for form in ("svg", "json", "ascii", "mermaid")},
        **{f"API {name}": client.get(f"{api}{name}").text for name in ("", "tasks/", "history/", "logs/?as=json")},
        **{f"task {seq}": client.get(f"{api}tasks/{seq}/").text for seq in list(pks.values())[:6]},
        **{f"page of task {seq}": _task_page(client, pk) for pk, seq in list(pks.items())[:6]},
        **{f"flow {verb}": command(verb, flow_id).out for verb in ("show", "logs", "graph")},
        "flow show --json": command("show", flow_id, "--json").out,
        "flow inspect": command("inspect", flow_id, "--all").out,
    }
    return {name: _without_ids(text, pks) for name, text in texts.items()}


def _task_page(client: Client, pk: int) -> str:
    return client.get(reverse("admin:flowerapp_task_change", args=[pk])).text


def _without_ids(text: str, pks: dict[int, int]) -> str:
    text = re.sub(r"/task/(\d+)/", lambda match: f"/task/of-{pks.get(int(match[1]), match[1])}/", text)
    text = re.sub(r'name="csrfmiddlewaretoken" value="\w+"', "", text)
    text = re.sub(r'data-version="[^"]*"', "", text)
    text = re.sub(r'id="history-\d+"', "", text)
    return re.sub(r'"id": ?\d+', '"id"', text)


def with_logs(flow: Flow) -> None:
    Log.objects.write([LogRow(flow.pk, 1, 1, scenes.START.timestamp(), 20, "shop", f"line {n}") for n in range(3)])


def test_restored_flows_show_as_before(
    build: Build, runner: InlineRunner, admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow = at_known_times(build(runner))
    with_logs(flow)
    monkeypatch.setattr(clock, "about_now", lambda: NOW)
    before = seen(admin, flow.pk)
    document = engine.archive(flow.pk)
    Flow.objects.filter(pk=flow.pk).delete()
    assert admin.get(f"/api/flows/{flow.pk}/").status_code == 404
    engine.restore(document)
    after = seen(admin, flow.pk)
    assert {name for name in before if before[name] != after[name]} == set()


def test_every_scene_is_here_or_continues_by_itself() -> None:
    going = {
        *(scenes.waiting, scenes.running, scenes.held_while_a_task_runs, scenes.rerun_after_a_cancel_in_a_hold),
        *(scenes.running_children, scenes.children_behind_each_other, scenes.tolerated_failure_while_it_runs),
        *(scenes.failed_branch_beside_a_running_one, scenes.failed_branch_beside_a_running_one_held),
        *(scenes.waiting_for_a_pool, scenes.waiting_until_due, scenes.waiting_to_be_woken, scenes.retrying),
        *(scenes.waiting_for_a_time, scenes.waiting_for_an_event, scenes.waiting_for_an_event_at_most),
        *(scenes.waiting_for_a_latch, scenes.a_wait_that_has_not_begun),
        *(scenes.limited, scenes.unique, scenes.adopted, scenes.running_elsewhere, scenes.suspended_elsewhere),
    }
    assert {*RESTING} | going == set(SCENES)


@pytest.mark.parametrize("build", [scenes.failed_child, scenes.tolerated_failures, scenes.skipped_step])
def test_another_installation_shows_and_reruns_the_same(
    build: Build, runner: InlineRunner, admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow = at_known_times(build(runner))
    with_logs(flow)
    monkeypatch.setattr(clock, "about_now", lambda: NOW)
    before = seen(admin, flow.pk)
    document = engine.archive(flow.pk)
    engine.rerun(flow.pk, all_tasks=True)
    runner.run()
    outcome = _outcome(flow.pk)
    with sqlite_site() as site, site.entered():
        assert not Flow.objects.exists()
        engine.restore(document)
        after = seen(client_of_root(), flow.pk)
        with inline() as there:
            engine.rerun(flow.pk, all_tasks=True)
            there.run()
        assert _outcome(flow.pk) == outcome
    assert {name for name in before if before[name] != after[name]} <= {"page", "list"}
    assert Flow.objects.get(pk=flow.pk).restored_ts is None


def _outcome(flow_id: str) -> Any:
    columns = ("parent_seq", "child_index", "exec_status", "ignored_by", "output", "error", "attempt")
    tasks = Task.objects.filter(task_flow_id=flow_id).order_by("task_exec_seq").values_list(*columns)
    return engine.get_flow(flow_id).status, list(tasks)


# The admin


def test_the_page_downloads_the_archive_and_the_form_restores_it(runner: InlineRunner, admin: Client) -> None:
    flow = scenes.ended_well(runner)
    page = admin.get(reverse("admin:flowerapp_flow_change", args=[flow.pk])).text
    url = reverse("admin:flowerapp_flow_archive", args=[flow.pk])
    assert url in page
    answer: Any = admin.get(url)
    raw = b"".join(answer.streaming_content)
    assert json.loads(raw)["flow"]["task_flow_id"] == flow.pk
    engine.delete([flow.pk])
    restore = reverse("admin:flowerapp_flow_restore")
    assert restore in admin.get(reverse("admin:flowerapp_flow_changelist")).text
    assert admin.get(restore).status_code == 200
    upload = SimpleUploadedFile("flow.json", raw)
    posted = admin.post(restore, {"file": upload})
    assert posted.headers["Location"] == reverse("admin:flowerapp_flow_change", args=[flow.pk])
    assert Flow.objects.filter(pk=flow.pk).exists()


@pytest.mark.parametrize("raw", [b"", b"x", b"[]", b"{}", b"\xff", b'{"format": "flowerapp.flow"}', b"[" * 10_000])
def test_the_form_says_what_is_wrong_with_a_file(admin: Client, raw: bytes) -> None:
    answer = admin.post(reverse("admin:flowerapp_flow_restore"), {"file": SimpleUploadedFile("flow.json", raw)})
    assert answer.status_code == 200
    assert 'class="errorlist"' in answer.text
    assert not Flow.objects.exists()


def test_the_form_needs_permissions(runner: InlineRunner) -> None:
    flow = scenes.ended_well(runner)
    raw = json.dumps(engine.archive(flow.pk)).encode()
    engine.delete([flow.pk])
    user = User.objects.create_user("ann", is_staff=True)
    client = Client()
    client.force_login(user)
    url = reverse("admin:flowerapp_flow_restore")
    assert client.get(url).status_code == 403
    user.user_permissions.set(Permission.objects.filter(codename__in=["add_flow", "view_flow"]))
    assert client.get(url).status_code == 200
    answer = client.post(url, {"file": SimpleUploadedFile("flow.json", raw)})
    assert "add_taskdefinition" in answer.text
    assert not Flow.objects.exists()
