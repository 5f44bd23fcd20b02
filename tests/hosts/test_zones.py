"""Hosts whose clock is not in UTC: USE_TZ off, another TIME_ZONE, another zone of the connection."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from flowerapp import engine
from flowerapp.core.identity import Process
from flowerapp.core.messages import TaskRef
from flowerapp.models import Flow, HistoryEntry, Lease, Task, Worker
from flowerapp.querysets import clock
from flowerapp.querysets.db import connection
from flowerapp.selectors import workers
from flowerapp.states import Status
from flowerapp.testing import InlineRunner
from flowerapp.watcher.duties.adopt import adopt
from flowerapp.watcher.duties.rescue import Rescue
from flowerapp.watcher.duties.resend import Resend
from tests.cli.support import flow as cli
from tests.engine.support import define, status, task

pytestmark = pytest.mark.django_db(transaction=True)

MINUTE = timedelta(minutes=1)


@dataclass(frozen=True)
class Host:
    """Settings of a host, as far as they are about time."""

    use_tz: bool
    zone: str
    of_connection: str | None = None

    @property
    def tzinfo(self) -> tzinfo:
        return ZoneInfo(self.zone)

    def __str__(self) -> str:
        return f"{'aware' if self.use_tz else 'naive'} {self.zone} {self.of_connection or ''}".strip()


HOSTS = [
    Host(True, "UTC"),
    Host(True, "Asia/Tokyo"),
    Host(True, "Europe/Berlin", "Asia/Tokyo"),
    Host(True, "Asia/Tokyo", "America/New_York"),
    Host(False, "UTC"),
    Host(False, "Asia/Tokyo"),
    Host(False, "America/New_York"),
    Host(False, "Asia/Kathmandu"),
]


@pytest.fixture(params=HOSTS, ids=str)
def host(request: pytest.FixtureRequest, settings: Any, transactional_db: None) -> Iterator[Host]:
    """This process as such a host; the connection is made anew, as a process that starts makes it."""
    host: Host = request.param
    settings.TIME_ZONE, settings.USE_TZ = host.zone, host.use_tz
    database = connection()
    zone_before, database.settings_dict["TIME_ZONE"] = database.settings_dict["TIME_ZONE"], host.of_connection
    _connect_anew()
    yield host
    clock.reset()
    database.settings_dict["TIME_ZONE"] = zone_before
    _connect_anew()


def _connect_anew() -> None:
    database = connection()
    database.close()
    for name in ("timezone", "timezone_name"):
        database.__dict__.pop(name, None)


def _is_recent(value: datetime | None) -> bool:
    assert value is not None
    assert value.tzinfo is UTC
    return abs(datetime.now(UTC) - value) < MINUTE


def _finished(runner: InlineRunner) -> Flow:
    flow = engine.register(define({1: [], 2: [1]}))
    runner.run()
    flow.refresh_from_db()
    assert flow.status is Status.FINISH
    return flow


def _retrying(runner: InlineRunner, delay: int = 3600) -> Flow:
    parameters = {"param1_key": "start", "param1_value": "4"}
    flow = engine.register(define({1: []}, "FailUntil", retry_delay=delay, **parameters))
    runner.run()
    return flow


def test_times_are_kept_and_read_in_utc(host: Host, runner: InlineRunner) -> None:
    flow = _finished(runner)
    rows: list[Any] = [flow, *flow.tasks.all()]
    times = [getattr(row, name) for row in rows for name in ("registered_ts", "started_ts", "finished_ts")]
    assert all(map(_is_recent, times)), times
    assert _is_recent(engine.register(define({1: []})).registered_ts)
    assert _is_recent(clock.now())
    assert not Flow.objects.filter(registered_ts__gt=clock.Now() + MINUTE).exists()
    assert not Flow.objects.filter(registered_ts__lt=clock.ago(60)).exists()


def test_times_that_are_given_are_found_again(host: Host) -> None:
    summer = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    moments = [summer, summer + timedelta(hours=1), datetime(2026, 11, 1, 5, 30, 0, 123456, UTC)]
    moments += [datetime(2026, 11, 1, 6, 30, tzinfo=UTC), datetime(2026, 3, 8, 7, 0, tzinfo=UTC)]
    for number, moment in enumerate(moments):
        Lease.objects.create(name=str(number), holder="", expires_ts=moment.astimezone(ZoneInfo("Asia/Kolkata")))
    assert list(Lease.objects.order_by("pk").values_list("expires_ts", flat=True)) == moments
    for number, moment in enumerate(moments):
        assert Lease.objects.get(expires_ts=moment).pk == str(number)
        assert Lease.objects.get(expires_ts__range=(moment, moment)).pk == str(number)
    earlier = [str(number) for number, moment in enumerate(moments) if moment < moments[1]]
    assert sorted(Lease.objects.filter(expires_ts__lt=moments[1]).values_list("pk", flat=True)) == earlier


@pytest.mark.filterwarnings("ignore:DateTimeField .* received a naive datetime")
def test_a_time_without_a_zone_is_the_hosts(host: Host) -> None:
    local = datetime(2026, 7, 1, 12, 0)
    Lease.objects.create(name="x", holder="", expires_ts=local)
    assert Lease.objects.get().expires_ts == local.replace(tzinfo=host.tzinfo)
    assert Lease.objects.filter(expires_ts=local).exists()


@pytest.mark.parametrize("edge", [datetime.min, datetime.max])
def test_the_first_and_the_last_time_are_compared(host: Host, edge: datetime) -> None:
    for hours in (-14, 14):
        wanted = edge.replace(tzinfo=ZoneInfo(f"Etc/GMT{hours:+}" if hours == -14 else "Etc/GMT+12"))
        assert not Lease.objects.filter(expires_ts=wanted).exists()


def test_a_retry_starts_when_it_is_due_and_not_before(host: Host, runner: InlineRunner) -> None:
    flow = _retrying(runner)
    due = task(flow, 1).due_ts
    assert due is not None
    assert 59 * MINUTE < due - datetime.now(UTC) <= 60 * MINUTE
    ref, process = TaskRef(flow.pk, 1), Process("w", 1)
    clock.advance(3500)
    assert not Task.objects.due().exists()
    assert not Task.objects.claim(ref, process)
    clock.advance(101)
    assert Task.objects.due().exists()
    assert Task.objects.claim(ref, process)


def test_what_was_lost_is_sent_again_in_time(host: Host, runner: InlineRunner) -> None:
    engine.register(define({1: []}))
    runner.waiting.clear()
    resend = Resend()
    assert [resend(), resend()] == [0, 0]
    clock.advance(11)
    assert [resend(), resend()] == [0, 1]


def test_tasks_of_dead_workers_are_rescued_and_of_others_not(host: Host, runner: InlineRunner) -> None:
    worker = Worker.objects.create(pk="w", name="w", pid=1, pool="p", concurrency=1)
    flow = engine.register(define({1: []}))
    assert Task.objects.claim(TaskRef(flow.pk, 1), Process("w", 1))
    clock.advance(10)
    Worker.objects.seen("w")
    clock.advance(10)
    worker.refresh_from_db()
    assert Rescue()() == 0
    assert workers.style_of(worker).word == "Alive"
    clock.advance(10)
    assert Rescue()() == 1
    assert workers.style_of(worker).word == "Silent"
    assert status(flow, 1) is Status.WAIT


def test_a_lease_is_held_until_it_expires(host: Host) -> None:
    assert Lease.objects.take("watcher", "one", 15)
    assert not Lease.objects.take("watcher", "two", 15)
    clock.advance(16)
    assert Lease.objects.take("watcher", "two", 15)


def test_old_flows_are_found_by_age(host: Host, runner: InlineRunner) -> None:
    _finished(runner)
    clock.advance(86_000)
    assert not Flow.objects.ended_before(1).exists()
    clock.advance(800)
    assert Flow.objects.ended_before(1).exists()


def test_an_inserted_row_is_adopted_with_the_time(host: Host, runner: InlineRunner) -> None:
    Task.objects.create(task_flow_id="F", task_exec_seq=1, task_id=define({1: []}), task_seq=1)
    assert adopt()
    assert _is_recent(Task.objects.get().registered_ts)
    assert _is_recent(Flow.objects.get(pk="F").registered_ts)


def test_the_api_answers_with_offsets_and_filters_by_them(host: Host, runner: InlineRunner, client: Client) -> None:
    client.force_login(User.objects.create_superuser("root"))
    flow = _finished(runner)
    engine.rerun(flow.pk, all_tasks=True)
    documents = [
        client.get(reverse("flowerapp:flow", args=[flow.pk])).json(),
        *client.get(reverse("flowerapp:tasks", args=[flow.pk])).json()["results"],
        *client.get(reverse("flowerapp:flow-history", args=[flow.pk])).json()["results"],
    ]
    times = [value for row in documents for key, value in row.items() if value and (key == "ts" or key.endswith("_ts"))]
    assert len(times) > 3
    assert all(_is_recent(datetime.fromisoformat(value).astimezone(UTC)) for value in times), times
    flows = reverse("flowerapp:flows")
    local = datetime.now(host.tzinfo)
    for column, minutes, matches in (("after", -1, 1), ("after", 1, 0), ("before", -1, 0), ("before", 1, 1)):
        query = {f"registered_{column}": (local + minutes * MINUTE).isoformat()}
        assert len(client.get(flows, query).json()["results"]) == matches, query


def test_pages_of_the_api_follow_each_other(host: Host, runner: InlineRunner, client: Client) -> None:
    client.force_login(User.objects.create_superuser("root"))
    ids = [engine.register(define({1: []})).pk for _ in range(3)]
    seen, url = [], f"{reverse('flowerapp:flows')}?page_size=1"
    while url:
        page = client.get(url).json()
        seen += [row["task_flow_id"] for row in page["results"]]
        url = page["next"]
    assert seen == ids[::-1]


PAGES = ["flow_changelist", "task_changelist", "workflow_changelist", "pool_changelist", "worker_changelist"]


def test_the_admin_shows_the_hosts_time(host: Host, runner: InlineRunner, client: Client) -> None:
    client.force_login(User.objects.create_superuser("root"))
    Worker.objects.create(pk="w", name="w", pid=1, pool="p", concurrency=1)
    flow = _retrying(runner)
    engine.suspend(flow.pk)
    row = task(flow, 1)
    urls = [reverse(f"admin:flowerapp_{name}") for name in PAGES]
    urls += [reverse("admin:flowerapp_flow_change", args=[flow.pk])]
    urls += [reverse("admin:flowerapp_task_change", args=[row.pk])]
    pages = {url: client.get(url) for url in urls}
    assert {url: page.status_code for url, page in pages.items()} == dict.fromkeys(urls, 200)
    local = f"{flow.registered_ts.astimezone(host.tzinfo):%Y-%m-%d %H:%M:%S}"
    for url in (urls[0], *urls[-2:]):
        text = pages[url].content.decode()
        assert local in text, url
        shown = {(value, words) for value, words in re.findall(r'<time datetime="([^"]+)"[^>]*>([^<]+)</time>', text)}
        assert shown
        for value, words in shown:
            assert f"{datetime.fromisoformat(value).astimezone(host.tzinfo):%Y-%m-%d %H:%M:%S}" == words


def test_the_admins_filter_by_date_finds_todays_flows(host: Host, runner: InlineRunner, client: Client) -> None:
    client.force_login(User.objects.create_superuser("root"))
    flow = _finished(runner)
    flows = reverse("admin:flowerapp_flow_changelist")
    page = client.get(flows).content.decode()
    links = {link.replace("&amp;", "&") for link in re.findall(r'href="(\?[^"]*registered_ts__gte[^"]*)"', page)}
    assert len(links) >= 4
    for link in links:
        assert flow.pk in client.get(flows + link).content.decode(), link


def test_the_command_line_shows_the_hosts_time(host: Host, runner: InlineRunner) -> None:
    flow = _retrying(runner)
    local = f"{flow.registered_ts.astimezone(host.tzinfo):%Y-%m-%d %H:%M:%S}"
    assert local in cli("show", flow.pk).out
    assert local in cli("list").out
    document = cli("show", flow.pk, "--json").json
    assert _is_recent(datetime.fromisoformat(document["registered_ts"]).astimezone(UTC))
    assert datetime.fromisoformat(document["registered_ts"]).tzinfo
    due = task(flow, 1).due_ts
    assert due is not None
    assert f"{due.astimezone(host.tzinfo):%H:%M:%S %Z}" in " ".join(cli("show", flow.pk).out.split())


def test_durations_are_what_they_took(host: Host, runner: InlineRunner) -> None:
    flow = _retrying(runner, 7200)
    clock.advance(60)
    out = cli("show", flow.pk).out
    assert "1 min 0" in out
    assert re.search(r"1 h 5[89] min", out), "the retry's delay"


def test_entries_of_the_history_are_stamped(host: Host, runner: InlineRunner) -> None:
    _retrying(runner)
    assert all(map(_is_recent, HistoryEntry.objects.values_list("ts", flat=True)))
    assert timezone.get_current_timezone_name() == host.zone
