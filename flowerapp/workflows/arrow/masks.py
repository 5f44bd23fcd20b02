"""Texts as people may see them: a value that holds a secret is written anew with masks, however it was written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from flowerapp.core import masking
from flowerapp.core.masking import MASKED, Secrets
from flowerapp.core.secret_names import secret_names
from flowerapp.workflows.arrow.errors import Failure
from flowerapp.workflows.arrow.lexer import literal_at, spans
from flowerapp.workflows.arrow.literals import Account
from flowerapp.workflows.arrow.sources import is_form
from flowerapp.workflows.arrow.syntax import Literal
from flowerapp.workflows.arrow.written import literal_text

MOST_READ = 100_000
"""Most characters of values that are read for one text; further ones that may hold a secret are hidden as a whole."""
UNREAD = object()
"""The value of a literal that is not read."""


class _Part(NamedTuple):
    """A literal that may hold a secret."""

    start: int
    end: int
    value: Any


def masked_text(text: str, secrets: Secrets) -> str | None:
    """A text with masks for ``secrets`` and for those of its own; None if no value of it has a secret name.

    A value in which something is hidden is written as JSON, without its comments.
    """
    if is_form(text):
        return None
    try:
        parts = list(_parts(text))
    except Failure:
        return None
    hidden = [[part.value] if part.value is UNREAD else masking.hidden(part.value) for part in parts]
    if not any(hidden):
        return None
    own = Secrets.of(secret for secrets_of_part in hidden for secret in secrets_of_part if secret is not UNREAD)
    return _masked(text, parts, secrets | own | masking.secrets_of(text))


def _masked(text: str, parts: list[_Part], secrets: Secrets) -> str:
    pieces, done = [], 0
    for part in parts:
        shown = MASKED if part.value is UNREAD else masking.masked(part.value, secrets)
        if shown != part.value:
            pieces += [masking.masked(text[done : part.start], secrets), literal_text(Literal(shown), text[part.start])]
            done = part.end
    return "".join([*pieces, masking.masked(text[done:], secrets)])


def _parts(text: str) -> Iterator[_Part]:
    """The literals with a word of a secret name, or with an escape, which may hide one."""
    names, room, account = secret_names().pattern, MOST_READ, Account()
    for kind, start, end in spans(text):
        written = text[start:end] if kind == "LITERAL" else ""
        if "\\" in written or names.search(written.lower()):
            room -= len(written)
            literal = literal_at(text, start, account) if room >= 0 else None
            if literal is not None or room < 0:
                yield _Part(start, end, literal.value if literal else UNREAD)
