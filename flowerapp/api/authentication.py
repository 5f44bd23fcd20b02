"""How callers of the API prove who they are: ``FLOWER["AUTHENTICATION"]``, or tokens and sessions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.apps import apps
from django.utils.module_loading import import_string
from rest_framework import exceptions, status
from rest_framework.authentication import BaseAuthentication, TokenAuthentication
from rest_framework.request import Request

from flowerapp import conf

TOKENS = "rest_framework.authentication.TokenAuthentication"
SESSIONS = "rest_framework.authentication.SessionAuthentication"
TOKEN_APP = "rest_framework.authtoken"  # noqa: S105 - the name of an app


class UnusableError(exceptions.APIException):
    """503: the setting names a class that cannot be used."""

    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_code = "misconfigured"
    default_detail = "FLOWER['AUTHENTICATION'] names a class that cannot be used; `manage.py check` says which and why"


class Unusable(BaseAuthentication):
    """In place of a class that cannot be used: it refuses every request, so that no other class decides instead."""

    def authenticate(self, request: Request) -> None:
        """Raises UnusableError."""
        raise UnusableError


def names() -> tuple[str, ...]:
    """Dotted paths of the authentication classes: the host's, or tokens, where it has installed them, and sessions."""
    configured = conf.get().AUTHENTICATION
    if configured is not None:
        return configured
    return (TOKENS, SESSIONS) if apps.is_installed(TOKEN_APP) else (SESSIONS,)


def authenticators() -> list[BaseAuthentication]:
    """An instance of each class."""
    return [Unusable() if problem_of(name) else import_string(name)() for name in names()]


def problems() -> Iterator[str]:
    """A sentence for each class that cannot be used."""
    for name in names():
        if problem := problem_of(name):
            yield f"{name!r} {problem}"


def problem_of(name: str) -> str:
    """Why a class cannot be used; empty if it can."""
    try:
        made: Any = import_string(name)
        if not isinstance(made, type) or not callable(getattr(made, "authenticate", None)):
            return "is no authentication class of Django REST framework"
        made()
    except Exception as error:  # whatever the import of a host's module raises
        return f"cannot be used: {error}"
    if issubclass(made, TokenAuthentication) and made.model is None and not apps.is_installed(TOKEN_APP):
        return f"needs {TOKEN_APP!r} in INSTALLED_APPS"
    return ""
