"""The same command with servers of its own project: PostgreSQL, Redis, and worker processes."""

from __future__ import annotations

import re
import signal
from pathlib import Path

from tests.services import fresh_database, fresh_redis, until
from tests.standalone.conftest import Server


def test_starts_a_worker_process_and_ends_it(fresh: Server, postgres_url: str, redis_url: str) -> None:
    with fresh_database(postgres_url) as database, fresh_redis(redis_url) as broker:
        fresh.services = {"DATABASE_URL": database, "CELERY_BROKER_URL": broker}
        fresh.start("--run", "sample")
        until(lambda: "flow ✓ Finish" in fresh.text, 60, what=lambda: fresh.text)
        match = re.search(r"worker process (\d+)", fresh.text)
        assert match
        assert fresh.end(signal.SIGINT) == 0
        assert not Path(f"/proc/{match[1]}").exists()
    assert not (fresh.state / "flower.sqlite3").exists()
