"""drf-spectacular's settings for our document; nothing is imported here that needs Django to be set up."""

from __future__ import annotations

from typing import Any

from flowerapp import __version__

DESCRIPTION = """Register flows of workflows, watch, repair and rerun them.

Programs log in with a token: `python manage.py flow token USER` prints that of a user, and with `--create` makes a
user who may register, operate and read flows, and report events. Send it with each request, as
`curl -H "Authorization: Token …" …/api/flows/`; on this page *Authorize* takes `Token …`. A session of the admin counts
too. The id of a flow may have `workflow:` in front. Times are ISO 8601 in UTC. An error is a sentence in `detail`."""

SETTINGS: dict[str, Any] = {
    "TITLE": "flowerapp",
    "DESCRIPTION": DESCRIPTION,
    "VERSION": __version__,
    "SERVE_INCLUDE_SCHEMA": False,
    "COMPONENT_SPLIT_REQUEST": True,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "DEFAULT_GENERATOR_CLASS": "flowerapp.api.schema_generator.SchemaGenerator",
}
