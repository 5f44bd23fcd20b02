"""LATENCY and REGISTER: one task on an idle system, and flows per second, through REST and through the engine."""

from __future__ import annotations

import http.client
import json
import os
import secrets
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any

from django.contrib.auth import get_user_model
from rest_framework.authtoken.models import Token

from benchmarks import ours, signals
from benchmarks.contenders import REDIS, Bench, Contender
from benchmarks.figures import Ratio, percentile
from flowerapp.models import Flow
from flowerapp.states import Status
from tests.services import ROOT, until

CALLERS = 4
"""Threads that register at once through REST."""
UNSERVED = ", unserved"
"""Suffix of a way of registering where no worker runs what is registered."""
RATIO_BAR = 1.7
"""The most that the latency of the engine may be of bare Celery's."""
PAUSE = 0.05
"""Seconds between two tasks of LATENCY, so that each finds the system idle."""


@dataclass(frozen=True, slots=True)
class Web:
    """One web process of the project, and a token that may register."""

    port: int
    token: str

    def connect(self) -> http.client.HTTPConnection:
        """A connection that is kept."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def register(self, connection: http.client.HTTPConnection, name: str, parameters: dict[str, Any]) -> None:
        """Register a flow."""
        headers = {"Authorization": f"Token {self.token}", "Content-Type": "application/json"}
        connection.request("POST", f"/register/{name}", json.dumps({"parameters": parameters}), headers)
        answer = connection.getresponse()
        body = answer.read()
        if answer.status >= 300:
            raise RuntimeError(f"{answer.status}: {body[:500]!r}")


@contextmanager
def web(bench: Bench) -> Iterator[Web]:
    """One web process with four threads, as the README runs it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    user = get_user_model().objects.create_superuser(f"bench-{secrets.token_hex(4)}")
    token = Token.objects.create(user=user)
    command = [sys.executable, "-m", "gunicorn", "project.wsgi", "--bind", f"127.0.0.1:{port}", "--threads", "4"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **bench.site.environment}, **quiet)  # type: ignore[call-overload]
    try:
        until(lambda: _answers(port), 60)
        yield Web(port, token.key)
    finally:
        process.terminate()
        process.wait(30)


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def latency(bench: Bench, server: Web, tasks: int) -> dict[str, Any]:
    """Milliseconds from sending the call to the program's start, by way."""
    name = ours.define("single", {1: []})
    connection = server.connect()
    ways: dict[str, Callable[[str], Any]] = {
        "REST": lambda key: server.register(connection, name, {"1": {"key": key}}),
        "engine": lambda key: ours.register(name, 1, key),
        REDIS: lambda key: bench.bare[REDIS].tell.si(key).apply_async(),
    }
    times: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(tasks + 10):
        for way, submit in ways.items():
            with bench.bare[REDIS].submitting() if way == REDIS else nullcontext():
                key = Contender.new_key()
                time.sleep(PAUSE)
                began = time.time()
                submit(key)
                if number >= 10:
                    times[way].append(1000 * (signals.wait(key, 30) - began))
                else:
                    signals.wait(key, 30)
    return {
        "workload": "LATENCY",
        "tasks": tasks,
        "ways": {
            way: {"median": round(statistics.median(values), 2), "p95": round(percentile(values, 0.95), 2)}
            for way, values in times.items()
        },
        "bars": {"REST": {"median": 25, "p95": 50}, "engine": {"median": 8, "p95": 20}},
        "ratio": asdict(Ratio.of(times["engine"], times[REDIS])),
        "ratio_bar": RATIO_BAR,
    }


def registering(server: Web, flows: int) -> dict[str, Any]:
    """Flows of three tasks registered a second, each with a commit of its own: while the workers run them, which take
    the processors too, and with a queue that no worker serves."""
    served, unserved = "chain-3", ours.define("chain-3-unserved", {1: [], 2: [1], 3: [2]}, queue="unserved")
    rates = {}
    for served_by, name in (("", served), (UNSERVED, unserved)):
        rates[f"engine{served_by}"] = _rate(flows, lambda name=name: ours.many(name, flows, Contender.new_key()))  # type: ignore[misc] # called at once
        _drained(unserved)
        rates[f"REST{served_by}"] = _rate(flows, lambda name=name: _by_rest(server, name, flows))  # type: ignore[misc]
        _drained(unserved)
    return {
        "workload": "REGISTER",
        "flows": flows,
        "per_second": rates,
        "bars": {f"{way}{suffix}": bar for way, bar in (("engine", 300), ("REST", 100)) for suffix in ("", UNSERVED)},
    }


def _rate(number: int, action: Callable[[], Any]) -> float:
    began = time.perf_counter()
    action()
    return round(number / (time.perf_counter() - began), 1)


def _by_rest(server: Web, name: str, flows: int) -> None:
    callers = [threading.Thread(target=_call, args=(server, name, flows // CALLERS)) for _ in range(CALLERS)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()


def _call(server: Web, name: str, times: int) -> None:
    connection = server.connect()
    for _ in range(times):
        server.register(connection, name, {"3": {"key": "unread"}})


def _drained(unserved: str) -> None:
    Flow.objects.filter(task_id=unserved).delete()
    until(lambda: not Flow.objects.exclude(exec_status=Status.FINISH).exists(), 300, poll=0.05)


def lines(result: dict[str, Any]) -> list[str]:
    """A result for people."""
    if result["workload"] == "REGISTER":
        rates = [f"{way} {rate:.0f}/s (bar {result['bars'][way]})" for way, rate in result["per_second"].items()]
        return [f"REGISTER, flows of 3 tasks: {', '.join(rates)}"]
    lines = [f"LATENCY, {result['tasks']} tasks, ms from the call to the program's start"]
    for way, times in result["ways"].items():
        bar = result["bars"].get(way)
        limits = f"   bars {bar['median']} and {bar['p95']}" if bar else ""
        lines.append(f"  {way:18} median {times['median']:6.2f}   p95 {times['p95']:6.2f}{limits}")
    ratio = Ratio(**result["ratio"])
    lines.append(f"  engine to {REDIS}: {ratio}, {ratio.verdict(result['ratio_bar'])}")
    return lines
