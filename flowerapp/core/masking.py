"""Secret values are shown as ``••••``, and given back as ``••••`` they stay as they are stored."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flowerapp.core import secret_texts
from flowerapp.core.secret_names import MASKED, SecretNames, secret, secret_names
from flowerapp.core.secret_values import NO_SECRETS, Secrets

__all__ = ["MASKED", "NO_SECRETS", "Secrets", "hidden", "masked", "secret", "secrets_of"]

DEEPEST = 250
"""Most arrays, objects, and texts of JSON within each other; what lies deeper is hidden."""
_NAMING = ("key", "name", "header", "id", "type", "field", "label", "param", "parameter", "variable")
"""How keys end whose value is the name of a value beside it: ``{"key": "token", "value": "abc"}``."""
_PAIR = {"k": "v"}
"""Keys of a name and its value that are looked for by themselves."""


def masked(value: Any, secrets: Secrets = NO_SECRETS) -> Any:
    """A copy of a JSON value, or of a text, to show to people: ``MASKED`` replaces what is secret at any depth.

    Secret are the values of secret names, what a text shows to be secret, such as the password of a URL, and those
    among ``secrets``. Text that holds JSON is masked as JSON.
    """
    return _Masker(lambda _: MASKED, secrets, secret_names()).value(value)


def hidden(value: Any) -> list[Any]:
    """All that ``masked`` hides of a JSON value or a text."""
    parts: list[Any] = []

    def hide(part: Any) -> str:
        parts.append(part)
        return MASKED

    _Masker(hide, NO_SECRETS, secret_names()).value(value)
    return parts


def secrets_of(*values: Any) -> Secrets:
    """The secrets that these JSON values hold."""
    return Secrets.of(part for value in values for part in hidden(value))


@dataclass(frozen=True, slots=True)
class _Masker:
    hide: Callable[[Any], str]
    secrets: Secrets
    names: SecretNames

    def value(self, value: Any, depth: int = 0) -> Any:
        if isinstance(value, str):
            return self.text(value, depth)
        if isinstance(value, (dict, list, tuple)):
            if depth > DEEPEST:
                return self.hide(value)
            return self.object(value, depth + 1) if isinstance(value, dict) else self.list(value, depth + 1)
        return MASKED if self.secrets.is_secret(value) else value

    def object(self, value: dict[Any, Any], depth: int) -> dict[Any, Any]:
        named, shown = _names_beside(value), {}
        for key, item in value.items():
            hide = self.names.hides(str(named.get(key, key)), item)
            shown[self.key(key)] = self.hide(item) if hide else self.value(item, depth)
        return shown

    def key(self, key: Any) -> Any:
        if isinstance(key, str) and not key.isidentifier():
            return self.text(key, DEEPEST)
        return MASKED if self.secrets.is_secret(key) else key

    def list(self, items: Any, depth: int) -> list[Any]:
        if len(items) == 2 and isinstance(items[0], str) and self.names.hides(*items):  # a name and its value
            return [items[0], self.hide(items[1])]
        return [
            self.hide(item) if self.is_option(before, item) else self.value(item, depth)
            for before, item in zip([None, *items], items, strict=False)
        ]

    def is_option(self, before: Any, item: Any) -> bool:
        """Whether an item is what the one before it names, as ``--password`` does in the words of a command."""
        named = isinstance(before, str) and isinstance(item, str) and before.startswith("-") and "=" not in before
        return named and not item.startswith("-") and self.names.hides(before, item)

    def text(self, text: str, depth: int) -> str:
        text = self.secrets.redact(text)
        as_json = self.json(text, depth) if depth < DEEPEST and text.lstrip()[:1] in ("{", "[", '"') else None
        return secret_texts.hide_in(text, self.names, self.hide) if as_json is None else as_json

    def json(self, text: str, depth: int) -> str | None:
        """A text of JSON, masked; None for other text, and where nothing is hidden."""
        try:
            value = json.loads(text)
            shown = self.value(value, depth + 1)
        except (ValueError, RecursionError):
            return None
        return None if shown == value else json.dumps(shown, ensure_ascii=False)


def _names_beside(value: dict[Any, Any]) -> dict[Any, str]:
    """``{key: the name that the value of another key gives to it}``."""
    lowered = {key.lower(): key for key in value if isinstance(key, str)}
    naming = [(lowered[of], key) for name, of in _PAIR.items() if of in lowered and (key := lowered.get(name))]
    for key in lowered:
        end = next(filter(key.endswith, secret_texts.VALUE_ENDS), None)
        if end is not None:
            before = key.removesuffix(end)
            naming += [(lowered[key], lowered[before + kind]) for kind in _NAMING if before + kind in lowered]
    secret_first = sorted(naming, key=lambda pair: secret(str(value[pair[1]])))
    return {key: str(value[beside]) for key, beside in secret_first}
