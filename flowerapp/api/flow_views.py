"""Flows and their tasks: readers, and the operators' verbs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from django.http import HttpResponse, HttpResponseBase
from drf_spectacular.utils import OpenApiParameter
from rest_framework import exceptions
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import Serializer

from flowerapp import drawing, engine
from flowerapp.api import fields
from flowerapp.api.base import ApiView, documented
from flowerapp.api.flow_serializers import (
    ChangeSerializer,
    FlowDetailSerializer,
    FlowFilterSerializer,
    FlowSerializer,
    GraphSerializer,
    HistorySerializer,
    RerunSerializer,
    TaskDetailSerializer,
    TaskFilterSerializer,
    TaskSerializer,
    WhySerializer,
)
from flowerapp.api.permissions import OPERATE, actor
from flowerapp.exceptions import UnknownTaskError
from flowerapp.models import Flow, Task
from flowerapp.selectors import graphs
from flowerapp.selectors.flows import first_failures, get_flow
from flowerapp.selectors.tasks import get_task
from flowerapp.selectors.wait_reasons import wait_reasons

PAGING = {"cursor", "page_size", "format"}
FLOW_ID = OpenApiParameter("flow_id", str, OpenApiParameter.PATH, description="task_flow_id")
SEQ = OpenApiParameter("seq", int, OpenApiParameter.PATH, description="task_exec_seq")


def seq_of(flow_id: str, text: str) -> int:
    """The seq of a URL; raises UnknownTaskError."""
    if not fields.is_seq(text):
        raise UnknownTaskError(f"flow {flow_id[:100]} has no task {text[:40]!r}")
    return int(text)


def filters(request: Request, serializer: type[Serializer[Any]]) -> dict[str, Any]:
    """The query's filters as ``serializer`` makes them; raises ValidationError."""
    checked = serializer(data=request.query_params.dict())
    names = checked.fields
    if unknown := [name for name in request.query_params if name not in names and name not in PAGING]:
        raise exceptions.ValidationError({unknown[0][:40]: [f"no such filter; there are {', '.join(names)}"]})
    checked.is_valid(raise_exception=True)
    return dict(checked.validated_data)


@documented(tags=["flows"], parameters=[FlowFilterSerializer])
class FlowListView(ApiView, ListAPIView[Any]):
    """Flows, the newest first."""

    serializer_class = FlowSerializer
    queryset = Flow.objects.all()
    cursor_ordering = ("-registered_ts", "-task_flow_id")

    def get_queryset(self) -> Any:
        """The flows that the query's filters leave; raises ValidationError."""
        lookups = {
            "task_id": "task_id",
            "status": "exec_status__in",
            "registered_after": "registered_ts__gte",
            "registered_before": "registered_ts__lt",
        }
        wanted = filters(self.request, FlowFilterSerializer)
        return Flow.objects.filter(**{lookups[name]: value for name, value in wanted.items()})

    def paginate_queryset(self, queryset: Any) -> Any:
        """The page, with the failed tasks of its flows."""
        page = super().paginate_queryset(queryset)
        self.failed = first_failures(page or ())
        return page

    def get_serializer_context(self) -> dict[str, Any]:
        """With the failed tasks of the page."""
        return {**super().get_serializer_context(), "failed": getattr(self, "failed", {})}


@documented(tags=["flows"], parameters=[FLOW_ID])
class FlowView(ApiView):
    """One flow."""

    serializer_class = FlowDetailSerializer

    @documented(responses=FlowDetailSerializer)
    def get(self, request: Request, flow_id: str) -> Response:
        """A flow, its failed task first."""
        return Response(FlowDetailSerializer(get_flow(flow_id)).data)


class FlowListing(ApiView, ListAPIView[Any]):
    """A list that belongs to one flow."""

    def flow(self) -> Flow:
        """The flow; raises UnknownFlowError."""
        return get_flow(self.kwargs["flow_id"])


@documented(tags=["tasks"], parameters=[FLOW_ID, TaskFilterSerializer])
class TaskListView(FlowListing):
    """Tasks of a flow by seq, children among them."""

    serializer_class = TaskSerializer
    queryset = Task.objects.none()
    cursor_ordering = ("task_exec_seq",)

    def get_queryset(self) -> Any:
        """The flow's tasks that the query's filter leaves; raises ValidationError."""
        wanted = filters(self.request, TaskFilterSerializer)
        return self.flow().tasks.filter(**{f"{name}_seq": value for name, value in wanted.items()})

    def paginate_queryset(self, queryset: Any) -> Any:
        """The page, with why its tasks wait."""
        page = super().paginate_queryset(queryset)
        self.waits = wait_reasons(page or [])
        return page

    def get_serializer_context(self) -> dict[str, Any]:
        """With why the tasks of the page wait."""
        return {**super().get_serializer_context(), "waits": getattr(self, "waits", {})}


