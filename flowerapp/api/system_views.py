"""Programs, queues, workers, and the health of the server."""

from __future__ import annotations

import threading
from typing import Any, ClassVar

from django.db import DatabaseError, InterfaceError
from rest_framework import serializers, status
from rest_framework.authentication import BaseAuthentication
from rest_framework.generics import ListAPIView
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response

from flowerapp import registry
from flowerapp.api.base import ApiView, documented
from flowerapp.api.fields import ModelSerializer
from flowerapp.api.pagination import OnePage
from flowerapp.core import executor
from flowerapp.core.permissions import VIEW_DEFINITION
from flowerapp.models import Worker
from flowerapp.selectors import programs, queues, workers

BROKER_SECONDS = 2.0
"""Longest wait for the broker's answer."""


class ProgramSerializer(serializers.Serializer[Any]):
    """A program with its retry policy and limits."""

    name = serializers.CharField()
    description = serializers.CharField()
    schema = serializers.DictField(help_text="JSON schema of the parameters.")
    queue = serializers.CharField(help_text="Queue of tasks whose definition names none.")
    autoretry_for = serializers.ListField(child=serializers.CharField(), help_text="Errors that lead to a retry.")
    dont_autoretry_for = serializers.ListField(child=serializers.CharField(), help_text="Errors that don't.")
    max_retries = serializers.IntegerField(allow_null=True, help_text="After the first start.")
    default_retry_delay = serializers.FloatField(help_text="Seconds.")
    retry_backoff = serializers.FloatField(help_text="0 for none, else the first delay in seconds.")
    retry_backoff_max = serializers.FloatField(help_text="Seconds.")
    retry_jitter = serializers.BooleanField()
    time_limit = serializers.FloatField(allow_null=True, help_text="Seconds.")
    soft_time_limit = serializers.FloatField(allow_null=True, help_text="Seconds.")


class QueueSerializer(serializers.Serializer[Any]):
    """A queue as database and broker see it."""

    name = serializers.CharField()
    waiting = serializers.IntegerField(help_text="Ready tasks that no worker has claimed.")
    messages = serializers.IntegerField(allow_null=True, help_text="In the broker; null if unknown.")
    unknown = serializers.CharField(help_text="Why the number of messages is unknown; empty if it is known.")
    workers = serializers.ListField(child=serializers.CharField())
    unserved = serializers.BooleanField(help_text="Whether tasks wait and no worker serves it.")


class WorkerSerializer(ModelSerializer):
    """A worker."""

    alive = serializers.SerializerMethodField(help_text="Whether its last heartbeat is recent.")
    queues = serializers.ListField(child=serializers.CharField(), read_only=True)

    class Meta:
        model = Worker
        fields = [*workers.COLUMNS, "alive"]
        read_only_fields = fields

    def get_alive(self, worker: Worker) -> bool:
        """Whether it is among those."""
        return worker.pk in self.context["alive"]


@documented(tags=["system"])
class ProgramListView(ApiView, ListAPIView[Any]):
    """Programs, those of the host's Celery tasks included."""

    serializer_class = ProgramSerializer
    pagination_class = OnePage
    permission = VIEW_DEFINITION

    def get_queryset(self) -> Any:
        """All programs."""
        return [programs.document(program) for program in registry.programs()]


@documented(tags=["system"])
class QueueListView(ApiView, ListAPIView[Any]):
    """Queues that a worker serves or a task waits in."""

    serializer_class = QueueSerializer
    pagination_class = OnePage

    def get_queryset(self) -> Any:
        """All queues."""
        return queues.overview()


@documented(tags=["system"])
class WorkerListView(ApiView, ListAPIView[Any]):
    """Workers by name."""

    serializer_class = WorkerSerializer
    queryset = Worker.objects.all()
    cursor_ordering = ("name", "id")

    def get_serializer_context(self) -> dict[str, Any]:
        """With the ids of the workers that are alive."""
        return {**super().get_serializer_context(), "alive": set(workers.alive().values_list("pk", flat=True))}


class HealthSerializer(serializers.Serializer[Any]):
    """Health of the server."""

    status = serializers.CharField()


class ReadySerializer(HealthSerializer):
    """Whether the server can serve."""

    database = serializers.CharField()
    broker = serializers.CharField(help_text="For information: flows wait while it is unreachable.")
    workers = serializers.CharField(help_text="For information: flows wait while none is alive.")


class HealthView(ApiView):
    """A view that needs no authentication."""

    permission_classes = [AllowAny]
    needs_login = False

    def get_authenticators(self) -> list[BaseAuthentication]:
        """None: it answers without a database too."""
        return []


@documented(tags=["health"], auth=[])
class LiveView(HealthView):
    """Whether the process answers."""

    serializer_class = HealthSerializer

    @documented(operation_id="livez", responses=HealthSerializer)
    def get(self, request: Request) -> Response:
        """The process answers."""
        return Response({"status": "ok"})


@documented(tags=["health"], auth=[])
class ReadyView(HealthView):
    """The database answers and has its tables."""

    serializer_class = ReadySerializer
    asking: ClassVar[threading.Lock] = threading.Lock()

    @documented(operation_id="readyz", responses={200: ReadySerializer, 503: ReadySerializer})
    def get(self, request: Request) -> Response:
        """200 while the database answers, else 503. Broker and workers do not change the status."""
        facts = self._facts()
        well = facts["status"] == "ok"
        return Response(facts, status=status.HTTP_200_OK if well else status.HTTP_503_SERVICE_UNAVAILABLE)

    def _facts(self) -> dict[str, str]:
        try:
            alive = workers.alive().exists()
        except (DatabaseError, InterfaceError):
            facts = {"status": "unavailable", "database": "unreachable, or not migrated", "workers": "unknown"}
        else:
            facts = {"status": "ok", "database": "ok", "workers": "ok" if alive else "none is alive; flows wait"}
        return {**facts, "broker": self._broker()}

    def _broker(self) -> str:
        """Whether the broker answers in time; one request at a time asks it."""
        if not self.asking.acquire(blocking=False):
            return "being asked"
        answer = ["no answer"]
        thread = threading.Thread(target=self._ask, args=(answer,), daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the process may have no more threads
            self.asking.release()
            return "no answer"
        thread.join(BROKER_SECONDS)
        return answer[0]

    def _ask(self, answer: list[str]) -> None:
        try:
            executor.current().queue_sizes([])
            answer[0] = "ok"
        except Exception as error:
            answer[0] = f"unreachable ({type(error).__name__})"
        finally:
            self.asking.release()
