"""The permission of each act, the same through the API and in the admin; docs/security.md has the table.

Python code of the host and the command line are not asked: they could change the database itself.
"""

from __future__ import annotations

from typing import Any

VIEW_FLOW = "flowerapp.view_flow"
"""See flows and tasks with all that they hold, events, latches, queues and workers."""
REGISTER = "flowerapp.register_flow"
OPERATE = "flowerapp.operate_flow"
"""The operators' verbs."""
DELETE_FLOW = "flowerapp.delete_flow"

EMIT_EVENT = "flowerapp.emit_event"
"""Report events, which flows wait for or start by."""

VIEW_DEFINITION = "flowerapp.view_taskdefinition"
"""See workflows and programs."""
ADD_DEFINITION = "flowerapp.add_taskdefinition"
CHANGE_DEFINITION = "flowerapp.change_taskdefinition"
DELETE_DEFINITION = "flowerapp.delete_taskdefinition"

VIEW_POOL = "flowerapp.view_pool"
ADD_POOL = "flowerapp.add_pool"
CHANGE_POOL = "flowerapp.change_pool"
DELETE_POOL = "flowerapp.delete_pool"

INCLUDED_IN = {VIEW_FLOW: OPERATE, VIEW_DEFINITION: CHANGE_DEFINITION, VIEW_POOL: CHANGE_POOL}
"""Permission → the one that includes it: who changes something may see it."""


def is_user(user: Any) -> bool:
    """Whether the caller is logged in; the host's UNAUTHENTICATED_USER may be None."""
    return user is not None and bool(user.is_authenticated)


def may(user: Any, permission: str) -> bool:
    """Whether the user has a permission, by itself or in another.

    ``user`` may be None, or one that an authentication class made up and that has no permissions at all.
    """
    has_perm = getattr(user, "has_perm", None)
    names = (permission, INCLUDED_IN.get(permission))
    return has_perm is not None and any(has_perm(name) for name in names if name)
