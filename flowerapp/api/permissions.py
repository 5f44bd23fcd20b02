"""Permissions: Django's model permissions, per verb."""

from __future__ import annotations

from typing import Any

from rest_framework.exceptions import PermissionDenied
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from flowerapp import conf
from flowerapp.api import loopback

VIEW_FLOW = "flowerapp.view_flow"
VIEW_DEFINITION = "flowerapp.view_taskdefinition"
VIEW_POOL = "flowerapp.view_pool"
REGISTER = "flowerapp.register_flow"
OPERATE = "flowerapp.operate_flow"

DEFINE = {
    "POST": "flowerapp.add_taskdefinition",
    "PUT": "flowerapp.change_taskdefinition",
    "DELETE": "flowerapp.delete_taskdefinition",
}
"""Method → permission, for writing workflows."""

DEFINE_POOL = {
    "POST": "flowerapp.add_pool",
    "PUT": "flowerapp.change_pool",
    "DELETE": "flowerapp.delete_pool",
}
"""Method → permission, for writing pools."""


class VerbPermission(BasePermission):
    """The permission that the view names for the method, or the open API where it reaches the view."""

    def has_permission(self, request: Request, view: Any) -> bool:
        """Whether the caller may; raises PermissionDenied that says what is missing."""
        needed = view.permission_of(request.method or "")
        user = request.user
        is_user = user is not None and user.is_authenticated
        if is_user and user.has_perm(needed):
            return True
        if conf.get().OPEN_API and self._opens(request, view):
            if why := loopback.refusal(request._request):
                raise PermissionDenied(why)
            return True
        if is_user:
            raise PermissionDenied(f"user {user.get_username()} lacks the permission {needed}")
        return False

    def _opens(self, request: Request, view: Any) -> bool:
        return request.method in SAFE_METHODS or view.opens_writing


def actor(request: Request) -> str:
    """Name of the caller for the history; empty for a caller of the open API."""
    user = request.user
    return str(user.get_username())[:150] if user is not None and user.is_authenticated else ""
