"""Templates: texts with ``{{ expression }}`` in them, alone or anywhere in a JSON value."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from flowerapp.core.expressions.errors import ExpressionError, Failure
from flowerapp.core.expressions.kinds import as_text
from flowerapp.core.expressions.limits import MAX_LEVELS, MAX_TEXT, Evaluation, utc_now
from flowerapp.core.expressions.parser import TOO_DEEP, Context, Expression, parse

MAX_EXPRESSIONS = 1_000
"""Most expressions of one template."""
OPENING = re.compile(r"(\\*)\{\{")
INSIDE = re.compile(
    r"""[^"'`{}/]+|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`[^`]*`|/\*(?:[^*]|\*(?!/))*\*/|.""", re.DOTALL
)
"""A step through an expression to its end: strings and comments are taken whole, since they may contain braces."""

Text = Callable[[Evaluation, Any], str]
"""How a value becomes a part of a text: ``as_text`` or ``go_text``."""


class Part:
    """An expression in a text, which stands at ``path`` in a larger value."""

    __slots__ = ("expression", "offset", "path", "text")

    def __init__(self, text: str, start: int, end: int, path: str) -> None:
        self.text = text
        self.offset = start
        self.path = path
        with self.placed():
            self.expression = parse(text[start:end])

    @contextmanager
    def placed(self) -> Iterator[None]:
        """An ExpressionError gets its place in the whole text."""
        try:
            yield
        except ExpressionError as error:
            raise error.moved(self.text, self.offset, self.path) from None

    def evaluate(self, context: Context, evaluation: Evaluation) -> Any:
        """The expression's value."""
        with self.placed():
            return self.expression.evaluate_in(context, evaluation)

    def piece(self, context: Context, evaluation: Evaluation, text: Text) -> str:
        """The expression's value as a part of a text."""
        with self.placed():
            value = self.expression.evaluate_in(context, evaluation)
            try:
                piece = text(evaluation, value)
                evaluation.build(len(piece))
            except (Failure, RecursionError) as error:
                failure = error if isinstance(error, Failure) else Failure(TOO_DEEP)
                raise self.expression.error(failure) from None
        return piece


class TextTemplate:
    """A text whose expressions were read."""

    __slots__ = ("parts",)

    def __init__(self, text: str, path: str = "", most: int = MAX_EXPRESSIONS) -> None:
        self.parts: list[str | Part] = []
        for part in _parts(text, path):
            most -= isinstance(part, Part)
            if most < 0:
                raise ExpressionError(f"the template has more than {MAX_EXPRESSIONS:,} expressions", text, 0, path)
            self.parts.append(part)

    @property
    def expressions(self) -> list[Part]:
        """The expressions, from left to right."""
        return [part for part in self.parts if isinstance(part, Part)]

    def render(self, context: Context, evaluation: Evaluation, text: Text) -> Any:
        """The value of an expression that stands alone, or else the text with the values in it."""
        alone = self.parts[0]
        if len(self.parts) == 1 and isinstance(alone, Part):
            return alone.evaluate(context, evaluation)
        pieces = [part.piece(context, evaluation, text) if isinstance(part, Part) else part for part in self.parts]
        return "".join(pieces)


