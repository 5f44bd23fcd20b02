"""Logs the receipts of the stream, each with the event that it answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from flowerapp.core import identity, masking, values
from flowerapp.core.stream_events import StreamEvent
from flowerapp.executors.streams.address import Address
from flowerapp.executors.streams.loop import BLOCK_MS, RECEIPT_SECONDS, Stream, logging_key

MOST_CHARACTERS = 4_000
"""Characters of JSON of an event that is logged."""
TAKE_OVER_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Processed:
    """An event that was processed, as people may see it."""

    event: Mapping[str, Any]
    at: str
    """When, as its receipt says."""


class ReceiptLog:
    """Acts on the receipts of a stream in place of the workers' loop, and logs them."""

    def __init__(self, where: Address, log: Callable[[Processed], None]) -> None:
        self.stream = Stream(where, identity.worker(), self._log)
        self.log = log
        self.number = 0
        """Receipts that were logged."""

    def _log(self, target: StreamEvent, receipt: StreamEvent) -> None:
        self.number += 1
        event = values.brief(masking.masked(dict(target.fields)), MOST_CHARACTERS)
        self.log(Processed(event, str(receipt.fields.get("at", ""))))

    def run(self, *, wait: float | None = None, limit: int | None = None) -> None:
        """Until none came for ``wait`` seconds, or ``limit`` were logged; for ever, if both are None."""
        latest = taken_over = time.monotonic()
        self.stream.join()
        while limit is None or self.number < limit:
            self.stream.client.set(logging_key(self.stream.key), identity.worker(), px=1000 * RECEIPT_SECONDS)
            before = self.number
            self.stream.read_receipts(BLOCK_MS)
            if time.monotonic() - taken_over > TAKE_OVER_SECONDS:
                taken_over = time.monotonic()
                self.stream.act_on_receipts(self.stream.receipts.abandoned())
            if self.number > before:
                latest = time.monotonic()
            elif wait is not None and time.monotonic() - latest > wait:
                return

    def close(self) -> None:
        """Leave the receipts to the workers again."""
        self.stream.client.delete(logging_key(self.stream.key))
