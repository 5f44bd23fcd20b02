"""Publishes every message of a process twice."""

from __future__ import annotations

from typing import Any

from kombu import Producer


def install() -> None:
    """From now on, each message for a program that this process sends is sent twice."""
    original = Producer.publish

    def publish(self: Any, *args: Any, **options: Any) -> Any:
        if str((options.get("headers") or {}).get("task", "")).startswith("flowerapp."):
            original(self, *args, **options)
        return original(self, *args, **options)

    Producer.publish = publish  # type: ignore[method-assign]
