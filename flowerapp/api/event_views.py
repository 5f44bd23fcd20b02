"""Events: report one, list and read those that are kept."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema_field
from rest_framework import serializers, status
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from flowerapp import engine
from flowerapp.api import fields
from flowerapp.api.base import ApiView, documented
from flowerapp.api.bounds import NAME
from flowerapp.api.fields import ModelSerializer
from flowerapp.api.flow_serializers import LEFT_OUT
from flowerapp.api.permissions import actor
from flowerapp.api.queries import Query
from flowerapp.core.names import LONGEST_NAME
from flowerapp.core.permissions import EMIT_EVENT, VIEW_FLOW
from flowerapp.models import Event
from flowerapp.selectors import events
from flowerapp.selectors.short import left_out

EVENT = OpenApiParameter(
    "event_id",
    {"type": "integer", "minimum": 1, "maximum": 10**18},
    OpenApiParameter.PATH,
    description="Number of the event.",
)
MOST_STARTED = 100
"""Flows that an event started whose ids are in the answer."""


class EventBodySerializer(fields.StrictSerializer):
    """An event as a caller reports it."""

    kind = fields.StrictTextField(bounds=NAME)
    data: Any = fields.ParametersField(default=dict, help_text="What happened, by name; a JSON object.")


class EventSerializer(ModelSerializer):
    """An event; secrets in its data show as ``••••``."""

    id = serializers.IntegerField(read_only=True)
    data: Any = fields.ParametersField(read_only=True)
    left_out = serializers.SerializerMethodField(
        help_text="The data, null here, if it is too large for a list, with its bytes of JSON; the event by itself "
        "has it."
    )

    class Meta:
        model = Event
        fields = [*events.COLUMNS, "left_out"]
        read_only_fields = fields

    @extend_schema_field(LEFT_OUT)
    def get_left_out(self, event: Event) -> dict[str, int]:
        """What is too large for a list."""
        return left_out(event)


class ReportedSerializer(serializers.Serializer[Any]):
    """What a reported event led to."""

    id = serializers.IntegerField(help_text="Number of the event.")
    kind = serializers.CharField()
    ts = fields.UtcField()
    ended = serializers.IntegerField(
        allow_null=True, help_text="Tasks that waited for it and have ended; null if the watcher ends them."
    )
    started = serializers.ListField(
        child=serializers.CharField(), help_text=f"Ids of flows that it started, the first {MOST_STARTED}."
    )


class EventFilterSerializer(Query):
    """Filters of the list of events."""

    kind = serializers.CharField(
        required=False, trim_whitespace=False, max_length=LONGEST_NAME, help_text="Only events of this kind."
    )


@documented(tags=["events"])
class EventListView(ApiView, ListAPIView[Any]):
    """Events, the newest first."""

    serializer_class = EventSerializer
    queryset = Event.objects.none()
    query = EventFilterSerializer
    permission = VIEW_FLOW
    permissions = {"POST": EMIT_EVENT}
    cursor_ordering = ("-id",)

    def get_queryset(self) -> Any:
        """Those of the kind that the query names, or all."""
        return events.events(self.wanted.get("kind"))

    @documented(request=EventBodySerializer, responses={201: ReportedSerializer})
    def post(self, request: Request) -> Response:
        """Report an event: tasks that wait for it end, and flows that it starts are registered."""
        body = self.valid(EventBodySerializer)
        event = engine.emit(body["kind"], body["data"], actor=actor(request))
        event.refresh_from_db(fields=["ts"])
        outcome = event.outcome
        facts = {"id": event.pk, "kind": event.kind, "ts": event.ts, "ended": outcome and outcome.ended}
        reported = {**facts, "started": outcome.started[:MOST_STARTED] if outcome else []}
        return Response(ReportedSerializer(reported).data, status=status.HTTP_201_CREATED)


@documented(tags=["events"], parameters=[EVENT])
class EventView(ApiView):
    """One event."""

    serializer_class = EventSerializer
    permission = VIEW_FLOW

    @documented(responses=EventSerializer)
    def get(self, request: Request, event_id: str) -> Response:
        """An event with its data."""
        return Response(EventSerializer(events.get_event(event_id)).data)
