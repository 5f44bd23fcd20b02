"""``/api/``: the routes to begin with."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from flowerapp.api.approval_views import ApprovalListView
from flowerapp.api.archive_views import RestoreView
from flowerapp.api.base import ApiView, documented
from flowerapp.api.cache_views import CacheListView, ForgetView
from flowerapp.api.event_views import EventListView
from flowerapp.api.flow_views import FlowListView
from flowerapp.api.latch_views import LatchListView
from flowerapp.api.permissions import opens
from flowerapp.api.pool_views import PoolListView
from flowerapp.api.register_views import RegisterView
from flowerapp.api.remote_views import ClaimView, EndView, HeartbeatView
from flowerapp.api.schema_views import DocsView, SchemaView, has_page
from flowerapp.api.system_views import LiveView, ProgramListView, QueueListView, ReadyView, WorkerListView
from flowerapp.api.workflow_views import WorkflowListView
from flowerapp.core.permissions import is_user, may

ROUTES: dict[str, tuple[str, Any, str]] = {
    "register": ("register", RegisterView, "POST"),
    "workflows": ("api/workflows/", WorkflowListView, "GET"),
    "flows": ("api/flows/", FlowListView, "GET"),
    "events": ("api/events/", EventListView, "GET"),
    "latches": ("api/latches/", LatchListView, "GET"),
    "approvals": ("api/approvals/", ApprovalListView, "GET"),
    "flow-restore": ("api/flows/restore/", RestoreView, "POST"),
    "remote-claim": ("api/remote/claim/", ClaimView, "POST"),
    "remote-heartbeat": ("api/remote/heartbeat/", HeartbeatView, "POST"),
    "remote-end": ("api/remote/end/", EndView, "POST"),
    "pools": ("api/pools/", PoolListView, "GET"),
    "cache": ("api/cache/", CacheListView, "GET"),
    "cache-forget": ("api/cache/forget/", ForgetView, "POST"),
    "programs": ("api/programs/", ProgramListView, "GET"),
    "queues": ("api/queues/", QueueListView, "GET"),
    "workers": ("api/workers/", WorkerListView, "GET"),
    "schema": ("api/schema/", SchemaView, "GET"),
    "docs": ("api/docs/", DocsView, "GET"),
    "livez": ("livez", LiveView, "GET"),
    "readyz": ("readyz", ReadyView, "GET"),
}
"""Name → path from where flowerapp's routes begin, view, and the method that a caller must be allowed."""


@documented(tags=["system"])
class RootView(ApiView):
    """The routes to begin with, those that the caller may use."""

    serializer_class = serializers.Serializer

    @documented(
        operation_id="root",
        responses={(200, "application/json"): {"type": "object", "additionalProperties": {"type": "string"}}},
    )
    def get(self, request: Request) -> Response:
        """List the routes to begin with: name and address of each that the caller may use."""
        beginning = request.path.rstrip("/").removesuffix("api")
        return Response(
            {
                name: request.build_absolute_uri(beginning + path)
                for name, (path, view, method) in ROUTES.items()
                if _is_there(name) and _may(request, view(), method)
            }
        )


def _is_there(name: str) -> bool:
    return name != "docs" or has_page()


def _may(request: Request, view: Any, method: str) -> bool:
    """Whether the caller may call a view by a method."""
    if not getattr(view, "needs_login", True):
        return True
    permitted = is_user(request.user) and may(request.user, view.permission_of(method))
    return permitted or opens(request, view, method)
