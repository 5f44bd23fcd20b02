"""Secrets that stand in texts by rules of their own: percent-encoding, markup, and parts of forms."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from urllib.parse import unquote_plus

from flowerapp.core.secret_names import SecretNames

Span = tuple[int, int]
Finder = Callable[[str, SecretNames], Iterator[Span]]

_ENCODED_NAME = re.compile(r"""(?<![\w.%[\]-])(?P<name>[\w.%[\]-]{1,384}+)=(?P<value>[^\s&"'<>#]+)""")
_ENCODED_LOGIN = re.compile(
    r"""(?P<http>https?)?%3a%2f%2f(?P<user>(?:(?!%(?:3a|2f|3f|23|40))[^\s&"'<>#]){0,256})"""
    r"""(?:%3a(?P<password>(?:(?!%(?:2f|3f|23|40))[^\s&"'<>#]){0,512}))?%40""",
    re.IGNORECASE,
)
_TAG = re.compile(r"<[A-Za-z][^<>]{3,1024}>")
_ATTRIBUTE = re.compile(
    r"""(?<![\w:.-])(?P<name>[\w:.-]+)\s{0,8}=\s{0,8}(?P<quote>["'])(?P<value>.*?)(?P=quote)""", re.DOTALL
)
_NAMING = ("name", "key")
_VALUED = ("value", "content")
_PART = re.compile(
    r"""form-data;[^\r\n"]{0,200}\bname="(?P<name>[^"\r\n]{1,128})"[^\r\n]{0,500}"""
    r"""(?:\r?\n[^\r\n]{1,500}){0,3}\r?\n\r?\n(?P<value>.+?)(?=\r?\n--|\Z)""",
    re.DOTALL,
)


def _encoded_names(text: str, names: SecretNames) -> Iterator[Span]:
    """Values of ``%74oken=…`` and ``user%5Bpassword%5D=…``."""
    for match in _ENCODED_NAME.finditer(text):
        if "%" in match["name"] and names.hides(unquote_plus(match["name"]), match["value"]):
            yield match.span("value")


def _encoded_logins(text: str, names: SecretNames) -> Iterator[Span]:
    """The password, or the token, of a URL that is part of another: ``next=https%3A%2F%2Fuser%3Apassword%40host``."""
    for match in _ENCODED_LOGIN.finditer(text):
        if match["password"]:
            yield match.span("password")
        elif match["http"]:
            yield match.span("user")


def _tags(text: str, names: SecretNames) -> Iterator[Span]:
    """The value, or the text, of a tag that has a secret name as its attribute ``name`` or ``key``."""
    for tag in _TAG.finditer(text):
        attributes = {match["name"].lower(): match for match in _ATTRIBUTE.finditer(text, *tag.span())}
        if any(names.secret(attributes[name]["value"]) for name in _NAMING if name in attributes):
            valued = next((attributes[name] for name in _VALUED if name in attributes), None)
            yield valued.span("value") if valued else (tag.end(), _next_tag(text, tag.end()))


def _next_tag(text: str, start: int) -> int:
    at = text.find("<", start)
    return len(text) if at < 0 else at


def _parts(text: str, names: SecretNames) -> Iterator[Span]:
    """Parts with a secret name of a form that is sent as ``multipart/form-data``."""
    for match in _PART.finditer(text):
        if names.hides(match["name"], match["value"]):
            yield match.span("value")


FINDERS: tuple[tuple[str, Finder], ...] = (
    ("%", _encoded_names),
    ("%40", _encoded_logins),
    ("<", _tags),
    ("form-data", _parts),
)
"""A text without the sign has nothing for the finder."""
