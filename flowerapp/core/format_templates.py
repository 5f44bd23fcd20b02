"""Templates over a task's input and parameters, in two spellings.

``my-{input[id]}`` is read as Python's ``str.format`` reads it, ``my-{{ input.id }}`` as docs/expressions.md says. A
text whose ``{{ … }}`` can all be read as expressions has the second spelling; any other has the first, in which ``{{``
and ``}}`` are braces. Nothing is evaluated by Python: a template reads keys and items of JSON values, and never an
attribute.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple, NoReturn

from flowerapp import conf
from flowerapp.core.expressions.errors import ExpressionError, Failure
from flowerapp.core.expressions.kinds import as_text, measure
from flowerapp.core.expressions.kinds import name as kind_of
from flowerapp.core.expressions.limits import Evaluation
from flowerapp.core.expressions.templates import Part, TextTemplate

NAMES = ("input", "parameters")
"""What a template may read."""
MAX_TEMPLATE = 100_000
"""Most characters of a template."""
MAX_FIELDS = 1_000
"""Most fields of a template."""
MAX_WIDTH = 1_000
"""Largest width, and most digits after the point, in a format such as ``{input[id]:>8}``."""
MOST_KEYS = 20
"""Most keys that an error lists."""

_STEP = r"""\[(?:"[^"]*"|'[^']*'|[^\]"'][^\]]*)\]"""
_FIELD = re.compile(rf"\{{(?P<name>\w*)(?P<steps>(?:{_STEP})*)(?:!(?P<conversion>[sra]))?(?::(?P<spec>[^{{}}]*))?\}}")
_ATTRIBUTE = re.compile(rf"\{{\w*(?:{_STEP})*\.")
_SPEC = re.compile(r"(?:.?[<>=^])?[-+ ]?z?#?0?(?P<width>\d*)[_,]?(?:\.(?P<digits>\d+))?[bdeEfFgGosxX%]?", re.DOTALL)
_BRACE = re.compile(r"\{\{|\}\}|\{|\}")
_MIXED = re.compile(r"\{(?:input|parameters)(?:[\[!:][^{}]*)?\}")
_MEANT = re.compile(r"""(?<!\{)\{\{(?:[^{}"']|"[^"{}]*"|'[^'{}]*')*?\b(?:input|parameters)\b""")
"""What only an expression would have: a name that may be read, outside of quotes, right within ``{{``."""
_FORMATTED = frozenset({str, int, float, bool})
_CONVERSIONS = {"r": repr, "a": ascii}


def filled(template: str, input: Any, parameters: Mapping[str, Any] | None = None) -> Any:
    """The text of a template, with what it reads of a task's input and parameters, JSON values.

    A template that is one ``{{ expression }}`` and nothing else gives the expression's value, of any type. Raises
    ExpressionError, with the place in the template, for one that cannot be read, for a key that is missing, and for a
    text of more than ``FLOWER["MAX_JSON_BYTES"]`` bytes.
    """
    value = _read(template).fill({"input": input, "parameters": dict(parameters or {})})
    limit = conf.get().MAX_JSON_BYTES
    if type(value) is str and len(value.encode()) > limit:
        message = f"the template gives a text of over {limit:,} bytes (FLOWER['MAX_JSON_BYTES'])"
        raise ExpressionError(message, template)
    return value


def template_problems(template: str) -> list[str]:
    """What is wrong with a template whatever its input is, as a sentence with its place; empty if nothing is."""
    try:
        _read(template)
    except ExpressionError as error:
        return [str(error).partition("\n")[0]]
    return []


@lru_cache(maxsize=512)
def _read(text: str) -> _Expressions | _Format:
    """The template of a text; raises ExpressionError."""
    if len(text) > MAX_TEMPLATE:
        raise ExpressionError(f"the template has more than {MAX_TEMPLATE:,} characters")
    template = _expressions_of(text) if "{{" in text else None
    return _Format(text) if template is None else _Expressions(text, template)


def _expressions_of(text: str) -> TextTemplate | None:
    """The template of a text whose double braces are expressions; None if they are braces."""
    try:
        template = TextTemplate(text)
    except ExpressionError:
        if _MEANT.search(text):
            raise
        return None
    return template if template.expressions else None


class _Expressions:
    """A text with ``{{ expression }}`` in it."""

    def __init__(self, text: str, template: TextTemplate) -> None:
        self.template = template
        for part in template.parts:
            if isinstance(part, Part):
                with part.placed():
                    part.expression.check_names(NAMES)
            elif mixed := _MIXED.search(part):
                message = f"a template has one spelling: write {{{{ … }}}} for {mixed[0][:100]}, too"
                raise ExpressionError(message, text, max(text.find(mixed[0]), 0))

    def fill(self, context: Mapping[str, Any]) -> Any:
        return self.template.render(context, Evaluation(), _present)


def _present(evaluation: Evaluation, value: Any) -> str:
    """A value as a part of a text, in which a key that is missing must not become ``null``."""
    if value is None:
        raise Failure("it is null; where that may be, write what else stands here, as in {{ input.id ?? 'none' }}")
    return as_text(evaluation, value)


class _Key(NamedTuple):
    """One step of a field into its value."""

    text: str
    quoted: bool
    position: int

    def of(self, value: Any, what: str) -> Any:
        """What ``value``, called ``what``, has there; raises Failure."""
        if type(value) is dict:
            if self.text in value:
                return value[self.text]
            raise Failure(f"{what} has no key {self.text[:100]!r}; {_listed(value)}")
        if type(value) is list:
            return self._item(value, what)
        raise Failure(f"{what} is {kind_of(value)}, which has no key {self.text[:100]!r}")

    def _item(self, items: list[Any], what: str) -> Any:
        if self.quoted or not (self.text.isascii() and self.text.isdigit()):
            raise Failure(
                f"{what} is a list, which has no key {self.text[:100]!r}; write the number of an item, from 0"
            )
        if len(self.text) > 9 or int(self.text) >= len(items):
            raise Failure(f"{what} has no item {self.text[:20]}; it has {len(items):,}, counted from 0")
        return items[int(self.text)]


def _listed(value: Mapping[str, Any]) -> str:
    """The keys that are there, in a sentence."""
    if not value:
        return "it is empty"
    names = [key if len(key) <= 100 else f"{key[:100]}…" for key in sorted(value)[:MOST_KEYS]]
    more = f" and {len(value) - MOST_KEYS:,} more" if len(value) > MOST_KEYS else ""
    return f"there are: {', '.join(names)}{more}"


class _Field:
    """A part of a text in single braces."""

    def __init__(self, text: str, match: re.Match[str]) -> None:
        self.text, self.position = text, match.start()
        self.name, self.conversion, self.spec = match["name"], match["conversion"], match["spec"] or ""
        steps = re.finditer(_STEP, match["steps"])
        self.keys = [_key(step[0][1:-1], match.start("steps") + step.start()) for step in steps]
        if self.name not in NAMES:
            example = f"{{input[{self.name or 'id'}]}}"
            raise ExpressionError(f"a field begins with input or parameters, as in {example}", text, self.position)
        self._check_spec()

    def _check_spec(self) -> None:
        match = _SPEC.fullmatch(self.spec)
        if match is None:
            self._fail(f"{self.spec[:100]!r} is no format of a text or a number")
        if any(len(number or "") > 4 or int(number or 0) > MAX_WIDTH for number in match.groups()):
            self._fail(f"the format is wider than {MAX_WIDTH:,} characters")

    def _fail(self, message: str) -> NoReturn:
        raise ExpressionError(message, self.text, self.position)

    def piece(self, context: Mapping[str, Any], evaluation: Evaluation) -> str:
        """The value as a part of the text."""
        value = self._value(context)
        try:
            piece = self._formatted(value, evaluation)
            evaluation.build(len(piece))
        except Failure as failure:
            self._fail(failure.message)
        except (ValueError, TypeError, OverflowError):
            self._fail(f"{kind_of(value)} cannot have the format {self.spec!r}")
        return piece

    def _value(self, context: Mapping[str, Any]) -> Any:
        value, what = context[self.name], self.name
        for key in self.keys:
            try:
                value = key.of(value, what)
            except Failure as failure:
                raise ExpressionError(failure.message, self.text, key.position) from None
            what = f"{what}[{key.text[:100]}]"
        return value

    def _formatted(self, value: Any, evaluation: Evaluation) -> str:
        if not self.conversion and self.spec:
            if type(value) not in _FORMATTED:
                raise Failure(f"{kind_of(value)} cannot have the format {self.spec!r}; write !s before the colon")
            return format(value, self.spec)
        if self.conversion in _CONVERSIONS:
            measure(evaluation, value)
        text = _CONVERSIONS[self.conversion](value) if self.conversion in _CONVERSIONS else as_text(evaluation, value)
        return format(text, self.spec)


def _key(text: str, position: int) -> _Key:
    quoted = text[:1] in ('"', "'")
    return _Key(text[1:-1] if quoted else text, quoted, position)


class _Format:
    """A text with fields in single braces."""

    def __init__(self, text: str) -> None:
        self.parts: list[str | _Field] = []
        position = 0
        while brace := _BRACE.search(text, position):
            self.parts.append(text[position : brace.start()])
            position = self._add(text, brace)
        self.parts.append(text[position:])
        if sum(isinstance(part, _Field) for part in self.parts) > MAX_FIELDS:
            raise ExpressionError(f"the template has more than {MAX_FIELDS:,} fields", text)

    def _add(self, text: str, brace: re.Match[str]) -> int:
        """Add the brace or the field that begins at ``brace``; where it ends."""
        if len(brace[0]) == 2:
            self.parts.append(brace[0][0])
            return brace.end()
        match = _FIELD.match(text, brace.start())
        if match is None:
            raise ExpressionError(_no_field(text, brace), text, brace.start())
        self.parts.append(_Field(text, match))
        return match.end()

    def fill(self, context: Mapping[str, Any]) -> str:
        evaluation = Evaluation()
        return "".join(part if isinstance(part, str) else part.piece(context, evaluation) for part in self.parts)


def _no_field(text: str, brace: re.Match[str]) -> str:
    """Why no field begins at a brace."""
    if _ATTRIBUTE.match(text, brace.start()):
        return "a field reads keys, and no attributes: write {input[id]}, or {{ input.id }}"
    if brace[0] == "}":
        return "} closes no field; write }} where a brace is meant"
    return "{ begins no field such as {input[id]}; write {{ where a brace is meant"
