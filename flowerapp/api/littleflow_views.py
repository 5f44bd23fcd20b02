"""littleflow's routes that read flows, and those that terminate, restart and delete one."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse, HttpResponseBase
from drf_spectacular.utils import OpenApiExample
from rest_framework import serializers
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response

from flowerapp import __version__, engine
from flowerapp.api import bounds, littleflow_graphs, loopback
from flowerapp.api.base import documented
from flowerapp.api.errors import RefusedError
from flowerapp.api.examples import FLOW
from flowerapp.api.fields import StrictSerializer, StrictTextField
from flowerapp.api.flow_views import FLOW_ID
from flowerapp.api.littleflow_base import LittleflowView, PageQuery, StatusResponse, success
from flowerapp.api.parsing import JSON
from flowerapp.api.permissions import actor, name_of
from flowerapp.api.queries import OneOf, Query
from flowerapp.core.permissions import DELETE_FLOW, OPERATE, may
from flowerapp.engine import MayOverride
from flowerapp.models import Flow
from flowerapp.selectors import arrow_documents, arrow_flows
from flowerapp.selectors.arrow_flows import State
from flowerapp.selectors.flow_ids import id_of
from flowerapp.selectors.flows import get_flow

VERSIONS = {"flowerapp": f"v{__version__}", "littleflow": "v0.13.0", "littleflow_redis": "v0.10.0"}
"""Ours, and those of littleflow whose language and routes ours are."""
STATES = [state.value for state in State]
IDS = {"type": "array", "items": {"type": "string"}}
CHANGES = {"type": "array", "items": {"type": "array", "items": {}, "minItems": 2, "maxItems": 2}}
"""``[[time, vector], …]``."""


class RowSerializer(serializers.Serializer[Any]):
    """A flow in the list."""

    id = serializers.CharField()
    state = serializers.ChoiceField(choices=STATES)


class VersionsSerializer(serializers.Serializer[Any]):
    """Versions by name."""

    flowerapp = serializers.CharField()
    littleflow = serializers.CharField(help_text="The version whose language this one has.")
    littleflow_redis = serializers.CharField(help_text="The version whose routes these are.")


class FormSerializer(serializers.Serializer[Any]):
    """A compiled flow."""

    F = serializers.ListField(
        child=serializers.ListField(child=serializers.IntegerField()), help_text="1 in row i, column j: j follows i."
    )
    T = serializers.ListField(child=serializers.ListField(), help_text="Class and fields of each node.")


class StateSerializer(serializers.Serializer[Any]):
    """State of a flow, and of its nodes by index."""

    state = serializers.ChoiceField(choices=STATES)
    S = serializers.ListField(child=serializers.IntegerField(), help_text="1: it runs, or failed.")
    A = serializers.ListField(child=serializers.IntegerField(), help_text="Nodes before it that have ended for it.")
    failures = serializers.ListField(child=serializers.IntegerField(), required=False, help_text="1: it failed.")
    output = serializers.ListField(help_text="Outputs; null where there is none.")


class OrientationQuery(Query):
    """How to draw the graph."""

    orientation = OneOf(["horizontal", "vertical"], default="horizontal")


class TerminateSerializer(StrictSerializer):
    """The flow to terminate."""

    workflow = StrictTextField(bounds=bounds.ID, help_text="Its id.")


@documented(tags=["littleflow"])
class VersionsView(LittleflowView):
    """Versions."""

    @documented(operation_id="versions", responses=VersionsSerializer)
    def get(self, request: Request) -> Response:
        """Versions of flowerapp, and of littleflow whose routes these are."""
        return Response(VERSIONS)


@documented(tags=["littleflow"])
class ListView(LittleflowView):
    """Flows, the newest first."""

    query = PageQuery

    @documented(operation_id="workflows", responses=RowSerializer(many=True))
    def get(self, request: Request) -> Response:
        """Flows with their states, the newest first; the header Link leads to the next page."""
        return self.page(request, _rows)


def _rows(first: int, size: int) -> list[dict[str, str]]:
    return [{"id": flow_id, "state": state.value} for flow_id, state in arrow_flows.newest(first, size)]


@documented(tags=["littleflow"])
class InProgressView(LittleflowView):
    """Flows that run."""

    query = PageQuery

    @documented(operation_id="inprogress", responses={(200, JSON): IDS})
    def get(self, request: Request) -> Response:
        """Ids of the flows that run, the newest first; the header Link leads to the next page."""
        return self.page(request, arrow_flows.in_progress)


@documented(tags=["littleflow"], parameters=[FLOW_ID])
class WorkflowView(LittleflowView):
    """One flow."""

    permissions = {"DELETE": OPERATE}

    @documented(operation_id="workflow", responses=FormSerializer)
    def get(self, request: Request, flow_id: str) -> Response:
        """Its compiled form."""
        return Response(littleflow_graphs.compiled_form(self.flow()))

    @documented(operation_id="delete", responses={200: StatusResponse})
    def delete(self, request: Request, flow_id: str) -> Response:
        """Delete a flow that has ended."""
        flow = self.flow()
        if not may(request.user, DELETE_FLOW):
            raise PermissionDenied(f"user {name_of(request.user)} lacks the permission {DELETE_FLOW}")
        state = arrow_flows.state_of(flow)
        if state is State.TERMINATING or not engine.delete([flow.pk]):
            raise RefusedError(f"Workflow {flow.pk} is {state.value}; terminate it first, then delete it")
        return success(message=f"Workflow {flow.pk} is deleted", workflow=flow.pk)


def terminated(request: Request, flow: Flow) -> Response:
    """Cancel a flow and say how far it is; of one that is cancelled only this. Raises what the engine raises."""
    if arrow_flows.state_of(flow) not in (State.TERMINATING, State.TERMINATED):
        flow = engine.cancel(flow.pk, actor=actor(request))
    state = arrow_flows.state_of(flow)
    return success(message=f"Workflow {flow.pk} is {state.value.lower()}", workflow=flow.pk)


@documented(tags=["littleflow"], parameters=[FLOW_ID])
class TerminateView(LittleflowView):
    """Terminate a flow."""

    permission = OPERATE

    @documented(operation_id="terminate", request=None, responses={200: StatusResponse})
    def post(self, request: Request, flow_id: str) -> Response:
        """Cancel the flow: its open tasks end, running ones are asked to stop."""
        return terminated(request, self.flow())


@documented(tags=["littleflow"])
class TerminateNamedView(LittleflowView):
    """Terminate the flow that the body names."""

    permission = OPERATE
    names_in_body = True

    @documented(
        operation_id="terminate_named",
        request=TerminateSerializer,
        responses={200: StatusResponse},
        examples=[OpenApiExample("by id", {"workflow": FLOW}, request_only=True)],
    )
    def post(self, request: Request) -> Response:
        """Cancel the flow that the body names."""
        return terminated(request, get_flow(id_of(self.valid(TerminateSerializer)["workflow"])))


@documented(tags=["littleflow"], parameters=[FLOW_ID])
class StateView(LittleflowView):
    """State of a flow."""

    @documented(operation_id="state", responses=StateSerializer)
    def get(self, request: Request, flow_id: str) -> Response:
        """State of the flow, and vectors over its nodes."""
        flow = self.flow()
        return Response(arrow_documents.state(flow, arrow_flows.nodes_of(flow)))


@documented(tags=["littleflow"], parameters=[FLOW_ID])
class TraceView(LittleflowView):
    """Changes of a vector."""

    @documented(operation_id="trace", responses={(200, JSON): CHANGES})
    def get(self, request: Request, flow_id: str, vector: str) -> Response:
        """Changes of S or A, as time and vector, the newest first; what does not fit into an answer is left out."""
        if vector not in arrow_documents.VECTORS:
            raise RefusedError(f"there is no trace {vector[:40]!r}; take S or A")
        return Response(arrow_documents.trace(arrow_flows.nodes_of(self.flow()), vector).rows)


@documented(tags=["littleflow"], parameters=[FLOW_ID])
class GraphView(LittleflowView):
    """Graph of a flow."""

    query = OrientationQuery

    @documented(operation_id="graph", responses={(200, "text/plain"): str})
    def get(self, request: Request, flow_id: str) -> HttpResponseBase:
        """A state diagram as text for Mermaid."""
        text = littleflow_graphs.diagram(self.flow(), vertical=self.wanted["orientation"] == "vertical")
        return HttpResponse(text, content_type="text/plain; charset=utf-8")


@documented(tags=["littleflow"], parameters=[FLOW_ID])
class RestartView(LittleflowView):
    """Restart a flow that failed or was terminated."""

    http_method_names = ["get", "post", "options"]
    permission = OPERATE
    opens_reading = False

    @documented(operation_id="restart", responses={200: StatusResponse})
    def get(self, request: Request, flow_id: str) -> Response:
        """The same as POST, for clients of littleflow that send a token: another site's page could send a session."""
        if why := loopback.foreign(request._request):
            raise PermissionDenied(why)
        if "HTTP_AUTHORIZATION" not in request.META:
            raise PermissionDenied("GET restarts a flow only with the header Authorization; with a session send POST")
        return self._restart(request)

    @documented(operation_id="restart_post", request=None, responses={200: StatusResponse})
    def post(self, request: Request, flow_id: str) -> Response:
        """Run the failed tasks again, or those that were cancelled."""
        return self._restart(request)

    def _restart(self, request: Request) -> Response:
        flow: Flow = self.flow()
        state = arrow_flows.state_of(flow)
        if state not in (State.FAILED, State.TERMINATED):
            raise RefusedError(f"Workflow {flow.pk} is {state.value}; only one that is FAILED or TERMINATED restarts")
        may_override = MayOverride.of(request.user, OPERATE)
        cancelled = state is State.TERMINATED
        engine.rerun(flow.pk, cancelled=cancelled, actor=actor(request), may_override=may_override)
        return success(message=f"Workflow {flow.pk} is restarted", workflow=flow.pk)
