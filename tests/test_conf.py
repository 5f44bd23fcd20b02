"""Settings and their checks."""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest
from celery import Celery
from django.test import override_settings

from flowerapp import checks, conf
from flowerapp.executors.celery import checks as celery_checks


@pytest.mark.parametrize(
    ("settings", "ids"),
    [
        ({}, []),
        ([], ["flowerapp.E001"]),
        ({"MAX_TASK": 1}, ["flowerapp.E002"]),
        ({"MAX_TASKS": "many"}, ["flowerapp.E003"]),
        ({"MAX_TASKS": True}, ["flowerapp.E003"]),
        ({"RESEND_AFTER": 0, "CHAIN_LENGTH": -1}, ["flowerapp.E003", "flowerapp.E003"]),
        ({"RETENTION_DAYS": -1}, ["flowerapp.E003"]),
        ({"OPEN_API": "no"}, ["flowerapp.E003"]),
        ({"OPEN_API_CLIENTS": "10.0.0.1"}, ["flowerapp.E003"]),
        ({"CELERY_TASKS": "shop.tasks.send"}, ["flowerapp.E003"]),
        ({"HEARTBEAT_FILE": 5}, ["flowerapp.E003"]),
        ({"TASK_LOG": 20}, ["flowerapp.E003"]),
        ({"TASK_LOG": None, "TASK_LOG_BYTES": 1000}, []),
        ({"TASK_LOG_BYTES": 0}, ["flowerapp.E003"]),
        ({"HEARTBEAT_FILE": "/tmp/heartbeat"}, []),  # noqa: S108 - no file is made
        ({"MAX_TASKS": 5, "HTTP_ALLOW_PRIVATE": ["localhost"]}, []),
        ({"REQUEST_URLS": ["https://a.example"]}, ["flowerapp.E003"]),
        ({"REQUEST_URLS": {"a": 1}}, ["flowerapp.E003"]),
        ({"REQUEST_HEADERS": {"a": "Bearer sesame"}}, ["flowerapp.E003"]),
        ({"REQUEST_HEADERS": {"a": {"Authorization": "Bearer sesame"}}}, []),
        ({"REDIS_TASKS": ["redis://:sesame@a"]}, ["flowerapp.E003"]),
        ({"REDIS_COMMANDS": "get"}, ["flowerapp.E003"]),
        ({"RETENTION_DAYS": None, "CELERY_TASKS": ("shop.tasks.send",), "OPEN_API": False}, []),
    ],
)
def test_wrong_settings_are_found(settings: Any, ids: list[str]) -> None:
    with override_settings(FLOWER=settings):
        messages = checks.check_settings()
        assert [message.id for message in messages] == ids
        assert "sesame" not in str(messages)
        conf.get()


SHOP = "https://shop.example/api"


@pytest.mark.parametrize(
    ("settings", "problems"),
    [
        ({"REQUEST_URLS": {"shop": SHOP}, "REQUEST_HEADERS": {"shop": {"X-Api-Key": "a b"}}}, []),
        ({"REQUEST_URLS": {"shop": "shop.example"}}, ["['shop']: URL 'shop.example' is not an http or https address"]),
        ({"REQUEST_URLS": {"shop": f"{SHOP}?key=sesame"}}, ["['shop'] has a query or a fragment"]),
        ({"REQUEST_HEADERS": {"shop": {"X-Api-Key": "a"}}}, ["'shop', which is no key of REQUEST_URLS"]),
        (
            {"REQUEST_URLS": {"shop": SHOP}, "REQUEST_HEADERS": {"shop": {"X Key": "sesame", "X-Key": "sésame\n"}}},
            ["has a header 'X Key'", "has a header 'X-Key'"],
        ),
    ],
)
def test_addresses_and_headers_that_cannot_be_used_are_found(settings: Any, problems: list[str]) -> None:
    with override_settings(FLOWER=settings):
        messages = checks.check_requests()
    assert [message.id for message in messages] == ["flowerapp.E031"] * len(problems)
    assert all(problem in message.msg for problem, message in zip(problems, messages, strict=True))
    assert "sesame" not in str(messages)


