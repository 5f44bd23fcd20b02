"""``FLOWER["AUTHENTICATION"]``: the classes that say who calls."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest
from django.apps import apps
from django.contrib.auth.models import AnonymousUser, User
from rest_framework.authentication import BaseAuthentication
from rest_framework.authtoken.models import Token
from rest_framework.test import APIClient
from rest_framework_simplejwt.tokens import AccessToken

from flowerapp.api import authentication
from flowerapp.checks import check_authentication
from flowerapp.models import Flow

Make = Callable[..., str]
pytestmark = pytest.mark.django_db

BASIC = "rest_framework.authentication.BasicAuthentication"
JWT = "rest_framework_simplejwt.authentication.JWTAuthentication"
HERE = "tests.api.test_authentication"


class Stranger:
    """A user that is no row, without permissions or a method for its name."""

    is_authenticated = True

    def __str__(self) -> str:
        return "stranger"


class Known(Stranger):
    """The same with a permission."""

    def has_perm(self, permission: str) -> bool:
        """All."""
        return True


class ByHeader(BaseAuthentication):
    """As an OpenID Connect library does: the user comes from the token."""

    def authenticate(self, request: Any) -> Any:
        """A user for each word."""
        users = {"known": Known(), "stranger": Stranger(), "key": AnonymousUser()}
        user = users.get(request.META.get("HTTP_X_USER", ""))
        return user and (user, None)

    def authenticate_header(self, request: Any) -> str:
        """Makes the refusal a 401."""
        return "Own"


class Needing:
    """Cannot be made without an argument."""

    def __init__(self, issuer: str) -> None:
        self.issuer = issuer

    def authenticate(self, request: Any) -> None:
        """No user."""


@pytest.fixture
def classes(settings: Any) -> Callable[..., None]:
    """Set the classes."""

    def use(*names: str) -> None:
        settings.FLOWER = {**settings.FLOWER, "AUTHENTICATION": list(names)}

    return use


@pytest.fixture
def robot() -> User:
    """A user with a password."""
    return User.objects.create_superuser("robot", password="secret")


def without_tokens() -> Any:
    """A patch: the host has no tables for tokens."""
    return mock.patch.object(apps, "is_installed", lambda name: name != authentication.TOKEN_APP)


def basic(name: str, password: str) -> str:
    return "Basic " + b64encode(f"{name}:{password}".encode()).decode()


def test_basic(classes: Callable[..., None], robot: User, workflow: Make) -> None:
    classes(BASIC)
    workflow("etl", {"program": "Return"})
    client = APIClient(HTTP_AUTHORIZATION=basic("robot", "secret"))
    assert client.post("/register/etl").status_code == 200
    assert Flow.objects.get().registered_by == "robot"
    assert client.get("/api/schema/").status_code == 200
    assert APIClient(HTTP_AUTHORIZATION=basic("robot", "wrong")).get("/api/flows/").status_code == 401


def test_jwt(classes: Callable[..., None], robot: User) -> None:
    classes(JWT)
    client = APIClient(HTTP_AUTHORIZATION=f"Bearer {AccessToken.for_user(robot)}")
    assert client.get("/api/flows/").status_code == 200
    assert check_authentication() == []


def test_only_the_named_classes_are_asked(classes: Callable[..., None], robot: User) -> None:
    classes(JWT)
    token = Token.objects.create(user=robot)
    answer = APIClient(HTTP_AUTHORIZATION=f"Token {token.key}").get("/api/flows/")
    assert answer.status_code == 401
    assert answer["WWW-Authenticate"].startswith("Bearer")
    session = APIClient()
    session.force_login(robot)
    assert session.get("/api/flows/").status_code == 401
    assert session.get("/livez").status_code == 200


@pytest.mark.parametrize(("user", "status"), [("known", 200), ("stranger", 403), ("key", 403), ("", 401)])
def test_users_that_are_no_rows(classes: Callable[..., None], workflow: Make, user: str, status: int) -> None:
    classes(f"{HERE}.ByHeader")
    workflow("etl", {"program": "Return"})
    answer = APIClient(HTTP_X_USER=user).post("/register/etl")
    assert answer.status_code == status
    assert [flow.registered_by for flow in Flow.objects.all()] == ["stranger"] * (status == 200)


WRONG = {
    "no.such.module.Class": "No module named 'no'",
    "rest_framework.authentication.NoSuchClass": "NoSuchClass",
    "Basic": "doesn't look like a module path",
    "django.contrib.auth.models.User": "no authentication class",
    f"{HERE}.Needing": "issuer",
    f"{HERE}.check_authentication": "no authentication class",
}


@pytest.mark.parametrize("name", WRONG)
def test_a_class_that_cannot_be_used(classes: Callable[..., None], api: APIClient, name: str) -> None:
    classes(name, "rest_framework.authentication.SessionAuthentication")
    (error,) = check_authentication()
    assert error.id == "flowerapp.E015"
    assert name in error.msg
    assert WRONG[name] in error.msg
    for path in ("/api/flows/", "/register/etl"):
        answer = api.post(path) if "register" in path else api.get(path)
        assert answer.status_code == 503
    assert APIClient().get("/livez").status_code == 200


def test_tokens_need_their_app(classes: Callable[..., None], robot: User) -> None:
    classes(authentication.TOKENS)
    with without_tokens():
        (error,) = check_authentication()
        assert "rest_framework.authtoken" in error.msg
        assert APIClient(HTTP_AUTHORIZATION="Token x").get("/api/flows/").status_code == 503


def test_without_the_app_there_are_sessions(robot: User) -> None:
    with without_tokens():
        assert check_authentication() == []
        client = APIClient()
        client.force_login(robot)
        assert client.get("/api/flows/").status_code == 200
