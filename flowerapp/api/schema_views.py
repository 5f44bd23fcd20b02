"""OpenAPI: the schema, and its pages that need no internet."""

from __future__ import annotations

from typing import Any

from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerView
from rest_framework.authentication import BaseAuthentication

from flowerapp.api.base import ApiView
from flowerapp.api.openapi import SETTINGS
from flowerapp.api.permissions import VIEW_FLOW, VerbPermission


def ours(endpoints: list[Any]) -> list[Any]:
    """The endpoints of flowerapp among those of the project; those outside ``/api/`` without a slash at the end."""
    return [
        (path if "/api/" in path else path.rstrip("/"), *rest)
        for path, *rest in endpoints
        if issubclass(getattr(rest[-1], "cls", object), ApiView)
    ]


class _Guarded:
    """Authentication and permission as in ``ApiView``."""

    opens_writing = False

    def get_authenticators(self) -> list[BaseAuthentication]:
        """As in ``ApiView``."""
        return ApiView().get_authenticators()

    def permission_of(self, method: str) -> str:
        """The permission to read flows."""
        return VIEW_FLOW


class SchemaView(_Guarded, SpectacularAPIView):
    """The OpenAPI document."""

    permission_classes = [VerbPermission]
    versioning_class = None
    custom_settings = {name: value for name, value in SETTINGS.items() if not name.startswith(("SERVE", "SWAGGER"))}


class DocsView(_Guarded, SpectacularSwaggerView):
    """The OpenAPI document as a page."""

    http_method_names = ["get", "head"]
    permission_classes = [VerbPermission]
    versioning_class = None
    url_name = "flowerapp:schema"
    title = "flowerapp"
