"""Secrets within plain text: logins of URLs, ``key=value`` and ``key: value``, credentials of HTTP, private keys.

The time that ``hide_in`` takes grows with the length of the text alone: each pattern is bounded, or reads on where the
one before it ended.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterator

from flowerapp.core.secret_markup import FINDERS
from flowerapp.core.secret_names import MASKED, SecretNames

Hide = Callable[[str], str]
"""What stands in place of a secret."""
Span = tuple[int, int]
_SIGN = re.compile(r"""[=:@<"'`-]|%[34]|[Ee]arer|EARER|asic|ASIC|eyJ""")
"""A text without any of these holds no secret that could be seen."""
LONGEST_NAME = 128
"""Characters before the word of ``MASK`` that are taken for a part of the name."""


def hide_in(text: str, names: SecretNames, hide: Hide) -> str:
    """``text`` with ``hide`` of each secret in its place."""
    if not _SIGN.search(text):
        return text
    for sign, finder, span_of in _RULES:
        if sign in text:
            text = _replaced(text, (span_of(match) for match in finder.finditer(text)), hide)
    for sign, find in FINDERS:
        if sign in text:
            text = _replaced(text, find(text, names), hide)
    return _replaced(text, _assigned(text, names), hide)


def _replaced(text: str, spans: Iterator[Span | None], hide: Hide) -> str:
    pieces, done = [], 0
    for start, end in (span for span in spans if span and span[0] < span[1]):
        pieces += [text[done:start], hide(text[start:end])]
        done = end
    return "".join([*pieces, text[done:]])


# What is secret by its form

_LOGIN = re.compile(
    r"""(?P<http>https?:)?(?:\\?/){2}(?P<user>[^\s:/?#"'<>\[]{0,256})"""
    r"""(?::(?P<password>(?:[^\s"'<>/]|/(?!\\?/)){0,512}))?@"""
)
_PORT = re.compile(r"\d{0,5}[/?#]")
_USER_IS_SECRET = ("", "x-oauth-basic")
"""Passwords of URLs whose user is a token."""


def _login(match: re.Match[str]) -> Span | None:
    """The password of ``//user:password@``, or the token of ``https://token@``."""
    password = match["password"]
    if password is None or password in _USER_IS_SECRET:
        return match.span("user") if match["http"] or password else None
    before_path = re.split(r"[/?#]", password, maxsplit=1)[0]
    if before_path != password and "@" in before_path:  # what follows is the host, its path, and an @ of that
        return match.start("password"), match.start("password") + before_path.rindex("@")
    return _token_before_port(match) if _PORT.match(password) else match.span("password")


def _token_before_port(match: re.Match[str]) -> Span | None:
    """The token of ``https://token@host:8080/path@``."""
    end = match["user"].rfind("@")
    return (match.start("user"), match.start("user") + end) if match["http"] and end > 0 else None


def _value(match: re.Match[str]) -> Span:
    return match.span("value")


def _credential(match: re.Match[str]) -> Span | None:
    """``Bearer x`` and ``Basic x``, but not the words of a sentence about them."""
    value = match["value"]
    if match["scheme"].lower() == "basic":
        return match.span("value") if _is_login(value) else None
    return match.span("value") if len(value) >= 20 or not value.isalpha() else None


def _is_login(value: str) -> bool:
    try:
        return b":" in base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return False


_SIGNATURE = "(?:x-[a-z]{1,16}-)?signature"
_RULES: tuple[tuple[str, re.Pattern[str], Callable[[re.Match[str]], Span | None]], ...] = (
    ("@", _LOGIN, _login),
    ("=", re.compile(rf"[?&;](?:key|sig|{_SIGNATURE})=(?P<value>[^\s&\"'<>#]+)", re.IGNORECASE), _value),
    (" ", re.compile(r"\b(?P<scheme>[Bb]earer|BEARER|[Bb]asic|BASIC) +(?P<value>[\w.~+/=-]{8,})"), _credential),
    ("eyJ", re.compile(r"\b(?P<value>eyJ[\w-]{4,}\.[\w-]{4,}\.[\w-]*)"), _value),
    (
        "PRIVATE KEY",
        re.compile(r"BEGIN [A-Z ]{0,40}KEY(?: BLOCK)?-----(?P<value>.+?)(?=-----END|\Z)", re.DOTALL),
        _value,
    ),
)
"""A text without the sign has no match of the pattern."""

