"""The OpenAPI document of littleflow's routes, its page, and what ``/`` answers to a client that wants JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase
from django.utils.cache import patch_vary_headers
from django.utils.translation import get_language
from drf_spectacular.renderers import OpenApiJsonRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from flowerapp.api import schema_generator
from flowerapp.api.littleflow_base import LittleflowView
from flowerapp.api.littleflow_views import VersionsView
from flowerapp.api.schema_views import DocsView, SchemaView

TITLE = "flowerapp: the routes of littleflow"
DESCRIPTION = """Start, watch, terminate and restart flows of the arrow language as clients of littleflow do.

Log in as for flowerapp's own API: `curl -H "Authorization: Token …" …/workflows/`. An id may have `workflow:` in front.
What is wrong is a sentence in `message`."""
HTML, JSON = "text/html", "application/json"


class Endpoints(schema_generator.Endpoints):
    """littleflow's routes."""

    document = LittleflowView.document


class Generator(schema_generator.SchemaGenerator):
    """Makes the document of littleflow's routes."""

    endpoint_inspector_cls = Endpoints


def document(urlconf: Any, language: str | None) -> dict[str, Any]:
    """The document of littleflow's routes in a URL configuration."""
    made = schema_generator.document(urlconf, language, Generator)
    return {**made, "info": {**made["info"], "title": TITLE, "description": DESCRIPTION}}


class SpecificationView(SchemaView):
    """The OpenAPI document as JSON."""

    renderer_classes = [OpenApiJsonRenderer]

    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """The document."""
        urlconf = getattr(request, "urlconf", None) or settings.ROOT_URLCONF
        return Response(document(urlconf, get_language()), headers={"Content-Disposition": "inline"})


class PageView(DocsView):
    """The OpenAPI document as a page."""

    url_name = "littleflow:specification"
    title = TITLE


def versions_or(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """The view of a first page, which answers versions instead to a client that prefers JSON."""
    versions = VersionsView.as_view()

    def first_page(request: HttpRequest, **options: Any) -> HttpResponseBase:
        wants_json = request.method == "GET" and request.get_preferred_type([HTML, JSON]) == JSON
        response: HttpResponseBase = versions(request) if wants_json else view(request, **options)
        patch_vary_headers(response, ["Accept"])
        return response

    documented: Any = first_page
    documented.cls, documented.initkwargs = versions.cls, versions.initkwargs
    return first_page
