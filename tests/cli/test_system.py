"""``flow workers`` and ``flow queues``."""

from __future__ import annotations

from datetime import timedelta

import pytest
from rest_framework.test import APIClient

from flowerapp import engine
from flowerapp.models import Worker
from flowerapp.querysets import clock
from flowerapp.selectors import workers
from flowerapp.testing import InlineRunner
from tests.cli.support import define, flow

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def three() -> None:
    """An alive, a silent and a stopped worker."""
    now = clock.now()
    row = {"pid": 1, "pool": "prefork", "concurrency": 3}
    Worker.objects.create(id="a", name="b-alive@\x1b[31mhere", queues=["default", "heavy"], **row)
    Worker.objects.create(id="b", name="c-silent@here", seen_ts=now - timedelta(hours=1), **row)
    Worker.objects.create(id="c", name="a-stopped@here", stopped_ts=now, **row)


@pytest.mark.usefixtures("three")
class TestWorkers:
    def test_stopped_ones_last_and_each_with_its_state(self) -> None:
        answer = flow("workers")
        lines = [line for line in answer.out.splitlines() if "@" in line]
        assert [line.split("@")[0] for line in lines] == ["b-alive", "c-silent", "a-stopped"]
        for line, state in zip(lines, ("Alive", "Silent", "Stopped"), strict=True):
            assert state in line
        assert "default, heavy" in lines[0]
        assert (answer.code, answer.err) == (0, "")
        assert "\x1b" not in answer.out

    def test_json_is_what_the_api_answers(self, api: APIClient) -> None:
        printed = {worker["id"]: worker for worker in flow("workers", "--json").json}
        for answered in api.get("/api/workers/").json()["results"]:
            worker = printed[answered["id"]]
            assert set(worker) == set(answered)
            assert {worker[name] == answered[name] for name in worker if not name.endswith("_ts")} == {True}
        assert [printed[name]["alive"] for name in "abc"] == [True, False, False]

    def test_many_are_cut(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(workers, "MOST_LISTED", 2)
        answer = flow("workers")
        assert "a-stopped" not in answer.out
        assert "… 1 more workers" in answer.err


def test_no_worker_names_the_command() -> None:
    answer = flow("workers")
    assert answer.out == "no workers\n"
    assert "no worker is running; start one with: " in answer.err
    assert flow("workers", "--json").json == []


class TestQueues:
    def test_one_that_no_worker_serves_names_the_command(self, three: None, runner: InlineRunner) -> None:
        define("mixed", {"program": "Noop", "depends_on": []}, {"program": "Noop", "queue": "lonely", "depends_on": []})
        engine.register("mixed")
        answer = flow("queues")
        lines = {line.split()[0]: line for line in answer.out.splitlines()}
        assert set(lines) >= {"default", "heavy", "lonely"}
        assert lines["lonely"].split()[1] == "1"
        assert lines["!"].endswith("celery -A tests worker -Q lonely")

    def test_json_is_what_the_api_answers(self, three: None, runner: InlineRunner, api: APIClient) -> None:
        define("one", {"program": "Noop", "queue": "lonely"})
        engine.register("one")
        printed = flow("queues", "--json").json
        assert printed == api.get("/api/queues/").json()["results"]
        assert [queue["unserved"] for queue in printed] == [False, False, True]

    def test_none(self) -> None:
        assert flow("queues").out == "no queues\n"
        assert flow("queues", "--json").json == []
