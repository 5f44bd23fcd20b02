"""A remote worker that is nothing but a client of the API: it claims tasks, works, sends heartbeats, and ends them.

``python remote_worker.py URL TOKEN NAME``; it prints what it does. A task that has a parameter ``gate`` waits for the
file of that name. Its lease is ``LEASE`` seconds.
"""

from __future__ import annotations

import json
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

LEASE = 3
PAUSE = 0.2
"""Seconds between two heartbeats, and between two tries."""
UNREACHABLE = (502, 503, 504)


class Client:
    """The three calls."""

    def __init__(self, url: str, token: str, name: str) -> None:
        self.url = url
        self.name = name
        self.headers = {"Authorization": f"Token {token}", "Content-Type": "application/json"}

    def post(self, verb: str, body: dict[str, Any]) -> tuple[int, Any]:
        """Status and body of the answer; tries until there is one."""
        while True:
            request = urllib.request.Request(  # noqa: S310 - the test's server
                f"{self.url}/api/remote/{verb}/", json.dumps(body).encode(), self.headers
            )
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
                    return answer.status, json.load(answer)
            except urllib.error.HTTPError as error:
                if error.code not in UNREACHABLE:
                    return error.code, json.load(error)
            except (OSError, ValueError):
                pass
            time.sleep(PAUSE)

    def work(self, task: dict[str, Any]) -> None:
        """Do one task."""
        attempt = {name: task[name] for name in ("task_flow_id", "seq", "attempt")}
        say("claimed", **attempt)
        gate = task["parameters"].get("gate")
        while gate and not Path(gate).exists():
            status, _ = self.post("heartbeat", {**attempt, "seconds": LEASE})
            if status == 409:
                say("lost", **attempt)
                return
            time.sleep(PAUSE)
        status, body = self.post("end", {**attempt, "output": {"by": self.name, "attempt": task["attempt"]}})
        say("ended" if status == 200 else "refused", **attempt, details=body.get("details"))

    def run(self) -> None:
        """Work until it is killed."""
        while True:
            body = {"worker": self.name, "names": ["docs:*"], "wait": 1, "seconds": LEASE}
            status, answer = self.post("claim", body)
            if status != 200:
                raise SystemExit(f"{status}: {answer}")
            for task in answer["tasks"]:
                self.work(task)
            if not answer["tasks"]:
                time.sleep(PAUSE)


def say(what: str, **facts: Any) -> None:
    """Print a line of JSON."""
    sys.stdout.write(json.dumps({"what": what, **facts}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    Client(*sys.argv[1:]).run()
