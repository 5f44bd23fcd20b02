"""Admin, API and command line show the same word, symbol, count and duration for the same flow at the same moment."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from flowerapp import engine
from flowerapp.models import Flow
from flowerapp.querysets import clock
from flowerapp.states import Status
from flowerapp.testing import InlineRunner, inline
from tests.cli.support import define, flow

pytestmark = pytest.mark.django_db(transaction=True)

START = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
STOP = START + timedelta(seconds=11)
NOW = START + timedelta(minutes=3, seconds=5)
"""Times of every flow here: 11 s from the start to its end or suspension, 3 min 05 s up to now."""

SYMBOLS = {"Waiting": "○", "Running": "▶", "Failed": "✗", "Held": "‖", "Finished": "✓", "Cancelled": "⊘"}


@dataclass(frozen=True)
class Shown:
    """What a surface shows of a flow; an empty text is something that it does not show."""

    word: str
    symbol: str
    note: str
    tasks: str
    duration: str


@pytest.fixture
def runner() -> Iterator[InlineRunner]:
    """Runs what is sent, when asked to."""
    with inline() as runner:
        yield runner


@pytest.fixture
def admin() -> Client:
    """A client of the admin and of the API."""
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    return client


def register(runner: InlineRunner, *steps: dict[str, Any], messages: int | None = None) -> Flow:
    """Register a flow of these steps and run so many messages, all by default."""
    define("etl", *steps)
    begun = engine.register("etl")
    for _ in range(messages or 0):
        runner.step()
    if messages is None:
        runner.run()
    runner.waiting.clear()
    return begun


def waiting(runner: InlineRunner) -> Flow:
    return register(runner, {"program": "Noop"}, {"program": "Noop"}, messages=0)


def running(runner: InlineRunner) -> Flow:
    return register(runner, {"program": "Noop"}, {"program": "Noop"}, messages=1)


def finished_flow(runner: InlineRunner) -> Flow:
    return register(runner, {"program": "Noop"}, {"program": "Noop"})


def held(runner: InlineRunner) -> Flow:
    return engine.suspend(running(runner).pk)


def cancelled(runner: InlineRunner) -> Flow:
    return engine.cancel(running(runner).pk)


def failed(runner: InlineRunner) -> Flow:
    return register(runner, {"program": "Noop"}, {"program": "FailUnlisted"}, {"program": "Noop"})


def failed_and_held(runner: InlineRunner) -> Flow:
    return engine.suspend(failed(runner).pk)


def skipped_step(runner: InlineRunner) -> Flow:
    begun = failed(runner)
    engine.skip(begun.pk, 2)
    runner.run()
    return begun


def split(items: Any, **columns: Any) -> dict[str, Any]:
    row = {"program": "Split", "child_program": "Sum", "parameters": {"items": items}, "max_concurrency": 20}
    return row | columns


def running_children(runner: InlineRunner) -> Flow:
    return register(runner, split([[number] for number in range(10)]), {"program": "Echo"}, messages=7)


def failed_child(runner: InlineRunner) -> Flow:
    return register(runner, split([[1], ["bad"], [2]], max_concurrency=1), {"program": "Echo"})


def tolerated_failures(runner: InlineRunner) -> Flow:
    items = [[1], ["bad"], ["bad"], [2]]
    return register(runner, split(items, exit_on_failed=False), {"program": "Echo"})


def failed_branch_beside_a_running_one(runner: InlineRunner) -> Flow:
    begun = register(
        runner,
        {"program": "FailUnlisted", "depends_on": []},
        {"program": "Noop", "depends_on": []},
        {"program": "Noop", "depends_on": [1, 2]},
        messages=1,
    )
    begun.refresh_from_db()
    assert begun.failed_seq == 1
    begun.tasks.filter(task_exec_seq=2).update(exec_status=Status.RUNNING, attempt=1)
    Flow.objects.filter(pk=begun.pk).update(exec_status=Status.RUNNING, suspended_ts=None)
    return begun


CASES: dict[Callable[[InlineRunner], Flow], tuple[str, str, str, str]] = {
    waiting: ("Waiting", "", "0 of 2", ""),
    running: ("Running", "", "1 of 2", "3 min 05 s"),
    finished_flow: ("Finished", "", "2 of 2", "11.0 s"),
    held: ("Held", "", "1 of 2", "11.0 s"),
    cancelled: ("Cancelled", "", "1 of 2", "11.0 s"),
    failed: ("Failed", "task 2", "1 of 3", "11.0 s"),
    failed_and_held: ("Failed", "task 2, held", "1 of 3", "11.0 s"),
    skipped_step: ("Finished", "", "2 of 3", "11.0 s"),
    running_children: ("Running", "", "6 of 12", "3 min 05 s"),
    failed_child: ("Failed", "task 4", "1 of 5", "11.0 s"),
    tolerated_failures: ("Finished", "2 children failed", "4 of 6", "11.0 s"),
    failed_branch_beside_a_running_one: ("Running", "1 failed", "0 of 3", "3 min 05 s"),
}


@pytest.mark.parametrize("build", CASES, ids=lambda build: build.__name__)
def test_every_surface_shows_a_flow_alike(
    build: Callable[[InlineRunner], Flow], runner: InlineRunner, admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = build(runner)
    at_known_times(shown)
    word, note, tasks, duration = CASES[build]
    expected = Shown(word, SYMBOLS[word], note, tasks, duration)
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setattr(clock, "about_now", lambda: NOW)
    assert of_admin_page(admin, shown) == expected
    assert of_admin_list(admin, shown) == expected
    assert of_show(shown) == expected
    assert of_list(shown) == expected
    assert of_api(admin, shown) == expected


@pytest.mark.parametrize("build", [cancelled, tolerated_failures, skipped_step], ids=lambda build: build.__name__)
def test_a_task_is_shown_alike(
    build: Callable[[InlineRunner], Flow], runner: InlineRunner, admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = build(runner)
    monkeypatch.setenv("COLUMNS", "300")
    words = {"cancelled": "Cancelled", "tolerated_failures": "Skipped", "skipped_step": "Skipped"}
    task = shown.tasks.filter(exec_status=Status.IGNORE).first()
    assert task is not None
    page = admin.get(reverse("admin:flowerapp_task_change", args=[task.pk])).text
    assert badge_of(page)[:2] == (words[build.__name__], "⊘")
    if task.parent_seq is None:
        assert f"⊘ {words[build.__name__]}" in flow("show", shown.pk).out
        assert f"⊘  {task.task_exec_seq} {task.program}  {words[build.__name__]}" in " ".join(
            flow("graph", shown.pk).out.split(" ")
        )


def at_known_times(shown: Flow) -> None:
    """Give the flow ``START`` and ``STOP`` for each time that it has."""
    row = Flow.objects.get(pk=shown.pk)
    times = {"started_ts": START, "finished_ts": STOP, "suspended_ts": STOP}
    Flow.objects.filter(pk=shown.pk).update(**{name: ts for name, ts in times.items() if getattr(row, name)})
    shown.refresh_from_db()


def badge_of(html: str) -> tuple[str, str, str]:
    """Word, symbol and note of the first badge."""
    pattern = (
        r'<span class="flower-badge[^>]*><span aria-hidden="true">(.+?)</span> (\w+)(?:<small>, (.*?)</small>)?</span>'
    )
    match = re.search(pattern, html)
    assert match is not None
    return match[2], match[1].replace("\N{VARIATION SELECTOR-15}", ""), match[3] or ""


def of_admin_page(client: Client, shown: Flow) -> Shown:
    page = client.get(reverse("admin:flowerapp_flow_change", args=[shown.pk])).text
    head = page.partition('class="flower-head"')[2].partition("</div>")[0]
    tasks = re.search(r"(\d+ of \d+) tasks done", head)
    duration = re.search(r"<dt>Duration</dt><dd>(.*?)</dd>", page)
    assert tasks is not None
    return Shown(*badge_of(head), tasks[1], duration[1] if duration else "")


def of_admin_list(client: Client, shown: Flow) -> Shown:
    page = client.get(reverse("admin:flowerapp_flow_changelist")).text
    row = page.partition('id="result_list"')[2].partition("<tbody>")[2].partition("</tr>")[0]
    tasks = re.search(r"(\d+ of \d+)", row.partition("field-progress")[2])
    duration = re.search(r'class="field-took[^>]*>(.*?)</td>', row)
    assert tasks is not None
    assert duration is not None
    return Shown(*badge_of(row), tasks[1], duration[1].replace("&nbsp;", "").strip("-"))


def state_of(text: str) -> tuple[str, str, str]:
    """Word, symbol and note of ``✓ Finished, 2 children failed``."""
    symbol, _, rest = text.strip().partition(" ")
    word, _, note = rest.partition(", ")
    return word, symbol, note


def of_show(shown: Flow) -> Shown:
    lines = flow("show", shown.pk).out.splitlines()
    pairs = [re.split(r"\s{2,}", line.strip(), maxsplit=1) for line in lines[1 : lines.index("Tasks")]]
    facts = dict(pair for pair in pairs if len(pair) == 2)
    return Shown(
        *state_of(lines[0].partition("workflow etl")[2]),
        facts["tasks"].removesuffix(" done"),
        facts.get("duration", ""),
    )


def of_list(shown: Flow) -> Shown:
    (line,) = [line for line in flow("list").out.splitlines() if shown.pk in line]
    _, _, state, tasks, _, *duration = re.split(r"\s{2,}", line.strip())
    return Shown(*state_of(state), tasks, *(duration or [""]))


def of_api(client: Client, shown: Flow) -> Shown:
    """What the API's fields mean in the words for people; its own are the five values."""
    body = client.get(f"/api/flows/{shown.pk}/").json()
    children = client.get(f"/api/flows/{shown.pk}/tasks/").json()["results"]
    words = {"Wait": "Waiting", "Running": "Running", "Finish": "Finished", "Ignore": "Cancelled"}
    word = words.get(body["status"]) or ("Failed" if body["failed"] else "Held")
    notes = [f"task {body['failed']['task_exec_seq']}"] if word == "Failed" else []
    notes += ["held"] if word == "Failed" and body["held"] else []
    notes += [f"{body['tasks']['Suspend']} failed"] if word == "Running" and body["failed"] else []
    tolerated = [task for task in children if task["status"] == "Ignore" and task["parent_seq"] and task["error"]]
    notes += [f"{len(tolerated)} children failed"] if word == "Finished" and tolerated else []
    tasks = f"{body['tasks'].get('Finish', 0)} of {sum(body['tasks'].values())}"
    end = body["finished_ts"] or (body["suspended_ts"] if body["status"] == "Suspend" else None)
    duration = "" if body["started_ts"] is None else {True: "11.0 s", False: "3 min 05 s"}[end is not None]
    return Shown(word, SYMBOLS[word], ", ".join(notes), tasks, duration)
