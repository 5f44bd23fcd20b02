"""The grammar of expressions, for lark's LALR parser, and what errors call its terminals.

Operators are listed from the loosest to the tightest; what a pipe gives may be the first operand of any, so that
``a | len() > 1`` is ``(a | len()) > 1``. A terminal of letters ends where its word ends, so ``inside`` is
a name and not ``in``; after a dot any word is a key. ``UNKNOWN`` makes a token of what is none, so that the parser
reports each error and can say what it expected; the lexer never makes a ``_NEVER``.
"""

from __future__ import annotations

from lark import UnexpectedToken
from lark.parsers.lalr_analysis import Shift
from lark.parsers.lalr_parser_state import ParserState

GRAMMAR = r"""
start: expression
    | _NEVER UNKNOWN

?expression: LET NAME ASSIGN expression ";" expression                   -> let
    | conditional
?conditional: piped
    | piped QUESTION expression ":" expression                           -> conditional
?piped: disjunction
    | pipe_disjunction
?disjunction: conjunction (_OR conjunction)*
?conjunction: negation (_AND negation)*
?negation: NOT negation                                                  -> unary
    | comparison
?comparison: range (comparator operand)*
comparator: COMPARATOR | IN | MATCHES | SEARCH | NOT (IN | MATCHES | SEARCH)
?operand: range
    | NOT product                                                        -> unary
?range: sum
    | sum RANGE sum
?sum: product ((PLUS | MINUS) product)*
?product: unary ((TIMES | DIVIDE | REMAINDER) unary)*
?unary: power
    | (PLUS | MINUS | BANG) unary
?power: coalesce
    | coalesce POWER unary
?coalesce: access (COALESCE alternative)*
?alternative: access
    | (PLUS | MINUS | BANG) unary                                        -> unary
?access: primary
    | primary tail+

pipe: piped PIPE NAME "(" [arguments] ")" tail*
?pipe_coalesce: pipe
    | pipe (COALESCE alternative)+                                       -> coalesce
?pipe_power: pipe_coalesce
    | pipe_coalesce POWER unary                                          -> power
?pipe_product: pipe_power
    | pipe_power ((TIMES | DIVIDE | REMAINDER) unary)+                   -> product
?pipe_sum: pipe_product
    | pipe_product ((PLUS | MINUS) product)+                             -> sum
?pipe_range: pipe_sum
    | pipe_sum RANGE sum                                                 -> range
?pipe_comparison: pipe_range
    | pipe_range (comparator operand)+                                   -> comparison
?pipe_conjunction: pipe_comparison
    | pipe_comparison (_AND negation)+                                   -> conjunction
?pipe_disjunction: pipe_conjunction
    | pipe_conjunction (_OR conjunction)+                                -> disjunction

tail: DOT NAME                                                           -> member
    | OPTIONAL NAME                                                      -> member
    | LSQB expression "]"                                                -> index
    | OPTIONAL LSQB expression "]"                                       -> index
    | LSQB bound ":" bound "]"                                           -> section
bound: expression?

?primary: NAME                                                           -> name
    | NAME "(" [arguments] ")"                                           -> call
    | POINTER                                                            -> pointer
    | DOT NAME                                                           -> pointer_member
    | "(" expression ")"                                                 -> group
    | LSQB [expression ("," expression)* [","]] "]"                      -> array
    | LBRACE [pair ("," pair)* [","]] "}"                                -> mapping
    | FLOAT                                                              -> decimal
    | INTEGER                                                            -> integer
    | STRING                                                             -> text
    | RAW_STRING                                                         -> raw_text
    | (TRUE | FALSE | NULL)                                              -> constant

arguments: argument ("," argument)* [","]
?argument: expression
    | LBRACE expression "}"                                              -> braces
pair: key ":" expression
key: NAME                                                                -> name_key
    | STRING                                                             -> text_key
    | RAW_STRING                                                         -> raw_text_key
    | INTEGER                                                            -> integer_key
    | "(" expression ")"                                                 -> expression_key

LET.2: /let(?!\w)/
NOT.2: /not(?!\w)/
IN.2: /in(?!\w)/
MATCHES.2: /matches(?!\w)/
SEARCH.2: /(?:contains|startsWith|endsWith)(?!\w)/
TRUE.2: /true(?!\w)/
FALSE.2: /false(?!\w)/
NULL.2: /(?:nil|null)(?!\w)/
_OR.2: /\|\||or(?!\w)/
_AND.2: /&&|and(?!\w)/
NAME: /[^\W\d]\w*/
POINTER: /#(?:(?:acc|index)(?!\w))?/

FLOAT.3: /(?:[0-9][0-9_]*)?\.[0-9][0-9_]*(?:[eE][+-]?[0-9]+)?|[0-9][0-9_]*[eE][+-]?[0-9]+/
INTEGER.2: /0[xX][0-9a-fA-F_]+|0[oO][0-7_]+|0[bB][01_]+|[0-9][0-9_]*/
STRING: /"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'/
RAW_STRING: /`[^`]*`/

COMPARATOR.2: /==|!=|<=|>=|<|>/
ASSIGN: "="
QUESTION: "?"
PIPE: "|"
RANGE.2: ".."
DOT: "."
OPTIONAL.2: /\?\.(?![0-9])/
COALESCE.2: "??"
PLUS: "+"
MINUS: "-"
POWER.2: /\*\*|\^/
TIMES: "*"
DIVIDE: "/"
REMAINDER: "%"
BANG: "!"
LSQB: "["
LBRACE: "{"

%declare _NEVER
UNKNOWN.-9: /./s

%ignore /[ \t\r\n]+/
%ignore /\/\/[^\n]*/
%ignore /\/\*(?:[^*]|\*(?!\/))*\*\//
"""

