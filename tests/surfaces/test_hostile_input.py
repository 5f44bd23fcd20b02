"""Whatever stands in a path, a query, a form or a cookie: no page of API and admin is a server error."""

from __future__ import annotations

import io
import random
import re
from collections.abc import Iterator
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from flowerapp import engine
from flowerapp.models import Flow
from flowerapp.testing import inline
from project.wsgi import application
from tests.cli.support import define

pytestmark = pytest.mark.django_db(transaction=True)

VALUES = [
    *(
        "%00",
        "a%00b",
        "_00",
        "%ED%A0%80",
        "%FF",
        "%E2%80%AE",
        "%F0%9F%8C%B7",
        "%0A",
        "%C2%B2",
        "%25",
        "'",
        "..",
        "_",
        "_ZZ",
    ),
    *(
        "0",
        "-1",
        "1.5",
        "9" * 12,
        "9" * 20,
        "-" + "9" * 20,
        "9" * 5000,
        "x" * 5000,
        "99999999999",
        "1e400",
        "NaN",
        "null",
    ),
    *("0000-00-00", "0001-01-01T00:00:00%2B14:00", "9999-12-31T23:59:59-14:00", "2026-01-01T00:00:00%2B99:99"),
    *("[]", "{}", "on", "none", "any", "", "%2F", "_2F"),
]
CERTAIN = ["%00", "a_00b", "9" * 20]
PARAMETERS = [
    *(
        "q",
        "p",
        "o",
        "e",
        "all",
        "_changelist_filters",
        "_popup",
        "_to_field",
        "_facets",
        "next",
        "term",
        "format",
        "as",
    ),
    *("app_label", "model_name", "field_name", "task_id", "status", "parent_seq", "kind", "id", "id__in", "pk", "name"),
    *("registered_ts", "registered_ts__gte", "registered_ts__lt", "registered_ts__year", "registered_ts__isnull"),
    *("registered_ts__date", "started_ts__gte", "finished_ts__month", "exec_status", "exec_status__in", "task_flow"),
    *("task_flow_id", "task_flow__task_flow_id", "task_flow__registered_ts__year", "task_exec_seq__gt", "slots__lt"),
    *(
        "seen_ts__year",
        "seen_ts__gte",
        "parameters__x__year",
        "input__contains",
        "date_joined__year",
        "date_joined__gte",
    ),
    *("last_login__gte", "is_staff__exact", "user__id", "date_done__year", "date_created__lt", "version", "cursor"),
]
Call = tuple[str, str, dict[str, str]]
"""Method, address and form."""
ACTIONS = ["rerun_failed", "resume", "suspend", "cancel", "delete_selected", "nothing"]


def routes() -> Iterator[tuple[str, bool]]:
    """The routes of the project, and whether each has a part to fill."""

    def walk(patterns: list[Any], before: str) -> Iterator[str]:
        for pattern in patterns:
            route = before + str(pattern.pattern)
            if isinstance(pattern, URLResolver):
                yield from walk(pattern.url_patterns, route)
            elif isinstance(pattern, URLPattern) and "logout" not in route:
                yield route

    for route in walk(get_resolver().url_patterns, ""):
        for plain in (r"\^", r"/\?\\Z$", r"\\Z$", r"\$$"):
            route = re.sub(plain, "/" if "?" in plain else "", route)
        route = re.sub(r"\(\?P<app_label>[^)]*\)", "flowerapp", route)
        route = re.sub(r"\(\?P<\w+>[^)]*\)|<[^>]+>", "{}", route)
        yield f"/{route}", "{}" in route


def sample(path: str, items: list[Any], number: int) -> list[Any]:
    """Some of the items, others for each path and the same in each run."""
    return random.Random(path).sample(items, number)  # noqa: S311 - not a secret


OF_OTHERS = re.compile(r"/admin/(?!flowerapp)\w+/\w+/.+")
"""Pages of other apps' rows; their lists are looked at."""
ROUTES = sorted({(path, has_parts) for path, has_parts in routes() if not OF_OTHERS.fullmatch(path)})


@pytest.fixture
def rows() -> Iterator[list[str]]:
    """Names of rows that routes lead to."""
    with inline():
        define("etl", {"program": "Noop"}, {"program": "Noop"})
        engine.set_pool("gpu", 1)
        flow = engine.register("etl")
        root = User.objects.create_superuser("root")
        yield [flow.pk, str(flow.tasks.values_list("pk", flat=True)[0]), "etl", "gpu", str(root.pk)]


