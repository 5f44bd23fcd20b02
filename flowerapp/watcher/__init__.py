"""What in every worker vouches for it, and, led by one, mends what messages lost.

``duties`` is what the leader does, ``loops`` are the threads, ``life`` connects them to Celery's worker.
"""

from flowerapp.watcher.duties import PAGE, Pages, Rescue, Resend, Settle, hand_over, spread
from flowerapp.watcher.life import install
from flowerapp.watcher.loops import DUTY, REVIVAL, Keeper, Voucher, Watcher

__all__ = [
    "DUTY",
    "PAGE",
    "REVIVAL",
    "Keeper",
    "Pages",
    "Rescue",
    "Resend",
    "Settle",
    "Voucher",
    "Watcher",
    "hand_over",
    "install",
    "spread",
]
