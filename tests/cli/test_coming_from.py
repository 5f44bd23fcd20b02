"""docs/coming-from.md: its commands of the command line, its blocks, and what it says is not there."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client

from flowerapp import engine, signals
from flowerapp.core import programs
from flowerapp.exceptions import InvalidPlanError
from flowerapp.models import Flow, TaskDefinition
from flowerapp.states import Status
from flowerapp.testing import InlineRunner
from flowerapp.workflows import arrow, classes
from tests import coming_from
from tests.cli.support import define, flow
from tests.coming_from import IN_PROCESS, ON_A_SERVER, Command
from tests.services import ROOT

pytestmark = pytest.mark.django_db(transaction=True)

FILE = "photo.flow"
COMMANDS = coming_from.commands(*IN_PROCESS)


@pytest.fixture(autouse=True)
def apart(busy: InlineRunner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A directory with the page's file, its workflows, and registries that are as before after the test."""
    monkeypatch.setattr(programs, "_programs", dict(programs._programs))
    monkeypatch.setattr(signals, "_methods", {})
    monkeypatch.setattr(classes, "_classes", {})
    monkeypatch.chdir(tmp_path)
    (tmp_path / FILE).write_text("Test1 → Test2\n", encoding="utf-8")
    User.objects.create_superuser("admin")
    define("sample", *({"program": f"Test{number}"} for number in (1, 2, 3)))
    with connection.cursor() as cursor:
        for statement in filter(str.strip, "".join(coming_from.of_language("sql")).split(";")):
            cursor.execute(statement)


def pasted() -> dict[str, Any]:
    """The names of the page's blocks of Python."""
    names: dict[str, Any] = {"__name__": "pasted"}
    for text in coming_from.of_language("python"):
        exec(text, names)  # noqa: S102 - the page's
    return names


def ended_well(runner: InlineRunner) -> Flow:
    begun = engine.register("sample")
    runner.run()
    return begun


def failed(runner: InlineRunner) -> Flow:
    define("breaking", {"program": "Noop"}, {"program": "FailWhile", "parameters": {"path": "/"}})
    begun = engine.register("breaking")
    runner.run()
    return begun


def remote(runner: InlineRunner) -> Flow:
    return engine.register_plan(arrow.plan_of_text("A → B"), source="A → B")


STATES: dict[str, tuple[Callable[[InlineRunner], Flow], Status]] = {
    "rerun": (failed, Status.RUNNING),
    "cancel": (remote, Status.IGNORE),
    "end": (remote, Status.RUNNING),
    "fail": (remote, Status.SUSPEND),
}
"""Verb → what it is tried on, and what that is afterwards; other verbs read, and are tried on a finished flow."""
SILENT = {"lint", "logs"}
"""Verbs that print nothing of what they are tried on."""


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_a_command_of_the_page_works(command: Command, busy: InlineRunner) -> None:
    pasted()
    words = shlex.split(command.text)
    make, after = STATES.get(words[1], (ended_well, Status.FINISH))
    begun = make(busy).pk
    answer = flow(*(coming_from.named(word, ID=begun) for word in words[1:]))
    assert answer.code == 0, answer.err
    assert answer.out or words[1] in SILENT
    assert Flow.objects.get(pk=begun).status is after
    if words[1] == "run":
        ran = Flow.objects.get(pk=answer.out.split()[0])
        assert (ran.status is Status.FINISH) == ({"--wait", "--follow"} & {*words} != set())


def test_every_command_of_the_page_is_run_by_a_test() -> None:
    tools = {*IN_PROCESS, *ON_A_SERVER}
    assert {command.text.split()[0] for command in coming_from.commands(*tools)} == tools
    assert coming_from.forms(*tools) == ["flow …", "python manage.py flow …"]
    verbs = {command.text.split()[1] for command in COMMANDS}
    assert verbs >= {"run", "inspect", "end", "fail", "rerun", "show", "graph", "lint"}
    page = coming_from.PAGE.read_text(encoding="utf-8")
    assert {*re.findall(r"^```(.+)$", page, re.MULTILINE)} == {"arrow", "python", "sh", "sql"}
    outside_first_cells = re.sub(r"^\|(?:[^|]|(?<=\\)\|)*", "", page, flags=re.MULTILINE).replace("\\|", "|")
    shown = re.findall(
        rf"`((?:{'|'.join(tools)}) [^`]+)`|^ *((?:{'|'.join(tools)}) .+)$", outside_first_cells, re.MULTILINE
    )
    listed = {command.text for command in coming_from.commands(*tools)} | {*coming_from.forms(*tools)}
    assert {code or line for code, line in shown} == listed


def test_the_row_of_sql_is_a_workflow(busy: InlineRunner) -> None:
    assert list(TaskDefinition.objects.filter(task_id="nightly").values_list("program", flat=True)) == [
        *("EchoRandomTimeSleep", "EchoParamTimeSleep")
    ]


def test_the_program_sleeps_in_a_text(busy: InlineRunner) -> None:
    pasted()
    (text,) = coming_from.of_language("arrow")
    text = text.replace("for: 2", "for: 0")
    begun = engine.register_plan(arrow.plan_of_text(text), source=text)
    engine.end_task(begun.pk, 1)
    busy.run()
    assert begun.tasks.get(task_seq=2).output == {"slept": 0}
    engine.end_task(begun.pk, 3)
    begun.refresh_from_db()
    assert begun.status is Status.FINISH


def test_the_class_does_what_the_library_did(busy: InlineRunner) -> None:
    example = pasted()["Example"]
    begun = example.register()
    again = example.register()
    assert (again.pk, again.created) == (begun.pk, False)
    busy.run()
    begun.refresh_from_db()
    assert (begun.status, begun.output) == (Status.FINISH, {"sums": [6, 15, 24]})
    assert begun.state == {"starts": 5}


def test_the_options_of_steps_are_those_of_a_step() -> None:
    page = coming_from.PAGE.read_text(encoding="utf-8")
    options = re.findall(r'`("\w+": [^`]+)`', page)
    assert len(options) == 4
    step = json.loads("{" + ", ".join(options) + "}")
    engine.define("options", [TaskDefinition(task_id="options", task_seq=1, program="Test1", **step)])


def test_what_the_page_says_is_not_there_is_not_there(admin_client: Client) -> None:
    codes = [code for code in coming_from.absent() if code not in {"pre", "post", "/workflows/start/upload"}]
    paths = [code for code in codes if code.startswith("/")]
    tasks = [code for code in codes if re.fullmatch(r"\w+:\w+", code)]
    assert (len(paths), len(tasks)) == (6, 2)
    for path in paths:
        for method in (admin_client.get, admin_client.post):
            assert method(path, content_type="application/json").status_code in (404, 405), path
    for name in tasks:
        with pytest.raises(InvalidPlanError):
            arrow.plan_of_text(name)


def test_its_links_lead_somewhere() -> None:
    for page, anchor in re.findall(
        r"\]\(([\w.-]*?\.md)?(?:#([\w-]+))?\)", coming_from.PAGE.read_text(encoding="utf-8")
    ):
        text = (ROOT / "docs" / page if page else coming_from.PAGE).read_text(encoding="utf-8")
        headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
        anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
        assert not anchor or anchor in anchors, (page, anchor)
