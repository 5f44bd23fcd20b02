"""Publishes every message of a process twice."""

from __future__ import annotations

from typing import Any

from kombu import Producer


def install() -> None:
    """From now on, each message for a program that this process sends is sent twice."""
    original = Producer.publish

    def publish(self: Any, body: Any, *args: Any, headers: Any = None, **options: Any) -> Any:
        if str((headers or {}).get("task", "")).startswith("flowerapp."):
            original(self, body, *args, headers=headers, **options)
        return original(self, body, *args, headers=headers, **options)

    Producer.publish = publish
