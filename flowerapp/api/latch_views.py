"""Latches: list, read with holders and waiters, and free one."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from flowerapp import engine
from flowerapp.api import fields
from flowerapp.api.base import ApiView, documented
from flowerapp.api.bounds import ID, NAME
from flowerapp.api.flow_serializers import WhySerializer
from flowerapp.api.permissions import actor
from flowerapp.core.permissions import OPERATE, VIEW_FLOW
from flowerapp.models import Latch
from flowerapp.selectors import latches
from flowerapp.selectors.flow_ids import id_of
from flowerapp.selectors.latches import LatchUse
from flowerapp.selectors.waiters import MOST_TASKS

LATCH = OpenApiParameter("name", {"type": "string", **NAME}, OpenApiParameter.PATH, description="Name of the latch.")


class ListedLatchSerializer(serializers.Serializer[Any]):
    """A latch in a list."""

    name = serializers.CharField()
    count = serializers.IntegerField(help_text="How often it is held.")
    waiting = serializers.IntegerField(help_text="Tasks that wait until it is at zero.")
    ts = fields.UtcField(help_text="Since when it is held.")


class LatchTaskSerializer(serializers.Serializer[Any]):
    """A task that holds a latch, or waits for it."""

    task_flow_id = serializers.CharField()
    task_id = serializers.CharField(help_text="Name of the workflow; empty where the flow was deleted.")
    task_exec_seq = serializers.IntegerField()
    name = serializers.CharField(help_text="What people call the step.")
    ts = fields.UtcField(help_text="Since when.")


class LatchSerializer(ListedLatchSerializer):
    """A latch with the tasks that hold it and those that wait for it."""

    holders = LatchTaskSerializer(many=True, help_text=f"The first {MOST_TASKS} that acquired it.")
    waiters = LatchTaskSerializer(many=True, help_text=f"The first {MOST_TASKS} that wait for it.")


class ReleaseSerializer(WhySerializer):
    """Body of a release."""

    task_flow_id = fields.StrictTextField(
        bounds=ID, default=None, allow_null=True, help_text="Only the counts of this flow; null for all."
    )


class ReleasedSerializer(serializers.Serializer[Any]):
    """What a release did."""

    name = serializers.CharField()
    released = serializers.IntegerField(help_text="Counts that were taken away.")


def shown(name: str) -> dict[str, Any]:
    """A latch with its holders and waiters, as JSON; raises UnknownLatchError."""
    latch, use = latches.get_latch(name), LatchUse(name)
    columns = {column: getattr(latch, column) for column in latches.COLUMNS}
    places = {"holders": use.holders, "waiters": use.waiters}
    return columns | {key: [named.document for named in listed] for key, listed in places.items()}


@documented(tags=["latches"])
class LatchListView(ApiView, ListAPIView[Any]):
    """Latches by name."""

    serializer_class = ListedLatchSerializer
    queryset = Latch.objects.none()
    permission = VIEW_FLOW
    cursor_ordering = ("name",)

    def get_queryset(self) -> Any:
        """Latches that are held, with how often, and how many tasks wait."""
        return latches.with_use()


@documented(tags=["latches"], parameters=[LATCH])
class LatchView(ApiView):
    """One latch."""

    serializer_class = LatchSerializer
    permission = VIEW_FLOW

    @documented(responses=LatchSerializer)
    def get(self, request: Request, name: str) -> Response:
        """A latch with the tasks that hold it and those that wait for it."""
        return Response(LatchSerializer(shown(name)).data)


@documented(tags=["latches"], parameters=[LATCH])
class LatchReleaseView(ApiView):
    """Free a latch that its flows do not release."""

    serializer_class = ReleaseSerializer
    permission = OPERATE

    @documented(request=ReleaseSerializer, responses=ReleasedSerializer)
    def post(self, request: Request, name: str) -> Response:
        """Take away all counts of a latch, or those of one flow; what waits for it ends if it is at zero."""
        body = self.valid(ReleaseSerializer)
        flow_id = None if body["task_flow_id"] is None else id_of(body["task_flow_id"])
        number = engine.release_latch(name, flow_id=flow_id, actor=actor(request), why=body["why"])
        return Response(ReleasedSerializer({"name": name, "released": number}).data)
