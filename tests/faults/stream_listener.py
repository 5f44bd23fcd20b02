"""A listener that is killed: ``python stream_listener.py URL NAME``.

A task that has a parameter ``gate`` waits for the file of that name.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from flowerapp.listener import Listener, Work

LEASE = 3.0
PAUSE = 0.1


def main(url: str, name: str) -> None:
    """Do tasks until it is killed."""
    listener = Listener(url, group="docs", name=name, concurrency=8, heartbeat=LEASE / 6, lease=LEASE, idle=1.0)

    @listener.task("docs:")
    def work(task: Work) -> Any:
        gate = task.parameters.get("gate")
        while gate and not Path(gate).exists():
            time.sleep(PAUSE)
        return {"by": name, "attempt": task.attempt}

    listener.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
