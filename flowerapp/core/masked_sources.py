"""The texts that flows were compiled from, as people may see them.

A front door whose flows keep their text sets the masker of its language with ``use``; the arrow language's is set when
the Django app is ready.
"""

from __future__ import annotations

from collections.abc import Callable

from flowerapp.core import masking
from flowerapp.core.masking import Secrets

Masker = Callable[[str, Secrets], str | None]
"""Masks the values of a text, which may also quote the secrets; None for one in which it finds nothing to mask."""


def _nothing(text: str, secrets: Secrets) -> None:
    """The masker of a process without one."""


_masker: Masker = _nothing


def use(masker: Masker) -> Masker:
    """Set the masker of this process; returns the previous one."""
    global _masker
    previous, _masker = _masker, masker
    return previous


def masked(text: str, secrets: Secrets) -> str:
    """A text with masks for these secrets and those of its own: what its language says of its values, and what any
    text shows to be secret."""
    shown = _masker(text, secrets)
    return str(masking.masked(text, secrets | masking.secrets_of(text))) if shown is None else shown
