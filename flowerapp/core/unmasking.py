"""The way back from what ``masking.masked`` shows: a mask that is given back keeps what is stored in its place."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from flowerapp.core import values
from flowerapp.core.masking import MASKED, masked
from flowerapp.exceptions import InvalidValueError

_QUOTED = re.compile("(?:%E2%80%A2){4}", re.IGNORECASE)
"""A mask as a URL's percent-encoding writes it."""
_MASK = re.compile(r"•{4}|(?<!\\)(?:\\++u2022){4}|" + _QUOTED.pattern, re.IGNORECASE)
"""A mask in the text of a JSON value: as it shows, as JSON within text may write it, or percent-encoded."""
_URL_OR_MASK = re.compile(rf"://(?P<rest>[^\s\"'<>]*)|{MASKED}")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*\Z", re.IGNORECASE)
AROUND = 80
"""Characters before and after a mask in a text that tell where it stands."""
LONGEST_LOGIN = 1024
"""Characters of the login of a URL, or of the path before a mask in it, that tell where the mask stands."""

T = TypeVar("T")


def holds_mask(value: Any) -> bool:
    """Whether a JSON value holds a mask, at any depth and in any part of a text."""
    return _MASK.search(value if isinstance(value, str) else _as_text(value)) is not None


def _as_text(value: Any) -> str:
    """The value's text; empty for one that strict JSON refuses anyway."""
    try:
        return json.dumps(value, ensure_ascii=False, default=str, skipkeys=True)
    except (ValueError, RecursionError):
        return ""


def checked(value: Any, what: str) -> Any:
    """A value that has no earlier one, as the database returns it.

    Raises InvalidValueError as ``values.dumps`` does, and for a mask; ``what`` names the value in errors.
    """
    text = values.dumps(value, what)
    if holds_mask(text):
        raise InvalidValueError(f"{what} holds {MASKED}, which keeps a stored value; nothing is stored: give the value")
    return json.loads(text)


def equal(one: Any, other: Any) -> bool:
    """Whether two JSON values are the same; unlike in Python, ``1`` is neither ``true`` nor ``1.0``."""
    return _key(one) == _key(other)