@pytest.fixture
def client(rows: list[str]) -> Client:
    """A client that may do all, and gets a page for an error, as others do."""
    client = Client(raise_request_exception=False)
    client.force_login(User.objects.get(username="root"))
    return client


def errors(client: Client, calls: list[Call]) -> list[Call]:
    """The calls that are answered by a server error."""
    return [call for call in calls if getattr(client, call[0])(call[1], call[2] or None).status_code >= 500]


def test_the_routes_are_those_of_api_and_admin() -> None:
    paths = [path for path, _ in ROUTES]
    assert "/api/flows/{}/tasks/{}/" in paths
    assert "/admin/flowerapp/flow/{}/verb/{}/" in paths
    assert len(paths) > 60


def test_paths(client: Client) -> None:
    calls: list[Call] = [
        (method, path.replace("{}", value), {})
        for path, has_parts in ROUTES
        if has_parts
        for value in (*CERTAIN, *sample(path, VALUES, 3))
        for method in ("get", "post")
    ]
    assert errors(client, calls) == []


def test_queries(client: Client, rows: list[str]) -> None:
    calls: list[Call] = []
    for path, _ in ROUTES:
        pages = [path.replace("{}", row) for row in rows]
        live = next((page for page in pages if client.get(page).status_code == 200), path.replace("{}", rows[0]))
        pairs = [(name, value) for name in PARAMETERS for value in VALUES]
        calls += [("get", f"{live}?{name}={value}", {}) for name, value in sample(path, pairs, 6)]
    assert errors(client, calls) == []


@pytest.mark.parametrize("model", ["flow", "task", "worker", "pool", "workflow"])
@pytest.mark.parametrize("name", ["registered_ts__year", "seen_ts__year", "task_flow_id", "q", "e"])
def test_lists(client: Client, model: str, name: str) -> None:
    url = reverse(f"admin:flowerapp_{model}_changelist")
    for value in ("99999999999", "0", "-1", "%00"):
        answer = client.get(f"{url}?{name}={value}", follow=True)
        assert answer.status_code in (200, 400), value
    refused = client.get(f"{url}?{name}=%00")
    assert refused.status_code == 400
    assert "cannot be stored" in refused.text


TIMES = [
    "/admin/auth/user/?date_joined__year=99999999999",
    "/admin/django_celery_results/taskresult/?date_done__year=99999999999",
]


@pytest.mark.parametrize("url", TIMES)
def test_times_out_of_range(client: Client, url: str) -> None:
    answer = client.get(url)
    assert answer.status_code == 400
    assert "out of range" in answer.text


def test_lookups_that_a_list_does_not_offer(client: Client) -> None:
    answer = client.get("/admin/flowerapp/worker/?seen_ts__year=99999999999")
    assert answer.status_code == 400
    assert "asks for what this page does not offer" in answer.text


HEADERS = {
    "authorization": [
        "Token \0",
        "Token \xff",
        "Token " + "x" * 5000,
        "Basic ====",
        "Basic ADoA",
        "Token",
        "Token a b",
        "\0",
    ],
    "accept": ["\0", "a/b;q=\xff", "application/json;indent=-1", "application/json;indent=" + "9" * 30, "x" * 5000],
    "accept-language": ["\0", "x" * 5000, "en;q=9e999"],
    "idempotency-key": ["\0", "\xff", "", "x" * 300, " "],
    "x-csrftoken": ["\0", "\xff", "x" * 64],
    "origin": ["\0", "http://[", "http://x:y", "//"],
    "referer": ["\0", "http://[", "http://x:99999999/", "//"],
    "host": ["\0", "[::1", "x:y", "a" * 5000, "..", "localhost:\xb2"],
    "content-length": ["-1", "x", "9" * 30, "\xb2"],
    "if-modified-since": ["\0"],
    "range": ["bytes=\xb2-"],
}
SOME = [
    "/api/flows/",
    "/register/etl",
    "/api/schema/",
    "/api/docs/",
    "/admin/",
    "/admin/flowerapp/flow/",
    "/admin/login/",
]