# What is secret by its name

_NAME = re.compile(r"[\w.-]*")
_SEPARATOR = re.compile(r"""(?:\\*["'`]){0,2}\]?\s{0,8}(?P<sign>=>|:=|==?|:|%3[aAdD])\s{0,8}""")
_OPTION = re.compile(r"""["']?,?\s{1,8}""")
_ITEM = re.compile(r"""\\*["']\s{0,8},\s{0,8}(?=[bru]{0,2}\\*["'])""")
_TAG_START = re.compile(r"<(?:[\w.-]*:)?\Z")
_TAG = re.compile(r"[^<>]{0,256}>")
_CDATA = "<![CDATA["
_SENTENCE = re.compile(
    r"(?:Input|String|Value|Field|List|Dictionary|URL|Number)\b.{0,20} (?:should|required|must|error)\b|Field required|"
    r"Value error|\S{1,256} (?:needs it|has no such parameter|has no argument)\b"
)
"""How our own sentences about a parameter begin."""
_OPENING = re.compile(r"""[bBrRuUfF]{0,2}(?P<quote>\\*["'`])""")
_QUOTED = {quote: re.compile(rf"[^{quote}\\]*+(?:\\.[^{quote}\\]*+)*+", re.DOTALL) for quote in "\"'`"}
_BRACKETS = re.compile(r"""[\[({})\]]|"(?:[^"\\]|\\.)*+(?:"|\Z)|'(?:[^'\\]|\\.)*+(?:'|\Z)""", re.DOTALL)
_LINE = re.compile(r"[^\r\n]*")
_HEADER = re.compile(r"""(?:[^\r\n"']|(?<=\w=)"[^"\r\n]*+")*+""")
_SOLID = re.compile(r"\S*")
_WORD = re.compile(r"""(?:(?:bearer|basic|token|digest|negotiate|apikey) +)?[^\s&"'<>]*""", re.IGNORECASE)
_BLOCK = re.compile(r"[|>][+-]?\d?[+-]?[ \t]{0,8}(?:#[^\n]*)?\r?\n")
VALUE_ENDS = ("value", "val", "content", "default")
"""How keys end that have the value of the name beside them: ``{"key": "token", "value": "abc"}``."""
_CLOSING = ",;.)]}"
_NOTHING = frozenset(["", "null", "None", "nil", "undefined", "true", "false", "True", "False"])
_INDENT = " \t-#*>"
LONGEST_INDENT = 40
"""Characters of the widest indent of a line that begins with a name."""
LONGEST_PREFIX = 40
"""Characters of the longest prefix of a tag's name."""


def _assigned(text: str, names: SecretNames) -> Iterator[Span]:
    """The values that are given to secret names."""
    lowered, find, at = _lowered(text), names.pattern.search, 0
    while hit := find(lowered, at):
        start, end = _name_around(text, hit, at)
        at = end
        name = text[start:end]
        if names.secret(name) and (span := _value_of(text, start, end)) and names.hides(name, text[slice(*span)]):
            yield span
            at = span[1]


def _lowered(text: str) -> str:
    """``text`` in lower case, each character in its place."""
    lowered = text.lower()
    return lowered if len(lowered) == len(text) else "".join(char.lower()[0] for char in text)


def _name_around(text: str, hit: re.Match[str], after: int) -> Span:
    start, first = hit.start(), max(after, hit.start() - LONGEST_NAME)
    while start > first and (text[start - 1].isalnum() or text[start - 1] in "_.-"):
        start -= 1
    end = _NAME.match(text, hit.end())
    return start, end.end() if end else hit.end()


def _value_of(text: str, start: int, end: int) -> Span | None:
    """Where the value stands that is given to the name from ``start`` to ``end``."""
    if _TAG_START.match(text, text.rfind("<", max(0, start - LONGEST_PREFIX), start), start):
        tag = _TAG.match(text, end)
        return _within_tag(text, tag.end()) if tag and not tag[0].endswith("/>") else None
    separator = _SEPARATOR.match(text, end)
    if separator is None and (item := _ITEM.match(text, end)):
        return _item_of(text, item.end())
    if separator is None:
        separator = _OPTION.match(text, end) if text[start] == "-" else None
    if separator is None or (":" in separator[0] and _SENTENCE.match(text, separator.end())):
        return None
    return _quoted(text, separator.end()) or _unquoted(text, start, separator)


