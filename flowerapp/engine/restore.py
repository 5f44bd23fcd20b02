"""Restore a flow from its archive: as it was, but that nothing of it runs until a person lets it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from django.db import IntegrityError

from flowerapp.core import archives, logs, masking, programs
from flowerapp.core.archive_parts import OPTIONAL_VALUES, Archive, FlowPart, TaskPart
from flowerapp.core.gates import OURS, REMOTE
from flowerapp.core.masking import Secrets
from flowerapp.core.unmasking import holds_mask
from flowerapp.core.values import brief
from flowerapp.engine import readiness
from flowerapp.engine.archive import archive as archived
from flowerapp.engine.readiness import by_seq, recompute
from flowerapp.exceptions import InvalidArchiveError, StateConflictError, UnknownFlowError
from flowerapp.models import Flow, HistoryEntry, Log, Task
from flowerapp.querysets import clock
from flowerapp.querysets.db import atomic
from flowerapp.querysets.history import LONGEST_DETAILS
from flowerapp.querysets.restored import optional_values
from flowerapp.selectors.status_style import flow_style
from flowerapp.states import ACTIVE, Status

logger = logs.logger(__name__)

MOST_NAMED = 10
"""Programs that an error names."""


def restore(document: Mapping[str, Any], *, replace: bool = False, actor: str = "") -> Flow:
    """Write the flow of an archive, as ``archive`` made it, here or in another installation; the flow.

    It shows as it was. One that was running is held, and so is one whose secrets are masked: ``resume`` and ``rerun``
    say what to set first. Where the flow is there and equal, it is returned, with ``created`` false; ``replace`` puts
    the archive in the place of one that has ended and differs. Raises InvalidArchiveError for what is wrong with the
    document, and StateConflictError; then nothing is written.
    """
    archive = archives.read(document)
    _must_know_programs(archive)
    try:
        return _restore(document, archive, replace=replace, actor=actor)
    except IntegrityError:  # another call has restored it meanwhile
        return _restore(document, archive, replace=replace, actor=actor)


@atomic()
def _restore(document: Mapping[str, Any], archive: Archive, *, replace: bool, actor: str) -> Flow:
    flow_id = archive.flow.task_flow_id
    if present := _present(flow_id):
        if _is_equal(document, flow_id):
            return present
        _must_be_replaceable(present, replace=replace)
        present.delete()
    elif Task.objects.filter(task_flow_id=flow_id).exists():
        raise StateConflictError(f"there are tasks of a flow {flow_id} of another system; delete them first")
    flow, tasks = _rows(archive)
    secrets = masking.secrets_of(archive.flow.input, archive.flow.state)
    Flow.objects.restore(flow, tasks, _history(archive, secrets), _logs(archive, secrets))
    flow.refresh_from_db()
    flow.created = True
    logger.info("flow %s is restored by %s from an archive of %s", flow_id, actor or "-", archive.archived_ts)
    return flow


def _present(flow_id: str) -> Flow | None:
    """The flow of that id, all its rows locked; None if there is none."""
    try:
        return readiness.lock(flow_id).flow
    except UnknownFlowError:
        return None


def _is_equal(document: Mapping[str, Any], flow_id: str) -> bool:
    whole = document["secrets"] == archives.WHOLE_SECRETS
    try:
        return archives.content(archived(flow_id, with_secrets=whole)) == archives.content(document)
    except StateConflictError:
        return False


def _must_be_replaceable(present: Flow, *, replace: bool) -> None:
    if not replace:
        raise StateConflictError(
            f"flow {present.pk} is there already and differs from the archive; delete it, or restore with replace"
        )
    if not present.ended:
        raise StateConflictError(f"flow {present.pk} is {flow_style(present).word}; cancel it before it is replaced")


def _must_know_programs(archive: Archive) -> None:
    names = {name for task in archive.tasks for name in (task.program, task.child_program) if name}
    unknown = sorted(name for name in names - {REMOTE} if programs.find(name) is None)
    if unknown:
        listed = ", ".join(unknown[:MOST_NAMED]) + (" …" if len(unknown) > MOST_NAMED else "")
        raise InvalidArchiveError(f"the flow runs programs that are not registered here: {listed}; register them first")


def programs_of(document: Mapping[str, Any]) -> list[str]:
    """Names of the programs that an archive runs, sorted, whatever else is wrong with it; not those of the engine."""
    tasks = document.get("tasks")
    rows = [task for task in tasks if isinstance(task, dict)] if isinstance(tasks, list) else []
    names = [row.get(key) for row in rows for key in ("program", "child_program")]
    return sorted({name for name in names if isinstance(name, str) and name} - OURS)


# Rows


def _rows(archive: Archive) -> tuple[Flow, list[Task]]:
    """The flow and its tasks, unsaved: what follows from the statuses is computed, and not taken from the document."""
    secrets = masking.secrets_of(archive.flow.input, archive.flow.state)
    tasks = [_task(part, archive.flow, secrets) for part in sorted(archive.tasks, key=lambda part: part.task_exec_seq)]
    flow = Flow(**_columns(archive.flow, FlowPart), restored_ts=clock.now(), masked=_is_masked(archive))
    flow.open_sinks = recompute(by_seq(tasks))
    if flow.ended:
        flow.held, flow.failed_seq, flow.open_sinks = False, None, 0
    else:
        _hold(flow, tasks)
    return flow, tasks


def _columns(part: Any, kind: Any) -> dict[str, Any]:
    return {name: getattr(part, name) for name in kind.model_fields}


def _hold(flow: Flow, tasks: Iterable[Task]) -> None:
    """An open flow is Suspend; held, unless it failed and nothing of it could run."""
    could_run = any(task.status is Status.WAIT and not task.pending for task in tasks)
    was_going = flow.status is not Status.SUSPEND
    flow.held = flow.held or was_going or could_run or flow.masked
    flow.exec_status = Status.SUSPEND
    flow.admitted = not flow.limited
    if was_going or flow.suspended_ts is None:
        flow.suspended_ts = clock.now()


def _is_masked(archive: Archive) -> bool:
    """Whether values of the flow are masks."""
    held: list[Any] = [archive.flow.input, *(task.parameters for task in archive.tasks)]
    if archive.secrets == archives.MASKED_SECRETS:
        held += [archive.flow.state, *([task.item, task.output] for task in archive.tasks)]
    return any(map(holds_mask, held))


def _task(part: TaskPart, flow: FlowPart, of_flow: Secrets) -> Task:
    columns = _columns(part, TaskPart)
    values = {name: columns.pop(name) for name in OPTIONAL_VALUES if name in part.model_fields_set}
    columns = {name: value for name, value in columns.items() if name not in OPTIONAL_VALUES}
    task = Task(task_flow_id=flow.task_flow_id, task_id=flow.task_id, **columns, **optional_values(values))
    _record_masked(task, part, of_flow)
    if part.status in ACTIVE:
        _wait(task)
    elif not (part.program or part.remote):
        task.observed_status = task.exec_status
    return task


def _record_masked(task: Task, part: TaskPart, of_flow: Secrets) -> None:
    """No secret of the task is stored where none ever is."""
    if part.error or part.traceback or part.progress:
        secrets = of_flow | masking.secrets_of(part.parameters, part.item)
        task.error = masking.masked(part.error, secrets)
        task.traceback = masking.masked(part.traceback, secrets)
        task.progress = masking.masked(part.progress, secrets)


def _wait(task: Task) -> None:
    """The task waits for a message that is not sent yet; one that ran is started anew, and a wait begins anew."""
    ran = task.status is Status.RUNNING or task.is_wait or bool(task.awaits_output)
    if task.is_wait:
        task.started_ts = None
    task.awaits_output = ""
    if ran:
        task.exec_status, task.progress, task.due_ts = Status.WAIT, None, None
    task.sent_ts = None
    task.parked = task.is_gate or bool(task.children) or (task.parked and not ran)
    task.admitted = bool(task.program) and not task.pool


def _history(archive: Archive, secrets: Secrets) -> Iterator[Any]:
    for entry in archive.history:
        columns = _columns(entry, type(entry))
        columns["reason"] = masking.masked(entry.reason, secrets)
        columns["details"] = brief(masking.masked(entry.details, secrets), LONGEST_DETAILS)
        yield HistoryEntry(task_flow_id=archive.flow.task_flow_id, **columns)


def _logs(archive: Archive, secrets: Secrets) -> Iterator[Any]:
    for line in archive.logs:
        columns = _columns(line, type(line)) | {"message": masking.masked(line.message, secrets)}
        yield Log(task_flow_id=archive.flow.task_flow_id, **columns)
