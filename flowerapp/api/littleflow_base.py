"""What littleflow's routes share: its shape of answers and errors, and a page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param

from flowerapp.api import errors
from flowerapp.api.base import ApiView
from flowerapp.api.queries import Query
from flowerapp.core import answers
from flowerapp.core.plan import LARGEST
from flowerapp.exceptions import StateConflictError
from flowerapp.models import Flow
from flowerapp.selectors.flows import get_flow

MOST_ROWS = 500
LONGEST_ID = 256


class StatusResponse(serializers.Serializer[Any]):
    """What came of a request."""

    status = serializers.ChoiceField(choices=["Success", "Error", "Unavailable"])
    message = serializers.CharField(required=False, help_text="A sentence; of an error, what is wrong.")
    workflow = serializers.CharField(required=False, help_text="The flow that it is about.")
    uri = serializers.CharField(required=False, help_text="Where an archive was stored.")


def success(**more: str) -> Response:
    """The answer to what was done."""
    return Response({"status": "Success", **more})


class PageQuery(Query):
    """Where a list begins, and how many rows it has."""

    next = serializers.IntegerField(default=0, min_value=0, max_value=LARGEST, help_text="Rows to leave out.")
    size = serializers.IntegerField(default=50, min_value=1, max_value=MOST_ROWS, help_text="Rows of the answer.")


class LittleflowView(ApiView):
    """A route of littleflow: what is wrong is 400 or 404, as its clients expect."""

    document = "littleflow"
    pagination_class = None
    conflict_status = status.HTTP_400_BAD_REQUEST
    failure = StatusResponse

    def get_exception_handler(self) -> Callable[..., Any]:
        """Errors in littleflow's shape."""
        return self._failed

    def _failed(self, error: Exception, context: dict[str, Any]) -> Response | None:
        response = errors.handle(error, context)
        if response is not None:
            busy = response.status_code == status.HTTP_503_SERVICE_UNAVAILABLE
            named = {"workflow": flow_id} if (flow_id := self.kwargs.get("flow_id", "")[:LONGEST_ID]) else {}
            message = errors.description(response.data)
            response.data = {"status": "Unavailable" if busy else "Error", "message": message, **named}
            if isinstance(error, StateConflictError):
                response.status_code = self.conflict_status
        return response

    def flow(self) -> Flow:
        """The flow that the address names; raises UnknownFlowError."""
        return get_flow(self.kwargs["flow_id"])

    def page(self, request: Request, read: Callable[[int, int], list[Any]]) -> Response:
        """A list with the link to its next page, if there may be one."""
        first, size = self.wanted["next"], self.wanted["size"]
        rows = read(first, size)
        rows = rows[: answers.fitting(rows)]
        response = Response(rows)
        if len(rows) == size:
            address = replace_query_param(request.build_absolute_uri(), "next", first + size)
            response["Link"] = f'<{address}>; rel="next"'
        return response
