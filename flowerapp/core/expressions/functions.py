"""The register of functions: what each is called with, and how its arguments are checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from flowerapp.core.expressions.errors import Failure
from flowerapp.core.expressions.kinds import NAMES, TYPES, name
from flowerapp.core.expressions.limits import Evaluation

CLOSURE = "closure"
"""The kind of an argument that is evaluated for each item."""


@dataclass(frozen=True, slots=True)
class Function:
    """A function of the language."""

    name: str
    kinds: tuple[str, ...]
    """The types of its arguments, keys of ``TYPES`` or CLOSURE."""
    least: int
    """Number of arguments that it needs; the others are optional."""
    variadic: bool
    """Whether the last kind may repeat."""
    body: Callable[..., Any]

    def kind(self, index: int) -> str:
        """The kind of the argument at ``index``."""
        return self.kinds[min(index, len(self.kinds) - 1)] if self.kinds else ""

    def check_number(self, number: int) -> None:
        """Raise Failure unless it may have ``number`` arguments."""
        most = float("inf") if self.variadic else len(self.kinds)
        if not self.least <= number <= most:
            raise Failure(f"{self.name}() takes {self._numbers()}, and here it has {number}")

    def _numbers(self) -> str:
        most = len(self.kinds)
        if self.variadic:
            return f"{self.least} or more arguments"
        if self.least == most:
            return "no arguments" if not most else "1 argument" if most == 1 else f"{most} arguments"
        return f"{self.least} to {most} arguments"

    def __call__(self, evaluation: Evaluation, arguments: list[Any]) -> Any:
        """Its value; raises Failure if an argument has another type."""
        for index, argument in enumerate(arguments):
            kind = self.kind(index)
            if kind != CLOSURE and type(argument) not in TYPES[kind]:
                raise Failure(self._mistyped(index, argument))
            if type(argument) is str:
                evaluation.look(argument)
        return self.body(evaluation, *arguments)

    def _mistyped(self, index: int, argument: Any) -> str:
        kind = self.kind(index)
        article = "an" if kind[0] in "aeiou" else "a"
        place = f" as argument {index + 1}" if len(self.kinds) > 1 else ""
        shown = name(argument) if type(argument) in NAMES else "not a JSON value"
        return f"{self.name}() needs {article} {kind}{place}, and this is {shown}"


FUNCTIONS: dict[str, Function] = {}
"""The functions by name. The modules that define them fill it."""


Body = TypeVar("Body", bound=Callable[..., Any])


def function(name: str, *kinds: str) -> Callable[[Body], Body]:
    """Register a function under ``name``.

    A kind that ends in ``?`` is optional; the argument of one that ends in ``*`` may stand any number of times.
    """

    def register(body: Body) -> Body:
        least = sum(kind[-1] not in "?*" for kind in kinds)
        variadic = any(kind.endswith("*") for kind in kinds)
        FUNCTIONS[name] = Function(name, tuple(kind.rstrip("?*") for kind in kinds), least, variadic, body)
        return body

    return register
