"""The engine, and the stacks that tests start on it."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.compose.engine import Engine, NoEngineError
from tests.compose.stack import Stack

PORT = 8000
PASSWORD = "p@ss/w#rd%1"
Make = Callable[..., Stack]


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """The engine that answers; without one these tests are skipped, and nothing else excuses them."""
    try:
        engine = Engine()
    except NoEngineError as error:
        pytest.skip(str(error))
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def make_stack(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Make]:
    """Copy the repository for a stack that is removed at the end: ``make_stack("name", port, VARIABLE="value")``."""
    root = tmp_path_factory.mktemp("stacks")
    with ExitStack() as stack:

        def make(name: str, port: int, **environment: str) -> Stack:
            own = f"{name}-{secrets.token_hex(4)}"  # a name that no stack of the machine's users has
            made = Stack(engine, Path(root) / own, engine.free_port(port), **environment)
            stack.callback(made.close)
            return made

        yield make


@pytest.fixture(scope="module")
def stack(make_stack: Make, engine: Engine) -> Iterator[Stack]:
    """A stack with an odd password, on a machine whose port 5432 is taken, as README's first line starts it."""
    taken = engine.listen(5432)
    made = make_stack("flower", PORT, POSTGRES_PASSWORD=PASSWORD)
    yield made
    taken.kill()
    taken.wait()
