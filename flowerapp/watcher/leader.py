"""The leader: the one worker whose watcher does the duties, by a lease in the database."""

from __future__ import annotations

import time
from typing import Any

from flowerapp import conf
from flowerapp.models import Lease
from flowerapp.querysets import clock
from flowerapp.watcher.duties import RESCUE, rota
from flowerapp.watcher.loop import Loop

LEASE = "watcher"
"""Name of the leader's lease row."""
REVIVAL = 6
"""Seconds to wait with rescues after the database was unreachable or the machine asleep: workers could not send
heartbeats."""


class Leader(Loop):
    """Leads, if no other worker does."""

    def __init__(self) -> None:
        super().__init__("watcher")
        self.leads = False
        self.duties = rota()
        self._looked: Any = None

    def look(self) -> None:
        """Do the duties for as long as this worker leads."""
        for name, seconds, duty in self.duties:
            if not self.do("lead", conf.get().LEADER_SECONDS / 4, self.take_lead):
                self.leads = False
                self._hold_rescue()
            if not self.leads:
                return
            begun = time.monotonic()
            self.do(name, seconds, duty)
            if time.monotonic() - begun > conf.get().LEASE_SECONDS / 2:
                self._hold_rescue()

    def take_lead(self) -> None:
        """Take the lease if it is free, or renew it; never where the setting WATCHER is off."""
        self.leads = conf.get().WATCHER and Lease.objects.take(LEASE, self.worker, conf.get().LEADER_SECONDS)
        before, self._looked = self._looked, clock.now()
        if before is not None and (self._looked - before).total_seconds() > conf.get().LEASE_SECONDS / 2:
            self._hold_rescue()

    def _hold_rescue(self) -> None:
        """Other workers may have been as silent as this one, so let them send a heartbeat first."""
        self.last[RESCUE] = time.monotonic() + REVIVAL

    def on_stop(self) -> None:
        """Give the lease up, so that another worker need not wait."""
        Lease.objects.give_up(LEASE, self.worker)
