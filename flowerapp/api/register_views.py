"""``/register``: start a flow, in the original's shapes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from drf_spectacular.utils import OpenApiExample, OpenApiParameter, PolymorphicProxySerializer
from rest_framework import exceptions, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from flowerapp import engine
from flowerapp.api import errors, fields, parsing, register_lists
from flowerapp.api.base import ApiView, documented
from flowerapp.api.bounds import NAME
from flowerapp.api.permissions import actor
from flowerapp.api.register_lists import (
    KEY,
    RefusedItemSerializer,
    RegisterByBodySerializer,
    RegisterItemSerializer,
    RegisterSerializer,
    key_problem,
)
from flowerapp.core.names import name_problems
from flowerapp.core.permissions import REGISTER
from flowerapp.engine import MayOverride
from flowerapp.exceptions import RegistrationsRefusedError, UnknownWorkflowError
from flowerapp.models import Flow
from flowerapp.selectors import times
from flowerapp.selectors.flows import was_open


class RegisterNamedSerializer(RegisterSerializer):
    """The same beside a URL that names the workflow."""

    taskId = fields.StrictTextField(bounds=NAME, required=False)  # noqa: N815 - the original's name


class SucceededSerializer(serializers.Serializer[Any]):
    """A flow was registered."""

    status = serializers.CharField(default="succeeded")
    taskId = serializers.CharField()  # noqa: N815 - the original's name
    taskFlowId = serializers.CharField()  # noqa: N815 - the original's name


class RunningSerializer(serializers.Serializer[Any]):
    """The workflow is unique, and a flow of it is open: nothing was registered."""

    status = serializers.CharField(default="running")
    taskId = serializers.CharField()  # noqa: N815 - the original's name
    taskFlowId = serializers.CharField(help_text="The open flow.")  # noqa: N815 - the original's name
    startedTs = fields.UtcField(allow_null=True, help_text="null while it waits for its first start.")  # noqa: N815
    registeredTs = fields.UtcField()  # noqa: N815 - beside startedTs
    description = serializers.CharField(help_text="Since when it runs or waits.")


class FailedRegisterSerializer(serializers.Serializer[Any]):
    """Nothing was registered."""

    status = serializers.CharField(default="failed")
    taskId = serializers.CharField()  # noqa: N815 - the original's name
    description = serializers.CharField(help_text="What is wrong.")
    refusals = RefusedItemSerializer(many=True, required=False, help_text="Of a list, the items that are refused.")


REGISTERED = PolymorphicProxySerializer(
    component_name="Registered", serializers=[SucceededSerializer, RunningSerializer], resource_type_field_name=None
)
ONE_OR_MANY = PolymorphicProxySerializer(
    component_name="RegisteredOneOrMany",
    serializers=[SucceededSerializer, RunningSerializer, SucceededSerializer(many=True)],
    resource_type_field_name=None,
    many=False,
)
TO_REGISTER = PolymorphicProxySerializer(
    component_name="RegisterOneOrMany",
    serializers=[RegisterByBodySerializer, RegisterItemSerializer(many=True)],
    resource_type_field_name=None,
    many=False,
)
EXAMPLES = [
    OpenApiExample("one", {"taskId": "etl", "input": {"day": "2026-01-31"}}, request_only=True),
    OpenApiExample(
        "many",
        [{"taskId": "etl", "input": {"day": 1}, "idempotency_key": "day-1"}, {"taskId": "etl", "input": {"day": 2}}],
        request_only=True,
    ),
]
KEY_HEADER = OpenApiParameter(
    "Idempotency-Key",
    {"type": "string", **KEY},
    OpenApiParameter.HEADER,
    description="The same key of the same user returns the same flow.",
)


def idempotency_key(request: Request) -> str | None:
    """The header; raises RefusedError for one that cannot be stored."""
    key = request.META.get("HTTP_IDEMPOTENCY_KEY")
    if key is None:
        return None
    if problem := key_problem(key):
        raise errors.RefusedError(f"Idempotency-Key {problem}")
    return str(key)


def running(flow: Flow) -> dict[str, Any]:
    """The answer for a unique workflow that has an open flow."""
    began = flow.started_ts or flow.registered_ts
    how = "is running since" if flow.started_ts else "waits for its first start since"
    return {
        "status": "running",
        "taskId": flow.task_id,
        "taskFlowId": flow.pk,
        "startedTs": flow.started_ts,
        "registeredTs": flow.registered_ts,
        "description": f"workflow {flow.task_id!r} runs one flow at a time, and flow {flow.pk} {how} "
        f"{times.with_zone(began)}",
    }


def answer(flow: Flow, key: str | None, caller: str) -> dict[str, Any]:
    """The answer to a request of that key and caller."""
    if was_open(flow, key, caller):
        return dict(RunningSerializer(running(flow)).data)
    return {"status": "succeeded", "taskId": flow.task_id, "taskFlowId": flow.pk}


class RegisterBase(ApiView):
    """Both ways to register."""

    permission = REGISTER
    failure = FailedRegisterSerializer
    opens_writing = True
    names_in_body = True
    task_id = ""
    """The workflow's name, for errors."""

    def get_exception_handler(self) -> Callable[..., Any]:
        """Errors in the original's shape."""
        return self._failed

    def _failed(self, error: Exception, context: dict[str, Any]) -> Response | None:
        response = errors.handle(error, context)
        if response is not None:
            sentence = errors.description(response.data)
            response.data = {"status": "failed", "taskId": self.task_id, "description": sentence}
            if isinstance(error, RegistrationsRefusedError):
                response.data["refusals"] = list(register_lists.refused_items(error))
        return response

    def register(self, request: Request, serializer: type[RegisterSerializer]) -> Response:
        """Check the body and register; raises what the engine raises."""
        body = self.valid(serializer)
        named = body.pop("taskId", self.task_id)
        if self.task_id and named != self.task_id:
            raise exceptions.ValidationError({"taskId": [f"is {named[:256]!r}, but the URL names {self.task_id!r}"]})
        self.task_id = named[:256]
        if any(name_problems(named)):
            raise UnknownWorkflowError(f"there is no workflow {named[:256]!r}")
        key, caller = idempotency_key(request), actor(request)
        may_override = MayOverride.of(request.user, REGISTER)
        flow = engine.register(named, **body, idempotency_key=key, actor=caller, may_override=may_override)
        return Response(answer(flow, key, caller))


