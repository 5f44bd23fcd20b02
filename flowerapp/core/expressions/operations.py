"""Operators over JSON values. Each takes the evaluation and its operands; none guesses a type."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

from flowerapp.core.expressions import patterns
from flowerapp.core.expressions.errors import Failure
from flowerapp.core.expressions.kinds import NUMBERS, name
from flowerapp.core.expressions.limits import MAX_BITS, TOO_MANY_DIGITS, Evaluation

Operator = Callable[[Evaluation, Any, Any], Any]


def _numbers(sign: str, left: Any, right: Any) -> None:
    if type(left) not in NUMBERS or type(right) not in NUMBERS:
        raise Failure(f"{sign} needs two numbers; here it has {name(left)} and {name(right)}{_cure(left, right)}")


def _cure(left: Any, right: Any) -> str:
    """How a string becomes a number or a number a string, where that may be what is meant."""
    kinds = {type(left), type(right)}
    return "; int(…), float(…) and string(…) convert" if str in kinds and kinds & NUMBERS else ""


def number(evaluation: Evaluation, value: float) -> Any:
    """``value`` if JSON can hold it."""
    if type(value) is int:
        return evaluation.integer(value)
    if isinstance(value, complex) or not math.isfinite(value):
        raise Failure("the result is not a finite number")
    return value


def calculate(evaluation: Evaluation, function: Callable[..., Any], *arguments: Any) -> Any:
    """The number that a function of Python's gives, or a Failure where it overflows or has none."""
    try:
        return number(evaluation, function(*arguments))
    except OverflowError:
        raise Failure("the result is too large for a number") from None
    except ZeroDivisionError:
        raise Failure("division by zero") from None


def add(evaluation: Evaluation, left: Any, right: Any) -> Any:
    """The sum of two numbers, or two strings as one."""
    if type(left) is str and type(right) is str:
        evaluation.build(len(left) + len(right))
        return left + right
    if str in {type(left), type(right)}:
        raise Failure(
            f"+ needs two numbers or two strings; here it has {name(left)} and {name(right)}{_cure(left, right)}"
        )
    _numbers("+", left, right)
    return calculate(evaluation, operator.add, left, right)


def subtract(evaluation: Evaluation, left: Any, right: Any) -> Any:
    """The difference of two numbers."""
    _numbers("-", left, right)
    return calculate(evaluation, operator.sub, left, right)


def multiply(evaluation: Evaluation, left: Any, right: Any) -> Any:
    """The product of two numbers."""
    _numbers("*", left, right)
    return calculate(evaluation, operator.mul, left, right)


def divide(evaluation: Evaluation, left: Any, right: Any) -> Any:
    """The quotient: an integer if two integers divide without a rest, else a float."""
    _numbers("/", left, right)
    return calculate(evaluation, _quotient, left, right)


def _quotient(left: float, right: float) -> float:
    if type(left) is int and type(right) is int and left % right == 0:
        return left // right
    return left / right


def remainder(evaluation: Evaluation, left: Any, right: Any) -> Any:
    """The rest of a division of integers, with the sign of the dividend: ``-7 % 3`` is ``-1``."""
    if type(left) is not int or type(right) is not int:
        raise Failure(f"% needs two integers; here it has {name(left)} and {name(right)}{_cure(left, right)}")
    rest = calculate(evaluation, operator.mod, abs(left), abs(right))
    return -rest if left < 0 else rest


def power(evaluation: Evaluation, left: Any, right: Any) -> Any:
    """``left`` to the power of ``right``: exact for integers with an exponent of at least 0."""
    _numbers("**", left, right)
    integers = type(left) is int and type(right) is int and right > 0
    if integers and (left.bit_length() - 1) * right > MAX_BITS:
        raise Failure(TOO_MANY_DIGITS)
    return calculate(evaluation, operator.pow, left, right)


