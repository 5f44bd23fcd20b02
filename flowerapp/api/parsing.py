"""Bodies of requests: strict JSON, with a declared and bounded length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rest_framework import exceptions
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.request import Request

from flowerapp import conf
from flowerapp.api.errors import LengthRequiredError, RefusedError, TooLargeError, WrongTypeError
from flowerapp.core import values

JSON = "application/json"
_DRAIN = 64 * 1024 * 1024
_PIECE = 64 * 1024
_SMALL = 256


class StrictJSONParser(BaseParser):
    """JSON as ``flowerapp.core.values`` takes it: no NaN, infinity, NUL or lone surrogates."""

    media_type = JSON

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Mapping[str, Any] | None = None) -> Any:
        """The value of the body; raises InvalidValueError."""
        return values.loads(stream.read(), "the body")


class ArchiveParser(BaseParser):
    """JSON of the size of an archive; what restores it checks the values."""

    media_type = JSON

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Mapping[str, Any] | None = None) -> Any:
        """The value of the body; raises InvalidValueError."""
        return values.parsed(stream.read(), "the body")


class AlwaysFirst(BaseContentNegotiation):
    """JSON, whatever ``Accept`` says."""

    def select_parser(self, request: Request, parsers: Any) -> Any:
        """The parser for JSON; None for anything else."""
        return parsers[0] if content_type(request) == JSON else None

    def select_renderer(self, request: Request, renderers: Any, format_suffix: str | None = None) -> Any:
        """The first renderer."""
        return renderers[0], renderers[0].media_type


def content_type(request: Request) -> str:
    """The type of the body, without its parameters, in small letters."""
    return (request._request.content_type or "").lower()


def length_of(request: Request) -> int:
    """Bytes of the body; raises LengthRequiredError where the client does not declare it."""
    if request.META.get("HTTP_TRANSFER_ENCODING"):
        raise LengthRequiredError
    length = str(request.META.get("CONTENT_LENGTH") or "0")
    if not (length.isascii() and length.isdigit() and len(length) < 20):
        raise RefusedError("Content-Length is not a number")
    return int(length)


def check(request: Request, types: Sequence[str] = (JSON,), setting: str = "MAX_JSON_BYTES") -> None:
    """Refuse a body that is larger than the setting says, or of none of these types, before it is read."""
    length = length_of(request)
    limit = getattr(conf.get(), setting)
    if length > limit:
        _drain(request, length)
        raise TooLargeError(f"the body is {length:,} bytes; the limit is {limit:,} (FLOWER['{setting}'])")
    if length and content_type(request) not in types and not _is_empty_form(request):
        if tuple(types) == (JSON,):
            raise exceptions.UnsupportedMediaType(content_type(request))
        raise WrongTypeError(f"the body must be {' or '.join(types)}; say which in the header Content-Type")


def _is_empty_form(request: Request) -> bool:
    """Whether the body is the empty form that many clients send in place of no body; a page gains nothing by it."""
    form = request._request
    if content_type(request) != "multipart/form-data" or length_of(request) > _SMALL:
        return False
    return form.body.startswith(b"--") and not form.POST and not form.FILES


def _drain(request: Request, length: int) -> None:
    """Read and drop a refused body, so that the client reads the answer."""
    left = min(length, _DRAIN)
    while left > 0 and (piece := request._request.read(min(left, _PIECE))):
        left -= len(piece)


def body(request: Request) -> Any:
    """The JSON of the body; none at all is ``{}``."""
    return request.data if length_of(request) and not _is_empty_form(request) else {}
