"""The output cache: what it holds, and how it is forgotten."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers, status
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from flowerapp import engine
from flowerapp.api import fields
from flowerapp.api.base import ApiView, documented
from flowerapp.api.bounds import NAME, OPTIONAL_NAME
from flowerapp.api.fields import ModelSerializer
from flowerapp.api.queries import Query
from flowerapp.core.names import LONGEST_NAME
from flowerapp.core.permissions import DELETE_CACHE, VIEW_CACHE
from flowerapp.exceptions import UnknownCacheEntryError
from flowerapp.models import CachedOutput
from flowerapp.selectors import output_cache

ENTRY = OpenApiParameter(
    "entry",
    {"type": "integer", "minimum": 1, "maximum": 2**63 - 1},
    OpenApiParameter.PATH,
    description="Number of the entry.",
)
LONGEST_KEY = 300
"""Characters of a key in an address."""


class CacheEntrySerializer(ModelSerializer):
    """An output that is kept, or that a task is about to store."""

    task_id = serializers.CharField(read_only=True, help_text="Workflow; empty where tasks of all workflows take it.")
    key = serializers.CharField(read_only=True, help_text="JSON of the key's value, or * for the whole input.")
    task_flow_id = serializers.CharField(read_only=True, help_text="Flow of the task that stored it, or is about to.")
    filled_ts = serializers.DateTimeField(read_only=True, allow_null=True, help_text="null while a task fills it.")

    class Meta:
        model = CachedOutput
        fields = list(output_cache.COLUMNS)
        read_only_fields = fields


class CacheQuerySerializer(Query):
    """Which entries."""

    program = serializers.CharField(required=False, max_length=LONGEST_NAME)
    workflow = serializers.CharField(
        required=False, max_length=LONGEST_NAME, allow_blank=True, help_text="Empty for those of all workflows."
    )
    key = serializers.CharField(
        required=False, max_length=LONGEST_KEY, trim_whitespace=False, help_text="As an entry shows it."
    )


class ForgetSerializer(fields.StrictSerializer):
    """Which entries are forgotten: those for which all that is given holds."""

    program = fields.StrictTextField(bounds=NAME, required=False)
    workflow = fields.StrictTextField(
        bounds=OPTIONAL_NAME, required=False, help_text="Empty for those that tasks of all workflows take."
    )
    key = fields.AnyField(required=False, help_text="Value of the key, or * for the whole input.")
    all = fields.StrictBooleanField(required=False, default=False, help_text="Forget everything.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Something is given, and not everything beside it."""
        chosen = {name: value for name, value in attrs.items() if name != "all"}
        if bool(chosen) is attrs["all"]:
            raise serializers.ValidationError("give program, workflow or key, or else all: true")
        return chosen


class ForgottenSerializer(serializers.Serializer[Any]):
    """How much was forgotten."""

    forgotten = serializers.IntegerField(help_text="Entries.")


@documented(tags=["cache"])
class CacheListView(ApiView, ListAPIView[Any]):
    """What the output cache holds, the newest first."""

    serializer_class = CacheEntrySerializer
    queryset = CachedOutput.objects.none()
    query = CacheQuerySerializer
    permission = VIEW_CACHE
    cursor_ordering = output_cache.ORDER

    def get_queryset(self) -> Any:
        """The entries that the query's filters leave."""
        return output_cache.entries(**self.wanted)


@documented(tags=["cache"])
class ForgetView(ApiView):
    """Forget stored outputs."""

    serializer_class = ForgottenSerializer
    permission = DELETE_CACHE

    @documented(request=ForgetSerializer, responses=ForgottenSerializer)
    def post(self, request: Request) -> Response:
        """Forget the outputs of a program, a workflow or a key; tasks that need them run anew."""
        return Response({"forgotten": engine.forget_cache(**self.valid(ForgetSerializer))})


@documented(tags=["cache"], parameters=[ENTRY])
class CacheEntryView(ApiView):
    """One entry of the output cache."""

    serializer_class = CacheEntrySerializer
    permission = VIEW_CACHE
    permissions = {"DELETE": DELETE_CACHE}

    def entry(self) -> CachedOutput:
        """That of the address; raises UnknownCacheEntryError."""
        text = self.kwargs["entry"]
        if not (text.isascii() and text.isdigit() and len(text) < 20):
            raise UnknownCacheEntryError(f"the output cache has no entry {text[:40]!r}")
        return output_cache.get_entry(int(text))

    @documented(responses=CacheEntrySerializer)
    def get(self, request: Request, entry: str) -> Response:
        """An entry, without its output, which the task that stored it has."""
        return Response(CacheEntrySerializer(self.entry()).data)

    @documented(responses={204: None})
    def delete(self, request: Request, entry: str) -> Response:
        """Forget one output."""
        engine.forget_cache(entry=self.entry().pk)
        return Response(status=status.HTTP_204_NO_CONTENT)