def negative(evaluation: Evaluation, value: Any) -> Any:
    """The number with the other sign."""
    return subtract(evaluation, 0, value) if type(value) is int else -_number("-", value)


def positive(evaluation: Evaluation, value: Any) -> Any:
    """The number itself."""
    return _number("+", value)


def _number(sign: str, value: Any) -> Any:
    if type(value) not in NUMBERS:
        raise Failure(f"{sign} needs a number, and this is {name(value)}")
    return value


def equal(evaluation: Evaluation, left: Any, right: Any) -> bool:
    """Whether two values are the same: ``1`` and ``1.0`` are, ``1`` and ``true`` or ``"1"`` are not."""
    pairs = [(left, right)]
    while pairs:
        left, right = pairs.pop()
        if type(left) is list and type(right) is list and len(left) == len(right):
            evaluation.step(len(left))
            pairs += zip(left, right, strict=True)
        elif type(left) is dict and type(right) is dict and left.keys() == right.keys():
            evaluation.step(len(left))
            pairs += ((value, right[key]) for key, value in left.items())
        elif not same_scalar(evaluation, left, right):
            return False
    return True


def same_scalar(evaluation: Evaluation, left: Any, right: Any) -> bool:
    """Whether two values that are no lists or objects are the same."""
    if type(left) is str and type(right) is str:
        evaluation.look(left)
        return left == right
    if type(left) in NUMBERS and type(right) in NUMBERS:
        return bool(left == right)
    return left is right and type(left) not in {list, dict}


def unequal(evaluation: Evaluation, left: Any, right: Any) -> bool:
    """The opposite of ``equal``."""
    return not equal(evaluation, left, right)


def _ordering(sign: str, function: Callable[[Any, Any], bool]) -> Operator:
    def compare(evaluation: Evaluation, left: Any, right: Any) -> bool:
        if type(left) is str and type(right) is str:
            evaluation.look(left)
        elif type(left) not in NUMBERS or type(right) not in NUMBERS:
            pair = f"{name(left)} and {name(right)}{_cure(left, right)}"
            raise Failure(f"{sign} needs two numbers or two strings; here it has {pair}")
        return function(left, right)

    return compare


def member_of(evaluation: Evaluation, left: Any, right: Any) -> bool:
    """Whether a list has the item, or an object the key."""
    if type(right) is list:
        evaluation.step(2 * len(right))
        return any(equal(evaluation, left, item) for item in right)
    if type(right) is dict:
        return type(left) is str and left in right
    hint = "; contains searches in a string" if type(right) is str else ""
    raise Failure(f"in needs a list or an object at its right, and this is {name(right)}{hint}")


def _searching(word: str, function: Callable[[str, str], bool]) -> Operator:
    def search(evaluation: Evaluation, left: Any, right: Any) -> bool:
        if type(left) is not str or type(right) is not str:
            raise Failure(f"{word} needs two strings; here it has {name(left)} and {name(right)}")
        evaluation.look(left)
        evaluation.look(right)
        return function(left, right)

    return search


def matches(evaluation: Evaluation, left: Any, right: Any) -> bool:
    """Whether a pattern matches anywhere in a string."""
    if type(left) is not str or type(right) is not str:
        raise Failure(f"matches needs two strings; here it has {name(left)} and {name(right)}")
    return patterns.compiled(right).search(evaluation, left)


ARITHMETIC: dict[str, Operator] = {"+": add, "-": subtract, "*": multiply, "/": divide, "%": remainder, "**": power}
COMPARISONS: dict[str, Operator] = {
    "==": equal,
    "!=": unequal,
    "<": _ordering("<", operator.lt),
    "<=": _ordering("<=", operator.le),
    ">": _ordering(">", operator.gt),
    ">=": _ordering(">=", operator.ge),
    "in": member_of,
    "contains": _searching("contains", operator.contains),
    "startsWith": _searching("startsWith", str.startswith),
    "endsWith": _searching("endsWith", str.endswith),
    "matches": matches,
}
