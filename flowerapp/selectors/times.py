"""Times as people read them: in the host's time zone, also where ``USE_TZ`` is off."""

from __future__ import annotations

from datetime import datetime

from django.utils import timezone


def local(value: datetime) -> datetime:
    """A time in the zone that is active: the host's ``TIME_ZONE``, unless a middleware has activated another."""
    return timezone.localtime(value, timezone.get_current_timezone())


def plain(value: datetime) -> str:
    """``2026-11-29 16:00:00``, for a column of times."""
    return f"{local(value):%Y-%m-%d %H:%M:%S}"


def with_zone(value: datetime) -> str:
    """``2026-11-29 16:00:00 JST``, for a sentence."""
    return f"{local(value):%Y-%m-%d %H:%M:%S %Z}"
