"""Admin, API and command line show the same of the same flow: word, symbol, note, counts, duration, reasons."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from html import unescape
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from flowerapp.models import Flow
from flowerapp.querysets import clock
from flowerapp.selectors.status_style import STYLES
from flowerapp.testing import InlineRunner, inline
from tests.cli.support import flow
from tests.surfaces.scenes import BEGUN, NOW, SCENES, SO_FAR, TASKS, WHOLE, Build, at_known_times

pytestmark = pytest.mark.django_db(transaction=True)

SYMBOLS = {
    "Waiting": "○",
    "Running": "▶",
    "Failed": "✗",
    "Held": "‖",
    "Finished": "✓",
    "Skipped": "⊘",
    "Cancelled": "⊘",
}
BEGUN_SYMBOL = "◔"
"""Of a wait that has begun."""
SECONDS = {"": None, WHOLE: 11.0, SO_FAR: 185.0}
MOST_TASKS = 6
"""Tasks of a scene that are compared; one has a thousand children."""


@dataclass(frozen=True)
class Shown:
    """What a surface shows of a flow; an empty text is something that it does not show."""

    word: str
    symbol: str
    note: str
    counts: str
    duration: str


@dataclass(frozen=True)
class ShownTask:
    """What a surface shows of a task; ``note`` has the numbers of its children."""

    title: str
    word: str
    symbol: str
    note: str
    duration: str
    waits: str


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


@pytest.fixture(params=SCENES, ids=lambda build: build.__name__)
def build(request: pytest.FixtureRequest) -> Build:
    """Makes a scene."""
    made: Build = request.param
    return made


@pytest.fixture
def scene(build: Build, runner: InlineRunner, monkeypatch: pytest.MonkeyPatch) -> Flow:
    """A flow of each kind, at known times."""
    made = at_known_times(build(runner))
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.setattr(clock, "about_now", lambda: NOW)
    return made


def test_every_surface_shows_a_flow_and_its_tasks_alike(build: Build, scene: Flow, admin: Client) -> None:
    expected = SCENES[build]
    shown = Shown(expected.word, SYMBOLS[expected.word], expected.note, expected.counts, expected.duration)
    flows = {
        "page of the admin": of_admin_page(admin, scene),
        "list of the admin": of_admin_list(admin, scene),
        "API": of_document(admin.get(f"/api/flows/{scene.pk}/").json()),
        "list of the API": of_document(admin.get("/api/flows/?task_id=etl").json()["results"][0]),
        "show": of_show(scene),
        "list": of_list(scene),
        "show --json": of_document(flow("show", scene.pk, "--json").json),
        "list --json": of_document(flow("list", "--json").json[0]),
    }
    assert flows == dict.fromkeys(flows, shown)
    seqs = list(scene.tasks.order_by("task_exec_seq").values_list("task_exec_seq", flat=True)[:MOST_TASKS])
    for seq in seqs:
        tasks = tasks_of(admin, scene, seq)
        assert tasks == dict.fromkeys(tasks, tasks["API"]), seq
    for seq, (word, note) in TASKS.get(build, {}).items():
        task = tasks_of(admin, scene, seq)["API"]
        symbol = BEGUN_SYMBOL if BEGUN.get(build) == seq else SYMBOLS[word]
        assert (task.word, task.symbol, task.note) == (word, symbol, note)


def test_the_words_are_all_there() -> None:
    words = {expected.word for expected in SCENES.values()} | {word for of in TASKS.values() for word, _ in of.values()}
    assert words == {style.word for style in STYLES} == set(SYMBOLS)


def tasks_of(client: Client, scene: Flow, seq: int) -> dict[str, ShownTask]:
    """A task on the surfaces that show it: children are on no page of their flow."""
    row = scene.tasks.get(task_exec_seq=seq)
    listed = client.get(f"/api/flows/{scene.pk}/tasks/").json()["results"]
    documents = flow("show", scene.pk, "--json").json["tasks"]
    shown = {
        "API": of_task_document(client.get(f"/api/flows/{scene.pk}/tasks/{seq}/").json()),
        "list of the API": of_task_document(by_seq(listed, seq)),
        "show --json": of_task_document(by_seq(documents, seq)),
        "page of the admin": of_task_page(client, row.pk),
    }
    if row.parent_seq is None:
        shown |= {"page of the flow": of_admin_row(client, scene, row.pk), "show": of_show_row(scene, seq)}
    return shown


def by_seq(documents: list[dict[str, Any]], seq: int) -> dict[str, Any]:
    (match,) = [document for document in documents if document["task_exec_seq"] == seq]
    return match


def of_document(document: dict[str, Any]) -> Shown:
    assert document["duration_seconds"] == SECONDS[document["duration"]]
    return Shown(**{name: document[name] for name in ("word", "symbol", "note", "counts", "duration")})


def of_task_document(document: dict[str, Any]) -> ShownTask:
    title = f"{document['task_exec_seq']} {document['name']}".strip()
    return ShownTask(title, **{name: document[name] for name in ("word", "symbol", "note", "duration", "waits")})


def text_of(html: str) -> str:
    """HTML without its tags."""
    return unescape(re.sub(r"<[^>]*>", "", html)).strip()


def badge_of(html: str) -> tuple[str, str, str]:
    """Word, symbol and note of the first badge."""
    pattern = (
        r'<span class="flower-badge[^>]*><span aria-hidden="true">(.+?)</span> (\w+)(?:<small>, (.*?)</small>)?</span>'
    )
    match = re.search(pattern, html)
    assert match is not None
    return match[2], match[1].replace("\N{VARIATION SELECTOR-15}", ""), unescape(match[3] or "")


def fact(page: str, name: str) -> str:
    """A fact of a page; empty if it is not there."""
    match = re.search(rf"<dt>{name}</dt><dd[^>]*>(.*?)</dd>", page)
    return text_of(match[1]) if match else ""


def numbers_in(html: str) -> str:
    """``1 of 3 done``, as the first place of this HTML has it."""
    match = re.search(r"[\d,]+ of [\d,]+(?: \w+)? done[^<]*", html)
    return match[0].strip() if match else ""


def of_admin_page(client: Client, scene: Flow) -> Shown:
    page = client.get(reverse("admin:flowerapp_flow_change", args=[scene.pk])).text
    head = page.partition('class="flower-head"')[2].partition("</div>")[0]
    return Shown(*badge_of(head), numbers_in(head).replace(" tasks done", " done"), fact(page, "Duration"))


def of_admin_list(client: Client, scene: Flow) -> Shown:
    page = client.get(reverse("admin:flowerapp_flow_changelist")).text
    row = page.partition('id="result_list"')[2].partition("<tbody>")[2].partition("</tr>")[0]
    duration = re.search(r'class="field-took[^>]*>(.*?)</td>', row)
    assert duration is not None
    counts = numbers_in(row.partition("field-progress")[2])
    return Shown(*badge_of(row), counts, text_of(duration[1]).replace("\xa0", "").strip("-"))


def of_task_page(client: Client, pk: int) -> ShownTask:
    page = client.get(reverse("admin:flowerapp_task_change", args=[pk])).text
    word, symbol, note = badge_of(page.partition('class="flower-head"')[2])
    children = numbers_in(page.partition("<h2>Children</h2>")[2].partition("</section>")[0])
    name = fact(page, "Name")
    title = re.search(r"<h1>Task (\d+)(.*?)</h1>", page)
    assert title is not None
    assert text_of(title[2]) == name or not name
    return ShownTask(
        f"{title[1]} {name}".strip(), word, symbol, children or note, fact(page, "Duration"), fact(page, "Waits")
    )


def of_admin_row(client: Client, scene: Flow, pk: int) -> ShownTask:
    """A task in the table of its flow's page."""
    page = client.get(reverse("admin:flowerapp_flow_change", args=[scene.pk])).text
    table = page.partition("<h2>Tasks</h2>")[2]
    url = reverse("admin:flowerapp_task_change", args=[pk])
    (row,) = [row for row in re.findall(r"<tr.*?</tr>", table, re.DOTALL) if f'href="{url}"' in row]
    title, _, state, duration, *_ = re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL)
    word, symbol, note = badge_of(state)
    waits = re.search(r'class="flower-why-waits">(.*?)</div>', state)
    children = numbers_in(state.partition('class="flower-children"')[2])
    name = re.search(r"<a [^>]*>(.*?)</a>", title)
    assert name is not None
    return ShownTask(
        text_of(name[1]), word, symbol, children or note, text_of(duration), text_of(waits[1]) if waits else ""
    )


