"""Django signals that flowerapp sends."""

from __future__ import annotations

from django.dispatch import Signal

intervened = Signal()
"""The watcher had to resend or rescue something: ``kind``, ``flow_id``, ``seq``."""
