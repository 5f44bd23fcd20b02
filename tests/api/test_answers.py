"""No answer is over 2 MiB, whatever tasks and flows hold; what is left out is said, and can be read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from flowerapp.core import values
from flowerapp.models import Flow, HistoryEntry, Log, Task
from flowerapp.querysets import clock
from flowerapp.states import IgnoredBy, Status
from tests.effort import LONG

pytestmark = pytest.mark.django_db
MOST = 2 * 1024 * 1024
MIB = 1024 * 1024

VALUES: dict[str, Any] = {
    "text": "x" * (MIB - 2),
    "numbers": list(range(150_000)),
    "line ends": "\u2028" * 340_000,
    "controls": "\x01" * 170_000,
    "wide characters": "😀" * 260_000,
    "masks": {f"token{number}": "a" for number in range(60_000)},
    "compressible": [{"name": "value"}] * 60_000,
}
KINDS = list(VALUES) if LONG else ["line ends", "masks"]
"""Those that each test tries."""
SMALL = {"a": [1, "b"]}


@pytest.fixture
def flow(db: None) -> Flow:
    """A flow that has ended."""
    now = clock.now()
    return Flow.objects.create(task_flow_id="one", task_id="etl", exec_status=Status.FINISH, finished_ts=now)


def add(flow: Flow, number: int, first: int = 1, **columns: Any) -> None:
    """Tasks that have ended."""
    row = {"task_id": "etl", "program": "Return", "exec_status": Status.FINISH, "finished_ts": clock.now()}
    Task.objects.bulk_create(
        (
            Task(task_flow=flow, task_exec_seq=seq, task_seq=seq, **row | columns)
            for seq in range(first, first + number)
        ),
        batch_size=5,
    )


def get(api: APIClient, url: str, **query: Any) -> Any:
    """The body of an answer that is not too large."""
    answer = api.get(url, query)
    assert answer.status_code == 200, answer.content[:1000]
    assert len(answer.content) <= MOST
    return answer.json()


def walk(api: APIClient, url: str | None, link: str = "next") -> tuple[list[Any], str]:
    """Rows of all pages, none of which is too large, and the address of the last."""
    rows: list[Any] = []
    while url:
        last, page = url, get(api, url)
        assert page["results"]
        rows += page["results"] if link == "next" else page["results"][::-1]
        url = page[link]
    return rows, last


@pytest.mark.parametrize("name", KINDS)
def test_a_list_of_tasks_leaves_large_values_out(api: APIClient, flow: Flow, name: str) -> None:
    value = VALUES[name]
    add(flow, 4, parameters={"a": value}, output=value, progress={"a": value}, child_id=value, item=value)
    (first, *_), _ = walk(api, "/api/flows/one/tasks/")
    assert [first[key] for key in ("parameters", "output", "progress", "child_id")] == [None] * 4
    assert {"parameters", "output", "progress", "child_id"} <= first["left_out"].keys()
    assert all(size > 8192 for size in first["left_out"].values())


def test_a_list_of_tasks_gives_small_values(api: APIClient, flow: Flow) -> None:
    add(flow, 2, parameters=SMALL, output=SMALL, error="no")
    for row in get(api, "/api/flows/one/tasks/")["results"]:
        assert (row["parameters"], row["output"], row["error"], row["left_out"]) == (SMALL, SMALL, "no", {})


def test_large_values_of_a_list_are_not_read(api: APIClient, flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    add(flow, 5, output=VALUES["numbers"], parameters={"a": VALUES["text"]})
    parsed: list[int] = []
    field = Task._meta.get_field("output")
    before = type(field).from_db_value

    def noted(self: Any, value: Any, expression: Any, connection: Any) -> Any:
        parsed.append(len(value or ""))
        return before(self, value, expression, connection)

    monkeypatch.setattr(type(field), "from_db_value", noted)
    get(api, "/api/flows/one/tasks/")
    assert parsed
    assert max(parsed) < 10


def test_a_page_ends_before_it_is_too_large(api: APIClient, flow: Flow) -> None:
    add(flow, 400, parameters={"a": "x" * 7500}, output="x" * 7500)
    page = get(api, "/api/flows/one/tasks/?page_size=500")
    assert 50 < len(page["results"]) < 400
    forward, last = walk(api, "/api/flows/one/tasks/?page_size=500")
    assert [row["task_exec_seq"] for row in forward] == list(range(1, 401))
    backward, _ = walk(api, last, "previous")
    assert [row["task_exec_seq"] for row in backward] == list(range(400, 0, -1))


@pytest.mark.parametrize("name", KINDS)
def test_a_task_by_itself_gives_what_fits(api: APIClient, flow: Flow, name: str) -> None:
    value = VALUES[name]
    add(flow, 1, parameters={"a": value}, output=value, item=value, traceback="\x01" * 200_000, error="é" * 50_000)
    Log.objects.bulk_create(Log(task_flow=flow, task_exec_seq=1, attempt=1, message="\x02" * 20_000) for _ in range(50))
    url = "/api/flows/one/tasks/1/"
    assert get(api, url)["left_out"]
    for whole in ("output", "parameters", "item"):
        task = get(api, url, whole=whole)
        assert whole not in task["left_out"]
        assert task[whole]
        if name != "masks":
            assert task[whole] == ({"a": value} if whole == "parameters" else value)
    assert set(get(api, url, whole="log")["left_out"]) >= {"log"} or get(api, url, whole="log")["log"]


def test_a_value_that_fits_is_given_without_a_word(api: APIClient, flow: Flow) -> None:
    add(flow, 1, parameters={"a": VALUES["text"][:-10]}, output=SMALL)
    task = get(api, "/api/flows/one/tasks/1/")
    assert (len(task["parameters"]["a"]), task["output"], task["left_out"]) == (MIB - 12, SMALL, {})


@pytest.mark.parametrize("query", ["whole=x", "whole=", "whole=output&whole=item"])
def test_an_unknown_value(api: APIClient, flow: Flow, query: str) -> None:
    add(flow, 1)
    assert api.get(f"/api/flows/one/tasks/1/?{query}").status_code == 400
    assert api.get(f"/api/flows/one/?{query}").status_code == 400


@pytest.mark.parametrize("name", KINDS)
def test_a_flow_by_itself(api: APIClient, flow: Flow, name: str) -> None:
    value = VALUES[name]
    Flow.objects.update(input=value, state={"a": value})
    add(flow, 1, output=value)
    for whole in ("input", "state", "output"):
        body = get(api, "/api/flows/one/", whole=whole)
        assert whole not in body["left_out"]
        assert body[whole]
    assert get(api, "/api/flows/one/")["left_out"]


@pytest.mark.parametrize(("number", "length"), [(3000, 1000), (4, MIB - 2), (300, 20_000)])
def test_the_output_of_many_last_steps(api: APIClient, flow: Flow, number: int, length: int) -> None:
    add(flow, number, output="x" * length)
    body = get(api, "/api/flows/one/")
    assert body["output"] is None
    assert body["left_out"]["output"] >= number * length


def test_the_output_of_a_few_last_steps(api: APIClient, flow: Flow) -> None:
    add(flow, 3, output="x" * 1000)
    body = get(api, "/api/flows/one/")
    assert (body["output"], body["left_out"]) == (["x" * 1000] * 3, {})


def skip(flow: Flow, number: int) -> None:
    """Let the first tasks of a chain have been skipped."""
    for seq in range(1, number + 1):
        Task.objects.filter(task_flow=flow, task_exec_seq=seq).update(
            exec_status=Status.IGNORE, ignored_by=IgnoredBy.SKIP, output=None, depends_on=[seq - 1] if seq > 1 else []
        )


@pytest.mark.parametrize("size", [10, 900_000])
def test_a_list_of_skipped_tasks(api: APIClient, flow: Flow, size: int) -> None:
    Flow.objects.update(input="x" * size)
    add(flow, 300)
    skip(flow, 300)
    with CaptureQueriesContext(connection) as queries:
        rows = get(api, "/api/flows/one/tasks/?page_size=500")["results"]
    assert len(queries) <= 9
    expected = "x" * size if size < 8192 else None
    assert [row["output"] for row in rows] == [expected] * 300
    assert all(bool(row["left_out"]) is (size > 8192) for row in rows)
    assert get(api, "/api/flows/one/tasks/300/")["output"] == "x" * size


def test_a_skipped_task_that_passes_on_too_much(api: APIClient, flow: Flow) -> None:
    add(flow, 5, output="x" * 900_000)
    add(flow, 1, first=6)
    Task.objects.filter(task_exec_seq=6).update(
        exec_status=Status.IGNORE, ignored_by=IgnoredBy.SKIP, output=None, depends_on=[1, 2, 3, 4, 5]
    )
    body = get(api, "/api/flows/one/tasks/6/")
    assert body["output"] is None
    assert body["left_out"]["output"] >= 4_500_000
    assert get(api, "/api/flows/one/")["left_out"]["output"] >= 4_500_000


def test_history_and_errors(api: APIClient, flow: Flow) -> None:
    Flow.objects.filter(pk="one").delete()
    now = clock.now()
    Flow.objects.bulk_create(
        Flow(task_flow_id=f"f{n:03}", task_id="etl", failed_seq=1, exec_status=Status.SUSPEND, suspended_ts=now)
        for n in range(120)
    )
    for one in Flow.objects.all():
        Task.objects.create(
            task_flow=one,
            task_exec_seq=1,
            task_id="etl",
            task_seq=1,
            program="P",
            exec_status=Status.SUSPEND,
            error="\x01" * 50_000,
            traceback="\x01" * 500_000,
            suspended_ts=now,
        )
    rows, _ = walk(api, "/api/flows/?page_size=500")
    assert len(rows) == 120
    for _ in range(60):
        HistoryEntry.objects.record(
            "change", "f000", 1, reason="\x01" * 50_000, details={"parameters": {"a": "x" * MIB}}
        )
    entries, last = walk(api, "/api/flows/f000/history/?page_size=500")
    assert len(entries) == 60
    assert [row["id"] for row in walk(api, last, "previous")[0]] == [row["id"] for row in entries][::-1]
    assert entries[0]["details"]["parameters"]["a"].startswith('"xxx')
    Task.objects.update(item=None)
    assert "left out" in get(api, "/api/flows/f000/tasks/1/")["traceback"]


def test_old_rows_with_longer_texts(api: APIClient, flow: Flow) -> None:
    add(flow, 30)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE kr_task_stat SET error = %s, traceback = %s", ["e" * 3 * MIB, "t" * 3 * MIB])
        cursor.execute(
            "INSERT INTO kr_task_history (task_flow_id, verb, worker, actor, reason, details, ts) "
            "SELECT task_flow_id, 'skip', '', '', error, '{}', registered_ts FROM kr_task_flow f "
            "JOIN (SELECT error FROM kr_task_stat LIMIT 2) t ON TRUE"
        )
    rows, _ = walk(api, "/api/flows/one/tasks/")
    assert (len(rows[0]["error"]), rows[0]["left_out"]) == (2000, {"error": 3 * MIB, "traceback": 3 * MIB})
    body = get(api, "/api/flows/one/tasks/1/")
    assert set(body["left_out"]) == {"error", "traceback"}
    entries, _ = walk(api, "/api/flows/one/history/")
    assert [(row["reason"], "reason" in row["left_out"]) for row in entries] == [("", True)] * 2


def test_a_value_whose_secrets_are_not_read_is_left_out(api: APIClient, flow: Flow) -> None:
    secret = "hunter2hunter2"
    add(flow, 1, parameters={"token": secret, "a": "x" * 20_000}, output={"said": secret}, traceback=f"in {secret}")
    answer = api.get("/api/flows/one/tasks/")
    assert secret not in answer.content.decode()
    assert {"parameters", "output", "traceback"} <= answer.json()["results"][0]["left_out"].keys()


@pytest.mark.parametrize(
    ("text", "kept"), [("x" * 20_000, "x" * 20_000), ("a" * 15_000 + "b" * 15_000, None), ("", "")]
)
def test_errors_are_cut_as_they_are_written(flow: Flow, text: str, kept: str | None) -> None:
    add(flow, 1)
    Task.objects.update(error=text)
    stored = Task.objects.get().error
    assert stored == (
        kept if kept is not None else f"{'a' * 10_000}\n… 10,000 characters are left out …\n{'b' * 10_000}"
    )


def test_details_are_brief() -> None:
    details = {"a": 1, "parameters": {f"k{n}": "v" * 5000 for n in range(1000)}, "z": [1] * 100_000}
    kept = values.brief(details, 20_000)
    assert len(values.dumps(kept)) < 25_000
    assert kept["a"] == 1
    assert kept["parameters"]["k0"].endswith("…")
    assert kept["parameters"]["…"] > 900
    assert values.brief({"a": {"b": "c"}}, 20_000) == {"a": {"b": "c"}}


Reader = Callable[[APIClient], Any]
