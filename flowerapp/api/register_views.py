"""``/register``: start a flow, in the original's shapes."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from drf_spectacular.utils import OpenApiParameter, PolymorphicProxySerializer
from rest_framework import exceptions, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from flowerapp import engine
from flowerapp.api import errors, fields
from flowerapp.api.base import ApiView, documented
from flowerapp.api.bounds import NAME, PRIORITY
from flowerapp.api.permissions import actor
from flowerapp.core.names import name_problems
from flowerapp.core.permissions import REGISTER
from flowerapp.engine import MayOverride
from flowerapp.exceptions import UnknownWorkflowError
from flowerapp.models import Flow
from flowerapp.selectors import times
from flowerapp.selectors.flows import was_open

LONGEST_KEY = 255
_KEY = re.compile(r"[\x20-\x7e]+")


class RegisterSerializer(fields.StrictSerializer):
    """Body of a registration."""

    input = fields.AnyField(default=None, help_text="The flow's input.")
    priority = fields.StrictIntegerField(
        bounds=PRIORITY, default=0, help_text="Added to each task's, −20 (first) to 19 (last)."
    )
    parameters = fields.StepParametersField(default=dict, help_text="By task_seq, over those of the definition.")
    entrance = fields.StepField(help_text="Step to start at: its task_seq, or its name.")


class RegisterByBodySerializer(RegisterSerializer):
    """The same with the workflow's name."""

    taskId = fields.StrictTextField(bounds=NAME, help_text="Name of the workflow.")  # noqa: N815 - the original's name


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


REGISTERED = PolymorphicProxySerializer(
    component_name="Registered", serializers=[SucceededSerializer, RunningSerializer], resource_type_field_name=None
)
KEY_HEADER = OpenApiParameter(
    "Idempotency-Key",
    {"type": "string", "minLength": 1, "maxLength": LONGEST_KEY, "pattern": r"^[\x20-\x7e]*[\x21-\x7e][\x20-\x7e]*$"},
    OpenApiParameter.HEADER,
    description="The same key of the same user returns the same flow.",
)


def idempotency_key(request: Request) -> str | None:
    """The header; raises RefusedError for one that cannot be stored."""
    key = request.META.get("HTTP_IDEMPOTENCY_KEY")
    if key is None:
        return None
    if not _KEY.fullmatch(key) or not key.strip() or len(key) > LONGEST_KEY:
        raise errors.RefusedError(f"Idempotency-Key must be 1 to {LONGEST_KEY} printable ASCII characters")
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
        if was_open(flow, key, caller):
            return Response(RunningSerializer(running(flow)).data)
        return Response({"status": "succeeded", "taskId": flow.task_id, "taskFlowId": flow.pk})


@documented(tags=["register"])
class RegisterView(RegisterBase):
    """Register a flow of the workflow that the body names."""

    serializer_class = RegisterByBodySerializer

    @documented(
        operation_id="register",
        request=RegisterByBodySerializer,
        responses={200: REGISTERED},
        parameters=[KEY_HEADER],
    )
    def post(self, request: Request) -> Response:
        """Register a flow of the workflow that the body names."""
        return self.register(request, RegisterByBodySerializer)


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
