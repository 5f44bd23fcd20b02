"""The queries of addresses: every route takes the parameters that its document names, each once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.conf import settings
from rest_framework.test import APIClient

from flowerapp import engine
from flowerapp.api import schema_generator, urls

pytestmark = pytest.mark.django_db
OUTSIDE = {"schema", "docs"}
"""Names of the routes that are not in the document."""

Operation = tuple[str, str, list[str]]


def operations() -> Iterator[Operation]:
    """Method, path and parameters of each operation of the document."""
    document = schema_generator.document(settings.ROOT_URLCONF, None)
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            parameters = operation.get("parameters", [])
            yield method.upper(), path, [parameter["name"] for parameter in parameters if parameter["in"] == "query"]
    yield "GET", "/api/schema/", ["format"]
    yield "GET", "/api/docs/", []


OPERATIONS = list(operations())
READING = [(path, name) for method, path, names in OPERATIONS for name in names]


@pytest.fixture
def place(workflow: Callable[..., str]) -> Callable[[str], str]:
    """Fills the names of things that exist into a path."""
    workflow("etl", {"program": "Return"})
    engine.set_pool("gpu", 1)
    flow = engine.register("etl")
    return lambda path: path.format(flow_id=flow.pk, seq=1, task_id="etl", name="gpu", id=1, entry=1, event_id=1)


def sentence(answer: Any) -> str:
    """The sentence of an error."""
    assert answer.status_code == 400, answer.content
    assert answer["Content-Type"] == "application/json"
    body = answer.json()
    return str(body.get("detail") or body["description"])


def test_every_route_is_looked_at() -> None:
    routes = {pattern.name for pattern in urls.urlpatterns} - OUTSIDE
    assert len({path for _, path, _ in OPERATIONS}) == len(routes) + len(OUTSIDE)


@pytest.mark.parametrize(("method", "path", "names"), OPERATIONS)
def test_a_parameter_that_the_route_does_not_take(
    api: APIClient, place: Callable[[str], str], method: str, path: str, names: list[str]
) -> None:
    for unknown in ("zzz=1", "version=%00", "%00=1", "task_idx=etl", "limit=5", "zzz", "%E2%80%AE=1"):
        refusal = sentence(api.generic(method, f"{place(path)}?{unknown}"))
        assert f"no such parameter; this takes {', '.join(names) or 'none'}" in sorted_names(refusal, names)
    assert unknown_is_named(sentence(api.generic(method, f"{place(path)}?zzz=1")))


def sorted_names(refusal: str, names: list[str]) -> str:
    """The refusal with the names in the document's order, which is another than the view's."""
    head, _, tail = refusal.partition("this takes ")
    return f"{head}this takes {', '.join(names)}" if sorted(tail.split(", ")) == sorted(names) else refusal


def unknown_is_named(refusal: str) -> bool:
    """Whether the refusal begins with the parameter."""
    return refusal.startswith("zzz: ")


@pytest.mark.parametrize(("path", "name"), READING)
def test_a_parameter_that_is_given_twice(api: APIClient, place: Callable[[str], str], path: str, name: str) -> None:
    assert f"{name}: is given 2 times; give it once" in sentence(api.get(f"{place(path)}?{name}=1&{name}=1"))


ODD = ["%00", "a%00b", "%ED%A0%80", "9" * 30, "-" + "9" * 30, "9" * 5000, "x" * 5000, "%C2%B2", "", "%20", "-1", "1e9"]
ODD += ["0000-01-01", "0001-01-01T00:00:00%2B14:00", "9999-12-31T23:59:59-14:00", "99999999999", "%E2%80%AE", "null"]


@pytest.mark.parametrize(("path", "name"), READING)
def test_odd_values(api: APIClient, place: Callable[[str], str], path: str, name: str) -> None:
    for value in ODD:
        answer = api.get(f"{place(path)}?{name}={value}")
        assert answer.status_code == 200 or name in sentence(answer), (value, answer.content)


@pytest.mark.parametrize("size", ["0", "00", "-1", "x", "1.5", "", "²", "+5"])
def test_sizes_of_pages_that_cannot_be(api: APIClient, size: str) -> None:
    assert sentence(api.get("/api/flows/", {"page_size": size})) == "page_size: must be a number from 1 to 500"


def test_more_parameters_than_django_reads(api: APIClient) -> None:
    many = "&".join(f"a{number}=1" for number in range(10_000))
    assert "refused" in sentence(api.get(f"/api/flows/?{many}"))


def test_format_is_read_by_the_document_alone(api: APIClient) -> None:
    assert api.get("/api/flows/?format=xml").status_code == 200
    assert api.get("/api/schema/?format=json").json()["openapi"]
    assert sentence(api.get("/api/schema/?format=xml")) == "format: must be one of yaml, json"


def test_a_login_comes_before_the_query(place: Callable[[str], str]) -> None:
    assert APIClient().get("/api/flows/?zzz=1").status_code == 401
