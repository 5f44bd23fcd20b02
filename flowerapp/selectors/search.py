"""Searches of the lists of flows and tasks: any part of a text among the newest rows, an index among all others.

So the time of a search does not grow with the history. Errors are compared as people see them, masked: a search must
not find out, letter by letter, what a mask hides.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from operator import or_
from typing import Any

from django.db.models import Q

from flowerapp.models import Task, TaskDefinition
from flowerapp.selectors.flow_ids import possible_ids
from flowerapp.selectors.flows import first_failures, shown_flows
from flowerapp.states import Status

MOST_SEARCHED = 2000
"""Newest rows, of those that the list's filters leave, whose texts are compared."""
MOST_ERRORS = 500
"""Newest failed ones among them whose errors are read."""
MOST_NAMES = 200
"""Workflows whose flows a search finds by a part of their names."""
MOST_FLOWS = 10
"""Flows whose tasks a search finds."""


def search_flows(flows: Any, term: str) -> Any:
    """The flows of a list that match: by any part of the id, the idempotency key, the workflow's name or the error.

    All flows are found by the start of the id, by an id as lists shorten it (``01a227c7…590919``), and by workflow.
    """
    newest = list(flows.order_by("-registered_ts", "-task_flow_id").only(*_FLOW_COLUMNS)[:MOST_SEARCHED])
    matches = {flow.pk for flow in newest if _holds(term, flow.pk, flow.idempotency_key)}
    failed = [flow for flow in newest if flow.failed_seq is not None][:MOST_ERRORS]
    matches |= {flow_id for flow_id, task in first_failures(failed).items() if _holds(term, task.error)}
    return flows.filter(_by_id(term) | Q(task_id__in=_workflows(term)) | Q(pk__in=matches))


def search_tasks(tasks: Any, term: str) -> Any:
    """The tasks of a list that match: by any part of the flow's id, the step's name, the program or the error.

    All tasks of a flow are found by its id, its start, or as lists shorten it, those of at most ``MOST_FLOWS`` flows.
    """
    columns = ("pk", "exec_status", "task_flow_id", "name", "alias", "remote", "program")
    newest = list(tasks.order_by("-id").values_list(*columns)[:MOST_SEARCHED])
    matches = {pk for pk, _, *texts in newest if _holds(term, *texts)}
    failed = [pk for pk, status, *_ in newest if status == Status.SUSPEND][:MOST_ERRORS]
    errors = _errors(tasks, failed)
    matches |= {task.pk for task in errors if _holds(term, task.error)}
    flows = shown_flows().filter(_by_id(term)).order_by().values_list("pk", flat=True)[:MOST_FLOWS]
    return tasks.filter(_of_flows(tasks, list(flows)) | Q(pk__in=matches))


def _of_flows(tasks: Any, flows: list[str]) -> Q:
    """The tasks of these flows, all of a single one; by primary key, else PostgreSQL may walk through all tasks."""
    if len(flows) <= 1:
        return Q(task_flow_id__in=flows)
    return Q(pk__in=list(tasks.filter(task_flow_id__in=flows).order_by().values_list("pk", flat=True)[:MOST_SEARCHED]))


_FLOW_COLUMNS = ("task_flow_id", "idempotency_key", "failed_seq")


def _errors(tasks: Any, pks: Iterable[int]) -> Iterable[Task]:
    """Those tasks with their errors as people see them."""
    failed: Iterable[Task] = tasks.filter(pk__in=pks).select_related(None).only("task_flow_id", "error")
    return failed


def _holds(term: str, *texts: str | None) -> bool:
    """Whether one of the texts has the term as a part; upper and lower case are the same."""
    return any(term.casefold() in text.casefold() for text in texts if text)


def _by_id(term: str) -> Q:
    """By the start of a flow's id, or by the two ends that a list shows of it; the index of the ids finds both."""
    return reduce(or_, map(_beginning, possible_ids(term)))


def _beginning(term: str) -> Q:
    start, dots, end = term.partition("…")
    return Q(task_flow_id__startswith=start, task_flow_id__endswith=end) if dots else Q(task_flow_id__startswith=term)


def _workflows(term: str) -> list[str]:
    """Names of workflows with the term as a part, which are far fewer than the flows, and the term itself."""
    names = TaskDefinition.objects.filter(task_id__icontains=term).order_by("task_id").values("task_id").distinct()
    return [*(row["task_id"] for row in names[:MOST_NAMES]), term]