def _within_tag(text: str, start: int) -> Span:
    """What a tag holds: text, ``CDATA``, or further tags up to the first that ends."""
    if text.startswith(_CDATA, start):
        return start + len(_CDATA), _end_of(text, start + len(_CDATA), "]]>")
    has_tags = text.startswith("<", start) and not text.startswith("</", start)
    return start, _end_of(text, start, "</" if has_tags else "<")


def _item_of(text: str, at: int) -> Span | None:
    """The text after a quoted name; where that is a key such as ``value``, what it has, and nothing for another key."""
    span = _quoted(text, at)
    separator = _SEPARATOR.match(text, span[1]) if span else None
    if span is None or separator is None:
        return span
    return _quoted(text, separator.end()) if text[slice(*span)].lower().endswith(VALUE_ENDS) else None


def _quoted(text: str, at: int) -> Span | None:
    """The inside of quotes or of brackets; a quote that is not closed ends with its line."""
    if text[at : at + 1] in ("(", "[", "{"):
        return at, _bracket_end(text, at)
    opening = _OPENING.match(text, at)
    if opening is None:
        return None
    quote, start = opening["quote"], opening.end()
    if (more := _repeated(text, start, quote)) > 1:
        start += more - 1
        return start, _end_of(text, start, quote * more)
    if len(quote) > 1:
        return start, _end_of(text, start, quote)
    inside = _QUOTED[quote].match(text, start)
    end = inside.end() if inside else start
    return start, end if end < len(text) else _end_of(text, start, "\n")


def _repeated(text: str, start: int, quote: str) -> int:
    """How often a quote opens a text: thrice in Python, twice in CSV; once also where an empty text ends."""
    if text.startswith(quote * 2, start):
        return 3
    return 2 if text.startswith(quote, start) and text[start + len(quote) :][:1].isalnum() else 1


def _end_of(text: str, start: int, mark: str) -> int:
    end = text.find(mark, start)
    return len(text) if end < 0 else end


def _bracket_end(text: str, at: int) -> int:
    depth = 0
    for match in _BRACKETS.finditer(text, at):
        depth += (match[0] in ("(", "[", "{")) - (match[0] in (")", "]", "}"))
        if not depth:
            return match.end()
    return len(text)


def _unquoted(text: str, start: int, separator: re.Match[str]) -> Span | None:
    """A word, a header's value, or what a line gives to the name that it begins with."""
    at = separator.end()
    if text.startswith(MASKED, at):
        return at, at + len(MASKED)
    if block := _block(text, start, separator):
        return block
    kind = _kind(text, start, separator)
    match = kind.match(text, at)
    value = match[0] if match else ""
    if kind is _WORD:
        value = value.rstrip(_CLOSING) or value
    return None if value.strip() in _NOTHING else (at, at + len(value.rstrip()))


def _block(text: str, start: int, separator: re.Match[str]) -> Span | None:
    """The lines of a block of YAML, which are indented further than the line of its name."""
    header = _BLOCK.match(text, separator.end())
    if header is None or separator["sign"] != ":" or not _begins_line(text, start):
        return None
    indent = start - text.rfind("\n", 0, start) - 1
    lines = re.compile(rf"(?:[ \t]*\r?\n|[ \t]{{{indent + 1}}}[^\n]*(?:\n|\Z))*").match(text, header.end())
    end = lines.end() if lines else header.end()
    return end - len(text[header.end() : end].lstrip()), header.end() + len(text[header.end() : end].rstrip())


def _kind(text: str, start: int, separator: re.Match[str]) -> re.Pattern[str]:
    sign = separator[0].strip()
    name = text[start : separator.start()].lower()
    if sign == ":" and ("authorization" in name or "cookie" in name):
        return _HEADER
    if not _begins_line(text, start):
        return _WORD
    return _LINE if sign == ":" else _SOLID if sign == "=" else _WORD


def _begins_line(text: str, at: int) -> bool:
    before = text[max(0, at - LONGEST_INDENT) : at]
    line = before[before.rfind("\n") + 1 :]
    return not line.strip(_INDENT) and (line is not before or at <= LONGEST_INDENT)
