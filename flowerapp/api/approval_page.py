"""The page of a signed link: a person decides about an approval, without a login and without scripts.

Reading the page decides nothing, so a scanner of e-mails that follows the link does no harm; the buttons post. The
address is the secret by which a reader may decide: another page cannot post to it without knowing it, and the page
sends no cookie, so there is no session that another page could use.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.db import connections, transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.template.loader import render_to_string
from django.views.decorators.csrf import csrf_exempt

from flowerapp import conf
from flowerapp.core import logs, values
from flowerapp.engine import approval_links
from flowerapp.engine.approval_links import ApprovalLink
from flowerapp.exceptions import FlowerError, ForbiddenError, StateConflictError
from flowerapp.querysets.outages import RETRY_SECONDS, is_outage
from flowerapp.selectors import approvals, times
from flowerapp.selectors.approval_forms import DecisionForm

logger = logs.logger(__name__)

MOST_BYTES = 128 * 1024
"""Of a form that is posted."""
HEADERS = {
    "Cache-Control": "no-store, private",
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex, nofollow, noarchive",
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
}
POLICY = "default-src 'none'; style-src 'self'{}; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
"""What the page may load: its style, which may come from another server, as the host's settings say."""
FOREIGN = ("cross-site", "same-site")
"""Values of the header Sec-Fetch-Site of a form of another page."""


def _approval_page(request: HttpRequest, token: str) -> HttpResponse:
    """The page of a link; a server error at no time."""
    try:
        response = _answer(request, token)
    except Http404:
        raise
    except ForbiddenError as error:
        response = _sentence(str(error), 403)
    except Exception as error:
        if not is_outage(error):
            raise
        logger.warning("the database is busy or unreachable: %s", error)
        response = _sentence(f"The database is busy or unreachable. Try again in {RETRY_SECONDS} s.", 503)
        response["Retry-After"] = str(RETRY_SECONDS)
    for name, value in HEADERS.items():
        response[name] = value
    response["Content-Security-Policy"] = POLICY.format(_origin_of_styles())
    response._has_been_logged = True  # type: ignore[attr-defined] # Django would log the address, which is a secret
    return response


def _origin_of_styles() -> str:
    """The server of static files, where that is another one."""
    parts = urlsplit(settings.STATIC_URL or "")
    return f" {parts.scheme or 'https'}://{parts.netloc}" if parts.netloc else ""


def _answer(request: HttpRequest, token: str) -> HttpResponse:
    if not conf.get().APPROVAL_LINKS:
        raise Http404("links are off")
    if request.method not in ("GET", "HEAD", "POST"):
        return HttpResponseNotAllowed(["GET", "HEAD", "POST"])
    link = approval_links.read(token)
    if closed := link.closed():
        return _closed(link, closed)
    approval_links.user_of(link)
    return _decide(request, link) if request.method == "POST" else _form(link, DecisionForm(target=link.approval))


def _decide(request: HttpRequest, link: ApprovalLink) -> HttpResponse:
    if refused := _refusal(request):
        return refused
    form = DecisionForm(request.POST, target=link.approval)
    if not form.is_valid():
        return _form(link, form, 400)
    try:
        approval = approval_links.decide_by_link(link, **form.decision())
    except StateConflictError:
        return _conflict(link)
    except ForbiddenError:
        raise
    except FlowerError as error:
        form.add_error(None, str(error))
        return _form(link, form, 400)
    return _page({"title": approval.title, "done": approvals.outcome(approval)}, 200)


def _conflict(link: ApprovalLink) -> HttpResponse:
    """Another decision was first, or the time has run out."""
    approval = approvals.get_approval(link.approval.pk)
    if approval.is_open and approval.tries >= approval_links.MOST_TRIES:
        return _sentence("Too many decisions were tried by links. Decide in the admin, or ask who sent it.", 429)
    return _closed(link, approvals.outcome(approval))


def _refusal(request: HttpRequest) -> HttpResponse | None:
    """The answer to what is no form of this page; None for one that is."""
    if request.headers.get("Sec-Fetch-Site") in FOREIGN:
        return _sentence("This form was sent by another page. Open the link, and decide there.", 403)
    length = str(request.META.get("CONTENT_LENGTH") or "0")
    if not length.isdigit() or int(length) > MOST_BYTES:
        return _sentence(f"The form is larger than {MOST_BYTES:,} bytes, which is the most.", 413)
    if not all(values.storable(text) for pair in request.POST.lists() for text in (pair[0], *map(str, pair[1]))):
        return _sentence("The form holds a character that cannot be stored. Go back, and change it.", 400)
    return None


def _form(link: ApprovalLink, form: DecisionForm, status: int = 200) -> HttpResponse:
    approval = link.approval
    facts = [
        ("Workflow", approval.task_flow.task_id),
        ("Asked", times.with_zone(approval.opened_ts)),
        ("Until", times.with_zone(approval.due_ts) if approval.due_ts else ""),
        ("You decide as", link.actor),
    ]
    shown = [(name, value) for name, value in facts if value]
    return _page({"title": approval.title, "approval": approval, "form": form, "facts": shown}, status)


def _closed(link: ApprovalLink, why: str) -> HttpResponse:
    return _page({"title": link.approval.title, "closed": why}, 410)


def _sentence(sentence: str, status: int) -> HttpResponse:
    return _page({"title": "Approval", "sentence": sentence}, status)


def _page(context: dict[str, Any], status: int) -> HttpResponse:
    return HttpResponse(render_to_string("flowerapp/approval.html", context), status=status)


def _outside_transactions(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """The view outside the transaction that the host's ATOMIC_REQUESTS opens around others."""
    for alias in connections:
        view = transaction.non_atomic_requests(using=alias)(view)
    return view


approval_page = _outside_transactions(csrf_exempt(_approval_page))
