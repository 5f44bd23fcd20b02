"""A browser, a server with a database of its own, and a user who is signed in."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client

from flowerapp.executors.celery import memory_transport
from flowerapp.testing import InlineRunner, inline
from tests.browser.server import Server
from tests.services import Service, Site, address_of, fresh_database, sqlite_site

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

WIDTH, HEIGHT = 1280, 800
"""Size of the window, in pixels."""
QUIET = (
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-domain-reliability",
    "--disable-sync",
    "--no-first-run",
    "--metrics-recording-only",
)
"""Chromium as root, which talks to nothing but the server."""

Visit = Callable[..., "Page"]


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Debian's Chromium; skipped where it or the extra ``browser`` is not installed."""
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install flowerapp[browser]")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed")
    with playwright.sync_playwright() as started, pytest.MonkeyPatch.context() as environment:
        environment.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")  # Playwright's loop runs in this thread
        yield started.chromium.launch(executable_path=chromium, args=list(QUIET))


@pytest.fixture(scope="package")
def site(browser: Browser, django_db_blocker: Any) -> Iterator[Site]:
    """A migrated database: PostgreSQL if it answers, else a SQLite file."""
    url, _ = address_of(Service.POSTGRES)
    with ExitStack() as stack:
        stack.enter_context(django_db_blocker.unblock())
        if url is None:
            made = stack.enter_context(sqlite_site())
        else:
            made = Site(stack.enter_context(fresh_database(url)), memory_transport.URL)
            stack.callback(made.close)
        stack.enter_context(made.entered())
        made.migrate()
        yield made


@pytest.fixture(scope="package")
def shared_server(site: Site) -> Iterator[Server]:
    """The server of all tests; it may be killed and started again."""
    with tempfile.TemporaryDirectory() as directory:
        server = Server(site.environment, Path(directory, "log"))
        server.start()
        yield server
        server.kill()


@pytest.fixture
def server(shared_server: Server) -> Server:
    """The server, which runs."""
    if shared_server.process is None:
        shared_server.start()
    return shared_server


@pytest.fixture
def runner(site: Site) -> Iterator[InlineRunner]:
    """What the engine sends to; nothing runs until the test says so."""
    with inline() as runner:
        yield runner


@pytest.fixture(scope="package")
def session_key(site: Site) -> str:
    """A session of a superuser, made with the server's secret key."""
    user, _ = User.objects.get_or_create(username="root", is_staff=True, is_superuser=True)
    client = Client()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settings, "SECRET_KEY", site.environment["DJANGO_SECRET_KEY"])
        client.force_login(user)
    return str(client.cookies[settings.SESSION_COOKIE_NAME].value)


@pytest.fixture
def context(browser: Browser, server: Server, session_key: str) -> Iterator[BrowserContext]:
    """A window's worth of cookies: the user is signed in."""
    context = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT}, timezone_id="UTC")
    context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": session_key, "url": server.url}])
    yield context
    context.close()


@pytest.fixture
def visit(context: BrowserContext, server: Server) -> Iterator[Visit]:
    """Open an address of the server; no script may fail, and the policy must allow all that the page does."""
    problems: list[str] = []

    def blocked(path: str, text: str) -> None:
        if "Security Policy" in text:
            problems.append(f"{path}: {text}")

    def open_page(path: str, *, strict: bool = True) -> Page:
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(f"{path}: {error}"))
        if strict:
            page.on("console", lambda message: blocked(path, message.text))
        answer = page.goto(server.url + path)
        assert answer is not None, path
        assert answer.status == 200, path
        return page

    yield open_page
    assert not problems