def state_of(text: str) -> tuple[str, str, str]:
    """Word, symbol and note of ``✓ Finished, 2 children failed``."""
    symbol, _, rest = text.strip().partition(" ")
    word, _, note = rest.partition(", ")
    return word, symbol, note


def of_show(scene: Flow) -> Shown:
    lines = flow("show", scene.pk).out.splitlines()
    pairs = [re.split(r"\s{2,}", line.strip(), maxsplit=1) for line in lines[1 : lines.index("Tasks")]]
    facts = dict(pair for pair in pairs if len(pair) == 2)
    return Shown(*state_of(lines[0].partition("workflow etl")[2]), facts["tasks"], facts.get("duration", ""))


def of_show_row(scene: Flow, seq: int) -> ShownTask:
    """A task in the table of ``flow show``."""
    table = flow("show", scene.pk).out.partition("\nTasks\n")[2].partition("\n\n")[0]
    (line,) = [line for line in table.splitlines() if re.match(rf"{seq}\b", line)]
    title, _, state, *rest = re.split(r"\s{2,}", line.strip())
    duration = rest.pop(0) if rest and re.fullmatch(r"\d[\d.]* (s|min|h)( \d+ \w+)?", rest[0]) else ""
    waits = [text for text in rest if not text.isdigit()]
    return ShownTask(title, *state_of(state), duration, waits[0] if waits else "")


def of_list(scene: Flow) -> Shown:
    (line,) = [line for line in flow("list").out.splitlines() if scene.pk in line]
    _, _, state, counts, _, *duration = re.split(r"\s{2,}", line.strip())
    return Shown(*state_of(state), counts, *(duration or [""]))
