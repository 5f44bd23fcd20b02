"""No surface shows a planted secret, wherever it was planted; a new route, page, subcommand or column must be read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest
from celery import Celery, _state
from django.contrib.auth.models import User
from django.test import Client, override_settings

from flowerapp.core import masking, programs
from flowerapp.engine import log_writer
from flowerapp.models import Flow, Log, Pool
from flowerapp.states import Status
from flowerapp.workflows import Workflow, classes
from tests.services import sqlite_site, threads, until
from tests.surfaces.planted import doors, reading
from tests.surfaces.planted.overhearing import Overheard
from tests.surfaces.planted.programs import PLANTER, install

WRITING_ROUTES = {
    "register": "POST; its answers are read",
    "register-named": "the same",
    "flow-restore": "the same",
    "remote-claim": "POST; a remote worker gets what a program would",
    **{f"remote-{verb}": "POST; its answers are read" for verb in ("heartbeat", "end")},
    **{f"task-{verb}": "the same" for verb in ("skip", "end", "fail", "wake")},
    "cache-forget": "POST; it answers a number",
    "approval-decide": "the same",
    "latch-release": "the same",
    **{f"flow-{verb}": "the same" for verb in ("suspend", "resume", "cancel", "rerun")},
}
PAGES_WITHOUT_VALUES = {
    **dict.fromkeys(
        [
            *(f"flowerapp_{name}_add" for name in ("approval", "cachedoutput", "flow", "task", "latch", "worker")),
            *(f"flowerapp_{name}_delete" for name in ("approval", "cachedoutput", "task", "event", "latch", "worker")),
        ],
        "forbidden to everyone",
    ),
    "flowerapp_event_verb": "there is no verb on an event",
    "login": "of a user without a session",
    "logout": "POST alone",
    "password_change": "of the user's own account",
    "password_change_done": "the same",
    "view_on_site": "redirects to a row's own address, and no row has one",
    "auth_user_password_change": "of a user's account",
}
COMMANDS_WITHOUT_VALUES = {
    "token": "prints the token of a user, which is what it is for",
    **dict.fromkeys(["lint", "format"], "prints the caller's own file"),
    "simulate": "prints names and times",
    "receipts": "prints what is in the stream, for which tests/executors/test_streams.py plants secrets",
}
NAMES = "a name or an id, which people choose to be seen"
FOR_PEOPLE = "written by people for people, in a form that gives it back"
EXEMPT = {
    **dict.fromkeys(
        [
            *("Workflow.task_id", "Workflow.source", "TaskDefinition.task_id", "TaskDefinition.program"),
            *("TaskDefinition.queue", "TaskDefinition.name", "TaskDefinition.pool", "TaskDefinition.child_program"),
            *(f"TaskDefinition.param{number}_key" for number in range(1, 6)),
            *("TaskDefinition.required_at_register", "TaskDefinition.overridable", "Task.overridable", "Pool.name"),
            *("Flow.task_flow_id", "Flow.task_id", "Flow.registered_by", "Task.task_id", "Task.program", "Task.queue"),
            *(
                "Task.alias",
                "Task.remote",
                "Task.name",
                "Task.pool",
                "Task.child_program",
                "Task.worker",
                "Task.child_id",
                "HistoryEntry.verb",
            ),
            *("HistoryEntry.worker", "HistoryEntry.actor", "Hook.event", "Hook.worker", "Worker.id", "Worker.name"),
            *("Worker.pool", "Worker.queues", "Lease.name", "Lease.holder", "Workflow.start_event", "Event.kind"),
            *("Event.actor", "Wait.event", "Wait.latch", "Latch.name"),
            *("Approval.permission", "Approval.deciders", "Approval.notify", "Approval.decided_by"),
            *("Approval.choice", "Approval.default_choice"),
        ],
        NAMES,
    ),
    **dict.fromkeys(["Workflow.description", "Pool.description", "TaskDefinition.when", "Task.when"], FOR_PEOPLE),
    **dict.fromkeys(["TaskDefinition.cache_key", "Task.cache_key"], FOR_PEOPLE),
    **dict.fromkeys(["CachedOutput.task_id", "CachedOutput.program", "CachedOutput.task_flow_id"], NAMES),
    **dict.fromkeys(["Task.awaits_output", "CachedOutput.digest"], "a digest"),
    **dict.fromkeys(["TaskDefinition.cache_scope", "Task.cache_scope"], "one of a few words"),
    "Task.cached_from": "names of a flow and a task",
    "CachedOutput.key": "masked when it is recorded",
    "CachedOutput.output": "none that holds a secret is kept",
    **dict.fromkeys(["TaskDefinition.depends_on", "Task.depends_on", "Task.dependents", "Task.canvas"], "numbers"),
    **dict.fromkeys(["Task.ignored_by", "Task.refused_by"], "one of a few words"),
    **dict.fromkeys(["Approval.state", "Approval.on_reject"], "one of a few words"),
    "Approval.links": "digests, and names of readers",
    "Flow.idempotency_key": "a name that a caller gives to its request; shown to that caller alone",
    **dict.fromkeys(["Flow.request_hash", "Wait.anchor"], "a digest"),
    "Task.stream_entry": "an id that Redis gave",
    **dict.fromkeys(
        [
            "Task.error",
            "Task.traceback",
            "Task.progress",
            "HistoryEntry.reason",
            "HistoryEntry.details",
            "Log.message",
            "Log.source",
            "Hook.error",
            *(f"Approval.{name}" for name in ("title", "message", "choices", "form", "comment")),
        ],
        "masked when it is recorded",
    ),
}
"""Columns of JSON or text in which no secret is stored, and why."""


@dataclass
class Harvest:
    """All that was read."""

    texts: dict[str, dict[str, str]] = field(default_factory=dict)
    """By surface."""
    stored: list[dict[str, str]] = field(default_factory=list)
    """Columns as they are in the database, before and after the operators' verbs."""
    routes: set[str] = field(default_factory=set)
    pages: set[str] = field(default_factory=set)
    commands: set[tuple[str, bool]] = field(default_factory=set)
    unmasked: dict[str, dict[str, str]] = field(default_factory=dict)
    """What the surfaces show if nothing is masked."""


