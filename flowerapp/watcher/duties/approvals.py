"""Remind of approvals that were not decided in the time that their steps allow."""

from __future__ import annotations

from flowerapp.engine import decisions


def remind() -> int:
    """The number of reminders."""
    return decisions.remind_due()
