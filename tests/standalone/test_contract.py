"""The API's document is true of a server that is called over HTTP."""

from __future__ import annotations

from tests import contract
from tests.standalone.conftest import Server
from tests.standalone.test_server import post

CALLS = 12 if contract.LONG else 1
"""Calls of each operation."""


def test_the_document_is_true(server: Server) -> None:
    server.start()
    flow_id = post(f"{server.url}/register/sample")[1]["taskFlowId"]
    server.await_states(flow_id, 3, 3, 3)
    token = server.command("flow", "token", "robot", "--create").stdout.strip()
    names = {"flow_id": flow_id, "seq": 1, "task_id": "sample", "name": "gpu"}
    calls = contract.Calls(token, base_url=server.url)
    for operation in contract.operations():
        for case in contract.at_bounds(operation, "robot", names, CALLS):
            calls(case)
    assert calls.statuses.total() >= 25
    assert 200 in calls.statuses