@pytest.fixture(scope="module")
def harvest(django_db_blocker: Any) -> Iterator[Harvest]:
    """Plants, runs everything on a worker of this process, and reads everything."""
    with ExitStack() as stack:
        stack.enter_context(django_db_blocker.unblock())
        site = stack.enter_context(sqlite_site())
        patch = stack.enter_context(pytest.MonkeyPatch.context())  # what is registered is forgotten
        patch.setattr(programs, "_programs", dict(programs._programs))
        patch.setattr(classes, "_classes", {})
        patch.setattr(_state, "_on_app_finalizers", set(_state._on_app_finalizers))  # type: ignore[attr-defined]
        app = stack.enter_context(site.entered())
        settings = {"HTTP_ALLOW_PRIVATE": ["127.0.0.1"]}
        stack.enter_context(override_settings(FLOWER=settings, ALLOWED_HOSTS=["*"], LOGGING_CONFIG=None))
        yield _harvest(app, install(app))


def _harvest(app: Celery, planted: type[Workflow]) -> Harvest:
    harvest = Harvest()
    overheard = Overheard()
    client = Client(raise_request_exception=False)
    client.force_login(User.objects.create_superuser("root", password="root"))
    Pool.objects.create(name="planted", slots=1)
    with overheard.listening():
        app.conf.update(worker_send_task_events=True)
        with threads(app, concurrency=2):
            flows, harvest.texts["answers"] = _plant(client, app, planted)
            _wait(flows)
            harvest.stored.append(reading.stored())
            _operate(client, flows, harvest.texts["answers"])
            _wait(list(Flow.objects.all()))
        log_writer.writer.write()
        assert set(SOURCES) <= set(Log.objects.values_list("source", flat=True))
        harvest.stored.append(reading.stored())
        _read(client, harvest, harvest.texts, list(Flow.objects.values_list("pk", flat=True)))
    harvest.texts["overheard"] = overheard.texts
    harvest.texts["recorded"] = reading.recorded()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(masking._Masker, "value", lambda self, value, depth=0: value)
        _read(client, Harvest(), harvest.unmasked, [flows[0].pk])
    return harvest


def _plant(client: Client, app: Celery, planted: type[Workflow]) -> tuple[list[Flow], dict[str, str]]:
    flows = [*doors.by_sql(), *doors.by_class(planted), *doors.by_host_task(), *doors.by_http(), *doors.by_plan()]
    flows += doors.by_cache()
    doors.by_celery(app)
    answers: dict[str, str] = {}
    for name, (made, texts) in {
        "API": doors.by_api(client),
        "admin": doors.by_admin(client),
        "command": doors.by_command(),
        "waits": doors.by_waits(client),
    }.items():
        flows += made
        answers |= {f"{name} {what}": text for what, text in texts.items()}
    return flows, answers | {f"API {what}": text for what, text in doors.refused_by_api(client).items()}


def _settled(flow: Flow) -> bool:
    flow.refresh_from_db()
    parked = flow.tasks.filter(parked=True, children=0).exists()
    is_remote = flow.tasks.exclude(remote="").exists()
    return flow.ended or flow.status is Status.SUSPEND or parked or is_remote


