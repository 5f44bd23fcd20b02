"""Signed links by which people decide without a login; each works until a decision is made or its time runs out.

A link holds the approval's id, its run, an expiry and a random word, signed with the host's SECRET_KEY. The row keeps a
digest of the word with the name of its reader, so that a link cannot be made from the row, nor without it.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.core import signing
from django.urls import NoReverseMatch, reverse

from flowerapp import conf
from flowerapp.core.messages import TaskRef
from flowerapp.core.names import unseen_problems
from flowerapp.engine.decisions import Decision, decide_approval
from flowerapp.exceptions import FlowerError, ForbiddenError, InvalidValueError, StateConflictError
from flowerapp.models import Approval
from flowerapp.querysets import clock
from flowerapp.querysets.db import atomic
from flowerapp.selectors.approvals import outcome, refusal, shown_approvals

ROUTE = "flowerapp:approval-link"
SALT = "flowerapp.approval-link"
MOST_LINKS = 100
"""Links to one approval; a further one takes the place of the oldest."""
MOST_TRIES = 100
"""Decisions that are tried by the links to one approval."""
LONGEST_READER = 140
"""Characters of the name of a link's reader."""
FORGED = "this link is not valid: it was not made here, or it was cut off; ask for another"


@dataclass(frozen=True, slots=True)
class ApprovalLink:
    """A link that was made here."""

    approval: Approval
    reader: str
    """For whom it was made, as it is recorded."""
    user: str
    """Name of the user whose rights are asked for; empty for none."""
    expires: int
    """Seconds since 1970, in UTC."""

    @property
    def actor(self) -> str:
        """Who decides by it, as it is recorded."""
        return f"link:{self.reader}"

    def closed(self) -> str:
        """Why it no longer decides; empty if it does."""
        if not self.approval.is_open:
            return outcome(self.approval)
        if clock.now().timestamp() >= self.expires:
            return "this link has expired"
        return ""


def approval_link(flow_id: str, seq: int, *, reader: str = "", user: str = "") -> str:
    """The address at which one reader decides about a step, once, without a login.

    ``reader`` is a name or an address that is recorded, as ``link:NAME``; with ``user``, the name of a user, that
    user must be one who may decide. Raises FlowerError while links are off, InvalidValueError, and StateConflictError
    where the step asks for no decision.
    """
    approval = Approval.objects.open().in_time().of(TaskRef(flow_id, seq)).first()
    if approval is None:
        raise StateConflictError(f"task {seq} of flow {flow_id} asks for no decision")
    return link_to(approval.pk, reader or user, user)


@atomic()
def link_to(pk: int, reader: str, user: str = "") -> str:
    """The same of an open approval by its id."""
    base = _base()
    _check_names(reader, user)
    approval = Approval.objects.open().select_for_update().filter(pk=pk).first()
    if approval is None:
        raise StateConflictError(f"approval {pk} asks for no decision any more")
    nonce = secrets.token_urlsafe(24)
    entry = {"digest": _digest(nonce), "reader": reader or "anonymous", "user": user}
    Approval.objects.filter(pk=pk).update(links=[*approval.links[1 - MOST_LINKS :], entry])
    token = signing.dumps({"a": pk, "r": approval.run, "e": _expiry(approval), "n": nonce}, salt=SALT)
    return f"{base}{reverse(ROUTE, args=[token])}"


def _base() -> str:
    base = conf.get().APPROVAL_LINKS
    if not base:
        raise FlowerError("links are off; name the address of this site in FLOWER['APPROVAL_LINKS']")
    try:
        reverse(ROUTE, args=["x"])
    except NoReverseMatch:
        raise FlowerError("links have no page; add include('flowerapp.urls') to the project's URLs") from None
    return base.rstrip("/")


def _check_names(reader: str, user: str) -> None:
    for what, name in (("reader", reader), ("user", user)):
        problems = list(unseen_problems(name, f"the {what} of a link"))
        if problems or len(name) > LONGEST_READER:
            raise InvalidValueError(
                problems[0] if problems else f"the {what} of a link has over {LONGEST_READER} characters"
            )


def _expiry(approval: Approval) -> int:
    """When a link that is made now expires: with the approval, or after ``APPROVAL_LINK_DAYS``."""
    later = clock.now() + timedelta(days=conf.get().APPROVAL_LINK_DAYS)
    return int((approval.due_ts or later).timestamp()) + 1


def _digest(nonce: str) -> str:
    return hashlib.sha256(nonce.encode()).hexdigest()


def read(token: str) -> ApprovalLink:
    """The link of a token; raises ForbiddenError for one that was not made here."""
    try:
        facts = signing.loads(token, salt=SALT)
        pk, run, expires, nonce = int(facts["a"]), int(facts["r"]), int(facts["e"]), str(facts["n"])
    except (signing.BadSignature, KeyError, TypeError, ValueError):
        raise ForbiddenError(FORGED) from None
    approval = shown_approvals().filter(pk=pk, run=run).first()
    entry = _entry(approval, _digest(nonce)) if approval is not None else None
    if entry is None:
        raise ForbiddenError(FORGED)
    return ApprovalLink(approval, entry["reader"], entry["user"], expires)


def _entry(approval: Any, digest: str) -> dict[str, str] | None:
    return next((entry for entry in approval.links if hmac.compare_digest(entry["digest"], digest)), None)


def user_of(link: ApprovalLink) -> Any:
    """The user of a link; None if it is for no user. Raises ForbiddenError if that user may not decide."""
    if not link.user:
        return None
    model: Any = get_user_model()
    try:
        user = model._default_manager.get_by_natural_key(link.user)
    except model.DoesNotExist:
        raise ForbiddenError(f"there is no user {link.user} any more") from None
    if why := refusal(link.approval, user):
        raise ForbiddenError(why)
    return user


def decide_by_link(link: ApprovalLink, choice: str, comment: str, data: Any) -> Approval:
    """Decide by a link. Raises what ``decide`` raises, and StateConflictError for one that has expired."""
    user = user_of(link)
    if closed := link.closed():
        raise StateConflictError(closed)
    if link.approval.tries >= MOST_TRIES:
        raise StateConflictError("too many decisions were tried by links; decide in the admin or by the API")
    Approval.objects.count_try(link.approval.pk)
    decision = Decision(choice=choice, comment=comment, data=data, actor=link.actor, user=user)
    return decide_approval(link.approval.pk, decision)
