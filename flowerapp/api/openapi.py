"""drf-spectacular's settings for our document; nothing is imported here that needs Django to be set up."""

from __future__ import annotations

from typing import Any

from flowerapp import __version__

SETTINGS: dict[str, Any] = {
    "TITLE": "flowerapp",
    "DESCRIPTION": "Register flows of workflows, watch, repair and rerun them.",
    "VERSION": __version__,
    "SERVE_INCLUDE_SCHEMA": False,
    "COMPONENT_SPLIT_REQUEST": True,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "DEFAULT_GENERATOR_CLASS": "flowerapp.api.schema_generator.SchemaGenerator",
}
