"""OpenAPI: the schema, and its pages that need no internet."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.conf import settings
from django.utils.translation import get_language
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerView
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.request import Request
from rest_framework.response import Response

from flowerapp.api import schema_generator
from flowerapp.api.base import Json, Policies
from flowerapp.api.queries import OneOf, Query
from flowerapp.core.permissions import VIEW_FLOW


class ByFormat(DefaultContentNegotiation):
    """By the parameter ``format`` if it names a form that there is; the query's check refuses others."""

    def filter_renderers(self, renderers: Any, format: str) -> Any:
        """Those of the format."""
        return [renderer for renderer in renderers if renderer.format == format] or renderers


def has_page() -> bool:
    """Whether the page can be shown: its template and its files belong to apps that are installed."""
    return apps.is_installed("drf_spectacular") and apps.is_installed("drf_spectacular_sidecar")


class SchemaQuery(Query):
    """The form of the document."""

    format = OneOf(["yaml", "json"], required=False)


class _Page(Policies):
    """Users who may read flows may read it."""

    opens_writing = False
    opens_reading = True
    content_negotiation_class = ByFormat

    def permission_of(self, method: str) -> str:
        """The permission to read flows."""
        return VIEW_FLOW

    def handle_exception(self, exc: Exception) -> Response:
        """The error as JSON, as on all routes."""
        response = super().handle_exception(exc)
        self.request.accepted_renderer, self.request.accepted_media_type = Json(), Json.media_type
        return response


class SchemaView(_Page, SpectacularAPIView):
    """The OpenAPI document."""

    query = SchemaQuery

    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """The document as YAML or JSON."""
        urlconf = getattr(request, "urlconf", None) or settings.ROOT_URLCONF
        document = schema_generator.document(urlconf, get_language())
        return Response(document, headers={"Content-Disposition": "inline"})


class DocsView(_Page, SpectacularSwaggerView):
    """The OpenAPI document as a page."""

    http_method_names = ["get", "head"]
    url_name = "flowerapp:schema"
    title = "flowerapp"

    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """The page, with its files from this server."""
        with schema_generator.own_settings():
            page: Response = super().get(request, *args, **kwargs)  # type: ignore[no-untyped-call]
            return page
