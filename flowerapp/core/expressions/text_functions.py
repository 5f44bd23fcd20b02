"""Functions over strings."""

from __future__ import annotations

from flowerapp.core.expressions.errors import Failure
from flowerapp.core.expressions.functions import function
from flowerapp.core.expressions.limits import Evaluation


def _built(evaluation: Evaluation, text: str) -> str:
    evaluation.build(len(text))
    return text


@function("trim", "string", "string?")
def trim(evaluation: Evaluation, text: str, characters: str | None = None) -> str:
    """Without blanks, or the ``characters``, at both ends."""
    evaluation.step(len(text) * len(characters or "") >> 6)
    return _built(evaluation, text.strip(characters))


@function("trimPrefix", "string", "string")
def trim_prefix(evaluation: Evaluation, text: str, prefix: str) -> str:
    """Without the ``prefix``, if it begins so."""
    return _built(evaluation, text.removeprefix(prefix))


@function("trimSuffix", "string", "string")
def trim_suffix(evaluation: Evaluation, text: str, suffix: str) -> str:
    """Without the ``suffix``, if it ends so."""
    return _built(evaluation, text.removesuffix(suffix))


@function("upper", "string")
def upper(evaluation: Evaluation, text: str) -> str:
    """In capitals."""
    return _built(evaluation, text.upper())


@function("lower", "string")
def lower(evaluation: Evaluation, text: str) -> str:
    """In small letters."""
    return _built(evaluation, text.lower())


@function("split", "string", "string", "integer?")
def split(evaluation: Evaluation, text: str, delimiter: str, most: int = -1) -> list[str]:
    """The parts between the delimiters, at most ``most`` of them; an empty delimiter gives the characters."""
    pieces = (text.count(delimiter) if delimiter else len(text)) + 1
    evaluation.build(len(text), pieces if most < 0 else min(pieces, most))
    if most == 0:
        return []
    most = min(most, pieces)
    if delimiter:
        return text.split(delimiter, most - 1 if most > 0 else -1)
    cut = len(text) if most < 0 else most - 1
    return [*text[:cut], *([text[cut:]] if text[cut:] else [])]


@function("splitAfter", "string", "string", "integer?")
def split_after(evaluation: Evaluation, text: str, delimiter: str, most: int = -1) -> list[str]:
    """As ``split``, each part with its delimiter."""
    parts: list[str] = split(evaluation, text, delimiter, most)
    evaluation.build(len(text))
    return [part + delimiter for part in parts[:-1]] + parts[-1:]


@function("replace", "string", "string", "string")
def replace(evaluation: Evaluation, text: str, old: str, new: str) -> str:
    """With ``new`` for each ``old``."""
    evaluation.build(len(text) + text.count(old) * len(new))
    return text.replace(old, new)


@function("repeat", "string", "integer")
def repeat(evaluation: Evaluation, text: str, times: int) -> str:
    """The string ``times`` times."""
    if times < 0:
        raise Failure("repeat() needs a number of at least 0")
    evaluation.build(len(text) * times)
    return text * times if text else ""


@function("indexOf", "string", "string")
def index_of(evaluation: Evaluation, text: str, part: str) -> int:
    """Where ``part`` first begins, counted in characters from 0; -1 if nowhere."""
    return text.find(part)


@function("lastIndexOf", "string", "string")
def last_index_of(evaluation: Evaluation, text: str, part: str) -> int:
    """Where ``part`` last begins."""
    evaluation.build(len(text) + len(part))
    place = text[::-1].find(part[::-1])  # which is linear; rfind is not
    return len(text) - len(part) - place if place >= 0 else -1


@function("hasPrefix", "string", "string")
def has_prefix(evaluation: Evaluation, text: str, prefix: str) -> bool:
    """Whether it begins with ``prefix``."""
    return text.startswith(prefix)


@function("hasSuffix", "string", "string")
def has_suffix(evaluation: Evaluation, text: str, suffix: str) -> bool:
    """Whether it ends with ``suffix``."""
    return text.endswith(suffix)


@function("join", "list", "string?")
def join(evaluation: Evaluation, items: list[str], delimiter: str = "") -> str:
    """The strings of a list as one, the delimiter between them."""
    evaluation.step(len(items))
    if any(type(item) is not str for item in items):
        raise Failure("join() needs a list of strings; map(list, string(#)) makes one")
    evaluation.build(sum(map(len, items)) + len(delimiter) * len(items))
    return delimiter.join(items)
