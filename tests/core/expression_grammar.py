"""Random expressions, made by a grammar of all that the language has; most of them have a value."""

from __future__ import annotations

import re
from random import Random

RULES: dict[str, list[str]] = {
    "integer": [
        *("0", "1", "-1", "7", "42", "1_000", "0x2A", "0b101", "0o17", "2**63", "10**30", "10**4299", "input.total"),
        *("<list>[0]", "len(<any>)", "<integer> + <integer>", "<integer> - <integer>", "<integer> * <integer>"),
        *("<integer> % <integer>", "<integer> ** 2", "-<integer>", "+<integer>", "int(<number>)", 'int("12")'),
        *("round(<number>)", "ceil(<number>)", "floor(<number>)", "abs(<integer>)", "count(<list>, <condition>)"),
        *("count([<boolean>])", "indexOf(<string>, <string>)", "lastIndexOf(<string>, <string>)", "sum(<numbers>)"),
        *("findIndex(<list>, <condition>)", "findLastIndex(<list>, <condition>)", "bitand(<integer>, <integer>)"),
        *("bitor(<integer>, <integer>)", "bitxor(<integer>, <integer>)", "bitnand(<integer>, 3)", "bitnot(<integer>)"),
        *("bitshl(<integer>, 3)", "bitshr(<integer>, <integer>)", "randomInt(9)", "randomInt()"),
        *(
            "reduce(<numbers>, #acc + #, <integer>)",
            "reduce(<numbers>, #acc - # * #index)",
            "max(<integer>, <integer>)",
        ),
    ],
    "number": [
        *("0.5", ".5", "1e3", "-2.75", "1e308", "5e-324", "<integer>", "<integer>", "<number> / <number>"),
        *("<number> ** <number>", "float(<number>)", 'float("1.5")', "mean(<numbers>)", "median(<numbers>)"),
        *("min(<numbers>)", "max(<number>, <numbers>)", 'duration("1h30m")', "sum(<list>, 1.5)", "rows[1].n"),
    ],
    "string": [
        *('""', '"a"', "'it\\'s'", "`\\d`", '"\\u00e9\\n"', '"😀"', '"10"', "name", "input.user.name", "now()"),
        *("<string> + <string>", "upper(<string>)", "lower(<string>)", "trim(<string>)", "trim(<string>, <string>)"),
        *("trimPrefix(<string>, <string>)", "trimSuffix(<string>, <string>)", "replace(<string>, <string>, <string>)"),
        *("repeat(<string>, <small>)", "join(<strings>, <string>)", "join(<strings>)", "string(<any>)"),
        *("toJSON(<any>)", "toBase64(<string>)", "fromBase64(toBase64(<string>))", "type(<any>)", "<string>[0]"),
        *("<string>[<integer>:<integer>]", "<string>[-2:]", "<string>[:<small>]", "secrets.mail", 'secrets["mail"]'),
        *('date("2026-01-31")', "<string> | upper() | trim()", "first(<strings>)", "last(<strings>)"),
    ],
    "boolean": [
        *("true", "false", 'input.user["first-login"]', "<boolean> && <boolean>", "<boolean> and <boolean>"),
        *("<boolean> || <boolean>", "<boolean> or <boolean>", "!<boolean>", "not <boolean>", "<any> == <any>"),
        *("<any> != <any>", "<number> < <number>", "<string> <= <string>", "<number> > <number> >= <number>"),
        *("<any> in <list>", "<string> in <object>", "<any> not in <list>", "<string> contains <string>"),
        *("<string> startsWith <string>", "<string> not endsWith <string>", "<string> matches <pattern>"),
        *("<string> not matches <pattern>", "all(<list>, <condition>)", "any(<list>, <condition>)"),
        *("none(<list>, <condition>)", "one(<list>, <condition>)", "hasPrefix(<string>, <string>)"),
        "hasSuffix(<string>, <string>)",
    ],
    "list": [
        *("[]", "[<any>]", "[<any>, <any>,]", "input.tags", "rows", "<numbers>", "<strings>", "<list>[1:]"),
        *("filter(<list>, <condition>)", "map(<list>, <closure>)", "take(<list>, <small>)", "reverse(<list>)"),
        *("uniq(<list>)", "concat(<list>, <list>)", "flatten(<list>)", "values(<object>)", "toPairs(<object>)"),
        *("sortBy(<numbers>, <closure>)", 'sortBy(rows, .n, "desc")', "fromJSON(toJSON(<list>))"),
        *("<list> | filter(<condition>) | map(<closure>)", "let l = <list>; concat(l, l)", "map(rows, {.kind})"),
    ],
    "numbers": [
        *("[<number>]", "[<number>, <integer>]", "[3, 1, 2]", "1..<small>", "<small>..3", "sequence(0, <small>)"),
        *("map(rows, .n)", "sort(<numbers>)", 'sort(<numbers>, "desc")', "uniq(<numbers>)", "map(<numbers>, # * 2)"),
    ],
    "strings": [
        *("input.tags", '["b", "a"]', "[<string>, <string>]", "split(<string>, <string>)", "keys(<object>)"),
        *("split(<string>, <string>, <integer>)", "splitAfter(<string>, <string>, <small>)", "sort(<strings>)"),
        *("splitAfter(<string>, <string>)", "map(<list>, string(#))"),
    ],
    "object": [
        *("{}", "input", "input.user", "rows[0]", "{a: <any>}", '{"a b": <any>, (<string>): <any>, 1: <any>,}'),
        *("{`k`: <any>}", "fromPairs([[<string>, <any>]])", "groupBy(<list>, <closure>)", "first(rows)"),
        *("find(rows, <condition>)", "findLast(rows, .n > <integer>)", "last(rows)", "fromJSON(toJSON(<object>))"),
    ],
    "any": [
        *("null", "nil", "<integer>", "<number>", "<string>", "<boolean>", "<list>", "<object>", "input.note"),
        *("<any> ?? <simple>", "(<any>)", "<boolean> ? <any> : <any>", "let x = <any>; x", "get(<object>, <string>)"),
        *("get(<list>, <integer>)", "input.missing?.deeper[0]", "<object>?.a", "<list>?.[<small>]", "<object>.<key>"),
        *("<object>[<string>]", "<list>[<integer>]", "find(<list>, <condition>)", "reduce(<list>, #, <any>)"),
        *("<any> /* a comment */", "<any> // another\n", "let rows = <list>; rows", "<list> | first()"),
    ],
    "condition": ["#index > 0", "# == <any>", "true", "{<boolean>}", ".n > 1", "#index < <small> && <boolean>"],
    "closure": ["#", "#index", ".n", "{[#, #index]}", "{a: #}", "{#index + 1}", "<any>", "-#", "string(#)"],
    "pattern": ['"^a+$"', '"[a-z]|[0-9]"', "`\\d{2,3}`", '"(a|b)*c"', "`(?i)\\bJOB`", "<string>"],
    "small": ["0", "1", "3", "9", "-1"],
    "simple": ["1", '"none"', "null", "input", "true", "[1]"],
    "key": ["a", "n", "kind", "__class__", "mro", "format", "keys", "items", "__globals__", "in"],
}
"""``{kind of value: expressions that give one}``; ``<kind>`` stands for one of them."""
HOLE = re.compile("<([a-z]+)>")
MOST_PARTS = 40
"""Rules that are used for one expression, before only its leaves remain."""


def expression(random: Random, kind: str = "any") -> str:
    """An expression, which seldom has a part of another kind than its place asks for."""
    text, parts = f"<{kind}>", 0
    while hole := HOLE.search(text):
        parts += 1
        wanted = hole[1] if random.random() > 0.01 else random.choice([*RULES])
        text = text[: hole.start()] + _rule(random, wanted, leaf=parts > MOST_PARTS) + text[hole.end() :]
    return text


def _rule(random: Random, kind: str, *, leaf: bool) -> str:
    rules = RULES[kind]
    return random.choice([rule for rule in rules if not HOLE.search(rule)] if leaf else rules)
