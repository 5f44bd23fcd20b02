"""The grammar of paths, for lark's LALR parser, and what errors call its terminals."""

from __future__ import annotations

GRAMMAR = r"""
start: ROOT segment*
    | _NEVER UNKNOWN

path: (ROOT | CURRENT) segment*
segment: DOT NAME                                                        -> key
    | DOT STAR                                                           -> all
    | DOT NAME "(" ")"                                                   -> call
    | DEEP NAME                                                          -> deep_key
    | DEEP STAR                                                          -> deep_all
    | [DEEP] LSQB selector ("," selector)* "]"                           -> selectors
?selector: STRING                                                        -> text_key
    | INTEGER                                                            -> item
    | bound ":" bound [":" bound]                                        -> section
    | STAR                                                               -> wildcard
    | QUESTION condition                                                 -> filter
bound: INTEGER?

?condition: negation
    | negation ((AND | OR) negation)+                                    -> junction
?negation: comparison
    | NOT negation
?comparison: operand                                                     -> alone
    | operand COMPARATOR operand
    | "(" condition ")"                                                  -> group

?operand: path
    | value                                                              -> constant
value: STRING                                                            -> text
    | (INTEGER | FLOAT)                                                  -> number
    | (TRUE | FALSE | NULL)                                              -> word
    | LSQB [value ("," value)*] "]"                                      -> array
    | LBRACE [pair ("," pair)*] "}"                                      -> mapping
pair: STRING ":" value

AND.2: /&&|and(?!\w)/
OR.2: /\|\||or(?!\w)/
NOT.2: /not(?!\w)|!(?!=)/
TRUE.2: /true(?!\w)/
FALSE.2: /false(?!\w)/
NULL.2: /null(?!\w)/
NAME: /[^\W\d][\w-]*/
FLOAT.3: /-?[0-9]+(?:\.[0-9]+(?:[eE][+-]?[0-9]+)?|[eE][+-]?[0-9]+)/
INTEGER.2: /-?[0-9]+/
STRING: /"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'/
COMPARATOR.2: /==|!=|<=|>=|<|>|=/
DEEP.2: ".."
DOT: "."
STAR: "*"
ROOT: "$"
CURRENT: "@"
QUESTION: "?"
LSQB: "["
LBRACE: "{"

%declare _NEVER
UNKNOWN.-9: /./s
%ignore /[ \t\r\n]+/
"""

VALUES = {"STRING", "INTEGER", "FLOAT", "TRUE", "FALSE", "NULL", "LSQB", "LBRACE"}
OPERANDS = VALUES | {"ROOT", "CURRENT", "NOT", "LPAR"}
"""Terminals that may begin a condition."""
SEGMENTS = {"DOT", "DEEP", "LSQB"}
"""Terminals that continue a path."""
WORDS = {
    "ROOT": "$",
    "NAME": "a key",
    "STAR": "*",
    "STRING": "a string",
    "INTEGER": "an index",
    "QUESTION": "?( … )",
    "COMPARATOR": "a comparison such as =",
    "AND": "and",
    "OR": "or",
    "LPAR": "(",
    "RPAR": ")",
    "RSQB": "]",
    "RBRACE": "}",
    "COMMA": ",",
    "COLON": ":",
    "$END": "the end",
}
"""What errors call a terminal."""


def expectation(terminals: set[str]) -> str:
    """What may stand at a place, in words."""
    if terminals & {"RPAR", "RSQB"}:
        terminals = terminals - {"$END"}
    if "CURRENT" in terminals:
        what = "a condition" if "NOT" in terminals else "a value, @ or $"
        return _listed([what, *_words(terminals - OPERANDS)])
    if {"TRUE", "NULL"} <= terminals:
        return _listed(["a value", *_words(terminals - VALUES)])
    if terminals >= SEGMENTS:
        return _listed([".key, [ ]", *_words(terminals - SEGMENTS - {"LPAR"})])
    return _listed(_words(terminals))


def _words(terminals: set[str]) -> list[str]:
    return [word for name, word in WORDS.items() if name in terminals]


def _listed(words: list[str]) -> str:
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