WORDLIKE = {"NAME", "POINTER", "TRUE", "FALSE", "NULL", "NOT", "LET"}
OPERANDS = WORDLIKE | {
    "FLOAT",
    "INTEGER",
    "STRING",
    "RAW_STRING",
    "LSQB",
    "LBRACE",
    "LPAR",
    "BANG",
    "PLUS",
    "MINUS",
    "DOT",
}
"""Terminals that may begin a value."""
ARITHMETIC = {"POWER", "TIMES", "DIVIDE", "REMAINDER", "RANGE", "COALESCE"}
OPERATORS = ARITHMETIC | {"_OR", "_AND", "IN", "MATCHES", "SEARCH", "COMPARATOR", "QUESTION", "PIPE", "OPTIONAL"}
"""Terminals that may follow a value. Those of ``OPERANDS`` that may, too, are not listed."""
WORDS = {
    "$END": "the end",
    "NAME": "a name",
    "ASSIGN": "=",
    "COLON": ":",
    "SEMICOLON": ";",
    "COMMA": ",",
    "RPAR": ")",
    "RSQB": "]",
    "RBRACE": "}",
    "LPAR": "(",
    "STRING": "a string",
    "INTEGER": "an integer",
}
"""What errors call a terminal that is expected alone."""


def accepted(error: UnexpectedToken) -> set[str]:
    """The terminals that could stand where an error is: lark's ``accepts``, in a tenth of its time."""
    parser: ParserState[int] = error.state
    candidates = parser.parse_conf.states[parser.position]
    return {terminal for terminal in candidates if terminal.isupper() and _shifts(parser, terminal)}


def _shifts(parser: ParserState[int], terminal: str) -> bool:
    """Whether the parser takes a terminal, perhaps after it has reduced what is before it."""
    states, stack = parser.parse_conf.states, list(parser.state_stack)
    while terminal in states[stack[-1]]:
        action, argument = states[stack[-1]][terminal]
        if action is Shift or terminal == "$END":
            return True
        del stack[len(stack) - len(argument.expansion) :]
        stack.append(states[stack[-1]][argument.origin.name][1])
    return False


def expectation(terminals: set[str]) -> str:
    """What may stand at a place, in words."""
    if {"STRING", "TRUE"} <= terminals:
        closing = [WORDS[name] for name in ("RPAR", "RSQB", "RBRACE", "COLON") if name in terminals]
        return _listed(["a value", *closing])
    if terminals & OPERATORS:
        rest = sorted(WORDS[name] for name in terminals - OPERANDS - OPERATORS - {"NAME"} if name in WORDS)
        return _listed(["an operator", *rest])
    return _listed(sorted(WORDS.get(name, name.lower()) for name in terminals - {"LSQB", "RAW_STRING"}))


def _listed(words: list[str]) -> str:
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
