"""Archives: a flow as one document and back, whatever wrote the document."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Iterator
from copy import deepcopy
from importlib import import_module
from typing import Any

import pytest
from django.db import connection, connections

from flowerapp import engine
from flowerapp.core import archives
from flowerapp.core.masking import MASKED
from flowerapp.core.plan import Node
from flowerapp.engine.archive import write
from flowerapp.exceptions import InvalidArchiveError, InvalidPlanError, StateConflictError, UnknownFlowError
from flowerapp.models import Flow, HistoryEntry, Log, Task, Worker
from flowerapp.querysets import LogRow
from flowerapp.states import Status
from flowerapp.testing import InlineRunner
from flowerapp.workflows import arrow
from tests.engine.support import CHAIN, DIAMOND, check, define, planned, status, statuses
from tests.surfaces.scenes import SCENES, Build, failed, failed_child, retrying, running, tolerated_failures

pytestmark = pytest.mark.django_db(transaction=True)

Document = dict[str, Any]


def ended(runner: InlineRunner, **options: Any) -> Flow:
    """A diamond that has ended."""
    flow = engine.register(define(DIAMOND), **{"input": {"n": 1}, **options})
    runner.run()
    return engine.get_flow(flow.pk)


def remove(flow: Flow) -> None:
    """Delete a flow in any state, with all that belongs to it."""
    Flow.objects.filter(pk=flow.pk).delete()
    assert not Task.objects.filter(task_flow_id=flow.pk).exists()


def signed(document: Document) -> Document:
    """The document with the checksum that it has to have."""
    return document | {"checksum": archives.checksum_of(document)}


def alike(document: Document) -> Document:
    """What two archives of the same flow have alike."""
    return {name: value for name, value in document.items() if name not in ("archived_ts", "checksum")}


# There and back


@pytest.fixture(params=SCENES, ids=lambda build: build.__name__)
def build(request: pytest.FixtureRequest) -> Build:
    """Makes a scene."""
    made: Build = request.param
    return made


def is_going(document: Document) -> bool:
    """Whether something of the flow could continue by itself."""
    return any(task["exec_status"] in (0, 1) for task in document["tasks"] if not task.get("pending"))


def test_every_kind_of_flow_is_restored_as_it_was(build: Build, runner: InlineRunner) -> None:
    flow = build(runner)
    if flow.tasks.filter(program="").exists():
        with pytest.raises(StateConflictError, match="not adopted"):
            engine.archive(flow.pk)
        return
    document = engine.archive(flow.pk, with_secrets=True)
    remove(flow)
    restored = engine.restore(document)
    assert restored.created
    check(restored)
    again = engine.archive(flow.pk, with_secrets=True)
    if not is_going(document):
        assert alike(again) == alike(document)
    else:
        assert (restored.status, restored.held) == (Status.SUSPEND, True)
        assert again["history"] == document["history"]


def test_a_flow_that_ran_continues_after_a_resume(runner: InlineRunner) -> None:
    flow = running(runner)
    document = engine.archive(flow.pk)
    assert [task["exec_status"] for task in document["tasks"]] == [3, 1]
    remove(flow)
    engine.restore(document)
    assert statuses(flow) == {1: Status.FINISH, 2: Status.WAIT}
    runner.run()
    assert status(flow) is Status.SUSPEND
    engine.resume(flow.pk)
    runner.run()
    assert status(flow) is Status.FINISH
    assert engine.get_task(flow.pk, 2).attempt == 2


def test_a_retry_is_due_when_it_was(runner: InlineRunner) -> None:
    flow = retrying(runner)
    due = engine.get_task(flow.pk, 1).due_ts
    document = engine.archive(flow.pk)
    remove(flow)
    engine.restore(document)
    task = engine.get_task(flow.pk, 1)
    assert (task.due_ts, task.retries) == (due, 1)


@pytest.mark.parametrize("build", [failed, failed_child, tolerated_failures])
def test_a_rerun_leads_to_the_same_before_and_after(build: Build, runner: InlineRunner) -> None:
    flow = build(runner)
    document = engine.archive(flow.pk)
    engine.rerun(flow.pk, all_tasks=True)
    runner.run()
    before = outcome(flow)
    remove(flow)
    engine.restore(document)
    engine.rerun(flow.pk, all_tasks=True)
    runner.run()
    assert outcome(flow) == before
    check(flow)


def outcome(flow: Flow) -> Any:
    """Statuses and outputs of the tasks, by their places."""
    rows = Task.objects.filter(task_flow_id=flow.pk).order_by("task_exec_seq")
    columns = rows.values_list("parent_seq", "child_index", "exec_status", "ignored_by", "output", "attempt")
    return status(flow), list(columns)


def test_failed_tasks_are_rerun_after_a_restore(runner: InlineRunner) -> None:
    flow = failed(runner)
    document = engine.archive(flow.pk)
    remove(flow)
    engine.restore(document)
    Task.objects.filter(task_flow=flow, task_exec_seq=2).update(program="Noop")
    engine.rerun(flow.pk)
    runner.run()
    assert statuses(flow) == dict.fromkeys([1, 2, 3], Status.FINISH)


def test_rerun_from_a_task(runner: InlineRunner) -> None:
    flow = ended(runner)
    document = engine.archive(flow.pk)
    engine.delete([flow.pk])
    engine.restore(document)
    engine.rerun(flow.pk, from_seq=2)
    runner.run()
    assert status(flow) is Status.FINISH
    assert [engine.get_task(flow.pk, seq).attempt for seq in (1, 2, 3, 4)] == [1, 2, 1, 2]


TEXT = """
fetch :all → ? `$.pages` { print } → bind;
:all → count
"""


def start(text: str, flow_input: Any = None) -> Flow:
    return engine.register_plan(arrow.plan_of_text(text), input=flow_input, source=text)


def test_a_text_with_gates_conditions_and_remote_tasks(runner: InlineRunner) -> None:
    flow = start(TEXT, {"day": 1})
    first = flow.tasks.get(remote="fetch")
    engine.end_task(flow.pk, first.task_exec_seq, output={"total": 3})
    document = engine.archive(flow.pk)
    assert document["flow"]["source"] == TEXT
    assert document["workflow"] is None
    remove(flow)
    restored = engine.restore(document)
    check(restored)
    assert restored.source == TEXT
    engine.resume(flow.pk)
    while (task := flow.tasks.exclude(remote="").filter(exec_status=0, pending=0, parked=False).first()) is not None:
        engine.end_task(flow.pk, task.task_exec_seq, output={"of": task.remote})
    assert status(flow) is Status.FINISH
    skipped = flow.tasks.filter(ignored_by="condition")
    assert skipped.exists()
    whole = engine.archive(flow.pk)
    remove(flow)
    assert alike(engine.archive(engine.restore(whole).pk)) == alike(whole)


def test_null_is_a_value_and_no_output_is_none(runner: InlineRunner) -> None:
    value = Node(seq=1, program="flow:value", parameters={"value": None})
    flow = planned(value, Node(seq=2, program="Echo", depends_on=(1,)), Node(seq=3, program="Noop"))
    runner.run()
    engine.register(define(CHAIN))
    document = engine.archive(flow.pk)
    missing = {row.task_exec_seq for row in Task.objects.filter(task_flow=flow, output__isnull=True)}
    remove(flow)
    engine.restore(document)
    assert {row.task_exec_seq for row in Task.objects.filter(task_flow=flow, output__isnull=True)} == missing
    assert engine.archive(flow.pk)["tasks"] == document["tasks"]


def test_typed_outputs_of_celery_tasks_stay_typed(runner: InlineRunner) -> None:
    flow = ended(runner)
    typed = {"__type__": "date", "__value__": "2026-01-31"}
    Task.objects.filter(task_flow=flow, task_exec_seq=1).update(output=typed)
    document = engine.archive(flow.pk)
    assert document["tasks"][0]["output"] == typed
    remove(flow)
    engine.restore(document)
    assert engine.get_task(flow.pk, 1).output == "2026-01-31"
    assert engine.archive(flow.pk)["tasks"][0]["output"] == typed


def test_log_lines_and_history(runner: InlineRunner) -> None:
    flow = ended(runner)
    Log.objects.write([LogRow(flow.pk, 1, 1, 1e9 + number, 20, "shop", f"line {number}") for number in range(3)])
    engine.rerun(flow.pk, from_seq=4, why="once more")
    runner.run()
    document = engine.archive(flow.pk)
    before = rows_of(flow)
    remove(flow)
    assert rows_of(flow) == ([], [])
    engine.restore(document)
    assert rows_of(flow) == before
    assert [line["message"] for line in document["logs"]] == ["line 0", "line 1", "line 2"]


def rows_of(flow: Flow) -> Any:
    """History and log, but for the ids."""
    selected = (model.objects.filter(task_flow=flow).order_by("id").values() for model in (HistoryEntry, Log))
    return tuple([{name: value for name, value in row.items() if name != "id"} for row in rows] for rows in selected)


def test_the_workflow_is_in_the_document_as_it_is_now(runner: InlineRunner) -> None:
    flow = ended(runner)
    workflow = engine.archive(flow.pk)["workflow"]
    assert [step["depends_on"] for step in workflow["tasks"]] == [[], [1], [1], [2, 3]]
    engine.undefine(flow.task_id)
    document = engine.archive(flow.pk)
    assert document["workflow"] is None
    remove(flow)
    engine.restore(document)
    engine.rerun(flow.pk, all_tasks=True)
    runner.run()
    assert status(flow) is Status.FINISH


def test_a_stream_has_the_same_document_and_says_how_far_it_is(
    runner: InlineRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow = ended(runner)
    monkeypatch.setattr(import_module("flowerapp.engine.archive"), "WATCH_SECONDS", -1.0)
    monkeypatch.setattr("flowerapp.selectors.archives.PAGE", 3)
    stream, seen = io.BytesIO(), []
    write(flow.pk, stream, watch=lambda done, total: seen.append((done, total)))
    document = json.loads(stream.getvalue())
    assert alike(document) == alike(engine.archive(flow.pk))
    assert archives.checksum_of(document) == document["checksum"]
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_flow_that_changes_while_it_is_read_is_archived_as_it_was_at_once(
    runner: InlineRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite lets nothing change while a transaction reads")
    flow = engine.register(define(CHAIN))
    monkeypatch.setattr("flowerapp.selectors.archives.PAGE", 1)
    read = import_module("flowerapp.selectors.archives").Reader.tasks

    def slowly(reader: Any) -> Iterator[Any]:
        for task in read(reader):
            in_another_connection(lambda: runner.step())
            yield task

    monkeypatch.setattr("flowerapp.selectors.archives.Reader.tasks", slowly)
    document = engine.archive(flow.pk)
    assert [task["exec_status"] for task in document["tasks"]] == [0, 0, 0]
    assert document["flow"]["exec_status"] == 0
    assert status(flow) is Status.FINISH
    assert engine.get_flow(flow.pk).ended


def in_another_connection(call: Callable[[], Any]) -> None:
    """Call in a thread, which has a connection of its own, and wait for it."""

    def run() -> None:
        call()
        connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()


def test_two_restores_at_once_write_one_flow(runner: InlineRunner) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("the threads of a test share SQLite's one database in memory")
    flow = ended(runner)
    document = engine.archive(flow.pk)
    remove(flow)
    created: list[bool] = []

    def run() -> None:
        created.append(engine.restore(document).created)
        connections.close_all()

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(created) == [False, True]
    assert flow.tasks.count() == 4


def test_an_unknown_flow_has_no_archive(db: None) -> None:
    with pytest.raises(UnknownFlowError):
        engine.archive("nothing")


def test_idempotency_keys_do_not_travel(runner: InlineRunner) -> None:
    name = define(CHAIN)
    flow = engine.register(name, idempotency_key="once", actor="ann")
    runner.run()
    document = engine.archive(flow.pk)
    assert "once" not in json.dumps(document)
    remove(flow)
    second = engine.register(name, idempotency_key="once", actor="ann")
    assert second.created
    assert engine.restore(document).idempotency_key is None


# What is there already


def test_an_equal_flow_stays(runner: InlineRunner) -> None:
    flow = ended(runner)
    document = engine.archive(flow.pk)
    ids = set(flow.tasks.values_list("pk", flat=True))
    assert not engine.restore(document).created
    assert not engine.restore(document, replace=True).created
    assert set(flow.tasks.values_list("pk", flat=True)) == ids


def test_another_flow_of_the_id_is_kept_unless_it_is_replaced(runner: InlineRunner) -> None:
    flow = ended(runner)
    document = engine.archive(flow.pk)
    engine.rerun(flow.pk, from_seq=4)
    with pytest.raises(StateConflictError, match="is there already"):
        engine.restore(document)
    with pytest.raises(StateConflictError, match="cancel it"):
        engine.restore(document, replace=True)
    runner.run()
    assert engine.get_task(flow.pk, 4).attempt == 2
    engine.restore(document, replace=True)
    assert engine.get_task(flow.pk, 4).attempt == 1
    assert flow.tasks.count() == 4


def test_rows_of_another_system_are_not_taken_over(runner: InlineRunner) -> None:
    flow = ended(runner)
    document = engine.archive(flow.pk)
    remove(flow)
    Task.objects.create(task_flow_id=flow.pk, task_exec_seq=9, task_id="etl", task_seq=9)
    with pytest.raises(StateConflictError, match="another system"):
        engine.restore(document)


# Secrets

SECRET = "hunter2-hunter2"


def with_secret(runner: InlineRunner) -> Flow:
    """Its second step holds a secret, and quotes it."""
    step = Node(seq=2, program="Return", depends_on=(1,), parameters={"value": {"password": SECRET}})
    flow = planned(Node(seq=1, program="Return", parameters={"value": 1}), step, Node(seq=3, program="Noop"))
    runner.run()
    return flow


def test_secrets_are_masked_unless_they_are_asked_for(runner: InlineRunner) -> None:
    flow = with_secret(runner)
    masked, whole = engine.archive(flow.pk), engine.archive(flow.pk, with_secrets=True)
    assert SECRET not in json.dumps(masked)
    assert SECRET in json.dumps(whole)
    assert (masked["secrets"], whole["secrets"]) == ("masked", "whole")


def test_whole_secrets_can_be_rerun(runner: InlineRunner) -> None:
    flow = with_secret(runner)
    document = engine.archive(flow.pk, with_secrets=True)
    remove(flow)
    assert not engine.restore(document).masked
    engine.rerun(flow.pk, all_tasks=True)
    runner.run()
    assert engine.get_task(flow.pk, 2).output["password"] == SECRET


def test_no_task_runs_with_a_mask(runner: InlineRunner) -> None:
    flow = with_secret(runner)
    document = engine.archive(flow.pk)
    remove(flow)
    assert engine.restore(document).masked
    before = list(flow.tasks.values())
    with pytest.raises(InvalidPlanError, match=r"parameter value of task 2 .*--set 2\.value") as caught:
        engine.rerun(flow.pk, all_tasks=True)
    assert [(problem.seq, problem.field) for problem in caught.value.problems] == [(2, "parameters.value")]
    assert list(flow.tasks.values()) == before
    engine.rerun(flow.pk, from_seq=1, parameters={2: {"value": {"password": "new"}}})
    runner.run()
    assert engine.get_task(flow.pk, 2).output == {"password": "new"}


def test_what_lacks_its_secrets_is_never_archived_as_whole(runner: InlineRunner) -> None:
    flow = with_secret(runner)
    document = engine.archive(flow.pk)
    remove(flow)
    engine.restore(document)
    assert engine.archive(flow.pk, with_secrets=True)["secrets"] == "masked"


def test_a_step_beside_the_masked_ones_is_rerun(runner: InlineRunner) -> None:
    flow = with_secret(runner)
    document = engine.archive(flow.pk)
    remove(flow)
    engine.restore(document)
    engine.rerun(flow.pk, from_seq=3)
    runner.run()
    assert status(flow) is Status.FINISH


def test_no_task_takes_a_masked_output_or_input(runner: InlineRunner) -> None:
    give = Node(seq=1, program="Return", parameters={"value": {"token": "abcdefgh"}})
    flow = planned(give, Node(seq=2, program="Echo", depends_on=(1,)), input={"password": SECRET})
    runner.run()
    document = engine.archive(flow.pk)
    remove(flow)
    engine.restore(document)
    with pytest.raises(InvalidPlanError, match=r"the input of flow .*the output of task 1"):
        engine.rerun(flow.pk, from_seq=2)


def test_a_held_flow_with_masks_is_not_resumed_before_they_are_set(runner: InlineRunner) -> None:
    step = Node(seq=2, program="Return", depends_on=(1,), parameters={"value": {"password": SECRET}})
    flow = planned(Node(seq=1, program="FailUnlisted"), step)
    runner.run()
    document = engine.archive(flow.pk)
    remove(flow)
    assert engine.restore(document).held, "skipping the failed task would start the other"
    engine.skip(flow.pk, 1)
    with pytest.raises(InvalidPlanError, match="parameter value of task 2"):
        engine.resume(flow.pk)
    engine.change(flow.pk, 2, parameters={"value": 7})
    engine.resume(flow.pk)
    runner.run()
    assert engine.get_task(flow.pk, 2).output == 7


def test_refresh_takes_the_values_of_the_workflow(runner: InlineRunner) -> None:
    name = define({1: []}, "Return", parameters={"value": {"password": SECRET}})
    flow = engine.register(name)
    runner.run()
    document = engine.archive(flow.pk)
    remove(flow)
    engine.restore(document)
    engine.rerun(flow.pk, all_tasks=True, refresh=True)
    runner.run()
    assert engine.get_task(flow.pk, 1).output == {"password": SECRET}


def test_secrets_in_errors_and_logs_of_a_document_are_masked(runner: InlineRunner) -> None:
    flow = failed(runner)
    document = engine.archive(flow.pk)
    remove(flow)
    document["tasks"][1]["error"] = f"password={SECRET}"
    document["history"].append({"ts": "2026-01-31T12:00:00Z", "verb": "fail", "reason": f"token={SECRET}"})
    document["logs"].append(
        {"ts": "2026-01-31T12:00:00Z", "task_exec_seq": 1, "attempt": 1, "message": f"Bearer {SECRET}"}
    )
    engine.restore(signed(document))
    stored = [
        engine.get_task(flow.pk, 2).error,
        *HistoryEntry.objects.values_list("reason", flat=True),
        *Log.objects.values_list("message", flat=True),
    ]
    assert SECRET not in str(stored)
    assert str(stored).count(MASKED) == 3


# Documents of strangers


@pytest.fixture
def document(runner: InlineRunner) -> Document:
    """The archive of a flow that is deleted: a diamond and a step with children."""
    flow = tolerated_failures(runner)
    made = engine.archive(flow.pk)
    remove(flow)
    return made


def change(path: str, value: Any) -> Callable[[Document], None]:
    """Set a value in the document: ``tasks.0.exec_status``."""

    def apply(document: Document) -> None:
        *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
        part: Any = document
        for name in parents:
            part = part[name]
        part[last] = value

    return apply


def without(path: str) -> Callable[[Document], None]:
    def apply(document: Document) -> None:
        *parents, last = path.split(".")
        part: Any = document
        for name in parents:
            part = part[int(name) if name.isdigit() else name]
        del part[last]

    return apply


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


HOSTILE: dict[str, tuple[Callable[[Document], Any], str]] = {
    "another format": (change("format", "tar"), "no archive of a flow"),
    "a later version": (change("version", 2), "version 2"),
    "a version that is true": (change("version", True), "version True"),
    "unknown keys": (change("extra", 1), "extra"),
    "unknown columns": (change("tasks.0.id", 1), r"tasks\[0\].id"),
    "secrets": (change("secrets", "some"), "secrets"),
    "no flow": (without("flow"), "flow"),
    "no tasks": (change("tasks", []), "no tasks"),
    "tasks of another type": (change("tasks", {"1": 1}), "tasks"),
    "no id": (change("flow.task_flow_id", ""), "empty"),
    "an id with a slash": (change("flow.task_flow_id", "a/b"), "slash"),
    "an id with NUL": (change("flow.task_flow_id", "a\0b"), "U\\+0000"),
    "a long id": (change("flow.task_flow_id", "a" * 300), "256"),
    "an unknown status": (change("tasks.0.exec_status", 7), "exec_status"),
    "a status as text": (change("tasks.0.exec_status", "3"), "exec_status"),
    "a status as a truth": (change("tasks.0.exec_status", True), "exec_status"),
    "no finished_ts": (without("tasks.0.finished_ts"), "has no finished_ts"),
    "a flow without finished_ts": (without("flow.finished_ts"), "no finished_ts"),
    "an open task": (
        lambda document: (change("tasks.0.exec_status", 0)(document), without("tasks.0.finished_ts")(document)),
        "task 1 is Wait",
    ),
    "a time without zone": (change("flow.started_ts", "2026-01-31T12:00:00"), "started_ts"),
    "no time": (change("flow.started_ts", 5), "started_ts"),
    "a time long ago": (change("flow.started_ts", "0001-01-01T00:00:00+14:00"), "started_ts"),
    "a priority": (change("tasks.0.task_priority", 99), "task_priority"),
    "a huge number": (change("tasks.0.attempt", 2**40), "attempt"),
    "a negative number": (change("tasks.0.attempt", -1), "attempt"),
    "a number twice": (change("tasks.1.task_exec_seq", 1), "2 tasks 1"),
    "a cycle": (change("tasks.0.depends_on", [2]), "cycle"),
    "itself": (change("tasks.0.depends_on", [1]), "cycle"),
    "a missing dependency": (change("tasks.1.depends_on", [99]), "depends on 99"),
    "a dependency twice": (change("tasks.1.depends_on", [1, 1]), "twice"),
    "a dependency on a child": (change("tasks.1.depends_on", [3]), "a child"),
    "a missing parent": (change("tasks.2.parent_seq", 99), "parent 99"),
    "a child of a child": (change("tasks.2.parent_seq", 4), "child itself"),
    "too many children": (change("tasks.0.children", 1), "children"),
    "no index of a child": (without("tasks.2.child_index"), "child_index"),
    "ignored_by": (change("tasks.0.ignored_by", "skip"), "ignored_by"),
    "unknown ignored_by": (change("tasks.3.ignored_by", "me"), "ignored_by"),
    "an unknown program": (change("tasks.0.program", "os.system"), "os.system"),
    "an unknown child program": (change("tasks.0.child_program", "os.system"), "os.system"),
    "a program and remote": (change("tasks.1.remote", "elsewhere"), "only be one"),
    "an end that is no gate": (change("tasks.0.end_seq", 2), "end_seq"),
    "a condition": (change("tasks.0.when", "$[?("), "when"),
    "parameters": (change("tasks.0.parameters", [1]), "parameters"),
    "a deep value": (change("tasks.0.output", nested(300)), "output"),
    "a large value": (change("tasks.0.output", "a" * 2_000_000), "MAX_JSON_BYTES"),
    "a surrogate": (change("flow.input", "\ud800"), "input"),
    "NUL in a value": (change("flow.input", {"a": "\0"}), "NUL"),
    "NUL in an error": (change("tasks.0.error", "\0"), "error"),
    "progress": (change("tasks.0.progress", "3 of 4"), "progress"),
    "a state that is no object": (change("flow.state", []), "state"),
    "cancelled tasks of a flow that is Finish": (change("tasks.3.ignored_by", "cancel"), "cancelled"),
    "an entry without verb": (change("history", [{"ts": "2026-01-31T12:00:00Z"}]), "verb"),
    "a line of no task": (change("logs", [{"ts": "2026-01-31T12:00:00Z", "message": "x"}]), "task_exec_seq"),
    "a text whose nodes are elsewhere": (
        lambda document: (change("flow.source", "A")(document), change("tasks.0.task_seq", 2**30)(document)),
        "task_seq",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_document_that_cannot_be_is_refused_and_nothing_is_written(document: Document, name: str) -> None:
    damage, words = HOSTILE[name]
    damaged = deepcopy(document)
    damage(damaged)
    with pytest.raises(InvalidArchiveError, match=words) as caught:
        engine.restore(signed(damaged))
    assert len(str(caught.value)) < 3000
    assert not Flow.objects.exists()
    assert not Task.objects.exists()
    assert engine.restore(document).created


def test_a_changed_document_is_refused(document: Document) -> None:
    for path in ("flow.task_id", "flowerapp", "checksum"):
        damaged = deepcopy(document)
        change(path, "changed")(damaged)
        with pytest.raises(InvalidArchiveError, match="checksum"):
            engine.restore(damaged)
    with pytest.raises(InvalidArchiveError, match="checksum"):
        engine.restore({name: value for name, value in document.items() if name != "checksum"})


@pytest.mark.parametrize("text", ["", "[]", "1", "null", "{", '{"format": NaN}', "[" * 100_000, "\ud800", b"\xff"])
def test_what_is_no_document_is_refused(text: Any) -> None:
    raw = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    with pytest.raises(InvalidArchiveError):
        engine.restore(archives.loads(raw))


def test_infinity_is_refused(document: Document) -> None:
    text = json.dumps(document).replace('"version": 1', '"version": 1e999')
    with pytest.raises(InvalidArchiveError):
        engine.restore(archives.loads(text))


def test_limits_hold(document: Document, settings: Any) -> None:
    settings.FLOWER = {"MAX_TASKS": 1}
    with pytest.raises(InvalidArchiveError, match="MAX_TASKS"):
        engine.restore(document)
    settings.FLOWER = {"MAX_CHILDREN": 3}
    with pytest.raises(InvalidArchiveError, match="MAX_CHILDREN"):
        engine.restore(document)


def test_what_follows_from_the_statuses_is_not_taken_from_the_document(runner: InlineRunner) -> None:
    flow = engine.suspend(engine.register(define(CHAIN)).pk)
    document = engine.archive(flow.pk)
    remove(flow)
    for task in document["tasks"]:
        task["pending"] = 0
        task["sent_ts"] = "2026-01-31T12:00:00Z"
    document["flow"] |= {"admitted": False, "held": False, "exec_status": 1}
    del document["flow"]["suspended_ts"]
    restored = engine.restore(signed(document))
    check(restored)
    assert [task.pending for task in flow.tasks.order_by("task_exec_seq")] == [0, 1, 1]


@pytest.fixture(autouse=True)
def _workers() -> Iterator[None]:
    """How many children run at once does not depend on the machine."""
    yield
    Worker.objects.all().delete()