def _key(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def unmasked(value: Any, stored: Any) -> Any:
    """``value`` with each mask replaced by what ``stored`` has in the same place; both are JSON values.

    The same place is the same key of an object; an item of a list that is as it shows, or the one at its index; in
    JSON that is kept as text, the same within it; in a URL the same part, as long as scheme, user and host are the
    same; in other text, beside the same words. A mask that has no such place stays, and one whose value would show.
    """
    if not holds_mask(value):
        return value
    try:
        result = _resolved(value, masked(stored), stored)
        return _still_hidden(result, masked(_plain(result)))
    except RecursionError:  # JSON that is kept as text may be nested deeper than other values
        return value


@dataclass(frozen=True, slots=True)
class _Kept:
    """A value that a mask stood for."""

    value: Any


def _resolved(value: Any, shown: Any, stored: Any) -> Any:
    """The value without its masks, with ``_Kept`` for those that stood for a whole value."""
    if isinstance(value, str):
        if value == shown == MASKED:
            return _Kept(stored)
        return _text(value, shown, stored) if holds_mask(value) else value
    if isinstance(value, dict) and isinstance(shown, dict):
        places = _by_key(shown, stored)
        return {
            places.get(key, (key,))[0]: _resolved(item, *places.get(key, _NOWHERE)[1:]) for key, item in value.items()
        }
    if isinstance(value, list) and isinstance(shown, list):
        return [
            item if place is None else _resolved(item, shown[place], stored[place])
            for item, place in zip(value, _places(value, shown, stored), strict=True)
        ]
    return value


_NOWHERE = (None, None, None)


def _by_key(shown: dict[str, Any], stored: dict[str, Any]) -> dict[str, tuple[Any, Any, Any]]:
    """Of each key as it shows, and as it is stored: the stored key, what shows, and what is stored."""
    if len(shown) != len(stored):  # two keys show as one
        return {}
    places = {key: (key, item, stored[key]) for key, item in zip(stored, shown.values(), strict=True)}
    return dict(zip(shown, places.values(), strict=True)) | places


def _plain(result: Any) -> Any:
    """The result as a JSON value."""
    if isinstance(result, dict):
        return {key: _plain(item) for key, item in result.items()}
    if isinstance(result, list):
        return [_plain(item) for item in result]
    return result.value if isinstance(result, _Kept) else result


def _still_hidden(result: Any, shown: Any) -> Any:
    """The result with masks where a value would show that was hidden, such as one whose name is another now."""
    if isinstance(result, _Kept):
        return result.value if shown == MASKED else MASKED
    if shown == MASKED:
        return _plain(result)
    if isinstance(result, dict):
        items = shown.values() if len(shown) == len(result) else [None] * len(result)
        return {key: _still_hidden(item, again) for (key, item), again in zip(result.items(), items, strict=True)}
    if isinstance(result, list):
        return [_still_hidden(item, again) for item, again in zip(result, shown, strict=True)]
    return result


# Lists


def _places(value: Sequence[Any], shown: Sequence[Any], stored: Sequence[Any]) -> Iterator[int | None]:
    """The index in ``shown`` of the item that each item of ``value`` stands for; None where that is not certain."""
    keys, shown_keys = [_key(item) for item in value], [_key(item) for item in shown]
    in_place = len(keys) == len(shown_keys)
    kept = {index for index, key in enumerate(keys) if in_place and key == shown_keys[index]}
    moved: dict[str, list[int]] = {}
    for index, key in enumerate(shown_keys):
        if index not in kept:
            moved.setdefault(key, []).append(index)
    wanted = Counter(key for index, key in enumerate(keys) if index not in kept)
    for index, key in enumerate(keys):
        if index in kept:
            yield index
        elif key in moved:
            yield _only([stored[place] for place in moved[key]], moved[key])
        else:
            yield index if in_place and shown_keys[index] not in wanted else None


def _only(items: Sequence[Any], places: Sequence[int]) -> int | None:
    """The first of the places if the items there are the same."""
    return places[0] if len({_key(item) for item in items}) == 1 else None


# Text


def _text(value: str, shown: Any, stored: Any) -> Any:
    if value == MASKED:
        return value if stored in (None, "") else stored
    value = _QUOTED.sub(MASKED, value)
    if value == shown:
        return stored
    if not (isinstance(shown, str) and isinstance(stored, str)) or shown == MASKED:
        return value
    tries = (_json_text(value, stored), _in_text(value, shown, stored))
    return next((text for text in tries if not holds_mask(text)), value)


def _json_text(value: str, stored: str) -> str:
    """``value`` with each mask replaced by what stands in the same place of JSON that is kept as text."""
    inner, stored_inner = _parsed(value), _parsed(stored)
    if inner is None or stored_inner is None:
        return value
    result = unmasked(inner, stored_inner)
    return stored if equal(result, stored_inner) else json.dumps(result, ensure_ascii=False)


def _parsed(text: str) -> Any:
    """The object, list or text that a text holds as JSON; None for other text."""
    if text.lstrip()[:1] not in ("{", "[", '"'):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _in_text(value: str, shown: str, stored: str) -> str:
    """``value`` with each mask replaced by what it hides where it stands in the same context in ``shown``."""
    hidden = _by_context(shown, _hidden(shown, stored))
    parts = value.split(MASKED)
    for context, indexes in _by_context(value, range(1, len(parts))).items():
        secrets = hidden.get(context, [])
        if len(secrets) != len(indexes):
            return value
        for secret, index in zip(secrets, indexes, strict=True):
            parts[index] = secret + parts[index]
    result = "".join(parts)
    return result if masked(result).count(MASKED) >= value.count(MASKED) else value


def _by_context(text: str, items: Iterable[T]) -> dict[tuple[str, ...], list[T]]:
    """The items, one for each mask of the text, by the context of their masks."""
    result: dict[tuple[str, ...], list[T]] = {}
    for context, item in zip(_contexts(text), items, strict=True):
        result.setdefault(context, []).append(item)
    return result


def _contexts(text: str) -> Iterator[tuple[str, ...]]:
    """For each mask of a text: the part of a URL where it stands, or the words around it."""
    for match in _URL_OR_MASK.finditer(text):
        before = text[max(0, match.start() - AROUND) : match.start()]
        if match["rest"] is None:
            after = text[match.end() : match.end() + AROUND]
            yield "", *before.split()[-1:], after[:1].strip() and after.split(maxsplit=1)[0]
        else:
            scheme = _SCHEME.search(before)
            yield from _url_contexts(scheme[0] if scheme else "", match["rest"])


def _url_contexts(scheme: str, rest: str) -> Iterator[tuple[str, ...]]:
    """For each mask of a URL: scheme, host, and its user or the name of the part."""
    login, _, host = re.split(r"[/?#]", rest, maxsplit=1)[0].rpartition("@")
    for match in re.finditer(MASKED, rest):
        at = match.start()
        before = rest[max(0, at - LONGEST_LOGIN) : at]
        yield (scheme, host, "login", before) if at < len(login) else (scheme, host, "", _part(before))


def _part(before: str) -> str:
    return before[max(map(before.rfind, "?&;#")) + 1 :]


def _hidden(shown: str, stored: str) -> list[str]:
    """What each mask of a text hides."""
    first, *parts = shown.split(MASKED)
    hidden, start = [], len(first)
    for number, part in enumerate(parts, start=1):
        end = stored.find(part, start) if number < len(parts) else len(stored) - len(part)
        hidden.append(stored[start:end] if end >= start else MASKED)
        start = end + len(part)
    return hidden if first + "".join(map("".join, zip(hidden, parts, strict=True))) == stored else [MASKED] * len(parts)
