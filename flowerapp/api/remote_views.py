"""Remote tasks for workers in any language: claim, heartbeat and end over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from flowerapp import conf, engine
from flowerapp.api import fields, long_poll
from flowerapp.api.base import ApiView, documented
from flowerapp.api.bounds import ID, SEQ, Bounds
from flowerapp.api.permissions import actor
from flowerapp.core.identity import LONGEST_REMOTE
from flowerapp.core.messages import TaskRef
from flowerapp.core.names import LONGEST_NAME
from flowerapp.core.permissions import REMOTE_WORKER
from flowerapp.core.plan import LARGEST
from flowerapp.engine import RemoteWork
from flowerapp.engine.remote_work import LONGEST_LEASE, MOST_CLAIMED, MOST_NAMES
from flowerapp.models.fields import LONGEST_TEXT
from flowerapp.selectors.flow_ids import id_of
from flowerapp.selectors.tasks import get_task

LONGEST_WAIT = 30
"""Seconds of the longest wait for work."""
BATCH = 10
"""Tasks that are claimed at once, before their size is known."""
MOST_BYTES = 4 * 1024 * 1024
"""Characters of the parameters and inputs of an answer, above which it gets no further tasks."""
NAME: Bounds = {"minLength": 1, "maxLength": LONGEST_NAME}
WORKER: Bounds = {"minLength": 1, "maxLength": LONGEST_REMOTE, "pattern": r"^[^/\u0000-\u001f\u007f-\u009f]+$"}
ATTEMPT: Bounds = {"minimum": 1, "maximum": LARGEST}
LEASE: Bounds = {"minimum": 0, "exclusiveMinimum": True, "maximum": LONGEST_LEASE}


class ClaimSerializer(fields.StrictSerializer):
    """Body of a claim."""

    worker = fields.StrictTextField(bounds=WORKER, help_text="What people see as the worker of the tasks.")
    names = serializers.ListField(
        child=fields.StrictTextField(bounds=NAME),
        default=list,
        max_length=MOST_NAMES,
        help_text="Aliases or names of what does the work, or name spaces such as pdf:*; empty for all.",
    )
    limit = fields.StrictIntegerField(
        min_value=1,
        max_value=MOST_CLAIMED,
        default=1,
        help_text="Most tasks to claim; fewer come where they are large.",
    )
    wait = fields.StrictNumberField(
        bounds={"minimum": 0, "maximum": LONGEST_WAIT},
        default=0,
        help_text="Seconds to wait for the first task, if there is none.",
    )
    seconds = fields.StrictNumberField(
        bounds=LEASE,
        default=None,
        allow_null=True,
        help_text="Lease, at most the step's time limit; null for what that says, or REMOTE_SECONDS.",
    )

    def validate_wait(self, value: float) -> float:
        """At most ``LONGEST_WAIT``."""
        if not 0 <= value <= LONGEST_WAIT:
            raise serializers.ValidationError(f"must be a number of seconds from 0 to {LONGEST_WAIT}")
        return value


class AttemptSerializer(fields.StrictSerializer):
    """Body that names an attempt."""

    task_flow_id = fields.StrictTextField(bounds=ID, help_text="The flow, with or without `workflow:` in front.")
    seq = fields.StrictIntegerField(bounds=SEQ, help_text="task_exec_seq")
    attempt = fields.StrictIntegerField(bounds=ATTEMPT, help_text="As the claim answered it.")


class HeartbeatSerializer(AttemptSerializer):
    """Body of a heartbeat."""

    progress = fields.ParametersField(
        default=None, allow_null=True, help_text='Such as {"done": 3, "total": 10}; null keeps what was reported.'
    )
    seconds = fields.StrictNumberField(
        bounds=LEASE, default=None, allow_null=True, help_text="Lease from now on; null for that of the claim."
    )


class OutcomeSerializer(AttemptSerializer):
    """Body of the end of an attempt: with an output, or with an error."""

    output = fields.AnyField(required=False, help_text="What the work has made: JSON; null is {}.")
    error = fields.StrictTextField(required=False, max_length=LONGEST_TEXT, help_text="Why it could not be done.")
    retry = fields.StrictBooleanField(default=True, help_text="Whether a retry that the step has left may follow.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """One of the two."""
        if ("output" in attrs) is ("error" in attrs):
            raise serializers.ValidationError("give either output or error")
        return attrs


class RemoteWorkSerializer(serializers.Serializer[RemoteWork]):
    """A claimed task. Parameters and input are as they are stored, with their secrets."""

    task_flow_id = serializers.CharField(source="ref.flow_id")
    seq = serializers.IntegerField(source="ref.seq", help_text="task_exec_seq")
    task_id = serializers.CharField(help_text="Name of the workflow.")
    name = serializers.CharField(help_text="Alias of the step, or what does its work.")
    base = serializers.CharField(help_text="What does its work.")
    task_seq = serializers.IntegerField()
    attempt = serializers.IntegerField(help_text="Heartbeats and the end name it.")
    parameters = fields.ParametersField()
    input = fields.AnyField()
    idempotency_key = serializers.CharField(help_text="The same for all attempts until the task is rerun.")
    queue = serializers.CharField()
    priority = serializers.IntegerField()
    lease_seconds = serializers.FloatField(help_text="Until when a heartbeat or the end must come.")


class ClaimedSerializer(serializers.Serializer[Any]):
    """The tasks that were claimed."""

    tasks = RemoteWorkSerializer(many=True)


class AnsweredSerializer(serializers.Serializer[Any]):
    """The task after a heartbeat or an end."""

    task_flow_id = serializers.CharField()
    seq = serializers.IntegerField(help_text="task_exec_seq")
    attempt = serializers.IntegerField()
    status = serializers.CharField(help_text="Wait if it is to be retried.")


def _ref_of(body: Mapping[str, Any]) -> TaskRef:
    return TaskRef(id_of(body["task_flow_id"]), body["seq"])


class RemoteView(ApiView):
    """What remote workers do."""

    permission = REMOTE_WORKER
    names_in_body = True

    def answer(self, ref: TaskRef, attempt: int) -> Response:
        """The task as it is now."""
        status = get_task(*ref).status.label
        body = {"task_flow_id": ref.flow_id, "seq": ref.seq, "attempt": attempt, "status": status}
        return Response(AnsweredSerializer(body).data)


@documented(tags=["remote"])
class ClaimView(RemoteView):
    """Claim remote tasks that are ready."""

    serializer_class = ClaimSerializer

    @documented(request=ClaimSerializer, responses=ClaimedSerializer)
    def post(self, request: Request) -> Response:
        """Claim remote tasks that are ready: the most urgent first, then the oldest. Empty if none came in time."""
        body = self.valid(ClaimSerializer)
        most = conf.get().REMOTE_WAITS if long_poll.may_wait(request) else 0
        works = long_poll.first(lambda: _claimed(body), body["wait"], most)
        return Response(ClaimedSerializer({"tasks": works}).data)


def _claimed(body: Mapping[str, Any]) -> list[RemoteWork]:
    """Up to ``limit`` tasks; fewer where they are large."""
    works: list[RemoteWork] = []
    size = 0
    for asked in range(0, body["limit"], BATCH):
        limit = min(BATCH, body["limit"] - asked)
        batch = engine.claim_remote(body["worker"], names=body["names"], limit=limit, seconds=body["seconds"])
        works += batch
        size += sum(len(str(work.parameters)) + len(str(work.input)) for work in batch)
        if len(batch) < limit or size > MOST_BYTES:
            break
    return works


@documented(tags=["remote"])
class HeartbeatView(RemoteView):
    """Keep a claimed task."""

    serializer_class = HeartbeatSerializer

    @documented(request=HeartbeatSerializer, responses=AnsweredSerializer)
    def post(self, request: Request) -> Response:
        """Prolong the lease of an attempt. 409 means that the worker should stop: the attempt no longer runs."""
        body = self.valid(HeartbeatSerializer)
        ref = _ref_of(body)
        engine.beat_remote(ref, body["attempt"], seconds=body["seconds"], progress=body["progress"])
        return self.answer(ref, body["attempt"])


@documented(tags=["remote"])
class EndView(RemoteView):
    """End a claimed task."""

    serializer_class = OutcomeSerializer

    @documented(request=OutcomeSerializer, responses=AnsweredSerializer)
    def post(self, request: Request) -> Response:
        """End an attempt: with its output, or with an error, which is retried while the step has retries left."""
        body = self.valid(OutcomeSerializer)
        ref, attempt, user = _ref_of(body), body["attempt"], actor(request)
        if "error" in body:
            engine.fail_task(*ref, body["error"], attempt=attempt, retry=body["retry"], actor=user)
        else:
            engine.end_task(*ref, output=body["output"], attempt=attempt, actor=user)
        return self.answer(ref, attempt)