@pytest.mark.parametrize(
    ("settings", "problems"),
    [
        ({}, []),
        ({"REDIS_TASKS": "rediss://user:sesame@redis.example:6380/2", "REDIS_COMMANDS": ["*", "KEYS"]}, []),
        ({"REDIS_TASKS": "http://:sesame@redis.example"}, ["is no address of a Redis server"]),
        ({"REDIS_TASKS": ""}, ["is no address of a Redis server"]),
        ({"REDIS_COMMANDS": ["config set"]}, ["has 'config set', which is no command"]),
    ],
)
def test_a_server_and_commands_that_cannot_be_are_found(settings: Any, problems: list[str]) -> None:
    with override_settings(FLOWER=settings):
        messages = checks.check_redis_tasks()
    assert [message.id for message in messages] == ["flowerapp.E032"] * len(problems)
    assert all(problem in message.msg for problem, message in zip(problems, messages, strict=True))
    assert "sesame" not in str(messages)


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        ({"priority_steps": list(range(10)), "visibility_timeout": 3600}, []),
        ({"priority_steps": list(range(10))}, []),
        ({"priority_steps": [0, 3, 6, 9], "visibility_timeout": 8}, ["flowerapp.W002", "flowerapp.W006"]),
    ],
)
def test_settings_of_the_hosts_celery_that_cost_are_found(options: dict[str, Any], ids: list[str]) -> None:
    app = Celery(set_as_current=False)
    app.conf.update(broker_url="redis://localhost", broker_transport_options=options, worker_prefetch_multiplier=1)
    app.conf.update(CELERY_DB_REUSE_MAX=10)
    assert [message.id for message in celery_checks.celery_warnings(app)] == ids


@pytest.mark.parametrize(
    ("level", "ids"), [("INFO", []), ("DEBUG", []), (None, []), ("info", ["flowerapp.E024"]), ("", ["flowerapp.E024"])]
)
def test_a_level_that_there_is_none_of_is_found(level: str | None, ids: list[str]) -> None:
    with override_settings(FLOWER={"TASK_LOG": level}):
        assert [message.id for message in checks.check_task_log()] == ids


@pytest.mark.parametrize(
    ("url", "ids"),
    [(None, []), ("", []), ("rediss://h/1", []), ("unix:///r.sock", []), ("amqp://ann:pw@h", ["flowerapp.E027"])],
)
def test_a_stream_that_is_in_no_redis_is_found(url: str | None, ids: list[str]) -> None:
    with override_settings(FLOWER={"STREAM_URL": url}):
        messages = checks.check_stream()
    assert [message.id for message in messages] == ids
    assert not any("pw" in str(message) for message in messages)


def test_settings_are_read_when_they_are_needed() -> None:
    with override_settings(FLOWER={"MAX_TASKS": 5, "MASK": ["pin"], "UNKNOWN": 1}):
        assert (conf.get().MAX_TASKS, conf.get().MASK) == (5, ("pin",))
    assert conf.get().MAX_TASKS == conf.Settings().MAX_TASKS


class Older:
    """The configuration of Celery 5.5, which lacks a setting."""

    def __init__(self, conf: Any) -> None:
        self.conf = conf

    def __getattr__(self, name: str) -> Any:
        if name == "worker_disable_prefetch":
            raise AttributeError(name)
        return getattr(self.conf, name)


def test_an_older_celery_has_fewer_settings() -> None:
    real = Celery(set_as_current=False)
    real.conf.update(broker_url="redis://localhost", worker_prefetch_multiplier=4)
    app: Any = mock.Mock(conf=Older(real.conf))
    assert "flowerapp.W001" in [message.id for message in celery_checks.celery_warnings(app)]
