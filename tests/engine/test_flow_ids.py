"""Flow ids."""

from __future__ import annotations

import time

from flowerapp.engine.registration import uuid7


def test_flow_ids_sort_by_time() -> None:
    first = uuid7()
    time.sleep(0.002)
    second = uuid7()
    assert str(first) < str(second)
    assert (first.version, first.variant) == (7, "specified in RFC 4122")
    assert len({uuid7() for _ in range(1000)}) == 1000
