"""Examples of our OpenAPI document: bodies as they are written here, answers made from their schemas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FLOW = "01a227c4-0087-7737-91b8-85237805ff1b"
TIME = "2026-11-29T14:44:46.120000Z"
STEPS = [
    {"task_seq": 1, "program": "HTTPPostRequest", "parameters": {"URL": "http://stock.example/"}, "depends_on": []},
    {"task_seq": 2, "program": "Test1", "depends_on": [1]},
]
WHY = {"why": "the shop is closed"}
POOL = {"name": "warehouse", "slots": 4, "description": "Connections to the warehouse"}
ATTEMPT = {"task_flow_id": FLOW, "seq": 1, "attempt": 1}
REQUESTS: Mapping[str, Any] = {
    "register_named": {"input": {"day": "2026-11-29"}, "parameters": {"1": {"URL": "http://stock.example/"}}},
    "api_workflows_create": {"task_id": "etl", "description": "Every night", "tasks": STEPS},
    "api_workflows_update": {"description": "Every night", "tasks": STEPS[:1]},
    "api_pools_create": POOL,
    "api_pools_update": {"slots": 8},
    "api_cache_forget_create": {"program": "HTTPPostRequest", "workflow": "etl"},
    "api_approvals_decide_create": {"choice": "approve", "comment": "as agreed", "data": {"amount": 15}},
    "api_flows_suspend_create": WHY,
    "api_flows_resume_create": WHY,
    "api_flows_cancel_create": WHY,
    "api_flows_rerun_create": {"from": 1, "parameters": {"1": {"URL": "http://stock.example/"}}, **WHY},
    "api_flows_tasks_skip_create": WHY,
    "api_flows_tasks_end_create": {"output": {"rows": 7}, **WHY},
    "api_events_create": {"kind": "paid", "data": {"order": 7, "output": {"amount": 120}}},
    "api_latches_release_create": WHY,
    "api_flows_tasks_wake_create": {"output": {"approved": True}, **WHY},
    "api_flows_tasks_fail_create": {"reason": "the file is damaged"},
    "api_remote_claim_create": {"worker": "printer-1", "names": ["docs:*"], "limit": 10, "wait": 20},
    "api_remote_heartbeat_create": {**ATTEMPT, "progress": {"done": 3, "total": 10}},
    "api_remote_end_create": {**ATTEMPT, "output": {"pages": 2}},
    "api_flows_tasks_partial_update": {"parameters": {"URL": "http://stock.example/"}, "priority": -5, **WHY},
}
"""Operation → a body that it takes."""
TYPICAL: Mapping[str, Any] = {
    "taskFlowId": FLOW,
    "task_flow_id": FLOW,
    "taskId": "etl",
    "task_id": "etl",
    "startedTs": TIME,
    "registeredTs": TIME,
    "name": "warehouse",
    "program": "HTTPPostRequest",
    "task_exec_seq": 1,
    "task_seq": 1,
    "depends_task_exec_seq": -1,
    "depends_on": [],
    "exec_status": 3,
    "queue": "default",
    "unserved_queues": [],
    "left_out": {},
    "alias": "",
    "remote": "",
    "when": "",
    "cache_key": "",
    "cache_seconds": None,
    "cache_scope": "workflow",
    "cached_from": None,
    "key": "*",
    "size": 10,
    "source": "",
    "error": "",
    "traceback": "",
    "unknown": "",
    "waits": "",
    "why": "",
    "next": None,
    "previous": None,
    "registered_by": "ann",
    "parameters": {"URL": "http://stock.example/"},
    "input": {"day": "2026-11-29"},
    "output": {"rows": 7},
    "tasks": {"Finish": 2},
    "schema": {"type": "object", "properties": {"URL": {"type": "string"}}},
}
"""Name of a value in an answer → an example."""
BY_OPERATION: Mapping[str, Any] = {
    "root": {"flows": "http://127.0.0.1:8000/api/flows/", "workflows": "http://127.0.0.1:8000/api/workflows/"},
    "livez": {"status": "ok"},
    "readyz": {"status": "ok", "database": "ok", "workers": "ok", "broker": "ok"},
    "versions": {"flowerapp": "v1.0.0", "littleflow": "v0.13.0", "littleflow_redis": "v0.10.0"},
    "workflows": [{"id": FLOW, "state": "RUNNING"}],
    "inprogress": [FLOW],
    "workflow": {
        "F": [[0, 1, 0], [0, 0, 1], [0, 0, 0]],
        "T": [
            ["StartFlow", {"index": 0}],
            ["InvokeTask", {"index": 1, "name": "A", "parameters": {}, "base": None, "doc": None, "merge": False}],
            ["Sink", {"index": 2, "merge": False}],
        ],
    },
    "state": {"state": "RUNNING", "S": [0, 1, 0], "A": [0, 0, 0], "output": [None, None, None]},
    "trace": [[TIME, [0, 1, 0]]],
    "archive": {
        "F": [[0, 1, 0], [0, 0, 1], [0, 0, 0]],
        "T": [["StartFlow", {"index": 0}], ["InvokeTask", {"index": 1, "name": "A"}], ["Sink", {"index": 2}]],
        "S": [[TIME, [0, 1, 0]]],
        "A": [[TIME, [0, 0, 0]]],
    },
    "api_flows_archive_retrieve": {
        "format": "flowerapp.flow",
        "version": 1,
        "archived_ts": TIME,
        "secrets": "masked",
        "flow": {"task_flow_id": FLOW, "task_id": "etl", "exec_status": 3, "input": {}, "registered_ts": TIME},
        "tasks": [{"task_exec_seq": 1, "task_seq": 1, "exec_status": 3, "program": "Test1", "output": {"rows": 7}}],
        "history": [],
        "logs": [],
        "workflow": None,
        "checksum": "sha256:9f2c…",
    },
}
"""Operation → its answer, where its schema does not say enough."""
DEEPEST = 8


def with_answers(document: dict[str, Any]) -> dict[str, Any]:
    """The document, with an example in each answer of JSON."""
    schemas = document["components"]["schemas"]
    for methods in document["paths"].values():
        for operation in methods.values():
            _add_answers(operation, schemas)
    return document


def _add_answers(operation: dict[str, Any], schemas: Mapping[str, Any]) -> None:
    for code, response in operation["responses"].items():
        content = response.get("content", {}).get("application/json")
        if content is None or "examples" in content:
            continue
        if code >= "400" and operation["operationId"] != "readyz":
            content["example"] = _error(response["description"], content["schema"])
        else:
            made = BY_OPERATION.get(operation["operationId"])
            content["example"] = example_of(content["schema"], schemas) if made is None else made


def _error(sentence: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    if schema.get("$ref", "").endswith("/FailedRegister"):
        return {"status": "failed", "taskId": "etl", "description": sentence}
    return {"detail": sentence}


def example_of(schema: Mapping[str, Any], schemas: Mapping[str, Any], name: str = "", depth: int = 0) -> Any:
    """A value of a schema: what is typical for its name, else the least that its type allows."""
    if "$ref" in schema:
        return example_of(schemas[schema["$ref"].rpartition("/")[2]], schemas, name, depth + 1)
    for combined in ("allOf", "oneOf", "anyOf"):
        if combined in schema:
            return example_of(schema[combined][0], schemas, name, depth)
    if depth > DEEPEST:
        return None
    if schema.get("type") == "array" and "$ref" in schema.get("items", {}):
        return [example_of(schema["items"], schemas, "", depth + 1)]
    if name in TYPICAL:
        return TYPICAL[name]
    return _by_type(schema, schemas, depth)


def _by_type(schema: Mapping[str, Any], schemas: Mapping[str, Any], depth: int) -> Any:
    if "properties" in schema:
        return {key: example_of(value, schemas, key, depth + 1) for key, value in schema["properties"].items()}
    if "enum" in schema or "default" in schema:
        return schema["enum"][0] if "enum" in schema else schema["default"]
    if schema.get("nullable"):
        return None
    if schema.get("format") == "date-time":
        return TIME
    least = {"object": {}, "array": [], "integer": 0, "number": 0.0, "boolean": False, "string": "…"}
    return least.get(schema.get("type", ""))