@documented(tags=["flows"], parameters=[FLOW_ID])
class HistoryView(FlowListing):
    """History of a flow, the oldest first."""

    serializer_class = HistorySerializer
    queryset = Flow.objects.none()
    cursor_ordering = ("id",)

    def get_queryset(self) -> Any:
        """The flow's history."""
        return self.flow().history.all()


@documented(tags=["flows"], parameters=[FLOW_ID])
class GraphView(ApiView):
    """Graph of a flow."""

    serializer_class = GraphSerializer
    drawings: ClassVar[dict[str, tuple[Any, str]]] = {
        "svg": (drawing.svg, "image/svg+xml"),
        "mermaid": (drawing.mermaid, "text/plain; charset=utf-8"),
        "ascii": (drawing.ascii, "text/plain; charset=utf-8"),
    }

    @documented(
        responses=GraphSerializer,
        parameters=[OpenApiParameter("as", str, enum=["json", *drawings], description="A drawing instead of JSON.")],
    )
    def get(self, request: Request, flow_id: str) -> HttpResponseBase:
        """Steps with their states, and edges."""
        form = request.query_params.get("as", "json")
        if form != "json" and form not in self.drawings:
            raise exceptions.ValidationError({"as": [f"must be one of json, {', '.join(self.drawings)}"]})
        nodes, edges = drawing.of_steps(graphs.steps_of(get_flow(flow_id).pk))
        if form == "json":
            return Response(drawing.as_json(nodes, edges))
        draw, content_type = self.drawings[form]
        response = HttpResponse(draw(nodes, edges), content_type=content_type)
        response["Content-Security-Policy"] = "default-src 'none'; style-src 'unsafe-inline'"
        return response


@documented(tags=["tasks"], parameters=[FLOW_ID, SEQ])
class TaskView(ApiView):
    """One task."""

    serializer_class = TaskDetailSerializer
    permissions = {"PATCH": OPERATE}

    @documented(responses=TaskDetailSerializer)
    def get(self, request: Request, flow_id: str, seq: str) -> Response:
        """A task with its log, and the item of a child."""
        return Response(TaskDetailSerializer(get_task(flow_id, seq_of(flow_id, seq))).data)

    @documented(request=ChangeSerializer, responses=TaskDetailSerializer)
    def patch(self, request: Request, flow_id: str, seq: str) -> Response:
        """Change parameters, priority or queue of a task that waits or has failed."""
        body = self.valid(ChangeSerializer)
        task = engine.change(
            flow_id,
            seq_of(flow_id, seq),
            parameters=body.get("parameters"),
            priority=body.get("priority", body.get("task_priority")),
            queue=(body["queue"] or "") if "queue" in body else None,
            actor=actor(request),
            why=body["why"],
        )
        return Response(TaskDetailSerializer(task).data)


class VerbView(ApiView):
    """A verb; answers with the flow as it is then."""

    serializer_class = WhySerializer
    permission = OPERATE

    def answer(self, verb: Callable[..., Flow], *target: Any, **options: Any) -> Response:
        """Call the engine with the caller's name and the body's ``why``, and answer with the flow."""
        body = self.valid(self.serializer_class)
        arguments = {name: body[key] for name, key in options.items()}
        flow = verb(*target, **arguments, actor=actor(self.request), why=body["why"])
        return Response(FlowDetailSerializer(flow).data)


@documented(tags=["flows"], parameters=[FLOW_ID])
class FlowVerbView(VerbView):
    """A verb on a flow."""

    verb: ClassVar[Callable[..., Flow]]

    @documented(request=WhySerializer, responses=FlowDetailSerializer)
    def post(self, request: Request, flow_id: str) -> Response:
        """Apply the verb."""
        return self.answer(type(self).verb, flow_id)


class SuspendView(FlowVerbView):
    """Hold a flow: running tasks end, no other is started."""

    verb = engine.suspend


class ResumeView(FlowVerbView):
    """Release a held flow."""

    verb = engine.resume


class CancelView(FlowVerbView):
    """End a flow: its open tasks become Ignore."""

    verb = engine.cancel


@documented(tags=["flows"], parameters=[FLOW_ID])
class RerunView(VerbView):
    """Run the failed tasks again, or one and all that follows it, or all."""

    serializer_class = RerunSerializer

    @documented(request=RerunSerializer, responses=FlowDetailSerializer)
    def post(self, request: Request, flow_id: str) -> Response:
        """Put tasks back to Wait."""
        options = {"from_seq": "from", "all_tasks": "all", "parameters": "parameters", "refresh": "refresh"}
        return self.answer(engine.rerun, flow_id, **options)


@documented(tags=["tasks"], parameters=[FLOW_ID, SEQ])
class SkipView(VerbView):
    """Skip a task."""

    @documented(request=WhySerializer, responses=FlowDetailSerializer)
    def post(self, request: Request, flow_id: str, seq: str) -> Response:
        """The task's input becomes its output, and its followers are released."""
        return self.answer(engine.skip, flow_id, seq_of(flow_id, seq))
