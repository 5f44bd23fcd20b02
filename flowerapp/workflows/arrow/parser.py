"""From text to the tree."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from lark import Lark, UnexpectedToken

from flowerapp.core.expressions.grammar import accepted
from flowerapp.workflows.arrow.builder import Builder
from flowerapp.workflows.arrow.errors import TOO_DEEP, ArrowError, Failure
from flowerapp.workflows.arrow.grammar import GRAMMAR, expectation
from flowerapp.workflows.arrow.lexer import BLANKS, ArrowLexer
from flowerapp.workflows.arrow.limits import MAX_TEXT
from flowerapp.workflows.arrow.syntax import Document

HINTS = {
    "→": "a { right behind a declaration is its subflow, unless ; stands between them",
    "->": "a { right behind a declaration is its subflow, unless ; stands between them",
    "=>": "an arrow is → or ->",
    "-": "an arrow is → or ->",
    ">": "one > merges; an arrow is → or ->",
    ";": "a semicolon stands once, between two statements",
    ":": "a label is a colon and a name, without a blank between them",
    "@": "a declaration is @flow or @task and a name; it stands outside of { }",
    ")": "parameters begin with (, and subflows are in { }",
    "//": "a comment begins with #",
    "'": "a doc text is in three quotes",
    '"': "a doc text is in three quotes",
}
"""What is meant by what some unexpected texts begin with."""


def parse(text: str) -> Document:
    """The tree of a text in the arrow language.

    Raises ArrowError with line, column and what was expected. A text has at most ``MAX_TEXT`` characters.
    """
    if len(text) > MAX_TEXT:
        message = f"the text has {len(text):,} characters; the limit is {MAX_TEXT:,}"
        raise ArrowError(message, text[: MAX_TEXT + 1], MAX_TEXT)
    try:
        items: Any = _lark().parse(text)
    except Failure as failure:
        raise failure.in_text(text) from None
    except RecursionError:
        raise ArrowError(TOO_DEEP, text) from None
    except UnexpectedToken as error:
        raise _unexpected(text, error) from None
    return Document(items, text)


@cache
def _lark() -> Lark:
    return Lark(GRAMMAR, parser="lalr", lexer=ArrowLexer, maybe_placeholders=False, transformer=Builder())


def _unexpected(text: str, error: UnexpectedToken) -> ArrowError:
    """The error at the first token that has no place in the grammar."""
    position = len(text) if error.token.type == "$END" else error.token.start_pos or 0
    rest = text[position : position + 40]
    expected = expectation(accepted(error))
    hint = next((f"; {hint}" for start, hint in HINTS.items() if rest.startswith(start)), "")
    hint = "" if error.token.type == "_ARROW" and "}" not in text[:position].rstrip(BLANKS)[-1:] else hint
    return ArrowError(f"expected {expected}, and here is {_shown(rest)}{hint}", text, position, expected)


def _shown(rest: str) -> str:
    match = re.match(r"[:@]?\w{1,20}|->|.", rest.lstrip(BLANKS), re.DOTALL)
    return "the end" if match is None else match[0] if match[0].isprintable() else ascii(match[0])