@pytest.mark.parametrize("name", HEADERS)
def test_headers(client: Client, name: str) -> None:
    key = name.upper().replace("-", "_") if name == "content-length" else f"HTTP_{name.upper().replace('-', '_')}"
    for value in HEADERS[name]:
        for url in SOME:
            for caller in (client, Client(raise_request_exception=False)):
                for method in ("GET", "POST"):
                    extra: Any = {key: value}
                    answer = caller.generic(method, url, **extra)
                    assert answer.status_code < 500, (method, url, value)


CHARSETS = [
    "rot13",
    "hex",
    "undefined",
    "idna",
    "base64",
    "unicode_escape",
    "utf-16",
    "utf-7",
    "no-such",
    "\0",
    '"rot13"',
]
KINDS = ["text/plain", "application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]


@pytest.mark.parametrize("charset", CHARSETS)
def test_charsets(rows: list[str], charset: str) -> None:
    user = Client()
    user.force_login(User.objects.get(username="root"))
    cookie = f"sessionid={user.cookies['sessionid'].value}"
    part = b'--x\r\nContent-Disposition: form-data; name="username"\r\n\r\n\\ud800\r\n--x--\r\n'
    for kind in KINDS:
        for url in (*SOME, "/admin/flowerapp/pool/add/"):
            for method in ("GET", "POST"):
                body = part if "multipart" in kind and method == "POST" else b""
                environ = {"CONTENT_TYPE": f"{kind}; charset={charset}", "CONTENT_LENGTH": str(len(body))}
                status = _called(method, f"{url}?q=%5Cud800%41", body, environ | {"HTTP_COOKIE": cookie})
                assert status < 500, (method, url, kind)


def _called(method: str, url: str, body: bytes, extra: dict[str, str]) -> int:
    """The status with which the reference project's WSGI application answers."""
    path, _, query = url.partition("?")
    environ: dict[str, Any] = {"REQUEST_METHOD": method, "PATH_INFO": path, "QUERY_STRING": query, **extra}
    environ |= {"HTTP_HOST": "localhost", "wsgi.input": io.BytesIO(body)}
    setup_testing_defaults(environ)
    statuses: list[str] = []
    list(application(environ, lambda status, *_: statuses.append(status)))
    return int(statuses[0].partition(" ")[0])


@pytest.mark.parametrize("page", ["admin:index", "admin:login", "admin:flowerapp_flow_changelist", "flowerapp:flows"])
def test_cookies(client: Client, page: str) -> None:
    for value in (r'"\000\000\000\000\000\000\000\000"', '"' + "9" * 5000 + '"', "\xff" * 32, "x" * 32, ""):
        for name in ("sessionid", "csrftoken", "messages"):
            answer = Client(raise_request_exception=False).get(reverse(page), headers={"cookie": f"{name}={value}"})
            assert answer.status_code < 500, (name, value)


@pytest.mark.parametrize(
    "value", ["\0", "a\0b", "\ud800", "9" * 30, "x" * 5000, "", "\u202e", "-1", "[" * 3000, "0000-00-00"]
)
def test_forms(client: Client, rows: list[str], value: str) -> None:
    flow = Flow.objects.get()
    calls: list[Call] = []
    for path, has_parts in ROUTES:
        chosen = sample(f"{path}{value!a}", rows, 2) if has_parts else [""]
        pages = [path.replace("{}", row, 1).replace("{}", "change") for row in chosen]
        fields = ["username", "password", "name", "slots", "description", "why", "input", "priority", "entrance", "key"]
        form = {**dict.fromkeys([*fields, "parameters", "queue", "task_id", "post", "confirmed"], value)}
        calls += [("post", page, form) for page in pages if "admin" in path]
    for action in ACTIONS:
        form = {"action": action, "_selected_action": value, "select_across": value, "confirmed": "1", "why": value}
        calls.append(("post", reverse("admin:flowerapp_flow_changelist"), form | {"index": value}))
        calls.append(("post", reverse("admin:flowerapp_flow_changelist"), form | {"_selected_action": flow.pk}))
    calls += [
        ("post", f"/admin/flowerapp/flow/{flow.pk}/verb/{verb}/", {"why": value, "confirmed": "1"})
        for verb in ("suspend", "cancel")
    ]
    assert errors(client, [call for call in calls if storable(call)]) == []


def storable(call: Call) -> bool:
    """Whether a client can send the form; a lone surrogate has no bytes."""
    return "\ud800" not in "".join(call[2].values())
