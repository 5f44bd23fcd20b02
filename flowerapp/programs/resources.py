"""Programs that load a value from an address and store one there; ``<address>`` in a text of the arrow language."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import yaml
from pydantic import AfterValidator, Field

from flowerapp import conf
from flowerapp.core import masking, values, yaml_values
from flowerapp.core.yaml_values import YAMLError
from flowerapp.exceptions import FlowerError, InvalidValueError
from flowerapp.programs import client, files
from flowerapp.programs.client import Request, with_defaults
from flowerapp.registry import Context, program

LOAD, STORE = "resource:load", "resource:store"
"""Names of the programs."""
HTTP = ("http", "https")
JSON, YAML = "application/json", "application/yaml"


class ResourceError(FlowerError):
    """What an address gave, or was to be given, is no value."""

    code = "resource"


def _scheme(uri: str) -> str:
    """The scheme of an address; empty for a path, also one like ``C:/x``."""
    scheme = urlsplit(uri).scheme
    return scheme if len(scheme) > 1 else ""


def _checked(uri: str) -> str:
    """An address that can be used here; ValueError says what cannot."""
    scheme = _scheme(uri)
    if scheme not in (*HTTP, "file", ""):
        raise ValueError(f"{scheme}: is not possible; use http, https, or a file")
    check = client.parsed if scheme in HTTP else files.check
    try:
        check(uri)
    except FlowerError as error:
        raise ValueError(str(error)) from None
    return uri


def _checked_type(content_type: str) -> str:
    charset = content_type.lower().partition("charset=")[2].strip(" \"'")
    if charset not in ("", "utf-8", "utf8"):
        raise ValueError("a value is text in UTF-8; leave the charset out")
    return content_type


Address = Annotated[
    str,
    Field(alias="uri", description="An http or https URL, or a file in FLOWER['RESOURCE_ROOT']."),
    AfterValidator(_checked),
]
Headers = Annotated[dict[str, str], Field(alias="headers", description="Request headers.")]
ContentType = Annotated[
    str,
    Field(alias="content-type", max_length=200, description="How it is written, if not as its address says."),
    AfterValidator(_checked_type),
]
Timeout = Annotated[float, Field(alias="timeout", gt=0, le=3600, description="Seconds for the whole call.")]


@program(LOAD)
def load(
    uri: Address,
    method: Annotated[Literal["GET", "POST"], Field(alias="method", description="Of an HTTP call.")] = "GET",
    headers: Headers = {},  # noqa: B006 - never changed
    content_type: ContentType = "",
    timeout: Timeout = 60,
) -> Any:
    """Give the JSON or YAML value that is at an address."""
    if _scheme(uri) not in HTTP:
        return _parsed(uri, files.read(uri), content_type)
    sent = with_defaults(headers, Accept=f"{JSON}, {YAML};q=0.9, */*;q=0.1")
    response = client.call(_request(method, uri, None, sent, timeout))
    return _parsed(uri, response.text, content_type or response.content_type)


@program(STORE)
def store(
    ctx: Context,
    uri: Address,
    method: Annotated[Literal["POST", "PUT", "PATCH"], Field(alias="method", description="Of an HTTP call.")] = "POST",
    headers: Headers = {},  # noqa: B006 - never changed
    content_type: ContentType = "",
    timeout: Timeout = 60,
) -> Any:
    """Store the input at an address, as JSON or YAML, and pass it on."""
    kind = _kind(uri, content_type) or JSON
    if kind not in _WRITERS:
        raise _no_value(uri, kind, "written")
    text = _written(uri, kind, ctx.input)
    if _scheme(uri) not in HTTP:
        files.write(uri, text)
        return ctx.input
    sent = with_defaults(headers, Content_Type=content_type or kind, Idempotency_Key=ctx.idempotency_key)
    client.call(_request(method, uri, text.encode(), sent, timeout))
    return ctx.input


def _request(method: str, uri: str, content: bytes | None, headers: Mapping[str, str], timeout: float) -> Request:
    secrets = masking.secrets_of({"uri": uri, "headers": dict(headers)})
    return Request(method, uri, content, headers, timeout, secrets, "; raise timeout")


# How a value is written


def _kind(uri: str, content_type: str) -> str:
    """``JSON`` or ``YAML``, another content type as it is, or an empty text where nothing says it."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind and kind not in ("text/plain", "application/octet-stream"):
        if kind == "json" or kind.endswith(("/json", "+json")):
            return JSON
        return YAML if kind == "yaml" or kind.endswith(("/yaml", "/x-yaml", "+yaml")) else kind
    path = (urlsplit(uri).path if _scheme(uri) else uri).lower()
    if path.endswith((".yaml", ".yml")):
        return YAML
    return JSON if path.endswith(".json") else ""


def _parsed(uri: str, text: str, content_type: str) -> Any:
    kind = _kind(uri, content_type)
    if kind not in _READERS:
        raise _no_value(uri, kind, "read")
    what = str(masking.masked(uri))
    try:
        return _READERS[kind](text, what)
    except YAMLError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ResourceError(f"{what} is no value, line {line}: {error}") from None
    except InvalidValueError as error:
        raise ResourceError(str(error)) from None


def _from_either(text: str, what: str) -> Any:
    """JSON is not quite a part of YAML, and much quicker to read."""
    try:
        return values.loads(text, what)
    except InvalidValueError:
        value = _from_yaml(text, what)
    if isinstance(value, (dict, list)):
        return value
    raise InvalidValueError(f"{what} is a plain text; if it is YAML, say so: (- content-type: {YAML} -)")


def _from_yaml(text: str, what: str) -> Any:
    return values.check(yaml_values.load(text), what)


_READERS: Mapping[str, Callable[[str, str], Any]] = {JSON: values.loads, YAML: _from_yaml, "": _from_either}
"""An empty kind is one that nothing says."""


def _no_value(uri: str, kind: str, done: str) -> ResourceError:
    return ResourceError(
        f"{masking.masked(uri)} is {kind}, which cannot be {done} as a value; "
        f"if it is JSON or YAML, say so: (- content-type: {JSON} -)"
    )


def _written(uri: str, kind: str, value: Any) -> str:
    """The text of a value, which can be loaded again."""
    text, limit = _WRITERS[kind](value), conf.get().MAX_JSON_BYTES
    if len(text.encode()) > limit:
        raise ResourceError(
            f"the value for {masking.masked(uri)} is over {limit:,} bytes as {kind} (FLOWER['MAX_JSON_BYTES'])"
        )
    return text


class _Dumper(yaml.SafeDumper):
    """Writes texts so that a reader finds each character again."""


def _represented(dumper: yaml.SafeDumper, text: str) -> Any:
    """In double quotes, as an escape, stands what a reader takes for the end of a line."""
    return dumper.represent_scalar(f"{yaml_values.TAG}str", text, style='"' if "\x85" in text else None)


_Dumper.add_representer(str, _represented)
_WRITERS: Mapping[str, Callable[[Any], str]] = {
    JSON: lambda value: values.dumps(value),
    YAML: lambda value: str(yaml.dump(value, Dumper=_Dumper, allow_unicode=True, sort_keys=False)),
}