def _wait(flows: list[Flow]) -> None:
    until(lambda: all(map(_settled, flows)), 120, what=lambda: str([flow for flow in flows if not _settled(flow)]))


def _operate(client: Client, flows: list[Flow], answers: dict[str, str]) -> None:
    by_workflow = {flow.task_id: flow for flow in flows}
    of_plan = next(flow for flow in flows if flow.source)
    waiting = [flow for flow in flows if flow.task_id == "planted-wait"]
    of_command = [flow for flow in flows if flow.registered_by.startswith("cli:")]
    for name, texts in {
        "admin": doors.verbs_by_admin(client, by_workflow["planted-admin"]),
        "API": doors.verbs_by_api(client, by_workflow["planted-sql-error"]),
        "API of remote tasks": doors.answers_by_api(client, of_plan),
        "decisions": doors.decisions(client, of_plan),
        "waits": doors.waits_by_web(client, *waiting[1:3]),
        "command": doors.verbs_by_command(by_workflow["planted-sql-retry"], *of_command)
        | doors.answers_by_command(of_plan)
        | doors.decisions_by_command(of_plan)
        | doors.waits_by_command(*waiting[3:5]),
        "remote worker": doors.answers_by_worker(client),
    }.items():
        answers |= {f"{name} {what}": text for what, text in texts.items()}


def _read(client: Client, harvest: Harvest, texts: dict[str, dict[str, str]], flow_ids: list[str]) -> None:
    texts["API"], harvest.routes = reading.api(client, flow_ids)
    texts["admin"], harvest.pages = reading.admin_pages(client, flow_ids)
    texts["command line"], harvest.commands = reading.commands(flow_ids)


SOURCES = ["planted.own", "stdout", "stderr", "ctx.log"]
"""Where the lines of task logs come from."""
SURFACES = ["answers", "API", "admin", "command line", "recorded"]
OVERHEARD = ["log", "records", "messages", "signals", "events", "kr_hook"]


@pytest.mark.parametrize("surface", SURFACES)
def test_no_surface_shows_a_planted_secret(harvest: Harvest, surface: str) -> None:
    leaks = {name: places for name, text in harvest.texts[surface].items() if (places := PLANTER.leaks(text))}
    assert not leaks


@pytest.mark.parametrize("channel", OVERHEARD)
def test_no_channel_carries_a_planted_secret(harvest: Harvest, channel: str) -> None:
    text = harvest.texts["overheard"][channel]
    assert len(text) > 1000, "it was listened to"
    assert not PLANTER.leaks(text)


@pytest.mark.parametrize("surface", ["API", "admin", "command line"])
def test_without_masks_every_surface_would_show_many(harvest: Harvest, surface: str) -> None:
    leaks = {place for text in harvest.unmasked[surface].values() for place in PLANTER.leaks(text)}
    assert len(leaks) > 50


def test_every_secret_was_planted_where_it_is_looked_for(harvest: Harvest) -> None:
    kept = {place for stored in harvest.stored for text in stored.values() for place in PLANTER.leaks(text)}
    passing = (
        "400: ",
        "wrong: ",
        ": why",
        "default of",
        "log line",
        "progress",
    )  # refused, masked when recorded, or not stored
    assert {
        place for place in set(PLANTER.places.values()) - kept if not any(word in place for word in passing)
    } == set()
    assert len(kept) > 200


def test_every_route_is_read(harvest: Harvest) -> None:
    assert reading.routes() - harvest.routes - set(WRITING_ROUTES) == set()


def test_every_page_of_the_admin_is_read(harvest: Harvest) -> None:
    missing = reading.pages() - harvest.pages - set(PAGES_WITHOUT_VALUES)
    of_others = {name for name in missing if name.endswith(("_add", "_delete", "_change", "_history"))}
    assert missing - {name for name in of_others if not name.startswith("flowerapp_")} == set()


def test_every_subcommand_is_called_with_and_without_json(harvest: Harvest) -> None:
    names = [name.split() for name in harvest.texts["answers"] if name.startswith("command flow ")]
    called = harvest.commands | {(words[2], "--json" in words) for words in names}
    wanted = {(verb, as_json) for verb, has_json in reading.subcommands().items() for as_json in {False, has_json}}
    assert {pair for pair in wanted - called if pair[0] not in COMMANDS_WITHOUT_VALUES} == set()


def test_every_column_is_planted_or_named_as_exempt(harvest: Harvest) -> None:
    planted = {name for stored in harvest.stored for name, text in stored.items() if PLANTER.leaks(text)}
    columns = set(harvest.stored[0])
    assert columns - planted - set(EXEMPT) == set(), "plant a secret in it, or say why it holds none"
    assert set(EXEMPT) & planted == set()
    assert set(EXEMPT) - columns == set()
