"""Permissions: Django's model permissions, per verb."""

from __future__ import annotations

from typing import Any

from rest_framework.exceptions import PermissionDenied
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from flowerapp import conf
from flowerapp.api import loopback
from flowerapp.core.permissions import (
    ADD_DEFINITION,
    ADD_POOL,
    CHANGE_DEFINITION,
    CHANGE_POOL,
    DELETE_DEFINITION,
    DELETE_POOL,
    is_user,
    may,
)

DEFINE = {"POST": ADD_DEFINITION, "PUT": CHANGE_DEFINITION, "DELETE": DELETE_DEFINITION}
"""Method → permission, for writing workflows."""
DEFINE_POOL = {"POST": ADD_POOL, "PUT": CHANGE_POOL, "DELETE": DELETE_POOL}
"""Method → permission, for writing pools."""


class VerbPermission(BasePermission):
    """The permission that the view names for the method, or the open API where it reaches the view."""

    def has_permission(self, request: Request, view: Any) -> bool:
        """Whether the caller may; raises PermissionDenied that says what is missing."""
        needed = view.permission_of(request.method or "")
        user = request.user
        logged_in = is_user(user)
        if logged_in and may(user, needed):
            return True
        if conf.get().OPEN_API and _reaches(view, request.method or ""):
            if why := loopback.refusal(request._request):
                raise PermissionDenied(why)
            return True
        if logged_in:
            raise PermissionDenied(f"user {name_of(user)} lacks the permission {needed}")
        return False


def _reaches(view: Any, method: str) -> bool:
    """Whether the open API reaches a view by a method."""
    return bool(view.opens_reading if method in SAFE_METHODS else view.opens_writing)


def opens(request: Request, view: Any, method: str) -> bool:
    """Whether the open API lets this caller call a view by a method."""
    return conf.get().OPEN_API and _reaches(view, method) and not loopback.refusal(request._request)


def name_of(user: Any) -> str:
    """The name of a user, who may be none of the database's."""
    named = getattr(user, "get_username", None)
    return str(named() if named else user)


def actor(request: Request) -> str:
    """Name of the caller for the history; empty for a caller of the open API."""
    return name_of(request.user)[:150] if is_user(request.user) else ""
