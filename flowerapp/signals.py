"""Django signals that flowerapp sends. Each receiver gets the instance's ids, never a lock."""

from __future__ import annotations

from django.dispatch import Signal

intervened = Signal()
"""The watcher had to resend or rescue something: ``kind``, ``flow_id``, ``seq``."""
