"""A flow is not waited for where waiting is in vain: in a transaction, however it was opened."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connections, transaction
from django.http import HttpRequest, HttpResponse
from django.test import Client, TestCase
from django.urls import path

from flowerapp import engine
from flowerapp.exceptions import WaitInTransactionError
from flowerapp.management.cli import follow
from flowerapp.management.cli.output import Output
from flowerapp.models import Flow
from flowerapp.querysets.db import alias, connection
from flowerapp.states import Status
from flowerapp.testing import InlineRunner, inline
from tests.cli.support import flow as command
from tests.engine.support import define, status

REASON = "no worker sees what the transaction registers or changes until it is committed"


def wait_in_view(request: HttpRequest) -> HttpResponse:
    """Register and wait, as a host's view may."""
    try:
        ended = engine.register(request.GET["name"]).wait(timeout=30)
    except WaitInTransactionError as error:
        return HttpResponse(str(error), status=409)
    return HttpResponse(ended.status.label)


@transaction.non_atomic_requests
def wait_in_plain_view(request: HttpRequest) -> HttpResponse:
    """The same without a transaction of the request."""
    return wait_in_view(request)


urlpatterns = [path("wait/", wait_in_view), path("wait-outside/", wait_in_plain_view)]


@contextmanager
def without_autocommit() -> Iterator[None]:
    connection().set_autocommit(False)
    try:
        yield
    finally:
        connection().rollback()
        connection().set_autocommit(True)


def wait(flow: Flow) -> Any:
    return flow.wait(timeout=30)


def wait_in_command(flow: Flow) -> Any:
    return follow.wait(flow.pk, Output(None, None, color=None, as_json=False), follow=False)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("waiting", [wait, wait_in_command])
@pytest.mark.parametrize("opened", [transaction.atomic, without_autocommit])
def test_waiting_in_a_transaction_is_refused_at_once(
    runner: InlineRunner, waiting: Callable[[Flow], Any], opened: Callable[[], Any]
) -> None:
    flow = engine.register(define({1: None}))
    begun = time.monotonic()
    with opened(), pytest.raises(WaitInTransactionError, match=f"flow {flow.pk} cannot .*{REASON}"):
        waiting(flow)
    assert time.monotonic() - begun < 5


@pytest.mark.django_db(transaction=True)
def test_flow_that_has_ended_needs_no_waiting(runner: InlineRunner) -> None:
    flow = engine.register(define({1: None}))
    runner.run()
    with transaction.atomic():
        assert wait(flow).status is Status.FINISH
    assert wait_in_command(flow).status is Status.FINISH


@pytest.mark.django_db(transaction=True)
def test_after_the_commit_a_flow_is_waited_for(runner: InlineRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flowerapp.models.flows.time.sleep", lambda seconds: runner.step())
    name, ended = define({1: None, 2: None}), []
    with transaction.atomic():
        flow = engine.register(name)
        transaction.on_commit(lambda: ended.append(flow.wait(timeout=30).status))
    assert ended == [Status.FINISH]


@pytest.mark.django_db(transaction=True)
@pytest.mark.urls(__name__)
def test_view_under_atomic_requests_names_the_cure(runner: InlineRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connections.settings[alias()], "ATOMIC_REQUESTS", True)
    monkeypatch.setattr("flowerapp.models.flows.time.sleep", lambda seconds: runner.step())
    name = define({1: None})
    answer = Client().get("/wait/", {"name": name})
    assert answer.status_code == 409
    assert "@transaction.non_atomic_requests" in answer.text
    assert Client().get("/wait-outside/", {"name": name}).text == "Finish"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("option", ["--wait", "--follow"])
def test_command_that_cannot_wait_registers_nothing(runner: InlineRunner, option: str) -> None:
    name = define({1: None})
    with transaction.atomic():
        answer = command("run", name, option)
    assert answer.code == 2
    assert REASON in answer.err
    assert not Flow.objects.exists()
    flow = engine.register(name)
    with transaction.atomic():
        assert command("rerun", flow.pk, "--all", option).code == 2
    assert status(flow) is Status.WAIT


class InTestCase(TestCase):
    """As a host's tests have it."""

    def test_waiting_is_refused_with_the_reason(self) -> None:
        """Nothing is committed here, so no worker sees the flow."""
        with inline():
            flow = engine.register(define({1: None}))
            with pytest.raises(WaitInTransactionError, match=f"{REASON}.*TransactionTestCase"):
                flow.wait(timeout=30)
