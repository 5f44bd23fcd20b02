"""Names with characters that cannot be seen: refused where they are given, shown as escapes where they are stored."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import Celery
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from rest_framework.test import APIClient

from flowerapp import engine
from flowerapp.core import names, programs
from flowerapp.exceptions import InvalidError
from flowerapp.executors.celery import worker
from flowerapp.models import Flow, HistoryEntry, Log, Pool, Task, Worker, Workflow
from flowerapp.states import Status
from flowerapp.testing import InlineRunner, inline
from tests.cli.support import define, flow

pytestmark = pytest.mark.django_db(transaction=True)

BAD = "a\u202eb\u2066c\u200bd\U000e0041e"
SHOWN = r"a\u202eb\u2066c\u200bd\U000e0041e"
SENTENCE = "U+202E"


@pytest.fixture
def runner() -> Iterator[InlineRunner]:
    """Runs what is sent, when asked to."""
    with inline() as runner:
        yield runner


@pytest.fixture
def api() -> APIClient:
    """A client of the API that may do all."""
    client = APIClient()
    client.force_login(User.objects.create_superuser("root"))
    return client


@pytest.fixture
def admin(api: APIClient) -> Client:
    """A client of the admin of the same user."""
    client = Client()
    client.force_login(User.objects.get(username="root"))
    return client


def raises_invalid(call: Callable[[], Any]) -> bool:
    """Whether the engine refuses it, and says which character."""
    with pytest.raises(InvalidError, match=r"U\+202E"):
        call()
    return True


# Doors


STEPS: list[dict[str, Any]] = [
    {"name": BAD},
    {"queue": BAD},
    {"pool": BAD},
    {"program": BAD},
    {"parameters": {BAD: 1}},
]


@pytest.mark.parametrize("step", STEPS, ids=str)
def test_steps(runner: InlineRunner, api: APIClient, step: dict[str, Any]) -> None:
    document = {"task_id": "etl", "tasks": [{"task_seq": 1, "program": "Noop", **step}]}
    answer = api.post("/api/workflows/", document, format="json")
    assert answer.status_code == 400
    assert SENTENCE in answer.text or "program" in step
    define("by_sql", {"program": "Noop", **step})
    answer = api.post("/register/by_sql")
    assert answer.status_code == 400
    assert SENTENCE in answer.text or "program" in step
    assert BAD not in flow("run", "by_sql").err
    assert not Flow.objects.exists()


def test_workflows_and_pools(api: APIClient, admin: Client) -> None:
    answers = [
        api.post("/api/workflows/", {"task_id": BAD, "tasks": [{"task_seq": 1, "program": "Noop"}]}, format="json"),
        api.post(
            "/api/workflows/",
            {"task_id": "e", "description": BAD, "tasks": [{"task_seq": 1, "program": "Noop"}]},
            format="json",
        ),
        api.post("/api/pools/", {"name": BAD, "slots": 1}, format="json"),
        api.post("/api/pools/", {"name": "gpu", "description": BAD, "slots": 1}, format="json"),
    ]
    for answer in answers:
        assert answer.status_code == 400
        assert SENTENCE in answer.text
    pages = [
        admin.post(reverse("admin:flowerapp_pool_add"), {"name": BAD, "slots": "1"}),
        admin.post(
            reverse("admin:flowerapp_workflow_add"),
            {"task_id": BAD, "steps-TOTAL_FORMS": "0", "steps-INITIAL_FORMS": "0"},
        ),
    ]
    for page in pages:
        assert SENTENCE in page.text
    assert not Pool.objects.exists()
    assert not Workflow.objects.exists()


def test_reasons(runner: InlineRunner, api: APIClient, admin: Client) -> None:
    define("etl", {"program": "Noop"}, {"program": "Noop"})
    begun = engine.register("etl")
    verbs: list[Callable[[], Any]] = [
        lambda: engine.suspend(begun.pk, why=BAD),
        lambda: engine.cancel(begun.pk, why=BAD),
        lambda: engine.skip(begun.pk, 1, why=BAD),
        lambda: engine.rerun(begun.pk, all_tasks=True, why=BAD),
        lambda: engine.change(begun.pk, 1, priority=1, why=BAD),
    ]
    assert all(raises_invalid(verb) for verb in verbs)
    assert api.post(f"/api/flows/{begun.pk}/cancel/", {"why": BAD}, format="json").status_code == 400
    assert SENTENCE in flow("cancel", begun.pk, "--why", BAD).err
    page = reverse("admin:flowerapp_flow_verb", args=[begun.pk, "cancel"])
    assert SENTENCE in admin.post(page, {"why": BAD, "confirmed": "1"}).text
    begun.refresh_from_db()
    assert begun.status is Status.WAIT
    assert not HistoryEntry.objects.filter(task_flow_id=begun.pk).exclude(verb="register").exists()
    engine.suspend(begun.pk, why="two\nlines 👨‍💻")
    assert raises_invalid(lambda: engine.resume(begun.pk, why=BAD))


def test_ids_of_children(runner: InlineRunner) -> None:
    define("etl", {"program": "Split", "parameters": {"items": [[BAD, [1]]], "by_id": True}, "child_program": "Sum"})
    begun = engine.register("etl")
    runner.run()
    assert SENTENCE in Task.objects.get(task_flow_id=begun.pk).error
    assert not Task.objects.filter(parent_seq__isnull=False).exists()


def test_programs() -> None:
    with pytest.raises(ValueError, match=r"U\+202E"):
        programs.register(programs.Program(name=BAD, function=print))


@pytest.mark.parametrize(("name", "queues"), [(BAD, None), ("w", BAD), ("w", f"good,{BAD}"), ("w", ["good", BAD])])
def test_workers(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, name: str, queues: Any) -> None:
    app = Celery("host", broker="redis://127.0.0.1", set_as_current=False)
    monkeypatch.setattr("flowerapp.executors.celery.checks.refusals", lambda app: [])
    monkeypatch.setattr(worker, "refused_database", lambda alias: None)
    instance = type("Instance", (), {"app": app, "hostname": f"{name}@host"})()
    with pytest.raises(SystemExit):
        worker.on_celeryd_init(instance=instance, options={"queues": queues})
    assert SENTENCE in caplog.text


def test_users() -> None:
    assert SENTENCE in flow("token", BAD, "--create").err
    assert not User.objects.exists()


# What is stored


@pytest.fixture
def stored(runner: InlineRunner) -> Flow:
    """A flow whose names and texts are all misleading, as SQL could have written them."""
    define(BAD, {"program": "Noop", "queue": BAD, "name": BAD})
    Workflow.objects.create(task_id=BAD, description=BAD)
    Pool.objects.create(name=BAD, slots=0, description=BAD)
    Worker.objects.create(id="w", name=BAD, pid=1, concurrency=1, queues=[BAD])
    define("etl", {"program": "Noop"}, {"program": "Noop"})
    made = engine.register("etl")
    runner.waiting.clear()
    value = {BAD: [BAD]}
    flow_columns = {"input": value, "state": value}
    Flow.objects.filter(pk=made.pk).update(task_id=BAD, registered_by=BAD, exec_status=2, failed_seq=1, **flow_columns)
    texts = {"program": BAD, "queue": BAD, "name": BAD, "error": BAD, "traceback": BAD, "task_id": BAD, "worker": BAD}
    Task.objects.filter(task_flow_id=made.pk).update(pool=BAD, **texts, parameters=value, output=value, progress=value)
    Task.objects.filter(task_flow_id=made.pk, task_exec_seq=1).update(exec_status=2)
    child = {"parent_seq": 1, "child_index": 0, "child_id": BAD, "task_id": BAD, "task_seq": 1, "program": BAD}
    Task.objects.create(task_flow_id=made.pk, task_exec_seq=3, depends_task_exec_seq=-1, queue=BAD, **child)
    HistoryEntry.objects.create(task_flow_id=made.pk, task_exec_seq=1, verb="fail", actor=BAD, reason=BAD, worker=BAD)
    Log.objects.create(task_flow_id=made.pk, task_exec_seq=1, attempt=1, message=BAD)
    made.refresh_from_db()
    return made


def test_command_line(stored: Flow) -> None:
    pk = stored.pk
    calls: list[tuple[object, ...]] = [
        *(
            ("list",),
            ("show", pk),
            ("task", pk, 1),
            ("logs", pk),
            ("pools",),
            ("workers",),
            ("queues",),
            ("workflows",),
        ),
        *(("graph", pk), ("graph", pk, "--format", "svg"), ("graph", pk, "--format", "mermaid"), ("graph", BAD)),
        *(("run", BAD), ("show", BAD), ("skip", pk, 1, "--why", "x"), ("rerun", pk), ("list", "--workflow", BAD)),
        *(("set", pk, 1, "x=1"), ("resume", pk), ("task", pk, 3)),
    ]
    shown = 0
    for call in calls:
        answer = flow(*call)
        text = answer.out + answer.err
        assert names.visible_lines(text) == text, call
        shown += SHOWN in text
    assert shown >= 8


def test_admin(stored: Flow, admin: Client) -> None:
    pages = [reverse(f"admin:flowerapp_{model}_changelist") for model in ("flow", "task", "workflow", "pool", "worker")]
    pages.append(reverse("admin:flowerapp_flow_change", args=[stored.pk]))
    pages += [reverse("admin:flowerapp_task_change", args=[task.pk]) for task in stored.tasks.all()]
    for model in ("workflow", "pool"):
        pages.append(reverse(f"admin:flowerapp_{model}_change", args=[BAD]))
    for page in pages:
        answer = admin.get(page)
        assert answer.status_code == 200, page
        assert SHOWN in answer.text, page
        assert not misleading(answer.text), page


def misleading(page: str) -> list[str]:
    """The texts of a page that mislead; a form's fields hold what is stored."""
    from flowerapp.admin.seen import _KEPT

    return [text for text in _KEPT.sub("", page).splitlines() if names.visible_lines(text) != text]


