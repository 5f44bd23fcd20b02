"""The front door for rows: a workflow as a JSON document, whose steps are rows of ``ms_task_definition``.

The document has the shape of ``/api/workflows/{task_id}/``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flowerapp import engine
from flowerapp.core.caching import CacheScope
from flowerapp.core.plan import Plan
from flowerapp.exceptions import UnknownWorkflowError
from flowerapp.models import TaskDefinition, Workflow
from flowerapp.querysets.definitions import HEADER
from flowerapp.selectors.workflows import shown_match, steps

Document = dict[str, Any]

_OPTIONS = ("max_retries", "retry_delay", "time_limit", "max_concurrency", "cache_seconds")


def store(document: Mapping[str, Any], *, new: bool = False) -> Plan:
    """Check a workflow's document and replace the stored rows with its steps, in one transaction; returns the plan.

    A value ``••••``, as the API shows a secret, keeps the one that the step has stored. ``new`` refuses a workflow that
    exists. Raises InvalidPlanError, and StateConflictError for a refused workflow.
    """
    rows = [row(document["task_id"], step) for step in document["tasks"]]
    header = {name: document[name] for name in HEADER if document.get(name) is not None}
    return engine.define(document["task_id"], rows, header, new=new)


def known(task_id: str) -> None:
    """Raise UnknownWorkflowError unless the workflow has rows or an ``ms_workflow`` row."""
    stored = TaskDefinition.objects.filter(task_id=task_id), Workflow.objects.filter(pk=task_id)
    if not any(rows.exists() for rows in stored):
        raise UnknownWorkflowError(f"there is no workflow {task_id!r}")


def document(task_id: str) -> Document:
    """A stored workflow as a document that ``store`` accepts, with secrets masked; raises UnknownWorkflowError."""
    known(task_id)
    header = Workflow.objects.filter(pk=task_id).first() or Workflow(task_id=task_id)
    tasks = [_step(row) for row in steps(task_id)]
    return {
        "task_id": task_id,
        **{name: getattr(header, name) for name in HEADER},
        "start_match": shown_match(header),
        "source": header.source,
        "tasks": tasks,
    }


def _step(row: TaskDefinition) -> Document:
    return {
        "task_seq": row.task_seq,
        "name": row.name,
        "program": row.program,
        "task_priority": row.task_priority,
        "parameters": row.all_parameters,
        "required_at_register": row.required_at_register,
        "overridable": row.overridable,
        "depends_on": row.depends_on,
        "queue": row.queue or None,
        "pool": row.pool or None,
        **{name: getattr(row, name) for name in _OPTIONS},
        "merge": row.merge,
        "when": row.when,
        "cache_key": row.cache_key,
        "cache_scope": row.cache_scope,
        "child_program": row.child_program or None,
        "exit_on_failed": row.exit_on_failed,
    }


def row(task_id: str, step: Mapping[str, Any]) -> TaskDefinition:
    """A step of a document as an unsaved row."""
    row = TaskDefinition(
        task_id=task_id,
        task_seq=step["task_seq"],
        program=step["program"],
        task_priority=step.get("task_priority") or 0,
        required_at_register=list(step.get("required_at_register") or ()),
        overridable=list(step.get("overridable") or ()),
        depends_on=step.get("depends_on"),
        queue=step.get("queue") or "",
        name=step.get("name") or "",
        merge=bool(step.get("merge")),
        when=step.get("when") or "",
        cache_key=step.get("cache_key") or "",
        cache_scope=step.get("cache_scope") or CacheScope.WORKFLOW.value,
        pool=step.get("pool") or "",
        child_program=step.get("child_program") or "",
        exit_on_failed=bool(step.get("exit_on_failed", True)),
        **{name: step.get(name) for name in _OPTIONS},
    )
    row.set_parameters(step.get("parameters") or {})
    return row
