"""Archives of flows: download one, and restore a flow from one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.http import FileResponse
from drf_spectacular.utils import OpenApiExample
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response

from flowerapp import conf, engine
from flowerapp.api import parsing
from flowerapp.api.base import ApiView, documented
from flowerapp.api.errors import RefusedError
from flowerapp.api.fields import ParametersField, StrictBooleanField, StrictSerializer, StrictTextField
from flowerapp.api.flow_serializers import FlowDetailSerializer
from flowerapp.api.flow_views import FLOW_ID
from flowerapp.api.parsing import JSON
from flowerapp.api.permissions import actor, name_of
from flowerapp.api.queries import OneOf, Query
from flowerapp.core import archives
from flowerapp.core.permissions import ADD_DEFINITION, ADD_FLOW, CHANGE_DEFINITION, is_user, may
from flowerapp.engine import archive_files
from flowerapp.engine.restore import programs_of
from flowerapp.models import Flow
from flowerapp.selectors.flows import get_flow

LONGEST_URI = 1024
DOCUMENT = {"type": "object", "description": "The archive, as docs/archive.md has it."}


class ArchiveQuerySerializer(Query):
    """What the archive holds."""

    secrets = OneOf(
        [archives.MASKED_SECRETS, archives.WHOLE_SECRETS],
        default=archives.MASKED_SECRETS,
        help_text="whole: with the values that are masked otherwise; it needs the right to change workflows.",
    )


class RestoreSerializer(StrictSerializer):
    """An archive, or where it is. The archive may also be the whole body."""

    archive = ParametersField(required=False, help_text="The archive.")
    uri = StrictTextField(
        bounds={"minLength": 1, "maxLength": LONGEST_URI},
        required=False,
        help_text="storage:ALIAS/PATH in the storage of RETENTION_ARCHIVE, or a path in its folder.",
    )
    replace = StrictBooleanField(default=False, help_text="Replace a flow of the same id that has ended.")


@documented(tags=["flows"], parameters=[FLOW_ID])
class ArchiveView(ApiView):
    """The archive of a flow."""

    query = ArchiveQuerySerializer

    @documented(responses={(200, JSON): DOCUMENT})
    def get(self, request: Request, flow_id: str) -> FileResponse:
        """Download a flow as one JSON document: workflow, tasks, values, history and log."""
        whole = self.wanted["secrets"] == archives.WHOLE_SECRETS
        if whole and not (is_user(request.user) and may(request.user, CHANGE_DEFINITION)):
            raise PermissionDenied(f"user {name_of(request.user)} lacks the permission {CHANGE_DEFINITION} for secrets")
        flow = get_flow(flow_id)
        spool = archive_files.spooled(flow.pk, with_secrets=whole)
        name = archive_files.file_name(flow.pk)
        return FileResponse(spool, as_attachment=True, filename=name, content_type=JSON)


def must_run(user: Any, document: Mapping[str, Any]) -> None:
    """Raise PermissionDenied if an archive names programs and the user may not say what runs, as in a workflow."""
    named = programs_of(document)
    if named and not (is_user(user) and may(user, ADD_DEFINITION)):
        raise PermissionDenied(
            f"the flow runs the program {named[0][:100]}, which needs the permission {ADD_DEFINITION}"
        )


def restored(request: Request, document: Any, *, replace: bool = False) -> Flow:
    """Restore a flow for a caller; raises PermissionDenied, or what the engine raises."""
    must_run(request.user, archives.as_object(document))
    return engine.restore(document, replace=replace, actor=actor(request))


def stored_archive(uri: str) -> dict[str, Any]:
    """The archive at a place in ``RETENTION_ARCHIVE``; raises InvalidError for any other place."""
    return archive_files.read_archive(archive_files.place_in_archive(uri), conf.get().MAX_ARCHIVE_BYTES)


@documented(tags=["flows"])
class RestoreView(ApiView):
    """Restore a flow."""

    serializer_class = RestoreSerializer
    permission = ADD_FLOW
    parser_classes = [parsing.ArchiveParser]
    most_bytes = "MAX_ARCHIVE_BYTES"

    @documented(
        request=RestoreSerializer,
        responses=FlowDetailSerializer,
        examples=[
            OpenApiExample("stored", {"uri": "storage:archive/etl/01a2.json", "replace": False}, request_only=True)
        ],
    )
    def post(self, request: Request) -> Response:
        """Restore a flow from its archive: it shows as it was, and what ran is held.

        The body is the archive itself, or an object with ``archive`` or ``uri``.
        """
        body = parsing.body(request)
        if isinstance(body, dict) and "format" in body:
            return self._answer(restored(request, body))
        wanted = self.valid(RestoreSerializer)
        if ("archive" in wanted) == ("uri" in wanted):
            raise RefusedError("give the archive itself, or either archive or uri")
        document = wanted["archive"] if "archive" in wanted else stored_archive(wanted["uri"])
        return self._answer(restored(request, document, replace=wanted["replace"]))

    def _answer(self, flow: Flow) -> Response:
        return Response(FlowDetailSerializer(flow).data)
