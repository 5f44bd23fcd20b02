"""A bounded number of rows at a time."""

from __future__ import annotations

from typing import Any

PAGE = 500
"""Rows that one duty takes at once; what is left comes with the next look."""


class Pages:
    """Pages through rows by their key, so that rows that stay cannot block those behind them."""

    def __init__(self) -> None:
        self.after: Any = None

    def next(self, rows: Any, *columns: str) -> list[Any]:
        """The next page: tuples of the key and these columns; from the start again after the last."""
        rest = rows if self.after is None else rows.filter(pk__gt=self.after)
        page = list(rest.order_by("pk").values_list("pk", *columns)[:PAGE])
        self.after = page[-1][0] if len(page) == PAGE else None
        return page
