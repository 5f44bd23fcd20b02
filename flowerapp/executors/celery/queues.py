"""What waits in the broker's queues."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from celery import Celery
from celery.app import app_or_default


def sizes(names: Iterable[str], app: Celery | None = None) -> dict[str, int]:
    """Messages in each queue of the broker; raises what the broker raises when it does not answer."""
    app = app or app_or_default()
    result = {}
    with app.connection_for_read() as connection:
        connection.ensure_connection(max_retries=1, timeout=3)
        for name in names:
            channel: Any = connection.channel()
            with channel:
                try:
                    result[name] = channel.queue_declare(name, passive=True).message_count
                except connection.channel_errors:
                    result[name] = 0
    return result
