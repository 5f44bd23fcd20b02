"""Settings of hosts with several databases, and a pytest plugin with which other tests run on them.

``FLOWER_TEST_HOST`` names the host::

    DJANGO_SETTINGS_MODULE=tests.hosts.databases FLOWER_TEST_HOST=split python -m pytest -p tests.hosts.databases …
"""

from __future__ import annotations

import os
from typing import Any

import pytest

from tests.settings import *  # noqa: F403
from tests.settings import DATABASES as ONE_DATABASE

FLOWS, USERS, REPLICA = "flows", "users", "replica"
HOST = os.environ.get("FLOWER_TEST_HOST", "split")
"""Which of them it is."""


def _database(name: str, **options: Any) -> dict[str, Any]:
    """The tests' database under another name; none is made before another."""
    one = ONE_DATABASE["default"]
    return {**one, "NAME": f"{one['NAME']}_{name}", "TEST": {"DEPENDENCIES": []}, **options}


def _databases() -> dict[str, Any]:
    if HOST == "split":  # flowerapp beside the default
        return {"default": _database("users"), FLOWS: _database("flows")}
    if HOST == "nodefault":  # no default at all
        return {"default": {}, USERS: _database("users"), FLOWS: _database("flows")}
    if HOST == "replica":  # a replica of the default, which never has what was just written
        return {"default": _database("all"), REPLICA: _database("replica")}
    if HOST == "atomic":  # each request in a transaction of both
        atomic = {"ATOMIC_REQUESTS": True}
        return {"default": _database("users", **atomic), FLOWS: _database("flows", **atomic)}
    raise ValueError(f"no host {HOST!r}")


DATABASES = _databases()
USABLE = [alias for alias, database in DATABASES.items() if database]
"""Those that are no empty default."""
DATABASE_ROUTERS = [f"{__name__}.{'Replicated' if HOST == 'replica' else 'Split'}"]


class Split:
    """flowerapp's tables in one database, all others in another."""

    def _alias(self, label: str) -> str:
        return FLOWS if label == "flowerapp" else USERS if USERS in DATABASES else "default"

    def db_for_read(self, model: Any, **hints: Any) -> str:
        return self._alias(model._meta.app_label)

    def db_for_write(self, model: Any, **hints: Any) -> str:
        return self._alias(model._meta.app_label)

    def allow_relation(self, one: Any, other: Any, **hints: Any) -> bool:
        return self._alias(one._meta.app_label) == self._alias(other._meta.app_label)

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool:
        return db == self._alias(app_label)


class Replicated:
    """Reads go to a replica."""

    def db_for_read(self, model: Any, **hints: Any) -> str:
        return REPLICA if model._meta.app_label == "flowerapp" else "default"

    def db_for_write(self, model: Any, **hints: Any) -> str:
        return "default"

    def allow_relation(self, one: Any, other: Any, **hints: Any) -> bool:
        return True


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test that uses a database may use all of them."""
    for item in items:
        marker = item.get_closest_marker("django_db")
        options = {**marker.kwargs} if marker else {}
        item.add_marker(pytest.mark.django_db(**{**options, "databases": USABLE}), append=False)
