"""What docker-compose.yml and the Dockerfile must say, whatever engine reads them."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from flowerapp import conf
from tests.services import ROOT

COMPOSE = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
MARGIN = 15
"""Seconds that a worker needs to hand back and to end, beside STOP_GRACE."""

STACK: dict[str, Any] = yaml.safe_load(COMPOSE)
SERVICES: dict[str, Any] = STACK["services"]
APP = ("migrate", "web", "worker")
LASTING = ("db", "redis", "web", "worker")


def test_one_service_builds_the_image_of_three() -> None:
    assert [name for name, service in SERVICES.items() if "build" in service] == ["migrate"]
    assert len({SERVICES[name]["image"] for name in APP}) == 1


def test_two_copies_of_the_stack_share_nothing() -> None:
    assert "COMPOSE_PROJECT_NAME" in SERVICES["web"]["image"]
    assert "networks" not in STACK
    assert not [name for name, service in SERVICES.items() if "container_name" in service]
    assert set(STACK["volumes"]) == {"db", "redis", "state"}


def test_the_web_server_alone_is_published_and_on_loopback() -> None:
    assert {name for name, service in SERVICES.items() if "ports" in service} == {"web"}
    assert SERVICES["web"]["ports"] == ["127.0.0.1:${FLOWER_PORT:-8000}:8000"]


@pytest.mark.parametrize("name", LASTING)
def test_what_lasts_is_restarted_and_has_a_health_check(name: str) -> None:
    assert SERVICES[name]["restart"] == "unless-stopped"
    assert SERVICES[name]["healthcheck"]["test"]


@pytest.mark.parametrize("name", ["db", "redis"])
def test_health_is_asked_over_tcp(name: str) -> None:
    test = SERVICES[name]["healthcheck"]["test"]
    assert test[test.index("-h") + 1] == "127.0.0.1"


def test_a_worker_has_time_to_hand_back() -> None:
    grace = int(SERVICES["worker"]["stop_grace_period"].removesuffix("s"))
    assert grace >= conf.Settings().STOP_GRACE + MARGIN


def test_no_secret_has_a_default_that_signs() -> None:
    for name in APP:
        assert SERVICES[name]["environment"]["DJANGO_SECRET_KEY"] == "${DJANGO_SECRET_KEY:-}"
    assert "DJANGO_SUPERUSER_PASSWORD" not in SERVICES["web"]["environment"]


def test_the_password_is_no_part_of_a_url() -> None:
    environment = SERVICES["web"]["environment"]
    assert "POSTGRES_PASSWORD" not in environment["DATABASE_URL"]
    assert environment["PGPASSWORD"] == SERVICES["db"]["environment"]["POSTGRES_PASSWORD"]


@pytest.mark.parametrize("name", APP)
def test_the_containers_of_the_project_have_few_rights(name: str) -> None:
    service = SERVICES[name]
    assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not service.get("privileged")


def test_the_image_runs_as_a_user_without_rights() -> None:
    last = DOCKERFILE.split("FROM ")[-1]
    assert re.search(r"^USER flower$", last, re.MULTILINE)
    assert "--chown" not in last


def test_dependencies_are_installed_before_the_code_is_copied() -> None:
    assert (
        DOCKERFILE.index("COPY pyproject.toml") < DOCKERFILE.index("pip install") < DOCKERFILE.index("COPY flowerapp")
    )


def test_only_what_the_image_holds_goes_to_the_builder() -> None:
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    allowed = {line.removeprefix("!") for line in rules if line.startswith("!")}
    assert rules[0] == "*"
    names = {
        name for line in re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE) for name in line.split()
    }
    assert names == allowed


def test_the_variables_of_the_file_are_documented() -> None:
    page = (ROOT / "docs" / "installation.md").read_text(encoding="utf-8")
    names = set(re.findall(r"\$\{(\w+):-", COMPOSE)) - {"COMPOSE_PROJECT_NAME"}
    assert {name for name in names if f"`{name}" not in page} == set()
