"""Pools: list, read with holders and waiters, create, change, delete."""

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
from flowerapp.api.bounds import NAME, SEQ
from flowerapp.api.fields import StatusSerializer
from flowerapp.api.permissions import DEFINE_POOL
from flowerapp.core.names import name_problems
from flowerapp.core.permissions import VIEW_POOL
from flowerapp.exceptions import UnknownPoolError
from flowerapp.models import Pool, Task
from flowerapp.selectors import pools
from flowerapp.selectors.in_words import task_in_words
from flowerapp.selectors.pools import PoolUse, get_pool
from flowerapp.selectors.tasks import ROW_COLUMNS
from flowerapp.selectors.wait_reasons import wait_reasons

POOL = OpenApiParameter("name", {"type": "string", **NAME}, OpenApiParameter.PATH, description="Name of the pool.")
MOST_TASKS = 100
"""Holders and waiters of a pool that are listed."""


class PoolBodySerializer(fields.NamedSerializer):
    """A pool as a caller creates or changes it."""

    name_field = "name"

    name = fields.StrictTextField(bounds=NAME)
    slots = fields.StrictIntegerField(bounds=SEQ, help_text="Tasks that may run at once; 0 lets none start.")
    description = fields.StrictTextField(default="")

    def validate_name(self, value: str) -> str:
        """One name."""
        return self.same_name(value)


class ChangedPoolSerializer(PoolBodySerializer):
    """A pool, whose name may be left out because the URL has it."""

    name = fields.StrictTextField(bounds=NAME, required=False)


class ListedPoolSerializer(serializers.Serializer[Any]):
    """A pool in a list."""

    name = serializers.CharField()
    slots = serializers.IntegerField(help_text="Tasks that may run at once; 0 lets none start.")
    description = serializers.CharField()
    held = serializers.IntegerField(help_text="Slots that tasks have.")
    waiting = serializers.IntegerField(help_text="Tasks that wait for a slot and nothing else.")


class PoolTaskSerializer(StatusSerializer):
    """A task that has a slot of a pool, or waits for one."""

    task_flow_id = serializers.CharField(read_only=True)
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
            "word",
            "symbol",
            "note",
            "duration",
            "duration_seconds",
            "started_ts",
            "why",
        ]
        read_only_fields = fields

    def in_words(self, row: Task) -> dict[str, Any]:
        """The task in words, without its children, which the task by itself has."""
        return task_in_words(row, None)

    def get_why(self, task: Task) -> str:
        """The reason, from those of all."""
        return str(self.context["waits"].get(task.pk, ""))


class PoolSerializer(ListedPoolSerializer):
    """A pool with the tasks that have its slots and those that wait for one."""

    holders = PoolTaskSerializer(many=True, help_text=f"The first {MOST_TASKS} that have a slot.")
    waiters = PoolTaskSerializer(many=True, help_text=f"The next {MOST_TASKS} in line for a slot.")


def shown(pool: Pool) -> dict[str, Any]:
    """A pool with its holders and waiters, as JSON."""
    use = PoolUse(pool)
    holders, waiters = [list(tasks.only(*ROW_COLUMNS)[:MOST_TASKS]) for tasks in (use.holders, use.waiters)]
    columns = {name: getattr(pool, name) for name in pools.COLUMNS}
    numbers = {"held": use.held, "waiting": use.waiting}
    context = {"waits": wait_reasons([*holders, *waiters])}
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
        return pools.with_use()

    @documented(request=PoolBodySerializer, responses={201: PoolSerializer})
    def post(self, request: Request) -> Response:
        """Create a pool."""
        pool = engine.set_pool(**self.valid(PoolBodySerializer), new=True)
        return Response(shown(pool), status=status.HTTP_201_CREATED)


@documented(tags=["pools"], parameters=[POOL])
class PoolView(ApiView):
    """One pool."""

    serializer_class = PoolSerializer
    permission = VIEW_POOL
    permissions = DEFINE_POOL

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Refuse a name that no pool can have."""
        super().initial(request, *args, **kwargs)
        if any(name_problems(kwargs["name"])):
            raise UnknownPoolError(f"there is no pool {kwargs['name'][:256]!r}")

    def get_serializer_context(self) -> dict[str, Any]:
        """With the name in the URL."""
        return {**super().get_serializer_context(), **self.kwargs}

    @documented(responses=PoolSerializer)
    def get(self, request: Request, name: str) -> Response:
        """A pool with its holders, its waiters and why they wait."""
        return Response(shown(get_pool(name)))

    @documented(request=ChangedPoolSerializer, responses=PoolSerializer)
    def put(self, request: Request, name: str) -> Response:
        """Change a pool; tasks that find a free slot are admitted at once."""
        get_pool(name)
        return Response(shown(engine.set_pool(**self.valid(ChangedPoolSerializer))))

    @documented(responses={204: None})
    def delete(self, request: Request, name: str) -> Response:
        """Delete a pool that no step and no open task names."""
        engine.delete_pool(name)
        return Response(status=status.HTTP_204_NO_CONTENT)
