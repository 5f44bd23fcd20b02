"""The program that calls another service over HTTP."""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import Field

from flowerapp.core import masking
from flowerapp.programs.client import Request, call, with_defaults
from flowerapp.registry import program


@program("HTTPPostRequest")
def http_post_request(
    url: Annotated[str, Field(alias="URL", description="The http or https URL.")],
    body: Annotated[Any, Field(alias="BODY", description="Text is sent unchanged, any other value as JSON.")] = "",
    headers: Annotated[dict[str, str], Field(alias="HEADERS", description="Request headers.")] = {},  # noqa: B006 - never changed
    timeout: Annotated[float, Field(alias="TIMEOUT", gt=0, le=3600, description="Seconds for the whole call.")] = 60,
) -> dict[str, Any]:
    """POST BODY to URL and return status and body of the response; an error status fails the task."""
    content = body if isinstance(body, str) else json.dumps(body)
    sent = with_defaults(headers, Content_Type="application/json")
    secrets = masking.secrets_of({"URL": url, "BODY": body, "HEADERS": headers})
    response = call(Request("POST", url, content.encode(), sent, timeout, secrets, "; raise TIMEOUT"))
    return {"status": response.status, "body": _json_or_text(response.text)}


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
