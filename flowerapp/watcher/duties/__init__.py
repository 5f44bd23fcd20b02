"""The leader's duties, a module each. All times are the database's.

A duty takes a bounded number of rows at once. One that treats rows one by one uses ``each_isolated``, so that a row
that fails does not block the others. To add a duty, write its module and name it in ``rota``.
"""

from __future__ import annotations

from collections.abc import Callable

from flowerapp.watcher.duties.admit import admit
from flowerapp.watcher.duties.adopt import adopt
from flowerapp.watcher.duties.archive import Archive
from flowerapp.watcher.duties.cached import wake_cached
from flowerapp.watcher.duties.children import StartChildren
from flowerapp.watcher.duties.deferred import send_deferred
from flowerapp.watcher.duties.hooks import redeliver
from flowerapp.watcher.duties.parked import complete_parked
from flowerapp.watcher.duties.prune import prune
from flowerapp.watcher.duties.reject import Reject
from flowerapp.watcher.duties.remote_leases import expire_leases
from flowerapp.watcher.duties.rescue import Rescue
from flowerapp.watcher.duties.resend import Resend
from flowerapp.watcher.duties.send import send_unsent
from flowerapp.watcher.duties.settle import Settle
from flowerapp.watcher.duties.waits import end_due_waits, take_up_waits

RESCUE = "rescue"
"""Name of the duty that pauses after a time in which no worker could send a heartbeat."""


def rota() -> list[tuple[str, float, Callable[[], int]]]:
    """Name of each duty, the seconds between two runs of it, and its function; in this order."""
    return [
        ("end waits", 0.5, end_due_waits),
        ("send", 0.5, send_unsent),
        ("admit", 0.5, admit),
        ("send deferred", 2, send_deferred),
        ("complete parked", 2, complete_parked),
        ("wake cached", 1, wake_cached),
        ("start children", 5, StartChildren()),
        ("deliver hooks", 2, redeliver),
        ("take up waits", 2, take_up_waits),
        ("adopt", 2, adopt),
        (RESCUE, 2, Rescue()),
        ("remote leases", 2, expire_leases),
        ("resend", 2, Resend()),
        ("reject", 2, Reject()),
        ("settle", 3, Settle()),
        ("archive", 5, Archive()),
        ("prune", 60, prune),
    ]
