"""What all views share. All options are set here, so that the host's REST_FRAMEWORK settings don't matter."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeVar

from django.apps import apps
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import extend_schema
from rest_framework.authentication import BaseAuthentication, SessionAuthentication, TokenAuthentication
from rest_framework.exceptions import ValidationError
from rest_framework.generics import GenericAPIView
from rest_framework.metadata import BaseMetadata
from rest_framework.pagination import BasePagination
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.serializers import BaseSerializer
from rest_framework.views import APIView

from flowerapp.api import errors, parsing
from flowerapp.api.pagination import Cursors
from flowerapp.api.permissions import VIEW_FLOW, VerbPermission

View = TypeVar("View", bound=Callable[..., Any])


def documented(**options: Any) -> Callable[[View], View]:
    """drf-spectacular's ``extend_schema`` over its own schema class, whatever the host's default is."""

    def decorate(view: View) -> View:
        if not isinstance(view, type):
            view.kwargs = {"schema": AutoSchema}  # type: ignore[attr-defined] # where extend_schema looks for it
        return extend_schema(**options)(view)

    return decorate


class NameOnly(BaseMetadata):
    """The body of an answer to OPTIONS."""

    def determine_metadata(self, request: Request, view: APIView) -> dict[str, str]:
        """Name and purpose; the rest is in the OpenAPI document."""
        return {"name": view.get_view_name(), "description": view.get_view_description()}


class ApiView(GenericAPIView[Any]):
    """JSON in and out, sessions and tokens, a permission per verb, errors in one shape."""

    renderer_classes = [JSONRenderer]
    parser_classes = [parsing.StrictJSONParser]
    content_negotiation_class = parsing.AlwaysFirst
    permission_classes = [VerbPermission]
    metadata_class = NameOnly
    pagination_class: type[BasePagination] = Cursors
    filter_backends = []
    versioning_class = None
    schema = AutoSchema()

    permission: ClassVar[str] = VIEW_FLOW
    """Permission for methods that ``permissions`` does not name."""
    permissions: ClassVar[Mapping[str, str]] = {}
    """Method → permission."""
    opens_writing: ClassVar[bool] = False
    """Whether ``OPEN_API`` allows other methods than reading ones."""
    cursor_ordering: ClassVar[tuple[str, ...]] = ("pk",)

    def permission_of(self, method: str) -> str:
        """The permission that a method needs."""
        return self.permissions.get(method, self.permission)

    def get_authenticators(self) -> list[BaseAuthentication]:
        """Tokens, where the host has installed them, and sessions."""
        tokens = [TokenAuthentication()] if apps.is_installed("rest_framework.authtoken") else []
        return [*tokens, SessionAuthentication()]

    def get_exception_handler(self) -> Callable[..., Any]:
        """The handler of this API's errors."""
        return errors.handle

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Authenticate, authorize, and check the body's size and type."""
        super().initial(request, *args, **kwargs)
        parsing.check(request)

    def valid(self, serializer: type[BaseSerializer[Any]], **options: Any) -> Any:
        """The body as ``serializer`` makes it; raises ValidationError."""
        body = parsing.body(self.request)
        if body is None:
            raise ValidationError({"non_field_errors": ["must be a JSON object"]})
        checked = serializer(data=body, context=self.get_serializer_context(), **options)
        checked.is_valid(raise_exception=True)
        return checked.validated_data
