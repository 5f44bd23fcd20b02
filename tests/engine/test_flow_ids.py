"""Flow ids."""

from __future__ import annotations

import time

from flowerapp.engine.registration import uuid7


def test_flow_ids_sort_by_time() -> None:
    made = [uuid7() for _ in range(1000)]
    texts = [str(flow_id) for flow_id in made]
    assert texts == sorted(set(texts))
    assert abs((made[0].int >> 80) - time.time() * 1000) < 10_000
    assert (made[0].version, made[0].variant) == (7, "specified in RFC 4122")
