"""What all views share. All options are set here, so that the host's REST_FRAMEWORK settings don't matter."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import Any, ClassVar, TypeVar

from django.core.exceptions import TooManyFieldsSent
from django.db import connections, transaction
from django.http import HttpRequest
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import ValidationError
from rest_framework.generics import GenericAPIView
from rest_framework.metadata import BaseMetadata
from rest_framework.mixins import ListModelMixin
from rest_framework.pagination import BasePagination
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.serializers import BaseSerializer
from rest_framework.settings import DEFAULTS, IMPORT_STRINGS, APISettings
from rest_framework.views import APIView

from flowerapp.api import authentication, errors, parsing, queries
from flowerapp.api.operations import Operation
from flowerapp.api.pagination import Cursors
from flowerapp.api.permissions import VerbPermission
from flowerapp.core.permissions import VIEW_FLOW
from flowerapp.selectors.flow_ids import id_of

UTF_8 = "utf-8"
View = TypeVar("View", bound=Callable[..., Any])


def documented(**options: Any) -> Callable[[View], View]:
    """drf-spectacular's ``extend_schema`` over its own schema class, whatever the host's default is.

    The result for a class is its ``openapi``: with a ``schema`` the class would be in the host's document.
    """

    def decorate(view: View) -> View:
        if not isinstance(view, type):
            view.kwargs = {"schema": Operation}  # type: ignore[attr-defined] # where extend_schema looks for it
            return extend_schema(**options)(view)
        made: Any = view
        made.schema = made.openapi
        extend_schema(**options)(made)
        made.openapi, made.schema = made.schema, None
        return view

    return decorate


class NameOnly(BaseMetadata):
    """The body of an answer to OPTIONS."""

    def determine_metadata(self, request: Request, view: APIView) -> dict[str, str]:
        """Name and purpose; the rest is in the OpenAPI document."""
        return {"name": view.get_view_name(), "description": view.get_view_description()}


class Json(JSONRenderer):
    """JSON as in DRF's defaults."""

    ensure_ascii = False
    compact = True
    strict = True


class Policies(APIView):
    """What our views have in place of the policies of the host's REST_FRAMEWORK; the first base of each."""

    settings = APISettings({"EXCEPTION_HANDLER": errors.handle}, DEFAULTS, IMPORT_STRINGS)
    throttle_classes = []
    permission_classes = [VerbPermission]
    parser_classes = [parsing.StrictJSONParser]
    metadata_class = NameOnly
    versioning_class = None
    schema: Any = None
    """None keeps the view out of the host's OpenAPI document; ours reads ``openapi``."""
    query: ClassVar[type[queries.Query]] = queries.Query
    """The parameters that reading methods take in the address, beside those of pages."""
    writes_by_query: ClassVar[bool] = False
    """Whether other methods take them too."""
    wanted: Mapping[str, Any] = {}
    """The parameters of this request."""

    @classmethod
    def as_view(cls, **options: Any) -> Any:
        """The view outside the transaction that the host's ATOMIC_REQUESTS opens around others.

        The engine opens its own, and where that fails, the view answers. What is outside would be a server error.
        """
        view = super().as_view(**options)
        for alias in connections:
            view = transaction.non_atomic_requests(using=alias)(view)
        return view

    def initialize_request(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Request:
        """The request, whose address is UTF-8 whatever the charset of its body is said to be."""
        with suppress(TooManyFieldsSent):  # the check of the query says so
            request.encoding = UTF_8
        return super().initialize_request(request, *args, **kwargs)

    def get_authenticators(self) -> list[BaseAuthentication]:
        """Those of ``FLOWER["AUTHENTICATION"]``, or tokens and sessions."""
        return authentication.authenticators()

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Authenticate, authorize, and check method and query."""
        super().initial(request, *args, **kwargs)
        if (request.method or "").lower() not in self.http_method_names or request.method not in self.allowed_methods:
            self.http_method_not_allowed(request)
        query, by_query = self.query(data=request.query_params.dict()), self.writes_by_query
        self.wanted = queries.checked(request, query, self.paging(), writes=by_query)

    def paging(self) -> Collection[str]:
        """Names of the parameters that a paginator reads."""
        return ()

    def get_exception_handler(self) -> Callable[..., Any]:
        """The handler of this API's errors."""
        return errors.handle


class ApiView(Policies, GenericAPIView[Any]):
    """JSON in and out, a permission per verb, errors in one shape."""

    renderer_classes = [Json]
    content_negotiation_class = parsing.AlwaysFirst
    pagination_class: type[BasePagination] | None = Cursors
    filter_backends = []
    openapi: ClassVar[Any] = Operation()
    """What our OpenAPI document says about the view."""

    permission: ClassVar[str] = VIEW_FLOW
    """Permission for methods that ``permissions`` does not name."""
    permissions: ClassVar[Mapping[str, str]] = {}
    """Method → permission."""
    conflict_status: ClassVar[int] = status.HTTP_409_CONFLICT
    """The status where the present state does not allow a request."""
    failure: ClassVar[type[BaseSerializer[Any]]] = errors.ErrorSerializer
    """The body of an error."""
    needs_login: ClassVar[bool] = True
    names_in_body: ClassVar[bool] = False
    """Whether a body may name what there is none of."""
    opens_writing: ClassVar[bool] = False
    """Whether ``OPEN_API`` allows other methods than reading ones."""
    opens_reading: ClassVar[bool] = True
    """Whether ``OPEN_API`` allows reading methods."""
    document: ClassVar[str] = "flowerapp"
    """The OpenAPI document that describes the view."""
    body_types: ClassVar[tuple[str, ...]] = (parsing.JSON,)
    """The types of a body that the view reads."""
    most_bytes: ClassVar[str] = "MAX_JSON_BYTES"
    """The setting that bounds a body."""
    cursor_ordering: ClassVar[tuple[str, ...]]
    """Columns that a list is sorted by: together unique, and all in one direction."""

    def permission_of(self, method: str) -> str:
        """The permission that a method needs."""
        return self.permissions.get(method, self.permission)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Authenticate, authorize, check the query, the body's size and type, and find out which flow is meant.

        The handler gets the arguments of ``self.kwargs``.
        """
        super().initial(request, *args, **kwargs)
        parsing.check(request, self.body_types, self.most_bytes)
        if "flow_id" in self.kwargs:
            self.kwargs["flow_id"] = id_of(self.kwargs["flow_id"])

    def paging(self) -> Collection[str]:
        """Those of a list's."""
        return getattr(self.paginator, "parameters", ()) if isinstance(self, ListModelMixin) else ()

    def valid(self, serializer: type[BaseSerializer[Any]], **options: Any) -> Any:
        """The body as ``serializer`` makes it; raises ValidationError."""
        body = parsing.body(self.request)
        if body is None:
            raise ValidationError({"non_field_errors": ["must be a JSON object"]})
        checked = serializer(data=body, context=self.get_serializer_context(), **options)
        checked.is_valid(raise_exception=True)
        return checked.validated_data
