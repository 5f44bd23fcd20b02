"""Flows and their tasks: readers, and the operators' verbs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, ClassVar

from django.db.models import Q
from django.http import HttpResponse, HttpResponseBase
from drf_spectacular.utils import OpenApiParameter
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from flowerapp import drawing, engine
from flowerapp.api import bounds, fields
from flowerapp.api.base import ApiView, documented
from flowerapp.api.flow_queries import (
    FlowFilterSerializer,
    FlowQuerySerializer,
    GraphQuerySerializer,
    TaskFilterSerializer,
    TaskQuerySerializer,
)
from flowerapp.api.flow_serializers import (
    DRAWINGS,
    JSON,
    ChangeSerializer,
    EndSerializer,
    FailSerializer,
    FlowDetailSerializer,
    FlowSerializer,
    GraphSerializer,
    HistorySerializer,
    RerunSerializer,
    TaskDetailSerializer,
    TaskSerializer,
    WakeSerializer,
    WhySerializer,
)
from flowerapp.api.permissions import actor
from flowerapp.core.permissions import OPERATE
from flowerapp.engine import MayOverride
from flowerapp.exceptions import UnknownTaskError
from flowerapp.models import Flow, Task
from flowerapp.selectors import counts, graphs, history, tasks
from flowerapp.selectors.flows import first_failures, get_flow, short_flows
from flowerapp.selectors.short import complete
from flowerapp.selectors.shown import shown
from flowerapp.selectors.wait_reasons import wait_reasons

FLOW_ID = OpenApiParameter(
    "flow_id",
    {"type": "string", **bounds.ID},
    OpenApiParameter.PATH,
    description="task_flow_id, with or without `workflow:` in front.",
)
SEQ = OpenApiParameter("seq", {"type": "integer", **bounds.SEQ}, OpenApiParameter.PATH, description="task_exec_seq")


def seq_of(flow_id: str, text: str) -> int:
    """The seq of a URL; raises UnknownTaskError."""
    if not fields.is_seq(text):
        raise UnknownTaskError(f"flow {flow_id[:100]} has no task {text[:40]!r}")
    return int(text)


@documented(tags=["flows"])
class FlowListView(ApiView, ListAPIView[Any]):
    """Flows, the newest first."""

    serializer_class = FlowSerializer
    queryset = Flow.objects.none()
    query = FlowFilterSerializer
    cursor_ordering = ("-registered_ts", "-task_flow_id")

    def get_queryset(self) -> Any:
        """The flows that the query's filters leave."""
        lookups = {
            "task_id": "task_id",
            "registered_after": "registered_ts__gte",
            "registered_before": "registered_ts__lt",
        }
        filters = {lookup: self.wanted[name] for name, lookup in lookups.items() if name in self.wanted}
        return short_flows().filter(self.wanted.get("status", Q()), **filters)

    def paginate_queryset(self, queryset: Any) -> Any:
        """The page, with the failed tasks of its flows and the numbers of all."""
        page = super().paginate_queryset(queryset) or []
        self.failed = first_failures(page)
        self.counts = counts.of_flows(page)
        return page

    def get_serializer_context(self) -> dict[str, Any]:
        """With the failed tasks and the numbers of the page."""
        page = {"failed": getattr(self, "failed", {}), "counts": getattr(self, "counts", {})}
        return {**super().get_serializer_context(), **page}


@documented(tags=["flows"], parameters=[FLOW_ID])
class FlowView(ApiView):
    """One flow."""

    serializer_class = FlowDetailSerializer
    query = FlowQuerySerializer

    @documented(responses=FlowDetailSerializer)
    def get(self, request: Request, flow_id: str) -> Response:
        """A flow, its failed task first."""
        return Response(FlowDetailSerializer(get_flow(flow_id), context=dict(self.wanted)).data)


class FlowListing(ApiView, ListAPIView[Any]):
    """A list that belongs to one flow."""

    def flow(self) -> Flow:
        """The flow; raises UnknownFlowError."""
        return self._flow

    @cached_property
    def _flow(self) -> Flow:
        return shown(get_flow(self.kwargs["flow_id"]))


