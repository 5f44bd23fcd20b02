"""Which names have secret values: those with a word of ``FLOWER["MASK"]`` in them."""

from __future__ import annotations

import re
import unicodedata
from functools import cached_property, lru_cache
from typing import Any

from flowerapp import conf

MASKED = "••••"
"""Shown in place of a secret value."""
WHOLE = "="
"""In front of a word of ``MASK``: it must be a whole word of the name."""
MOST_REMEMBERED = 4096
LONGEST_REMEMBERED = 256
"""How many names are remembered, and how long they may be."""

_SEPARATORS = re.compile(r"[\W_]+")
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_TOKENIZER = re.compile(r"tokeni[sz]", re.IGNORECASE)
_ERROR = re.compile(r"(?:Error|Exception|Warning)\Z")
_COUNTED = re.compile(
    "age|count|days|expires|expiry|hours|length|limit|max|min|minutes|num|retries|seconds|size|timeout|tokens|total|ttl"
)
"""Words of names whose numbers are amounts, such as ``max_tokens``."""
_AMOUNT = re.compile(r"-?\d{1,9}(?:\.\d{1,9})?\Z")


class SecretNames:
    """The names that contain one of the words of a ``MASK``."""

    def __init__(self, mask: tuple[str, ...]) -> None:
        self._words = [word.lower() for word in mask if not word.startswith(WHOLE)]
        self._whole = {_bare(word) for word in mask if word.startswith(WHOLE)}
        self._remembered: dict[str, bool] = {}

    def secret(self, name: str) -> bool:
        """Whether a value of this name is secret."""
        result = self._remembered.get(name)
        if result is not None:
            return result
        result = self._is_secret(name)
        if len(name) <= LONGEST_REMEMBERED:
            if len(self._remembered) >= MOST_REMEMBERED:
                self._remembered.clear()
            self._remembered[name] = result
        return result

    def _is_secret(self, name: str) -> bool:
        if _ERROR.search(name):
            return False
        bare = _bare(_TOKENIZER.sub(" ", name))
        return any(part in bare for part in self._parts) or not self._whole.isdisjoint(_words(name))

    @cached_property
    def _parts(self) -> frozenset[str]:
        return frozenset(filter(None, map(_bare, self._words)))

    def hides(self, name: str, value: Any) -> bool:
        """Whether a value is hidden because of its name: not if it is empty, or an amount such as ``max_tokens``."""
        if value is None or value == "" or not self.secret(name):
            return False
        return not (_is_amount(value) and any(map(_COUNTED.fullmatch, _words(name))))

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Finds the words in a text of lower case."""
        split = (_SEPARATORS.split(word.strip("_- ")) for word in [*self._words, *self._whole])
        loose = (r"[\W_]?".join(map(re.escape, words)) for words in split)
        return re.compile("|".join(filter(None, loose)) or r"(?!)")


def _bare(name: str) -> str:
    plain = name if name.isascii() else unicodedata.normalize("NFKC", name)
    return _SEPARATORS.sub("", plain).lower()


def _words(name: str) -> set[str]:
    return {word.lower() for word in _WORDS.findall(name)}


def _is_amount(value: Any) -> bool:
    if isinstance(value, str):
        return bool(_AMOUNT.match(value))
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 10**9


_of_mask = lru_cache(maxsize=16)(SecretNames)


def secret_names() -> SecretNames:
    """The secret names by the present setting."""
    return _of_mask(conf.get().MASK)


def secret(name: str) -> bool:
    """Whether a value of this name is secret: the name contains a word of ``FLOWER["MASK"]``.

    Case does not count, nor do characters that are neither letters nor digits: ``X-Api-Key`` contains ``api_key``. The
    name of an error, such as ``InvalidTokenError``, and what belongs to a tokenizer are not secret.
    """
    return secret_names().secret(name)