def _parts(text: str, path: str) -> Iterator[str | Part]:
    """Texts between expressions, unescaped, and the expressions."""
    position = 0
    literal: list[str] = []
    while opening := OPENING.search(text, position):
        slashes = len(opening[1])
        literal += [text[position : opening.start()], "\\" * (slashes // 2)]
        position = opening.end()
        if slashes % 2:
            literal.append("{{")
            continue
        end = _end(text, position, path)
        yield from filter(None, ["".join(literal)])
        yield Part(text, position, end, path)
        literal, position = [], end + 2
    yield from filter(None, ["".join([*literal, text[position:]])])


def _end(text: str, start: int, path: str) -> int:
    """Where the ``}}`` stands that closes an expression which begins at ``start``."""
    depth, position, limit = 0, start, start + MAX_TEXT + 1
    while match := INSIDE.match(text, position, limit):
        step = match[0]
        if step in {'"', "'", "`"}:
            raise ExpressionError(f"the string is not closed; expected {step}", text, position, path)
        if step == "/" and text.startswith("/*", position):
            raise ExpressionError("the comment is not closed; expected */", text, position, path)
        if step == "}" and not depth and text.startswith("}}", position):
            return position
        depth += (step == "{") - (step == "}" and depth > 0)
        position = match.end()
    raise ExpressionError(_unclosed(position < limit), text, start - 2, path)


def _unclosed(ended: bool) -> str:
    if ended:
        return "{{ is not closed; expected }}, or \\{{ where braces are meant"
    return f"{{{{ is not closed within {MAX_TEXT:,} characters, the most that an expression has; expected }}}}"


class Template:
    """A JSON value with expressions in its strings. Keys of objects are never evaluated."""

    __slots__ = ("_compiled", "expressions")

    def __init__(self, value: Any) -> None:
        self.expressions: list[Part] = []
        """The expressions, each with the path of the string that it stands in."""
        self._compiled = self._compile(value, "", 0)

    def _compile(self, value: Any, path: str, level: int) -> Any:
        """``value`` with a TextTemplate for each string that has braces."""
        if level > MAX_LEVELS:
            raise ExpressionError(f"the value has more than {MAX_LEVELS} lists and objects inside one another")
        if type(value) is str and "{{" in value:
            return self._text(value, path)
        if type(value) is list:
            return [self._compile(item, f"{path}[{index}]", level + 1) for index, item in enumerate(value)]
        if type(value) is dict:
            return {key: self._compile(item, _below(path, key), level + 1) for key, item in value.items()}
        return value

    def _text(self, text: str, path: str) -> TextTemplate:
        template = TextTemplate(text, path, MAX_EXPRESSIONS - len(self.expressions))
        self.expressions += template.expressions
        return template

    @property
    def names(self) -> frozenset[str]:
        """The names that its expressions take from the context."""
        return frozenset().union(*[part.expression.names for part in self.expressions])

    def check_names(self, names: Collection[str]) -> None:
        """Raise ExpressionError, with its path and place, at the first name that is not among ``names``."""
        for part in self.expressions:
            with part.placed():
                part.expression.check_names(names)

    def render(self, context: Context, clock: Callable[[], datetime] = utc_now, text: Text = as_text) -> Any:
        """The value with its expressions evaluated.

        A string that is one expression and nothing else becomes the expression's value, of any type. In other strings
        the values become text by ``text``. What the context contains is never read as a template. Raises
        ExpressionError, with its path and place.
        """
        return _rendered(self._compiled, context, Evaluation(clock), text)

    def is_false(self, context: Context, clock: Callable[[], datetime] = utc_now) -> bool:
        """Whether the rendered text is ``false``, blanks around it aside: the rule of YAML's ``if``."""
        value = self.render(context, clock)
        return value is False or (type(value) is str and value.strip() == "false")


def _below(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _rendered(compiled: Any, context: Context, evaluation: Evaluation, text: Text) -> Any:
    if type(compiled) is TextTemplate:
        return compiled.render(context, evaluation, text)
    if type(compiled) is list:
        return [_rendered(item, context, evaluation, text) for item in compiled]
    if type(compiled) is dict:
        return {key: _rendered(item, context, evaluation, text) for key, item in compiled.items()}
    return compiled


def template(value: Any) -> Template:
    """The template of a JSON value; raises ExpressionError at an expression that cannot be read."""
    return Template(value)


def parse_either(text: str) -> Expression:
    """The first expression in ``{{ }}``, or the whole text if there is none, as YAML's ``each.list`` is read."""
    if "{{" not in text:
        return parse(text)
    parts = TextTemplate(text).expressions
    return parts[0].expression if parts else parse(text)
