"""Send what no process has sent yet: due retries, and tasks registered where no broker was reachable."""

from __future__ import annotations

from flowerapp.engine import dispatching
from flowerapp.watcher.pages import PAGE


def send_unsent() -> int:
    """The number of tasks sent."""
    return dispatching.send_unsent(limit=PAGE)
