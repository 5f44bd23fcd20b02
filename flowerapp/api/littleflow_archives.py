"""littleflow's routes of archives: download one, store one, restore a flow from one."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse, HttpResponseBase
from drf_spectacular.utils import OpenApiExample
from rest_framework import serializers
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response

from flowerapp import engine
from flowerapp.api import bounds, littleflow_graphs, loopback, parsing
from flowerapp.api.archive_views import DOCUMENT, LONGEST_URI, restored, stored_archive
from flowerapp.api.base import Json, documented
from flowerapp.api.errors import RefusedError
from flowerapp.api.fields import StrictSerializer, StrictTextField
from flowerapp.api.flow_views import FLOW_ID
from flowerapp.api.littleflow_base import LONGEST_ID, LittleflowView, StatusResponse, success
from flowerapp.api.parsing import JSON
from flowerapp.api.queries import Query
from flowerapp.core import answers, archives
from flowerapp.core.permissions import ADD_FLOW, OPERATE
from flowerapp.engine import archive_files
from flowerapp.models import Flow
from flowerapp.selectors import arrow_documents, arrow_flows
from flowerapp.selectors.archives import number_of_tasks
from flowerapp.selectors.flow_ids import PREFIX
from flowerapp.workflows import littleflow_archives

OURS = "flowerapp"
"""Key of the whole archive beside littleflow's vectors, which have no outputs."""
MOST_TASKS = 5_000
"""Tasks of a flow whose whole archive is beside them."""


class StoreSerializer(StrictSerializer):
    """Where to store an archive."""

    uri = StrictTextField(
        bounds={"minLength": 1, "maxLength": LONGEST_URI}, required=False, help_text="s3://ALIAS/PATH"
    )
    bucket = StrictTextField(bounds=bounds.NAME, required=False, help_text="ALIAS; the path is WORKFLOW/ID.json.")


class RestoreQuery(Query):
    """From where, and as what."""

    uri = serializers.CharField(required=False, max_length=LONGEST_URI, help_text="Where the archive is.")
    workflow = serializers.CharField(required=False, max_length=LONGEST_ID, help_text="Id of the restored flow.")


class UriSerializer(StrictSerializer):
    """Where the archive is; the archive itself may be the body instead."""

    uri = StrictTextField(bounds={"minLength": 1, "maxLength": LONGEST_URI}, help_text="s3://ALIAS/PATH")


def archive_of(flow: Flow) -> dict[str, Any]:
    """Compiled form and traces, and the whole archive beside them if it fits; raises RefusedError if they do not."""
    nodes = arrow_flows.nodes_of(flow)
    traces = {vector: arrow_documents.trace(nodes, vector) for vector in arrow_documents.VECTORS}
    if not all(trace.complete for trace in traces.values()):
        raise RefusedError(f"the trace of flow {flow.pk} is too large for littleflow's archive; take /api/flows/")
    document = littleflow_graphs.compiled_form(flow) | {vector: trace.rows for vector, trace in traces.items()}
    if number_of_tasks(flow.pk) <= MOST_TASKS:
        whole = engine.archive(flow.pk)
        if answers.size_of(whole) + answers.size_of(document) <= answers.MOST_BYTES:
            return document | {OURS: whole}
    return document


@documented(tags=["littleflow"], parameters=[FLOW_ID])
class ArchiveView(LittleflowView):
    """The archive of a flow."""

    permissions = {"POST": OPERATE}

    @documented(operation_id="archive", responses={(200, JSON): DOCUMENT})
    def get(self, request: Request, flow_id: str) -> HttpResponseBase:
        """Download compiled form and traces; ``flowerapp`` is the archive with outputs, if it is small enough."""
        flow = self.flow()
        response = HttpResponse(Json().render(archive_of(flow)), content_type=JSON)
        response.headers["Content-Disposition"] = f'attachment; filename="{_file_name(flow.pk)}"'
        return response

    @documented(
        operation_id="archive_store",
        request=StoreSerializer,
        responses={200: StatusResponse},
        examples=[OpenApiExample("by address", {"uri": "s3://archive/etl/flow.json"}, request_only=True)],
    )
    def post(self, request: Request, flow_id: str) -> Response:
        """Store the whole archive in the storage of RETENTION_ARCHIVE."""
        flow, wanted = self.flow(), self.valid(StoreSerializer)
        if ("uri" in wanted) == ("bucket" in wanted):
            raise RefusedError("give uri or bucket")
        place = archive_files.place_in_archive(wanted.get("uri") or _default_uri(flow, wanted["bucket"]))
        archive_files.must_be_free(place, flow.pk)
        stored = engine.archive_to(flow.pk, place)
        response = success(message=f"Workflow {flow.pk} is archived", workflow=flow.pk, uri=stored.place)
        response["Location"] = stored.place
        return response


def _default_uri(flow: Flow, bucket: str) -> str:
    return f"{archive_files.STORAGE}{bucket}/{archive_files.default_name(flow)}"


def _file_name(flow_id: str) -> str:
    return archive_files.file_name(flow_id)


@documented(tags=["littleflow"])
class RestoreView(LittleflowView):
    """Restore a flow."""

    http_method_names = ["get", "post", "options"]
    permission = ADD_FLOW
    opens_reading = False
    query = RestoreQuery
    writes_by_query = True
    parser_classes = [parsing.ArchiveParser]
    most_bytes = "MAX_ARCHIVE_BYTES"
    names_in_body = True

    @documented(operation_id="restore", responses={200: StatusResponse})
    def get(self, request: Request) -> Response:
        """The same as POST with a uri, for clients that send a token: another site's page could send a session."""
        if why := loopback.foreign(request._request):
            raise PermissionDenied(why)
        if "HTTP_AUTHORIZATION" not in request.META:
            raise PermissionDenied("GET restores only with the header Authorization; with a session send POST")
        if "uri" not in self.wanted:
            raise RefusedError("give uri, or POST the archive")
        return self._restore(request, stored_archive(self.wanted["uri"]))

    @documented(
        operation_id="restore_post",
        request={JSON: UriSerializer},
        responses={200: StatusResponse},
        parameters=[RestoreQuery],
        examples=[OpenApiExample("by address", {"uri": "s3://archive/etl/flow.json"}, request_only=True)],
    )
    def post(self, request: Request) -> Response:
        """Restore the flow of an archive, littleflow's or flowerapp's; the body is the archive, or says where it is."""
        body = parsing.body(request)
        uri = self.wanted.get("uri")
        if uri is None and isinstance(body, dict) and set(body) == {"uri"}:
            uri = self.valid(UriSerializer)["uri"]
        return self._restore(request, body if uri is None else stored_archive(uri))

    def _restore(self, request: Request, body: Any) -> Response:
        document = archives.as_object(body)
        flow_id = self.wanted.get("workflow", "").removeprefix(PREFIX)
        flow = restored(request, _ours(document, flow_id))
        return success(message=f"Workflow {flow.pk} is restored", workflow=flow.pk)


def _ours(document: dict[str, Any], flow_id: str) -> dict[str, Any]:
    """The archive as one of ours, under the id that is wanted."""
    whole = document if "format" in document else document.get(OURS)
    if whole is None:
        return littleflow_archives.converted(document, flow_id)
    return littleflow_archives.with_id(archives.as_object(whole), flow_id) if flow_id else archives.as_object(whole)
