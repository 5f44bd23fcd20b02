"""``/api/`` lists the routes to begin with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from rest_framework.test import APIClient

from flowerapp.api import root_views, urls

pytestmark = pytest.mark.django_db


def test_links_are_absolute_and_lead_somewhere(api: APIClient) -> None:
    links = api.get("/api/").json()
    assert set(links) == set(root_views.ROUTES)
    assert links["flows"] == "http://testserver/api/flows/"
    for name, link in links.items():
        only_posts = root_views.ROUTES[name][2] == "POST"
        assert api.get(link.removeprefix("http://testserver")).status_code == (405 if only_posts else 200)
    assert api.get("/api").json().keys() == links.keys()


def test_every_route_without_a_name_in_it_is_listed() -> None:
    plain = {str(route.name) for route in urls.urlpatterns if "(?P<" not in str(route.pattern)}
    assert plain - {"root"} == set(root_views.ROUTES)


def test_only_what_the_caller_may_use(client_with: Callable[..., APIClient]) -> None:
    reader = {"flows", "events", "latches", "queues", "workers", "schema", "docs", "livez", "readyz"}
    assert set(client_with("view_flow").get("/api/").json()) == reader
    both = client_with("view_flow", "register_flow", "view_taskdefinition", username="bob").get("/api/").json()
    assert set(both) == reader | {"register", "workflows", "programs"}
    assert client_with(username="eve").get("/api/").status_code == 403


def test_anonymous_callers(settings: Any) -> None:
    caller = APIClient(REMOTE_ADDR="127.0.0.1", SERVER_NAME="localhost")
    assert caller.get("/api/").status_code == 401
    settings.FLOWER = {**settings.FLOWER, "OPEN_API": True}
    links = caller.get("/api/").json()
    assert links["register"] == "http://localhost/register"
    reads = {name for name, (_, _, method) in root_views.ROUTES.items() if method == "GET"}
    assert set(links) == reads | {"register"}
    assert caller.get("/api/", headers={"X-Forwarded-For": "192.0.2.1"}).status_code == 403
