"""Drawings of large flows: API, admin and command line answer with a part, from a bounded number of rows."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from flowerapp.admin import html
from flowerapp.drawing import MOST_BYTES
from flowerapp.models import Flow, Task, TaskDefinition
from flowerapp.querysets import clock
from flowerapp.selectors import graphs
from flowerapp.states import Status
from tests.cli.support import flow as call

pytestmark = pytest.mark.django_db

FORMS = ("json", "ascii", "mermaid", "svg")


@pytest.fixture
def client() -> Client:
    """A client of the admin and of the API."""
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    return client


def stored(length: int, most: int, *, failed: int = 0) -> Flow:
    """A flow whose steps depend on up to ``most`` steps before them."""
    flow = Flow.objects.create(task_flow_id="large", task_id="etl", exec_status=Status.RUNNING)
    now = clock.now()
    Task.objects.bulk_create(
        (
            Task(
                task_flow=flow,
                task_exec_seq=seq,
                task_id="etl",
                task_seq=seq,
                program="P",
                depends_on=list(range(max(1, seq - most), seq)),
                exec_status=Status.SUSPEND if seq == failed else Status.WAIT,
                registered_ts=now,
            )
            for seq in range(1, length + 1)
        ),
        batch_size=500,
    )
    return flow


SIZES = {"dense": (5000, 60), "long": (21_000, 1)}


@pytest.mark.parametrize("size", SIZES)
def test_a_part_is_read_and_drawn(client: Client, size: str) -> None:
    flow = stored(*SIZES[size], failed=4000)
    for form in FORMS:
        with CaptureQueriesContext(connection) as queries:
            answer = client.get(f"/api/flows/{flow.pk}/graph/", {"as": form})
        assert answer.status_code == 200
        assert len(answer.content) <= MOST_BYTES
        assert len(queries) <= 9, "two of the session, the flow, the sizes, the failed step, and the part"
        printed = call("graph", flow.pk, "--format", form)
        assert (printed.code, len(printed.out.encode()) <= MOST_BYTES) == (0, True)
        if form != "json":
            assert "steps are left out" in answer.content.decode()
            assert "steps are left out" in printed.out


def test_the_whole_of_a_flow_is_read_in_one_statement() -> None:
    flow = stored(1000, 2)
    with CaptureQueriesContext(connection) as queries:
        graph = graphs.graph_of(flow.pk)
    assert (len(queries), len(graph.steps), graph.view.unread_steps) == (1, 1000, 0)


@pytest.mark.parametrize("size", SIZES)
def test_the_part_around_a_step(client: Client, size: str) -> None:
    flow = stored(*SIZES[size], failed=4000)
    for around, expected in ((None, 4000), (1, 1), (2500, 2500)):
        query = {} if around is None else {"around": around}
        document = client.get(f"/api/flows/{flow.pk}/graph/", query).json()
        seqs = [node["seq"] for node in document["nodes"]]
        assert document["around"] == expected
        assert expected in seqs
        assert len(seqs) + document["left_out"]["nodes"] == SIZES[size][0]
        arguments = [] if around is None else ["--around", around]
        assert call("graph", flow.pk, "--format", "json", *arguments).json == document


BAD = {"0": 404, "9999": 404, "x": 400, "-1": 400, "": 400, "9" * 30: 400, "1.5": 400}


@pytest.mark.parametrize(("around", "status"), BAD.items())
def test_a_step_that_is_none(client: Client, around: str, status: int) -> None:
    flow = stored(3, 1)
    assert client.get(f"/api/flows/{flow.pk}/graph/", {"around": around}).status_code == status


def test_the_command_names_a_step_that_is_none() -> None:
    flow = stored(3, 1)
    TaskDefinition.objects.create(task_id="etl", task_seq=1, program="Noop")
    for name in (flow.pk, "etl"):
        answer = call("graph", name, "--around", 9)
        assert (answer.code, "has no step 9" in answer.err) == (2, True)
    assert call("graph", "etl", "--around", 1).code == 0


def test_a_large_definition_is_drawn_in_part() -> None:
    TaskDefinition.objects.bulk_create(
        TaskDefinition(task_id="etl", task_seq=seq, program="Noop") for seq in range(1, 3001)
    )
    for form in FORMS[1:]:
        assert "steps are left out" in call("graph", "etl", "--format", form, "--around", 2000).out


@pytest.mark.parametrize(("length", "most"), [(1000, 1), (1000, 30), (5000, 60)])
def test_the_page_of_a_large_flow_is_small(client: Client, length: int, most: int) -> None:
    flow = stored(length, most, failed=length - 7)
    answer = client.get(html.flow_url(flow.pk))
    assert len(answer.content) < 300_000
    assert "steps are left out" in answer.context["drawing"]
    assert f'<tspan class="seq">{length - 7}</tspan>' in answer.context["drawing"]
