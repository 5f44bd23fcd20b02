"""Write a flow as one JSON document, read in one consistent look."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any

from flowerapp import __version__
from flowerapp.core import archives
from flowerapp.engine import readiness
from flowerapp.exceptions import StateConflictError, UnknownFlowError
from flowerapp.querysets import clock
from flowerapp.querysets.db import atomic, one_look
from flowerapp.selectors.archives import Reader, lacks_values, not_adopted, number_of_tasks
from flowerapp.selectors.flows import get_flow

WATCH_SECONDS = 2.0
"""Seconds between two reports of how far a long archive is."""

Watch = Callable[[int, int], None]
"""Called with the number of tasks that are written, and of all."""


def archive(flow_id: str, *, with_secrets: bool = False) -> dict[str, Any]:
    """A flow as a document that ``restore`` takes: its workflow, tasks, values, history and log lines.

    Secrets are masked as people see them, unless ``with_secrets``; only that lets all of the flow be run anew. A flow
    that runs is archived as it is now, in one consistent look. Raises UnknownFlowError, StateConflictError.
    """
    with _looking(flow_id):
        document: dict[str, Any] = json.loads("".join(archives.pieces(_parts(flow_id, with_secrets=with_secrets))))
    return document


def write(flow_id: str, stream: IO[bytes], *, with_secrets: bool = False, watch: Watch | None = None) -> None:
    """Write the document to a stream, a page of tasks at a time; ``watch`` is called every two seconds.

    Raises as ``archive`` does. A stream that is slow keeps the transaction open: give a file.
    """
    with _looking(flow_id):
        for piece in archives.pieces(_parts(flow_id, with_secrets=with_secrets, watch=watch)):
            stream.write(piece.encode("utf-8", "surrogatepass"))


@contextmanager
def _looking(flow_id: str) -> Iterator[None]:
    """A transaction that sees one state of the flow: by a snapshot, or else by locks."""
    get_flow(flow_id)
    with atomic():
        if not one_look():
            readiness.lock(flow_id)
        if not_adopted(flow_id):
            raise StateConflictError(
                f"flow {flow_id} has tasks of another system that are not adopted; archive it once they are"
            )
        yield


def _parts(flow_id: str, *, with_secrets: bool, watch: Watch | None = None) -> Mapping[str, Any]:
    reader = Reader(flow_id, with_secrets=with_secrets)
    flow = reader.flow()
    if flow is None:
        raise UnknownFlowError(f"there is no flow {flow_id!r}")
    tasks = reader.tasks()
    is_whole = with_secrets and not lacks_values(flow_id)
    return {
        "format": archives.FORMAT,
        "version": archives.VERSION,
        "flowerapp": __version__,
        "archived_ts": clock.now(),
        "secrets": archives.WHOLE_SECRETS if is_whole else archives.MASKED_SECRETS,
        "flow": flow,
        "tasks": tasks if watch is None else _watched(tasks, number_of_tasks(flow_id), watch),
        "history": reader.history(),
        "logs": reader.logs(),
        "workflow": None if flow.get("source") else reader.workflow(flow["task_id"]),
    }


def _watched(tasks: Iterator[Any], total: int, watch: Watch) -> Iterator[Any]:
    last = time.monotonic()
    for number, task in enumerate(tasks, start=1):
        yield task
        if time.monotonic() - last > WATCH_SECONDS:
            last = time.monotonic()
            watch(number, total)
