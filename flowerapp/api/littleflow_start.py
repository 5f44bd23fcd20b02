"""littleflow's routes that start a flow of a text: as JSON, as plain text, or as a form with a file."""

from __future__ import annotations

from typing import Any

from django.http.multipartparser import MultiPartParserError
from drf_spectacular.utils import OpenApiExample
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response

from flowerapp import engine
from flowerapp.api import fields, parsing
from flowerapp.api.base import documented
from flowerapp.api.errors import RefusedError
from flowerapp.api.littleflow_base import LittleflowView, StatusResponse, success
from flowerapp.api.permissions import actor
from flowerapp.core import values
from flowerapp.core.gates import OURS
from flowerapp.core.permissions import ADD_DEFINITION, REGISTER, is_user, may
from flowerapp.core.plan import Plan
from flowerapp.models import Flow
from flowerapp.selectors.flow_ids import PREFIX
from flowerapp.workflows import arrow
from flowerapp.workflows.arrow.limits import MAX_TEXT

TEXT = "text/plain"
FORM = "multipart/form-data"
PARTS = ("workflow", "input")
_FILE = {"type": "string", "format": "binary"}
_BODY = {"type": "object", "required": ["workflow"], "properties": {"workflow": _FILE, "input": {"type": "string"}}}


class StartSerializer(fields.StrictSerializer):
    """A text and the input of its flow."""

    workflow = fields.StrictTextField(bounds={"minLength": 1, "maxLength": MAX_TEXT}, help_text="The text.")
    input = fields.AnyField(default=None, help_text="The flow's input.")


class StartBase(LittleflowView):
    """All ways to start."""

    permission = REGISTER
    opens_writing = True

    def start(self, request: Request, text: str, flow_input: Any) -> Flow:
        """Register a flow of a text; raises ArrowError with line and column, or what the engine raises."""
        if not values.storable(text):
            raise RefusedError("the workflow holds a character that cannot be stored")
        plan = arrow.plan_of_text(text)
        _must_run(request.user, plan)
        return engine.register_plan(plan, input=flow_input, source=text, actor=actor(request))


def _must_run(user: Any, plan: Plan) -> None:
    """Raise PermissionDenied if a text names programs and the user may not say what runs, as in a workflow."""
    named = sorted(plan.programs - OURS)
    if named and not (is_user(user) and may(user, ADD_DEFINITION)):
        raise PermissionDenied(
            f"this text runs the program {named[0]}, which needs the permission {ADD_DEFINITION}; without it, name "
            "remote tasks alone, or register a workflow that is stored"
        )


EXAMPLES = [
    OpenApiExample("JSON", {"workflow": "A → B", "input": {"day": 1}}, request_only=True, media_type=parsing.JSON),
    OpenApiExample("text", "A → B", request_only=True, media_type=TEXT),
]


@documented(tags=["littleflow"])
class StartView(StartBase):
    """Start a flow of a text."""

    body_types = (parsing.JSON, TEXT)

    @documented(
        operation_id="start",
        request={parsing.JSON: StartSerializer, TEXT: str},
        responses={200: StatusResponse},
        examples=EXAMPLES,
    )
    def post(self, request: Request) -> Response:
        """Start a flow of a text, which is the body or stands in it."""
        if parsing.content_type(request) == TEXT:
            body: dict[str, Any] = {"workflow": as_text(request._request.body, "the body"), "input": None}
        else:
            body = self.valid(StartSerializer)
        flow = self.start(request, body["workflow"], body["input"])
        return success(message=f"Workflow {flow.pk} is started", workflow=PREFIX + flow.pk)


def as_text(raw: bytes, what: str) -> str:
    """The text of UTF-8, with or without a byte order mark; raises RefusedError."""
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RefusedError(f"{what} is not UTF-8: {error.reason} at byte {error.start}") from None


@documented(tags=["littleflow"])
class UploadView(StartBase):
    """Start a flow of an uploaded text."""

    body_types = (FORM,)

    @documented(
        operation_id="upload",
        request={FORM: _BODY},
        responses={200: StatusResponse},
        examples=[OpenApiExample("form", {"workflow": "A → B", "input": "{}"}, request_only=True, media_type=FORM)],
    )
    def post(self, request: Request) -> Response:
        """Start a flow of a text that is a file or a field of a form; ``input`` is JSON."""
        parts = form(request)
        if "workflow" not in parts:
            raise RefusedError("the form has no part named workflow; send the text as a file or field of that name")
        flow_input = values.loads(parts["input"], "input") if parts.get("input", "").strip() else None
        flow = self.start(request, parts["workflow"], flow_input)
        return success(message=f"Workflow {flow.pk} is started", workflow=flow.pk)


def form(request: Request) -> dict[str, str]:
    """The parts of a form, files and fields alike; raises RefusedError."""
    try:
        fields_, files = request._request.POST, request._request.FILES
    except MultiPartParserError as error:
        raise RefusedError(f"the form cannot be read: {error}") from None
    parts = [(str(name), str(text)) for name, texts in fields_.lists() for text in texts]
    for name, uploads in files.lists():
        parts += [(str(name), as_text(upload.read(), f"the file {str(name)[:40]}")) for upload in uploads]
    for name, _ in parts:
        if name not in PARTS or [other for other, _ in parts].count(name) > 1:
            raise RefusedError(f"the form has {name[:40]!r} too often or in vain; its parts are {' and '.join(PARTS)}")
    return dict(parts)
