"""The logs of flows and tasks."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample
from rest_framework import serializers
from rest_framework.request import Request

from flowerapp.api.base import documented
from flowerapp.api.flow_serializers import LogSerializer
from flowerapp.api.flow_views import FLOW_ID, SEQ, FlowListing, seq_of
from flowerapp.api.queries import OneOf, Query
from flowerapp.core import answers
from flowerapp.core.task_log import LEVELS
from flowerapp.models import Log
from flowerapp.selectors import task_logs
from flowerapp.selectors.tasks import get_task

LARGEST_ID = 2**63 - 1
LONGEST_SEARCH = 200
JSON, TEXT = "json", "text"


class LogQuerySerializer(Query):
    """Which lines, and in which form."""

    level = OneOf(list(LEVELS), required=False, help_text="The lowest level.")
    search = serializers.CharField(
        required=False, max_length=LONGEST_SEARCH, trim_whitespace=False, help_text="A part of the text, in any case."
    )
    after = serializers.IntegerField(
        required=False,
        min_value=0,
        max_value=LARGEST_ID,
        help_text="Only lines after that of this id. To follow a log, ask again with the id of the last line.",
    )

    def get_fields(self) -> dict[str, Any]:
        """``as`` is a word of Python, so it is added here."""
        form = OneOf([JSON, TEXT], default=JSON, help_text="text: a file of lines, 2 MiB at most.")
        return {**super().get_fields(), "as": form}


class LogListing(FlowListing):
    """A list of lines, or a file of them."""

    serializer_class = LogSerializer
    queryset = Log.objects.none()
    query = LogQuerySerializer
    cursor_ordering = ("id",)

    def get_queryset(self) -> Any:
        """The lines that the query's filters leave."""
        filters = {name: value for name, value in self.wanted.items() if name != "as"}
        return task_logs.lines(self.flow().pk, self.seq(), **filters)

    def seq(self) -> int | None:
        """The task's seq; None for all tasks."""
        return None

    def get(self, request: Request, *args: Any, **kwargs: Any) -> Any:
        """The lines, the oldest first."""
        return self.file() if self.wanted["as"] == TEXT else self.list(request, *args, **kwargs)

    def file(self) -> HttpResponse:
        """The lines as a file."""
        text = "".join(task_logs.as_text(self.get_queryset(), answers.MOST_BYTES))
        response = HttpResponse(text, content_type="text/plain; charset=utf-8")
        seq = self.seq()
        name = "flow" if seq is None else f"task-{seq}"
        response["Content-Disposition"] = f'attachment; filename="{name}.log"'
        response["X-Content-Type-Options"] = "nosniff"
        return response


_DOCUMENTED: dict[str, Any] = {
    "responses": {(200, "application/json"): LogSerializer(many=True), (200, "text/plain"): OpenApiTypes.STR},
    "examples": [
        OpenApiExample(
            "A line",
            value={
                "id": 4711,
                "ts": "2026-11-29T12:00:00.123456Z",
                "task_exec_seq": 2,
                "attempt": 1,
                "level": "INFO",
                "source": "shop.orders",
                "message": "3 orders read",
            },
            response_only=True,
            media_type="application/json",
        )
    ],
}


@documented(tags=["flows"], parameters=[FLOW_ID])
class FlowLogView(LogListing):
    """What the programs of a flow log, print, or say with ``ctx.log``."""

    @documented(summary="Read the log of a flow", **_DOCUMENTED)
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Any:
        """The lines of all tasks, the oldest first."""
        return super().get(request, *args, **kwargs)


@documented(tags=["tasks"], parameters=[FLOW_ID, SEQ])
class TaskLogView(LogListing):
    """What the program of a task logs, prints, or says with ``ctx.log``, in all its attempts."""

    def seq(self) -> int:
        """That of the address; raises UnknownTaskError."""
        return self._seq

    @cached_property
    def _seq(self) -> int:
        flow_id = self.kwargs["flow_id"]
        return get_task(flow_id, seq_of(flow_id, self.kwargs["seq"])).task_exec_seq

    @documented(summary="Read the log of a task", **_DOCUMENTED)
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Any:
        """The lines of the task, the oldest first."""
        return super().get(request, *args, **kwargs)
