"""Flows and their tasks: readers, and the operators' verbs."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db.models import F
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
    EventSerializer,
    FlowDetailSerializer,
    FlowFilterSerializer,
    FlowSerializer,
    GraphSerializer,
    RerunSerializer,
    TaskDetailSerializer,
    TaskFilterSerializer,
    TaskSerializer,
    WhySerializer,
)
from flowerapp.api.permissions import OPERATE, actor
from flowerapp.exceptions import UnknownTaskError
from flowerapp.models import Flow, Task

PAGING = {"cursor", "page_size", "format"}
FLOW_ID = OpenApiParameter("flow_id", str, OpenApiParameter.PATH, description="task_flow_id")
SEQ = OpenApiParameter("seq", int, OpenApiParameter.PATH, description="task_exec_seq")


def seq_of(flow_id: str, text: str) -> int:
    """The seq of a URL; raises UnknownTaskError."""
    if not fields.is_seq(text):
        raise UnknownTaskError(f"flow {flow_id[:100]} has no task {text[:40]!r}")
    return int(text)


def filters(request: Request, serializer: type[Serializer[Any]]) -> dict[str, Any]:
    """What the query asks for, as ``serializer`` makes it; raises ValidationError."""
    checked = serializer(data=request.query_params.dict())
    known = checked.fields
    if unknown := [name for name in request.query_params if name not in known and name not in PAGING]:
        raise exceptions.ValidationError({unknown[0][:40]: [f"no such filter; there are {', '.join(known)}"]})
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
        names = {"task_id": "task_id", "status": "exec_status__in"}
        times = {"registered_after": "registered_ts__gte", "registered_before": "registered_ts__lt"}
        asked = filters(self.request, FlowFilterSerializer)
        return Flow.objects.filter(**{(names | times)[name]: value for name, value in asked.items()})

    def paginate_queryset(self, queryset: Any) -> Any:
        """The page, whose failed tasks are looked up in one statement."""
        page = super().paginate_queryset(queryset)
        failed = [flow.pk for flow in page or () if flow.failed_seq is not None]
        tasks = Task.objects.filter(task_flow_id__in=failed, task_exec_seq=F("task_flow__failed_seq"))
        self.failed = {task.task_flow_id: task for task in tasks.defer("output", "traceback")}
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
        return Response(FlowDetailSerializer(engine.get_flow(flow_id)).data)


class FlowListing(ApiView, ListAPIView[Any]):
    """A list that belongs to one flow."""

    def flow(self) -> Flow:
        """The flow; raises UnknownFlowError."""
        return engine.get_flow(self.kwargs["flow_id"])


@documented(tags=["tasks"], parameters=[FLOW_ID, TaskFilterSerializer])
class TaskListView(FlowListing):
    """Tasks of a flow by seq, children among them."""

    serializer_class = TaskSerializer
    queryset = Task.objects.none()
    cursor_ordering = ("task_exec_seq",)

    def get_queryset(self) -> Any:
        """The flow's tasks that the query's filter leaves; raises ValidationError."""
        asked = filters(self.request, TaskFilterSerializer)
        return self.flow().tasks.filter(**{f"{name}_seq": value for name, value in asked.items()})

    def paginate_queryset(self, queryset: Any) -> Any:
        """The page, with why its tasks wait."""
        page = super().paginate_queryset(queryset)
        self.waits = engine.why_wait(page or [])
        return page

    def get_serializer_context(self) -> dict[str, Any]:
        """With why the tasks of the page wait."""
        return {**super().get_serializer_context(), "waits": getattr(self, "waits", {})}


@documented(tags=["flows"], parameters=[FLOW_ID])
class HistoryView(FlowListing):
    """History of a flow, the oldest first."""

    serializer_class = EventSerializer
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
        wanted = request.query_params.get("as", "json")
        if wanted != "json" and wanted not in self.drawings:
            raise exceptions.ValidationError({"as": [f"must be one of json, {', '.join(self.drawings)}"]})
        steps = engine.get_flow(flow_id).tasks.filter(parent_seq=None)
        nodes, edges = drawing.of_steps(steps.values_list(*drawing.STEP_COLUMNS))
        if wanted == "json":
            return Response(drawing.as_json(nodes, edges))
        draw, content_type = self.drawings[wanted]
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
        """A task with all that is known of it."""
        return Response(TaskDetailSerializer(engine.get_task(flow_id, seq_of(flow_id, seq))).data)

    @documented(request=ChangeSerializer, responses=TaskDetailSerializer)
    def patch(self, request: Request, flow_id: str, seq: str) -> Response:
        """Change parameters, priority or queue of a task that waits or has failed."""
        given = self.valid(ChangeSerializer)
        queue = (given["queue"] or "") if "queue" in given else None
        priority = given.get("priority", given.get("task_priority"))
        task = engine.change(
            flow_id,
            seq_of(flow_id, seq),
            parameters=given.get("parameters"),
            priority=priority,
            queue=queue,
            actor=actor(request),
            why=given["why"],
        )
        return Response(TaskDetailSerializer(task).data)


@documented(tags=["flows"], parameters=[FLOW_ID])
class VerbView(ApiView):
    """A verb on a flow; answers with the flow as it is then."""

    serializer_class = WhySerializer
    permission = OPERATE
    verb: ClassVar[str]

    @documented(request=WhySerializer, responses=FlowDetailSerializer)
    def post(self, request: Request, flow_id: str) -> Response:
        """Apply the verb."""
        why = self.valid(WhySerializer)["why"]
        return Response(FlowDetailSerializer(self.apply(flow_id, actor(request), why)).data)

    def apply(self, flow_id: str, actor: str, why: str) -> Flow:
        """Call the engine."""
        verbs = {"suspend": engine.suspend, "resume": engine.resume, "cancel": engine.cancel}
        return verbs[self.verb](flow_id, actor=actor, why=why)


class SuspendView(VerbView):
    """Hold a flow: what runs goes on, nothing else is started."""

    verb = "suspend"


class ResumeView(VerbView):
    """Let a held flow go on."""

    verb = "resume"


class CancelView(VerbView):
    """End a flow: its open tasks become Ignore."""

    verb = "cancel"


@documented(tags=["flows"], parameters=[FLOW_ID])
class RerunView(ApiView):
    """Run the failed tasks again, or one and all that follows it, or all."""

    serializer_class = RerunSerializer
    permission = OPERATE

    @documented(request=RerunSerializer, responses=FlowDetailSerializer)
    def post(self, request: Request, flow_id: str) -> Response:
        """Put tasks back to Wait."""
        given = self.valid(RerunSerializer)
        flow = engine.rerun(
            flow_id,
            from_seq=given["from"],
            all_tasks=given["all"],
            parameters=given["parameters"],
            refresh=given["refresh"],
            actor=actor(request),
            why=given["why"],
        )
        return Response(FlowDetailSerializer(flow).data)


@documented(tags=["tasks"], parameters=[FLOW_ID, SEQ])
class SkipView(ApiView):
    """Pass a task over."""

    serializer_class = WhySerializer
    permission = OPERATE

    @documented(request=WhySerializer, responses=FlowDetailSerializer)
    def post(self, request: Request, flow_id: str, seq: str) -> Response:
        """The task's input becomes its output, and its followers go on."""
        why = self.valid(WhySerializer)["why"]
        flow = engine.skip(flow_id, seq_of(flow_id, seq), actor=actor(request), why=why)
        return Response(FlowDetailSerializer(flow).data)
