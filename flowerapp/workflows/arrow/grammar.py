"""The grammar of the arrow language, for lark's LALR parser, and what errors call its terminals.

The terminals are made by ``lexer``. Where a label may end a step or begin the next statement, the parser lets it end
the step; behind an arrow it lets it begin a step if one follows. A semicolon keeps the two apart. A brace behind
``@task`` is its subflow; behind ``@flow``, which has none, it begins a statement.
"""

from __future__ import annotations

from collections.abc import Iterable

GRAMMAR = r"""
start: (declaration | statement)+

declaration: DECLARE NAME [_EQUAL NAME] [PARAMETERS] [DOC] [subflow] [SEMICOLON]
    | FLOW NAME [_EQUAL NAME] [PARAMETERS] [DOC] [SEMICOLON]             -> flow

statement: [source _ARROW] step (_ARROW step)* [_ARROW destination] [SEMICOLON]
?source: LABEL | VALUE | resource
resource: URI [PARAMETERS]
destination: [MERGE] (LABEL | resource)

step: [LABEL] [EACH | MERGE] [_QUESTION EXPRESSION] (task | tasks | subflow) [LABEL]
tasks: task (_BAR task)+
task: NAME [PARAMETERS]
subflow: LBRACE statement+ RBRACE

%declare DECLARE FLOW NAME LABEL EXPRESSION URI VALUE PARAMETERS DOC SEMICOLON LBRACE RBRACE MERGE EACH
%declare _ARROW _EQUAL _QUESTION _BAR
"""

KINDS = {
    "@flow": "FLOW",
    "→": "_ARROW",
    "->": "_ARROW",
    ";": "SEMICOLON",
    "|": "_BAR",
    ">": "MERGE",
    "*": "EACH",
    "=": "_EQUAL",
    "?": "_QUESTION",
    "{": "LBRACE",
    "}": "RBRACE",
}
"""The terminals of signs and of ``@flow``."""

STEP = {"NAME", "LBRACE"}
"""Terminals that may begin any step."""
BEFORE_STEP = {"LABEL", "EACH", "MERGE", "_QUESTION"}
"""Terminals that may stand before a step's name or brace."""
BEGINNINGS = STEP | BEFORE_STEP | {"VALUE", "URI", "DECLARE", "FLOW", "DOC"}
WORDS = {
    "NAME": "a name",
    "LABEL": "a label",
    "EXPRESSION": "a condition in back quotes",
    "URI": "<a resource>",
    "VALUE": "a value in < >",
    "PARAMETERS": "parameters in ( )",
    "DOC": "a text in three quotes",
    "DECLARE": "@flow or @task",
    "_ARROW": "→",
    "_BAR": "|",
    "_EQUAL": "=",
    "_QUESTION": "?",
    "SEMICOLON": ";",
    "LBRACE": "{",
    "RBRACE": "}",
    "MERGE": ">",
    "EACH": "*",
    "$END": "the end",
}
"""What errors call a terminal."""


def expectation(terminals: set[str]) -> str:
    """What may stand at a place, in words, the likeliest first."""
    others = _words(terminals - BEGINNINGS)
    if "EACH" not in terminals:
        return _listed(_words(terminals) if "LBRACE" not in terminals else ["a step", *_words(terminals - STEP)])
    if "_ARROW" in terminals:
        return _listed([*others, "another statement"])
    if "VALUE" in terminals:
        return _listed(["a statement", *others, *_words(terminals & {"DECLARE"})])
    destination = _words(terminals & {"LABEL", "URI"}) if "URI" in terminals else []
    return _listed(["a step", *destination, *others])


def _words(terminals: Iterable[str]) -> list[str]:
    return [word for name, word in WORDS.items() if name in terminals]


def _listed(words: list[str]) -> str:
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
