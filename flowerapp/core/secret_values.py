"""Secret values, and the forms in which a text may quote them."""

from __future__ import annotations

import base64
import binascii
import html
import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import quote, quote_plus

from flowerapp.core.secret_names import MASKED

SHORTEST = 4
"""Characters of the shortest secret that is looked for: shorter ones are parts of many words."""
SHORTEST_PART = 8
"""Characters of the shortest line or word of a secret that is looked for by itself."""
MOST = 10_000
"""Most secrets that are looked for one by one; where there are more, each text is hidden as a whole."""
FEW = 64
"""Most forms that are looked for one by one."""
_WORDS = frozenset(["true", "false", "null", "none"])
_BETWEEN_WORDS = re.compile(r"""[\s,;:=@&"'<>()\[\]{}/]+""")
_PLAIN = re.compile(r"[A-Za-z0-9_.~-]*")
"""A text that stands in JSON, Python, URLs and HTML as it is."""
_SCHEME = re.compile(r"(?P<scheme>[A-Za-z][\w-]{1,30}) +(?P<value>\S+)\Z")


class Secrets:
    """Secret values, to find them in texts."""

    def __init__(self, values: Iterable[str], forms: Iterable[str] | None = None) -> None:
        self.values = frozenset(value for value in values if _is_worth(value))
        self._too_many = len(self.values) > MOST
        made = (form for value in self.values for form in _forms(value)) if forms is None else forms
        made = () if self._too_many else made
        self._forms = frozenset(form for form in made if len(form) >= SHORTEST)
        self._lengths: dict[str, list[int]] = {}
        """By the first characters of a form: the lengths of the forms that begin so, the longest first."""
        for length, start in sorted({(len(form), form[:SHORTEST]) for form in self._forms}, reverse=True):
            self._lengths.setdefault(start, []).append(length)

    @classmethod
    def of(cls, hidden: Iterable[Any]) -> Secrets:
        """The secrets that hidden JSON values consist of."""
        return cls(part for value in hidden for part in _parts(value))

    def __bool__(self) -> bool:
        return bool(self.values)

    def __or__(self, other: Secrets) -> Secrets:
        if not (self and other):
            return self or other
        return Secrets(self.values | other.values, self._forms | other._forms)

    def is_secret(self, value: Any) -> bool:
        """Whether a value that is no text, such as a number, is one of the secrets."""
        return bool(self.values) and str(value) in self.values

    def redact(self, text: str) -> str:
        """``text`` with ``MASKED`` in place of the secrets; in time that grows with its length alone."""
        if self._too_many:
            return MASKED if len(text) >= SHORTEST else text
        if not self._forms or (len(self._forms) <= FEW and not any(form in text for form in self._forms)):
            return text
        pieces, done, lengths = [], 0, self._lengths
        for at in [at for at in range(len(text) - SHORTEST + 1) if text[at : at + SHORTEST] in lengths]:
            if at >= done and (end := self._end(text, at)):
                pieces += [text[done:at], MASKED]
                done = end
        return "".join([*pieces, text[done:]])

    def _end(self, text: str, at: int) -> int:
        """Where the longest form ends that stands at a place; 0 if none does."""
        lengths = self._lengths[text[at : at + SHORTEST]]
        return next((at + length for length in lengths if text[at : at + length] in self._forms), 0)


NO_SECRETS = Secrets(())
"""No secrets."""


def _is_worth(secret: str) -> bool:
    return len(secret) >= SHORTEST and MASKED not in secret and secret.lower() not in _WORDS


def _parts(value: Any) -> Iterator[str]:
    """A hidden value, and what it consists of: texts and numbers, credentials after their scheme, cookies, lines."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _parts(item)
    elif isinstance(value, str):
        yield from _parts_of_text(value)
    elif value is not None and not isinstance(value, bool):
        yield str(value)


def _parts_of_text(text: str) -> Iterator[str]:
    yield from (text, text.strip())
    if (match := _SCHEME.match(text.strip())) is not None:
        yield match["value"]
        yield from _login(match["value"]) if match["scheme"].lower() == "basic" else ()
    if "=" in text:
        yield from (pair.partition("=")[2].strip() for pair in text.split(";"))
    yield from (line.strip() for line in text.splitlines() if len(line.strip()) >= SHORTEST_PART)
    yield from (word for word in _BETWEEN_WORDS.split(text) if len(word) >= SHORTEST_PART and not word.isalpha())
    if text.lstrip()[:1] in ("{", "["):
        yield from _parts(_parsed(text))


def _login(encoded: str) -> Iterator[str]:
    """``user:password`` of HTTP's Basic scheme, and the password."""
    try:
        login = base64.b64decode(encoded, validate=True).decode()
    except (binascii.Error, ValueError):
        return
    yield from (login, login.partition(":")[2])


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


_LITERALS: tuple[Callable[[str], str], ...] = (
    str,
    lambda text: json.dumps(text)[1:-1],
    lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    lambda text: repr(text)[1:-1],
    lambda text: repr(text.encode())[2:-1],
)
_ESCAPES: tuple[Callable[[str], str], ...] = (
    *_LITERALS,
    quote,
    quote_plus,
    lambda text: quote(text, safe=""),
    lambda text: re.sub(r"%[0-9A-F]{2}", lambda match: match[0].lower(), quote(text, safe="")),
    html.escape,
    lambda text: html.escape(text, quote=False),
)


def _forms(secret: str) -> Iterator[str]:
    """A secret as it is, as it stands in JSON, Python, URLs and HTML, in two of these, and in base64."""
    secret = secret.encode("utf-8", "replace").decode()
    yield secret
    if not _PLAIN.fullmatch(secret):
        literals = {literal(secret) for literal in _LITERALS}
        yield from (escape(literal) for literal in literals for escape in _ESCAPES)
    yield from _in_base64(secret.encode())


def _in_base64(secret: bytes) -> Iterator[str]:
    """The characters that stand for a secret alone, by the number of bytes that precede it, modulo 3."""
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + secret).decode()
        form = encoded[-(-before * 8 // 6) : (before + len(secret)) * 8 // 6]
        if len(form) > SHORTEST:
            yield from (form, form.replace("+", "-").replace("/", "_"))
