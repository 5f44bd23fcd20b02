"""Pools: list, read with who has their slots, make, change, delete."""

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
from flowerapp.api.flow_serializers import ModelSerializer
from flowerapp.api.permissions import DEFINE_POOL, VIEW_POOL
from flowerapp.exceptions import UnknownPoolError
from flowerapp.models import Pool, Task
from flowerapp.plan import name_problems
from flowerapp.states import Status

NAME = OpenApiParameter("name", str, OpenApiParameter.PATH, description="Name of the pool.")
MOST_TASKS = 100
"""Holders and waiters of a pool that are listed."""


class PoolBodySerializer(fields.StrictSerializer):
    """A pool as it is made or changed."""

    name = fields.StrictTextField()
    slots = fields.StrictIntegerField(help_text="Tasks that may run at once; 0 lets none start.")
    description = fields.StrictTextField(default="")

    def get_fields(self) -> dict[str, Any]:
        """``name`` may be left out where the URL has it."""
        known = super().get_fields()
        if "name" in self.context:
            known["name"] = fields.StrictTextField(default=self.context["name"])
        return known

    def validate_name(self, value: str) -> str:
        """One name."""
        asked = self.context.get("name", value)
        if value != asked:
            raise serializers.ValidationError(f"is {value[:256]!r}, but the URL names {asked!r}")
        return value


class ListedPoolSerializer(serializers.Serializer[Any]):
    """A pool in a list."""

    name = serializers.CharField()
    slots = serializers.IntegerField(help_text="Tasks that may run at once; 0 lets none start.")
    description = serializers.CharField()
    held = serializers.IntegerField(help_text="Slots that tasks have.")
    waiting = serializers.IntegerField(help_text="Tasks that wait for a slot and nothing else.")


class PoolTaskSerializer(ModelSerializer):
    """A task that has a slot of a pool, or waits for one."""

    task_flow_id = serializers.CharField(read_only=True)
    status = serializers.SerializerMethodField(help_text="The state in a word.")
    why = serializers.SerializerMethodField(help_text="Why it does not run now; empty if it does, or is about to.")

    class Meta:
        model = Task
        fields = [
            "task_flow_id",
            "task_id",
            "task_exec_seq",
            "program",
            "task_priority",
            "status",
            "started_ts",
            "why",
        ]
        read_only_fields = fields

    @extend_schema_field(serializers.ChoiceField(choices=[status.label for status in Status]))
    def get_status(self, task: Task) -> str:
        """The state in a word."""
        return task.status.label

    def get_why(self, task: Task) -> str:
        """The reason, from those of all."""
        return str(self.context["waits"].get(task.pk, ""))


class PoolSerializer(ListedPoolSerializer):
    """A pool with who has its slots."""

    holders = PoolTaskSerializer(many=True, help_text=f"The first {MOST_TASKS} that have a slot.")
    waiters = PoolTaskSerializer(many=True, help_text=f"The first {MOST_TASKS} whose turn comes next.")


def shown(pool: Pool) -> dict[str, Any]:
    """A pool with who has its slots and who waits, as JSON."""
    use = engine.PoolUse(pool)
    holders, waiters = [list(tasks.defer("output", "traceback")[:MOST_TASKS]) for tasks in (use.holders, use.waiters)]
    columns = {name: getattr(pool, name) for name in ("name", "slots", "description")}
    numbers = {"held": use.held, "waiting": use.waiting}
    context = {"waits": engine.why_wait([*holders, *waiters])}
    return dict(PoolSerializer({**columns, **numbers, "holders": holders, "waiters": waiters}, context=context).data)


@documented(tags=["pools"])
class PoolListView(ApiView, ListAPIView[Any]):
    """Pools by name."""

    serializer_class = ListedPoolSerializer
    queryset = Pool.objects.none()
    permission = VIEW_POOL
    permissions = DEFINE_POOL
    cursor_ordering = ("name",)

    def get_queryset(self) -> Any:
        """Pools with how much of them is in use."""
        return Pool.objects.with_use()

    @documented(request=PoolBodySerializer, responses={201: PoolSerializer})
    def post(self, request: Request) -> Response:
        """Make a pool."""
        pool = engine.set_pool(**self.valid(PoolBodySerializer), new=True)
        return Response(shown(pool), status=status.HTTP_201_CREATED)


@documented(tags=["pools"], parameters=[NAME])
class PoolView(ApiView):
    """One pool."""

    serializer_class = PoolSerializer
    permission = VIEW_POOL
    permissions = DEFINE_POOL

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """No name that no pool can have."""
        super().initial(request, *args, **kwargs)
        if any(name_problems(kwargs["name"])):
            raise UnknownPoolError(f"there is no pool {kwargs['name'][:256]!r}")

    def get_serializer_context(self) -> dict[str, Any]:
        """With the name in the URL."""
        return {**super().get_serializer_context(), **self.kwargs}

    @documented(responses=PoolSerializer)
    def get(self, request: Request, name: str) -> Response:
        """A pool, who has its slots, and who waits for one and why."""
        return Response(shown(engine.get_pool(name)))

    @documented(request=PoolBodySerializer, responses=PoolSerializer)
    def put(self, request: Request, name: str) -> Response:
        """Change a pool; tasks that find room are let in at once."""
        engine.get_pool(name)
        return Response(shown(engine.set_pool(**self.valid(PoolBodySerializer))))

    @documented(responses={204: None})
    def delete(self, request: Request, name: str) -> Response:
        """Delete a pool that no step and no open task names."""
        engine.delete_pool(name)
        return Response(status=status.HTTP_204_NO_CONTENT)
