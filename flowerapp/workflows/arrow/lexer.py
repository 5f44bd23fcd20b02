"""From text to tokens. Literals are read whole, by scanners of their own, since what is in them is another language."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from lark import Token
from lark.lexer import Lexer

from flowerapp.workflows.arrow import literals
from flowerapp.workflows.arrow.errors import Failure
from flowerapp.workflows.arrow.grammar import KINDS
from flowerapp.workflows.arrow.limits import MAX_NESTING, max_steps
from flowerapp.workflows.arrow.literals import Account
from flowerapp.workflows.arrow.syntax import Literal

NAME = r"[^\W\d](?:[\w:]|\.(?=\w)|-(?!>))*"
"""A name. A hyphen before ``>`` is the beginning of an arrow."""
SKIPPED = re.compile(r"(?:\A\ufeff)?[ \t\r\n\f\v]*+")
TOKENS = re.compile(
    rf"""
    {SKIPPED.pattern}
    (?: (?P<NAME>{NAME})
    | (?P<SIGN>→|->|[;|>*=?{{}}])
    | (?P<LABEL>:{NAME})
    | (?P<COMMENT>\#[^\n]*)
    | (?P<LITERAL>[(<])
    | (?P<EXPRESSION>`)
    | (?P<DECLARE>@{NAME})
    | (?P<DOC>'''|\"\"\")
    | (?P<END>\Z) )
    """,
    re.VERBOSE,
)
EMPTY = re.compile(r"\([ \t\r\n\f\v]*\)|<[ \t\r\n\f\v]*>")
RESOURCE = re.compile(r"<([^>\n]*)>")
BLANKS = " \t\r\n\f\v"


class ArrowLexer(Lexer):
    """The tokens of a text. Raises Failure where none can be made, but for ``UNKNOWN``, which the parser reports."""

    def __init__(self, lexer_conf: Any) -> None:
        """lark makes it with its configuration, which is not needed."""

    def lex(self, data: str) -> Iterator[Token]:  # type: ignore[override] # the older form, which lark wraps
        """The tokens, one by one, so that the parser stops at the first that it does not expect."""
        depth = tasks = 0
        most, before = max_steps(), ""
        for token in _tokens(data):
            depth += (token.type == "LBRACE") - (token.type == "RBRACE")
            if depth > MAX_NESTING:
                raise Failure(f"more than {MAX_NESTING} subflows inside one another", token.start_pos or 0)
            tasks += token.type == "NAME" and before not in {"DECLARE", "FLOW", "_EQUAL"}
            if tasks > most:
                raise Failure(f"more than {most:,} tasks (FLOWER['MAX_TASKS'])", token.start_pos or 0)
            before = token.type
            yield token


def _tokens(text: str) -> Iterator[Token]:
    account = literals.Account()
    position = 0
    while match := TOKENS.match(text, position):
        kind = match.lastgroup or ""
        start, position = match.span(kind)
        if kind in SCANNERS:
            token = SCANNERS[kind](text, start, account)
            position = token.end_pos or len(text)
            yield token
        elif kind == "END":
            return
        elif kind != "COMMENT":
            sign = match[kind]
            yield _token(KINDS.get(sign, kind), sign, start, position)
    start = _skip_blanks(text, position)
    yield _token("UNKNOWN", text[start], start, start + 1)


def _skip_blanks(text: str, position: int) -> int:
    match = SKIPPED.match(text, position)
    return match.end() if match else position


def _token(kind: str, value: str, start: int, end: int) -> Token:
    return Token(kind, value, start_pos=start, end_pos=end)


def _with_value(kind: str, literal: Literal) -> Token:
    """A token whose ``value`` is a literal and no text."""
    token = _token(kind, "", literal.position, literal.position + len(literal.written))
    token.value = literal
    return token


def _expression(text: str, start: int, account: Account) -> Token:
    end = text.find("`", start + 1)
    if end < 0:
        raise Failure("the condition is not closed; expected `", start, "`")
    return _token("EXPRESSION", text[start + 1 : end], start, end + 1)


def _doc(text: str, start: int, account: Account) -> Token:
    quotes = text[start : start + 3]
    end = text.find(quotes, start + 3)
    if end < 0:
        raise Failure(f"the text is not closed; expected {quotes}", start, quotes)
    return _token("DOC", text[start + 3 : end], start, end + 3)


def _literal(text: str, start: int, account: Account) -> Token:
    """Parameters, a value as source, or the address of a resource."""
    kind = "PARAMETERS" if text[start] == "(" else "VALUE"
    if text.startswith("-", start + 1):
        return _with_value(kind, literals.yaml_literal(text, start, account))
    if EMPTY.match(text, start):
        return _with_value(kind, literals.empty_literal(text, start))
    if literals.OPENING.match(text, start):
        return _with_value(kind, literals.json_literal(text, start))
    if kind == "VALUE":
        return _resource(text, start)
    raise Failure(f"parameters are {literals.SHOWN['(']}; subflows are in {{ }}", start)


def _resource(text: str, start: int) -> Token:
    match = RESOURCE.match(text, start)
    if match is None:
        raise Failure("the address of the resource is not closed; expected >", start, ">")
    uri = match[1].strip(BLANKS)
    if uri.startswith("-"):
        raise Failure("the address of a resource cannot begin with a hyphen", start)
    return _token("URI", uri, start, match.end())


def literal_at(text: str, start: int, account: Account) -> Literal | None:
    """The literal that begins with the bracket at ``start``; None if it is the address of a resource."""
    token = _literal(text, start, account)
    literal: Literal | None = token.value if isinstance(token.value, Literal) else None
    return literal


SCANNERS: dict[str, Callable[[str, int, Account], Token]] = {
    "EXPRESSION": _expression,
    "DOC": _doc,
    "LITERAL": _literal,
}


def spans(text: str) -> Iterator[tuple[str, int, int]]:
    """Kind, start and end of each token and comment, in a text that can be read. YAML is not read again."""
    account = literals.Account()
    position = 0
    while (match := TOKENS.match(text, position)) and match.lastgroup != "END":
        kind = match.lastgroup or ""
        start, position = match.span(kind)
        if kind == "LITERAL" and text.startswith("-", position):
            position = (literals.yaml_scan(text, start).end or position) + 2
        elif kind in SCANNERS:
            position = SCANNERS[kind](text, start, account).end_pos or len(text)
        yield kind, start, position
