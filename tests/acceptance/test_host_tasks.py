"""A host's own Celery tasks in flows, with its routes, rate limits and base classes, on a real prefork worker."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from textwrap import dedent
from typing import Any

import celery
import pytest

from tests.acceptance.live import Live, task
from tests.acceptance.test_plugin import Shop
from tests.probe import tasks
from tests.services import WorkerProcess, fresh_database, fresh_redis

SETTINGS = """
SHOP_CELERY_TASK_ROUTES = {"orders.tasks.report*": {"queue": "reports"}, "orders.*": "celery"}
SHOP_CELERY_TASK_ANNOTATIONS = {"orders.tasks.limited": {"rate_limit": "30/m"}}
"""
FILES = {
    "orders/tasks.py": """
        import os
        from datetime import date
        from celery import Task, shared_task

        def note(*words):
            with open(os.environ["SHOP_NOTES"], "a") as file:
                file.write(" ".join(map(str, words)) + "\\n")

        class Noting(Task):
            abstract = True

            def __call__(self, *args, **kwargs):
                note(self.name, "__call__", self.request.retries)
                return super().__call__(*args, **kwargs)

            def before_start(self, task_id, args, kwargs):
                note(self.name, "before_start", self.request.retries)

            def on_success(self, retval, task_id, args, kwargs):
                note(self.name, "on_success", retval)

            def on_retry(self, exc, task_id, args, kwargs, einfo):
                note(self.name, "on_retry", exc)

            def on_failure(self, exc, task_id, args, kwargs, einfo):
                note(self.name, "on_failure", exc)

            def after_return(self, status, retval, task_id, args, kwargs, einfo):
                note(self.name, "after_return", status)

        @shared_task
        def add(x, y):
            return x + y

        @shared_task
        def mul(x, y):
            return x * y

        @shared_task
        def total(numbers):
            return numbers

        @shared_task(bind=True)
        def report(self, x):
            own = self.request
            names = ("id", "root_id", "parent_id", "hostname", "delivery_info", "called_directly", "is_eager", "args")
            return {name: getattr(own, name) for name in names}

        @shared_task
        def limited():
            return 1

        @shared_task(bind=True, base=Noting)
        def noting(self, fail=False):
            self.update_state(state="PROGRESS", meta={"current": 1, "total": 2})
            if not self.request.retries:
                raise self.retry(exc=ValueError("first"), countdown=0)
            if fail:
                raise ValueError("for good")
            return self.request.retries

        @shared_task(bind=True)
        def replaced(self):
            raise self.replace(replacement.s())

        @shared_task
        def replacement():
            note("replacement", "ran")

        @shared_task
        def day():
            return date(2026, 1, 31)

        @shared_task
        def weekday(day):
            return day.isoweekday()
        """,
    "orders/programs.py": """
        from flowerapp.registry import program

        @program("Adds")
        def adds(ctx):
            from orders import tasks
            ctx.add_children([tasks.add.s(1, 2), tasks.mul.s(3, y=4), tasks.report.s(5)])
        """,
    "use.py": """
        import json, os, sys
        import django

        os.environ["DJANGO_SETTINGS_MODULE"] = "shop.settings"
        django.setup()
        from django.core.management import call_command

        WORKFLOWS = {
            "chain": [("add", None, {"x": 1, "y": 2}), ("mul", None, {"y": 5}), ("report", None, {})],
            "chord": [("add", [], {"x": i, "y": i}) for i in range(2)] + [("total", [1, 2], {})],
            "children": [("Adds", None, {}), ("total", None, {})],
            "limited": [("limited", [], {}) for _ in range(3)],
            "noting": [("noting", None, {})],
            "failing": [("noting", None, {"fail": True})],
            "replaced": [("replaced", None, {})],
            "typed": [("day", None, {}), ("weekday", None, {})],
        }

        def main():
            from flowerapp import engine
            from flowerapp.models import TaskDefinition

            for name, steps in WORKFLOWS.items():
                for seq, (program, depends_on, parameters) in enumerate(steps, start=1):
                    full = program if program[0].isupper() else f"orders.tasks.{program}"
                    TaskDefinition.objects.create(
                        task_id=name, task_seq=seq, program=full, depends_on=depends_on, parameters=parameters
                    )
            flows = {name: engine.register(name) for name in WORKFLOWS}
            return {name: facts(flow.wait(60)) for name, flow in flows.items()}

        def facts(flow):
            tasks = list(flow.tasks.order_by("task_exec_seq"))
            return {
                "id": flow.pk,
                "status": flow.status.label,
                "outputs": [task.output for task in tasks],
                "errors": [task.error for task in tasks],
                "progress": tasks[0].progress,
                "started": sorted(task.started_ts.timestamp() for task in tasks),
                "repairs": [entry.verb for entry in flow.history.all() if entry.verb in ("resend", "rescue")],
            }

        if sys.argv[1] == "migrate":
            call_command("migrate", verbosity=0)
            print("{}")
        else:
            print(json.dumps(main()))
        """,
}


@pytest.fixture
def shop(postgres_url: str, redis_url: str, tmp_path: Path) -> Iterator[Shop]:
    """A host with tasks of its own, and a prefork worker that serves its two queues."""
    with ExitStack() as stack:
        environment = {
            "SHOP_DATABASE": stack.enter_context(fresh_database(postgres_url)),
            "SHOP_BROKER": stack.enter_context(fresh_redis(redis_url)),
            "SHOP_RESULTS": "disabled",
            "SHOP_NOTES": str(tmp_path / "notes"),
            "FLOWER_PROBE_MESSAGES": "",
        }
        host = Shop(tmp_path, environment)
        for name, text in FILES.items():
            (tmp_path / name).write_text(dedent(text))
        with (tmp_path / "shop/settings.py").open("a") as settings:
            settings.write(SETTINGS)
        host.python("-m", "django", "makemigrations", "people")
        host.use("migrate")
        options = {"environment": host.environment, "app": "shop", "cwd": tmp_path}
        worker = WorkerProcess("-c", "2", "-Q", "celery,reports", **options)  # type: ignore[arg-type]
        stack.callback(worker.stop)
        worker.wait_ready()
        yield host


def test_host_tasks_run_in_flows_as_they_do_without(shop: Shop) -> None:
    flows = shop.use("run")
    notes = Path(shop.environment["SHOP_NOTES"]).read_text().splitlines()

    assert flows["chain"]["outputs"][:2] == [3, 15]
    request = flows["chain"]["outputs"][2]
    assert request["args"] == [15]
    assert request["id"] == f"{flows['chain']['id']}:3:1"
    assert request["root_id"] == flows["chain"]["id"]
    assert "@" in request["hostname"]
    assert request["delivery_info"]["routing_key"] == "reports"
    assert (request["called_directly"], request["is_eager"]) == (False, False)

    assert flows["chord"]["outputs"] == [0, 2, [0, 2]]

    numbers = flows["children"]["outputs"][1]
    assert numbers[:2] == [3, 12]
    assert numbers[2]["delivery_info"]["routing_key"] == "reports"
    assert numbers[2]["args"] == []

    started = flows["limited"]["started"]
    gaps = [later - earlier for earlier, later in pairwise(started)]
    at_once = 0 if celery.VERSION >= (5, 7) else 1  # Celery before 5.7 lets two start at once, without flows too
    assert sum(gap > 1.5 for gap in gaps) >= len(gaps) - at_once

    assert flows["noting"]["outputs"] == [1]
    assert flows["noting"]["progress"] == {
        "done": 1,
        "total": 2,
        "state": "PROGRESS",
        "meta": {"current": 1, "total": 2},
    }
    assert flows["failing"]["status"] == "Suspend"
    ours = [line.removeprefix("orders.tasks.noting ") for line in notes if line.startswith("orders.tasks.noting")]
    assert sorted(ours) == sorted(
        [
            *["before_start 0", "__call__ 0", "on_retry first", "before_start 1", "__call__ 1"] * 2,
            *["on_success 1", "after_return SUCCESS"],
            *["on_failure for good", "after_return FAILURE"],
        ]
    )

    assert flows["replaced"]["status"] == "Suspend"
    assert "self.replace" in flows["replaced"]["errors"][0]
    assert "replacement ran" not in notes
    assert flows["typed"]["outputs"] == ["2026-01-31", 6]
    assert [name for name, flow in flows.items() if flow["repairs"]] == []


@pytest.mark.parametrize("shared_site", ["sqlite", "redis-2"], indirect=True)
def test_a_host_task_with_a_limit_has_its_request_in_any_kind_of_worker(live: Live) -> None:
    host = f"{tasks.__name__}."
    limited = {"time_limit": 30}
    steps: dict[int, dict[str, Any]] = {
        1: {"program": f"{host}add", "parameters": {"x": 1, "y": 2}, **limited},
        2: {"program": f"{host}request", **limited},
        3: {"program": f"{host}ignored", "parameters": {"state": "SUCCESS"}},
    }
    flow = live.run({1: [], 2: [1], 3: [2]}, steps)
    request = task(flow, 2).output
    assert (request["id"], request["root_id"], request["args"]) == (f"{flow.pk}:2:1", flow.pk, [3])
    assert request["hostname"]
    assert request["delivery_info"]["routing_key"] == "default"
    assert task(flow, 3).output == {"why": "set by hand"}
    live.assert_faultless(flow)
