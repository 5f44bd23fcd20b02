"""Errors of the API: DRF's shape, with a sentence in ``detail`` and a stable word in ``code``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django.core.exceptions import SuspiciousOperation
from django.core.exceptions import ValidationError as DjangoValidationError
from django.db import DataError
from rest_framework import exceptions, serializers, status, views
from rest_framework.response import Response
from rest_framework.settings import api_settings

from flowerapp.core import logs
from flowerapp.exceptions import (
    FlowerError,
    ForbiddenError,
    InvalidPlanError,
    NotFoundError,
    Problem,
    RegistrationsRefusedError,
    StateConflictError,
)
from flowerapp.querysets.outages import RETRY_SECONDS, is_outage

logger = logs.logger(__name__)

LONGEST_KEY = 200
"""Most characters of the name of a parameter in an error."""
LONGEST = 2000
"""Most characters of a sentence in an error; the rest is cut."""

NON_FIELD = "non_field_errors"
"""Key of the errors of no single field, whatever the host's REST_FRAMEWORK calls it."""


class ErrorSerializer(serializers.Serializer[Any]):
    """An error; beside these it has the fields at fault, each with its sentences."""

    detail = serializers.CharField(help_text="What is wrong, in sentences.")
    code = serializers.CharField(help_text="The same as a word for programs.")
    details = serializers.DictField(required=False, help_text="What prevents it, such as the tasks that run.")


class ConflictError(exceptions.APIException):
    """409."""

    status_code = status.HTTP_409_CONFLICT
    default_code = "conflict"


class TooLargeError(exceptions.APIException):
    """413."""

    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_code = "too_large"


class WrongTypeError(exceptions.APIException):
    """415 with a sentence."""

    status_code = status.HTTP_415_UNSUPPORTED_MEDIA_TYPE
    default_code = "unsupported_media_type"


class LengthRequiredError(exceptions.APIException):
    """411."""

    status_code = status.HTTP_411_LENGTH_REQUIRED
    default_code = "length_required"
    default_detail = "the body has no Content-Length; send it whole, not in chunks"


class UnavailableError(exceptions.APIException):
    """503 with the header Retry-After."""

    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_code = "unavailable"
    default_detail = f"the database is busy or unreachable: try again in {RETRY_SECONDS} s"
    wait = RETRY_SECONDS


class RefusedError(exceptions.APIException):
    """400 with a sentence."""

    status_code = status.HTTP_400_BAD_REQUEST
    default_code = "invalid"


def handle(error: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's exception handler for our views; it handles flowerapp's errors too, whatever the host has set."""
    drf_error = _as_drf_error(error)
    response = views.exception_handler(drf_error, context)
    if response is None:
        return None
    response.data = _body(drf_error, response.data)
    if isinstance(error, FlowerError):
        response.data |= {"detail": short(str(error)), "code": error.code}
    if isinstance(error, StateConflictError) and error.details:
        response.data["details"] = error.details
    return response


def _as_drf_error(error: Exception) -> Exception:
    """The error as one of DRF's."""
    if isinstance(error, NotFoundError):
        return exceptions.NotFound(str(error))
    if isinstance(error, StateConflictError):
        return ConflictError(str(error))
    if isinstance(error, ForbiddenError):
        return exceptions.PermissionDenied(str(error))
    if isinstance(error, RegistrationsRefusedError):
        return _of_list(error)
    if isinstance(error, InvalidPlanError):
        return exceptions.ValidationError(by_field(error.problems))
    if isinstance(error, FlowerError):
        return RefusedError(str(error))
    if isinstance(error, exceptions.UnsupportedMediaType):
        error.detail = exceptions.ErrorDetail(
            "the body must be JSON; send it with the header Content-Type: application/json", "unsupported_media_type"
        )
    if isinstance(error, DjangoValidationError):
        return exceptions.ValidationError(error.messages)
    if is_outage(error):
        logger.warning("the database is busy or unreachable: %s", error)
        return UnavailableError()
    if isinstance(error, DataError):
        return RefusedError("the database does not take a value of this request")
    if isinstance(error, SuspiciousOperation):
        return RefusedError(f"the request is refused: {error}")
    return error


def _of_list(error: RegistrationsRefusedError) -> Exception:
    """The error of a list: what its refused items have in common, or else 400."""
    (kind, *others) = {type(_as_drf_error(refused.error)) for refused in error.refusals}
    same = not others and issubclass(kind, (exceptions.NotFound, ConflictError))
    return kind(str(error)) if same else RefusedError(str(error))


def _body(error: Exception, data: Any) -> dict[str, Any]:
    """The body of an error: fields at fault as DRF names them, and all of it as sentences in ``detail``."""
    if isinstance(data, dict) and "detail" in data:
        code = getattr(getattr(error, "detail", None), "code", None) or getattr(error, "default_code", "error")
        return {**data, "code": code}
    data = _with_own_key(data)
    fields = data if isinstance(data, dict) else {}
    return {**fields, "detail": sentence(data), "code": "invalid"}


def sentence(data: Any) -> str:
    """The errors of fields, as DRF has them, in words."""
    return short("; ".join(_sentences(_with_own_key(data))))


def _with_own_key(data: Any) -> Any:
    """The errors with ``NON_FIELD`` where DRF has written the host's key for it."""
    if isinstance(data, dict):
        names = {api_settings.NON_FIELD_ERRORS_KEY: NON_FIELD}
        return {names.get(key, key): _with_own_key(value) for key, value in data.items()}
    return [_with_own_key(value) for value in data] if isinstance(data, list) else data


def _sentences(data: Any, place: str = "") -> Iterator[str]:
    if isinstance(data, dict):
        for key, value in data.items():
            inner = f"{place}.{key}" if place else str(key)
            yield from _sentences(value, place if key == NON_FIELD else inner)
    elif isinstance(data, list):
        for number, value in enumerate(data):
            yield from _sentences(value, place if isinstance(value, str) else f"{place}[{number}]")
    else:
        yield f"{place}: {data}" if place else str(data)


def by_field(problems: Sequence[Problem]) -> dict[str, Any]:
    """``{"parameters": {"URL": [sentence]}}`` from problems that name ``parameters.URL``."""
    result: dict[str, Any] = {}
    for problem in problems:
        add(result, problem.field or NON_FIELD, str(problem))
    return result


def add(errors: dict[str, Any], field: str, sentence: str) -> None:
    """Add ``sentence`` under ``field``; ``parameters.KEY`` is a key of a dict under ``parameters``."""
    name, _, key = field.partition(".")
    key, sentence = key[:LONGEST_KEY], short(sentence)
    if name == "parameters":
        inner = errors.setdefault(name, {})
        inner.setdefault(key or NON_FIELD, []).append(sentence)
    else:
        errors.setdefault(name, []).append(sentence)


def short(sentence: str) -> str:
    """A sentence, cut if it is too long."""
    return sentence if len(sentence) <= LONGEST else sentence[: LONGEST - 1] + "…"


def description(data: dict[str, Any]) -> str:
    """The one sentence of an error's body."""
    return str(data.get("detail", ""))
