"""What a page says about names with characters that cannot be seen: it shows their escapes."""

from __future__ import annotations

import re

from django.http import HttpResponseBase

from flowerapp.core.names import visible_lines

_KEPT = re.compile(r"(<(textarea|script|style)\b.*?</\2>|<[^>]*>)", re.DOTALL)
"""Tags, and what is data rather than text: a form must send back what it was given."""


def show(response: HttpResponseBase) -> HttpResponseBase:
    """The page with escapes in its texts."""
    if getattr(response, "content", None) and response.get("Content-Type", "").startswith("text/html"):
        page = response.text  # type: ignore[attr-defined] # it has a content
        if visible_lines(page) != page:
            response.content = _texts_visible(page)  # type: ignore[attr-defined] # the same
    return response


def _texts_visible(page: str) -> str:
    pieces, end = [], 0
    for match in _KEPT.finditer(page):
        pieces += [visible_lines(page[end : match.start()]), match[0]]
        end = match.end()
    return "".join([*pieces, visible_lines(page[end:])])