@documented(tags=["register"])
class RegisterView(RegisterBase):
    """Register a flow of the workflow that the body names, or one for each item of a list."""

    serializer_class = RegisterByBodySerializer

    @documented(
        operation_id="register",
        request=TO_REGISTER,
        responses={200: ONE_OR_MANY},
        parameters=[KEY_HEADER],
        examples=EXAMPLES,
    )
    def post(self, request: Request) -> Response:
        """Register a flow of the workflow that the body names, or one for each item of a list, all or none.

        A list is answered by a list of the same length and order. Where items are refused, nothing is registered, and
        ``refusals`` says which and why.
        """
        body = parsing.body(request)
        return (
            self._register_list(request, body)
            if isinstance(body, list)
            else self.register(request, RegisterByBodySerializer)
        )

    def _register_list(self, request: Request, body: list[Any]) -> Response:
        if idempotency_key(request) is not None:
            raise errors.RefusedError("Idempotency-Key is for one flow; give each item of a list its idempotency_key")
        wanted = register_lists.registrations(body, self.get_serializer_context())
        caller, may_override = actor(request), MayOverride.of(request.user, REGISTER)
        flows = engine.register_many(wanted, actor=caller, may_override=may_override)
        keys = [registration.idempotency_key for registration in wanted]
        return Response([answer(flow, key, caller) for flow, key in zip(flows, keys, strict=True)])


@documented(tags=["register"])
class RegisterNamedView(RegisterBase):
    """Register a flow of the workflow that the URL names."""

    serializer_class = RegisterNamedSerializer

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Keep the name for errors."""
        self.task_id = kwargs["task_id"][:256]
        super().initial(request, *args, **kwargs)

    @documented(
        operation_id="register_named",
        request=RegisterNamedSerializer,
        responses={200: REGISTERED},
        parameters=[OpenApiParameter("task_id", {"type": "string", **NAME}, OpenApiParameter.PATH), KEY_HEADER],
    )
    def post(self, request: Request, task_id: str) -> Response:
        """Register a flow of the workflow that the URL names."""
        self._check_length(task_id)
        return self.register(request, RegisterNamedSerializer)

    def _check_length(self, task_id: str) -> None:
        if task_id != self.task_id:
            raise UnknownWorkflowError(f"there is no workflow {self.task_id + '…'!r}")