@documented(tags=["tasks"], parameters=[FLOW_ID])
class TaskListView(FlowListing):
    """Tasks of a flow by seq, children among them."""

    serializer_class = TaskSerializer
    queryset = Task.objects.none()
    query = TaskFilterSerializer
    cursor_ordering = ("task_exec_seq",)

    def get_queryset(self) -> Any:
        """The flow's tasks that the query's filter leaves."""
        lookups = {f"{name}_seq": value for name, value in self.wanted.items()}
        return tasks.short_tasks(self.flow().pk).filter(**lookups)

    def paginate_queryset(self, queryset: Any) -> Any:
        """The page, with why its tasks wait and the numbers of their children."""
        page = super().paginate_queryset(queryset) or []
        complete(self.kwargs["flow_id"], page)
        self.waits, self.children = wait_reasons(page, self.flow()), tasks.children_of(page)
        return page

    def get_serializer_context(self) -> dict[str, Any]:
        """With why the tasks of the page wait, and the numbers of their children."""
        page = {"waits": getattr(self, "waits", {}), "children": getattr(self, "children", {})}
        return {**super().get_serializer_context(), **page}


@documented(tags=["flows"], parameters=[FLOW_ID])
class HistoryView(FlowListing):
    """History of a flow, the oldest first."""

    serializer_class = HistorySerializer
    queryset = Flow.objects.none()
    cursor_ordering = ("id",)

    def get_queryset(self) -> Any:
        """The flow's history."""
        return history.entries(self.flow().pk)

    def paginate_queryset(self, queryset: Any) -> Any:
        """The page, with the names of its tasks."""
        page = super().paginate_queryset(queryset) or []
        self.titles = history.task_titles(page)
        return page

    def get_serializer_context(self) -> dict[str, Any]:
        """With the names of the tasks of the page."""
        return {**super().get_serializer_context(), "titles": getattr(self, "titles", {})}


@documented(tags=["flows"], parameters=[FLOW_ID])
class GraphView(ApiView):
    """Graph of a flow."""

    serializer_class = GraphSerializer
    query = GraphQuerySerializer

    @documented(
        responses={200: GraphSerializer, **{(200, kind.partition(";")[0]): str for _, kind in DRAWINGS.values()}},
    )
    def get(self, request: Request, flow_id: str) -> HttpResponseBase:
        """Steps with their states, and edges."""
        form = self.wanted["as"]
        steps, view = graphs.graph_of(get_flow(flow_id).pk, self.wanted["around"])
        nodes, edges = drawing.of_steps(steps)
        if form == JSON:
            return Response(drawing.as_json(nodes, edges, view))
        draw, content_type = DRAWINGS[form]
        response = HttpResponse(draw(nodes, edges, view=view), content_type=content_type)
        response["Content-Security-Policy"] = "default-src 'none'; style-src 'unsafe-inline'"
        return response


@documented(tags=["tasks"], parameters=[FLOW_ID, SEQ])
class TaskView(ApiView):
    """One task."""

    serializer_class = TaskDetailSerializer
    query = TaskQuerySerializer
    permissions = {"PATCH": OPERATE}

    @documented(responses=TaskDetailSerializer)
    def get(self, request: Request, flow_id: str, seq: str) -> Response:
        """A task with its log, and the item of a child."""
        return self.answer(flow_id, seq_of(flow_id, seq))

    def answer(self, flow_id: str, seq: int) -> Response:
        """The task as it is now."""
        task = tasks.whole_task(flow_id, seq)
        return Response(TaskDetailSerializer(task, context=dict(self.wanted)).data)

    @documented(request=ChangeSerializer, responses=TaskDetailSerializer)
    def patch(self, request: Request, flow_id: str, seq: str) -> Response:
        """Change parameters, priority or queue of a task that waits or has failed."""
        body = self.valid(ChangeSerializer)
        number = seq_of(flow_id, seq)
        engine.change(
            flow_id,
            number,
            parameters=body.get("parameters"),
            priority=body.get("priority", body.get("task_priority")),
            queue=(body["queue"] or "") if "queue" in body else None,
            actor=actor(request),
            why=body["why"],
            may_override=MayOverride.of(request.user, OPERATE),
        )
        return self.answer(flow_id, number)


