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
REMOTE_WORKER = "flowerapp.remote_worker"
"""Claim remote tasks, with all that they hold, and end them."""
DELETE_FLOW = "flowerapp.delete_flow"
ADD_FLOW = "flowerapp.add_flow"
"""Restore flows, which say of themselves who did what."""

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

VIEW_CACHE = "flowerapp.view_cachedoutput"
"""See which outputs are kept, without their values."""
DELETE_CACHE = "flowerapp.delete_cachedoutput"
"""Forget outputs that are kept."""
VIEW_APPROVAL = "flowerapp.view_approval"
"""See all approvals; users who may only decide see those that are theirs to decide."""
DECIDE = "flowerapp.decide_approval"
"""Decide about approvals; each may ask for more."""

INCLUDED_IN = {
    VIEW_FLOW: OPERATE,
    VIEW_DEFINITION: CHANGE_DEFINITION,
    VIEW_POOL: CHANGE_POOL,
    VIEW_CACHE: DELETE_CACHE,
    VIEW_APPROVAL: DECIDE,
}
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
