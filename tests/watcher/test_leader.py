"""Which worker leads."""

from __future__ import annotations

import pytest
from django.db.models.functions import Now
from django.test import override_settings

from flowerapp.models import Lease, Worker
from flowerapp.watcher.heartbeat import Heartbeat
from flowerapp.watcher.leader import Leader

pytestmark = pytest.mark.django_db(transaction=True)


def watcher(name: str) -> Leader:
    """The watcher of a worker."""
    made = Leader()
    made.worker = name
    return made


def test_one_leads_until_its_lease_runs_out() -> None:
    one, other = watcher("one"), watcher("other")
    one.take_lead()
    other.take_lead()
    assert (one.leads, other.leads) == (True, False)
    Lease.objects.update(expires_ts=Now())
    other.take_lead()
    one.take_lead()
    assert (one.leads, other.leads) == (False, True)


def test_a_worker_without_a_watcher_sends_heartbeats_but_does_not_lead() -> None:
    with override_settings(FLOWER={"WATCHER": False}):
        made = watcher("one")
        made.look()
        voucher = Heartbeat(lambda: {"name": "one", "pid": 1, "pool": "prefork", "concurrency": 1, "queues": []})
        voucher.look()
    assert not made.leads
    assert Worker.objects.alive(15).filter(pk=voucher.worker).exists()