class VerbView(ApiView):
    """A verb; answers with the flow as it is then."""

    serializer_class = WhySerializer
    permission = OPERATE

    def answer(
        self, verb: Callable[..., Flow], *target: Any, named: Mapping[str, str] | None = None, **options: Any
    ) -> Response:
        """Call the engine with the caller's name and the body's ``why``, and answer with the flow.

        ``named`` maps further arguments to names in the body; ``options`` are arguments as they are.
        """
        body = self.valid(self.serializer_class)
        arguments = {name: body[key] for name, key in (named or {}).items()} | options
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
    """Let a held flow continue."""

    verb = engine.resume


class CancelView(FlowVerbView):
    """End a flow: its open tasks become Ignore, shown as Cancelled."""

    verb = engine.cancel


@documented(tags=["flows"], parameters=[FLOW_ID])
class RerunView(VerbView):
    """Run the failed tasks again, or one and all that follows it, or all."""

    serializer_class = RerunSerializer

    @documented(request=RerunSerializer, responses=FlowDetailSerializer)
    def post(self, request: Request, flow_id: str) -> Response:
        """Put tasks back to Wait."""
        named = {"from_seq": "from", "all_tasks": "all", "parameters": "parameters", "refresh": "refresh"}
        return self.answer(engine.rerun, flow_id, named=named, may_override=MayOverride.of(request.user, OPERATE))


@documented(tags=["tasks"], parameters=[FLOW_ID, SEQ])
class SkipView(VerbView):
    """Skip a task."""

    @documented(request=WhySerializer, responses=FlowDetailSerializer)
    def post(self, request: Request, flow_id: str, seq: str) -> Response:
        """The task's input becomes its output, and its followers are released."""
        may_override = MayOverride.of(request.user, OPERATE)
        return self.answer(engine.skip, flow_id, seq_of(flow_id, seq), may_override=may_override)


@documented(tags=["tasks"], parameters=[FLOW_ID, SEQ])
class EndView(VerbView):
    """End a remote task that is ready or claimed: another system has done its work."""

    serializer_class = EndSerializer

    @documented(request=EndSerializer, responses=FlowDetailSerializer)
    def post(self, request: Request, flow_id: str, seq: str) -> Response:
        """The task is Finish with this output, and its followers are released."""
        may, named = MayOverride.of(request.user, OPERATE), {"output": "output"}
        return self.answer(engine.end_task, flow_id, seq_of(flow_id, seq), named=named, may_override=may)


@documented(tags=["tasks"], parameters=[FLOW_ID, SEQ])
class FailView(VerbView):
    """Fail a remote task that is ready or claimed: another system could not do its work."""

    serializer_class = FailSerializer

    @documented(request=FailSerializer, responses=FlowDetailSerializer)
    def post(self, request: Request, flow_id: str, seq: str) -> Response:
        """The task is Suspend with this reason; a rerun lets it wait again."""
        return self.answer(engine.fail_task, flow_id, seq_of(flow_id, seq), named={"reason": "reason"}, retry=False)


@documented(tags=["tasks"], parameters=[FLOW_ID, SEQ])
class WakeView(VerbView):
    """End the wait of a task."""

    serializer_class = WakeSerializer

    @documented(request=WakeSerializer, responses=FlowDetailSerializer)
    def post(self, request: Request, flow_id: str, seq: str) -> Response:
        """End the wait of a task: a wait ends with its input or this output, another parked task is started again."""
        may, named = MayOverride.of(request.user, OPERATE), {"output": "output"}
        return self.answer(engine.wake, flow_id, seq_of(flow_id, seq), named=named, may_override=may)
