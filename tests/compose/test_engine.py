"""The one skip that is allowed where servers are required: no container engine answers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tests import conftest
from tests.compose.engine import Engine, NoEngineError


def outcome(reason: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The outcome of a test that is skipped for a reason, with FLOWER_TEST_REQUIRE."""
    monkeypatch.setenv("FLOWER_TEST_REQUIRE", "1")
    result = SimpleNamespace(skipped=True, outcome="skipped", longrepr=("tests/x.py", 1, f"Skipped: {reason}"))
    item: Any = SimpleNamespace(nodeid="tests/x.py::test_x")
    generator = conftest.pytest_runtest_makereport(item)
    next(generator)
    with pytest.raises(StopIteration):
        generator.send(result)
    return str(result.outcome)


def test_without_an_engine_the_tests_of_the_stack_may_be_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    with pytest.raises(NoEngineError) as refusal:
        Engine()
    assert outcome(str(refusal.value), monkeypatch) == "skipped"


@pytest.mark.parametrize("reason", ["redis does not answer", "no reason", ""])
def test_no_other_test_may_be_skipped(reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert outcome(reason, monkeypatch) == "failed"
