"""What must hold on a host with several databases; ``test_databases.py`` runs these tests on each."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import Permission, User
from django.core.management import call_command
from django.db import connections, router, transaction
from django.test import Client
from django.urls import reverse

from flowerapp import checks, engine
from flowerapp.core.identity import Process
from flowerapp.core.messages import TaskRef
from flowerapp.models import Flow, HistoryEntry, Pool, Task, TaskDefinition, Worker, Workflow
from flowerapp.querysets import clock, db
from flowerapp.selectors.wait_reasons import wait_reasons
from flowerapp.states import Status
from flowerapp.testing import InlineRunner
from flowerapp.watcher.duties import rota
from flowerapp.watcher.duties.rescue import Rescue
from tests.cli.support import flow as cli
from tests.engine.support import CHAIN, define, status, task
from tests.hosts.databases import FLOWS, HOST, REPLICA, USABLE
from tests.probe.models import Start

pytestmark = pytest.mark.django_db(transaction=True)

MINE = "default" if HOST == "replica" else FLOWS


@pytest.fixture
def root(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("root"))
    return client


def _failed(runner: InlineRunner) -> Flow:
    """A flow whose second of three tasks failed."""
    name = define({1: None, 3: None}, "Record")
    TaskDefinition.objects.create(task_id=name, task_seq=2, program="FailUnlisted")
    flow = engine.register(name)
    runner.run()
    assert status(flow) is Status.SUSPEND
    return flow


def _post(client: Client, name: str, *args: Any, **body: Any) -> Any:
    return client.post(reverse(f"flowerapp:{name}", args=args), json.dumps(body), content_type="application/json")


def test_the_tables_are_in_the_database_that_the_routers_name() -> None:
    assert db.alias() == MINE
    for alias in USABLE:
        tables = set(connections[alias].introspection.table_names())
        ours = {"kr_task_flow", "kr_task_stat", "ms_workflow", "kr_lease"}
        assert ours <= tables if alias in (MINE, REPLICA) else not ours & tables, alias


def test_a_flow_fails_is_rerun_and_finishes(runner: InlineRunner) -> None:
    flow = _failed(runner)
    engine.rerun(flow.pk)
    runner.run()
    engine.skip(flow.pk, 2)
    runner.run()
    assert status(flow) is Status.FINISH
    assert Flow.objects.using(MINE).get(pk=flow.pk).ended
    assert Start.objects.count() == 4
    assert HistoryEntry.objects.filter(task_flow_id=flow.pk).count() >= 4


def test_every_verb_works_outside_a_transaction(runner: InlineRunner) -> None:
    flow = engine.register(define(CHAIN))
    engine.suspend(flow.pk, actor="x", why="y")
    engine.resume(flow.pk)
    engine.change(flow.pk, 3, priority=3)
    assert task(flow, 3).task_priority == 3
    engine.cancel(flow.pk)
    engine.rerun(flow.pk, all_tasks=True)
    runner.run()
    assert status(flow) is Status.FINISH
    engine.delete([flow.pk])
    assert not Flow.objects.filter(pk=flow.pk).exists()


def test_children_retries_and_pools_work(runner: InlineRunner) -> None:
    Pool.objects.create(name="small", slots=1)
    name = define({1: []}, "Split", child_program="Echo", parameters={"items": [1, 2, 3]}, pool="small")
    flow = engine.register(name)
    again = engine.register(define({1: []}, "FailUntil", parameters={"start": 2}, retry_delay=60))
    runner.run()
    assert status(flow) is Status.FINISH
    waiting = task(again, 1)
    assert "retry" in wait_reasons([waiting])[waiting.pk]
    assert Task.objects.filter(parent_seq=1).count() == 3


def test_messages_wait_for_the_commit_of_flowerapps_database(runner: InlineRunner) -> None:
    name = define({1: []})
    with transaction.atomic(using=MINE):
        engine.register(name)
        assert not runner.sent
    assert len(runner.sent) == 1
    with transaction.atomic(using=MINE):
        engine.register(name)
        transaction.set_rollback(True, using=MINE)
    assert len(runner.sent) == 1
    assert Flow.objects.count() == 1


def test_every_duty_of_the_watcher_runs(runner: InlineRunner) -> None:
    flow = engine.register(define({1: []}))
    assert Task.objects.claim(TaskRef(flow.pk, 1), Process("dead", 1))
    Task.objects.create(task_flow_id="F", task_exec_seq=1, task_id=define({1: []}), task_seq=1)
    for _, _, duty in rota():
        duty()
    assert Flow.objects.filter(pk="F").exists()
    clock.advance(60)
    try:
        assert Rescue()() == 1
    finally:
        clock.reset()


def test_the_api_registers_reads_and_operates(runner: InlineRunner, root: Client) -> None:
    name = define(CHAIN)
    flow_id = _post(root, "register", taskId=name).json()["taskFlowId"]
    read = [root.get(reverse(f"flowerapp:{route}", args=[flow_id])) for route in ("flow", "tasks", "flow-history")]
    lists = [root.get(reverse(f"flowerapp:{route}")) for route in ("flows", "workflows", "pools", "workers", "readyz")]
    assert {answer.status_code for answer in (*read, *lists)} == {200}
    verbs = [_post(root, f"flow-{verb}", flow_id) for verb in ("suspend", "resume", "cancel", "rerun")]
    assert {answer.status_code for answer in verbs} <= {200, 409}
    assert _post(root, "task-skip", flow_id, 1).status_code in (200, 409)


def test_the_admin_shows_and_changes(runner: InlineRunner, root: Client) -> None:
    flow = _failed(runner)
    Worker.objects.create(pk="w", name="w", pid=1, pool="p", concurrency=1)
    row = flow.tasks.get(task_exec_seq=2)
    pages = [reverse(f"admin:flowerapp_{name}_changelist") for name in ("flow", "task", "workflow", "pool", "worker")]
    pages += [reverse("admin:flowerapp_flow_change", args=[flow.pk])]
    pages += [reverse("admin:flowerapp_task_change", args=[row.pk])]
    pages += [reverse("admin:flowerapp_workflow_change", args=[flow.task_id])]
    assert {root.get(page).status_code for page in pages} == {200}
    verb = reverse("admin:flowerapp_flow_verb", args=[flow.pk, "rerun-failed"])
    assert root.post(verb, {"confirmed": "1"}).status_code == 302
    add = reverse("admin:flowerapp_pool_add")
    assert root.post(add, {"name": "p", "slots": "2", "description": ""}).status_code == 302
    change = reverse("admin:flowerapp_pool_change", args=["p"])
    assert root.post(change, {"slots": "3", "description": ""}).status_code == 302
    assert Pool.objects.get(pk="p").slots == 3
    assert root.post(reverse("admin:flowerapp_pool_delete", args=["p"]), {"post": "yes"}).status_code == 302
    assert not Pool.objects.exists()
    chosen = {"action": "cancel", "_selected_action": [flow.pk], "confirmed": "1"}
    assert root.post(pages[0], chosen).status_code in (200, 302)


def test_permissions_are_where_the_users_are(client: Client) -> None:
    user = User.objects.create_user("clerk", is_staff=True)
    assert client.login(username="clerk", password="") is False
    user.user_permissions.set(Permission.objects.filter(codename="view_flow", content_type__app_label="flowerapp"))
    client.force_login(user)
    assert client.get(reverse("admin:flowerapp_flow_changelist")).status_code == 200
    assert client.get(reverse("flowerapp:flows")).status_code == 200


@pytest.mark.parametrize("arguments", [["list"], ["workflows"], ["pools"], ["programs"]])
def test_the_command_line_reads(arguments: list[str], runner: InlineRunner) -> None:
    _failed(runner)
    assert cli(*arguments).code == 0


def test_the_command_line_operates(runner: InlineRunner) -> None:
    flow = _failed(runner)
    assert cli("skip", flow.pk, 2).code == 0
    runner.run()
    assert "Finish" in cli("show", flow.pk, "--json").out


def test_checks_and_migrations_have_no_complaints() -> None:
    assert not checks.check_one_database()
    assert not checks.check_database()
    for alias in USABLE:
        call_command("migrate", database=alias, check_unapplied=True, verbosity=0)
        call_command("check", databases=[alias])


def test_tables_in_several_databases_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def split(_: Any, model: Any, **hints: Any) -> str:
        return "elsewhere" if model is Pool else MINE

    monkeypatch.setattr(type(router), "db_for_write", split)
    (error,) = checks.check_one_database()
    assert error.id == "flowerapp.E020"
    assert "Pool in 'elsewhere'" in error.msg


@pytest.mark.parametrize("alias", ["nowhere", *(["default"] if HOST == "nodefault" else [])])
def test_a_database_that_is_not_there_is_refused(alias: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(db, "alias", lambda: alias)
    (error,) = checks.check_database()
    assert error.id == "flowerapp.E014"
    assert f"DATABASES has nothing under {alias!r}" in error.msg
    assert settings.DATABASES is not None


def test_classes_and_definitions_are_stored(runner: InlineRunner) -> None:
    step = TaskDefinition(task_id="w", task_seq=1, program="Noop")
    make: Callable[..., Any] = engine.define
    make("w", [step])
    assert Workflow.objects.using(MINE).count() + TaskDefinition.objects.using(MINE).count() >= 1