def test_a_form_gives_back_what_is_stored(stored: Flow, admin: Client) -> None:
    page = reverse("admin:flowerapp_pool_change", args=[BAD])
    Pool.objects.filter(pk=BAD).update(description="ab\u200bc")
    assert "ab\u200bc</textarea>" in admin.get(page).text


def test_drawings(stored: Flow, api: APIClient) -> None:
    for form in ("svg", "mermaid", "ascii"):
        text = api.get(f"/api/flows/{stored.pk}/graph/?as={form}").text
        assert names.visible_lines(text) == text


def test_logs(caplog: pytest.LogCaptureFixture) -> None:
    for logger in ("flowerapp.core.endings", "flowerapp.watcher.loop", "flowerapp.engine.dispatching"):
        logging.getLogger(logger).error("queue %s: %s", BAD, 1)
        logging.getLogger(logger).error("plain %s", "name")
    assert caplog.messages == [f"queue {SHOWN}: 1", "plain name"] * 3
    assert caplog.records[1].args == ("name",)


def test_every_logger_is_ours() -> None:
    from pathlib import Path

    import flowerapp

    root = Path(flowerapp.__file__).parent
    plain = [path for path in root.rglob("*.py") if "logging.getLogger(__name__)" in path.read_text()]
    assert plain == []
