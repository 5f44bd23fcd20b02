"""The two hosts take some minutes, and install another Celery: they run only with ``FLOWER_TEST_FAULTS=long``."""

from __future__ import annotations

from tests.effort import LONG

collect_ignore = [] if LONG else ["test_hosts.py"]
