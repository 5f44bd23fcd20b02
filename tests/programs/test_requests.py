"""``request:*``: what is sent and returned, where a call may go, and services that end the step themselves."""

from __future__ import annotations

import gzip
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest

from flowerapp import engine
from flowerapp.core.gates import ANSWERED
from flowerapp.core.identity import Process
from flowerapp.core.messages import TaskRef
from flowerapp.exceptions import InvalidPlanError, ParkTask, RetryTask, StateConflictError
from flowerapp.models import Flow, Task
from flowerapp.registry import get, registered
from flowerapp.selectors import tasks
from flowerapp.selectors.next_steps import task_verbs
from flowerapp.selectors.wait_reasons import wait_reasons
from flowerapp.states import Status
from flowerapp.testing import InlineRunner, context_for, inline
from flowerapp.testing.runner import flower
from flowerapp.workflows import arrow
from tests.attempts import fail
from tests.cli.support import flow as command
from tests.engine.support import check, task, verbs
from tests.programs.test_http_bounds import Behavior, Server, dripping, read_request, silent
from tests.services import until
from tests.workflows.arrow.support import run

pytestmark = pytest.mark.django_db(transaction=True)

SECRET = "sesame-4711-open"


class Service(BaseHTTPRequestHandler):
    """Answers by the path, and keeps what it was asked."""

    answers: ClassVar[dict[str, tuple[int, str]]] = {
        "/json": (200, '{"n": 1}'),
        "/text": (200, "not JSON"),
        "/nothing": (204, ""),
        "/nan": (200, '{"a": NaN}'),
        "/broken": (500, "<h1>broken</h1>"),
        "/teapot": (418, '{"error": "teapot"}'),
        "/accepted": (202, "{}"),
    }
    asked: ClassVar[list[dict[str, Any]]] = []

    def do_GET(self) -> None:
        """Keep what is asked, and answer."""
        size = int(self.headers.get("Content-Length") or 0)
        url = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = {
            "method": self.command,
            "path": url.path,
            "query": parse_qs(url.query),
            "body": self.rfile.read(size).decode(),
            "headers": headers,
        }
        self.asked.append(asked)
        self._answer(url.path, headers)

    do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815 - the names that the server looks for

    def _answer(self, path: str, headers: dict[str, str]) -> None:
        status, body = self.answers.get(path.removeprefix("/api"), (404, "no such page"))
        if path.endswith("/echo"):
            status, body = 200, json.dumps(headers)
        if path.endswith("/away"):
            status, body = 302, ""
        data = body.encode()
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "http://127.0.0.1:1/")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def service(settings: Any) -> Iterator[str]:
    """The address of a service that may be called; it is the base address of two categories, too."""
    Service.asked.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Service) as server:
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        settings.FLOWER = {
            **settings.FLOWER,
            "HTTP_ALLOW_PRIVATE": ["127.0.0.1"],
            "REQUEST_URLS": {"test:shop": f"{address}/api/", "shop": address},
            "REQUEST_HEADERS": {"test:shop": {"Authorization": f"Bearer {SECRET}", "X-Org": "org-of-ours-17"}},
        }
        yield address
        server.shutdown()


@pytest.fixture
def runner() -> Iterator[InlineRunner]:
    with inline() as runner:
        yield runner


def text(method: str, **parameters: Any) -> str:
    return f"request:{method}({json.dumps(parameters)})"


def output(runner: InlineRunner, source: str, input: Any = None) -> Any:
    flow = run(runner, source, input)
    assert flow.status is Status.FINISH, flow.failed_task and flow.failed_task.error
    return flow.output


def failure(runner: InlineRunner, source: str, input: Any = None) -> str:
    """The error of the flow's only failed task."""
    flow = run(runner, source, input)
    assert flow.status is Status.SUSPEND, flow.output
    assert flow.failed_task is not None
    return str(flow.failed_task.error)


def test_the_programs_are_those_whose_tasks_another_system_may_end() -> None:
    assert {program.name for program in registered() if program.name.startswith("request:")} == ANSWERED
    assert get("request:post").description.startswith("Call an address by POST, with a body")
    assert {"url", "sync", "output_mode"} <= get("request:get").schema["properties"].keys()


# What is sent


@pytest.mark.parametrize("method", ["get", "post", "put", "delete"])
def test_each_method_is_called_and_the_answer_joins_the_input(runner: InlineRunner, service: str, method: str) -> None:
    made = output(runner, text(method, url=f"{service}/json"), {"id": 7})
    assert made == {"id": 7, "request_status": 200, "response": {"n": 1}}
    (asked,) = Service.asked
    has_body = method in ("post", "put")
    assert (asked["method"], asked["body"]) == (method.upper(), '{"id":7}' if has_body else "")
    assert asked["headers"].get("content-type") == ("application/json" if has_body else None)
    assert asked["headers"]["idempotency-key"].endswith(":1:1")
    assert asked["query"] == {}


def test_url_and_body_are_templates_in_either_spelling(runner: InlineRunner, service: str) -> None:
    source = text(
        "post",
        url=service + "/{input[path]}?a={parameters[content_type]}",
        template='{{"id": {input["id"]}}}',
        content_type="text/x-own",
    )
    output(runner, source, {"id": 7, "path": "json"})
    source = text("put", url=service + "/{{ input.path }}", template="{{ {'n': input.id} }}")
    output(runner, source, {"id": 7, "path": "json"})
    first, second = Service.asked
    assert (first["path"], first["query"], first["body"]) == ("/json", {"a": ["text/x-own"]}, '{"id": 7}')
    assert first["headers"]["content-type"] == "text/x-own"
    assert (second["path"], second["body"]) == ("/json", '{"n":7}')


def test_parameters_are_written_as_yaml_too(runner: InlineRunner, service: str) -> None:
    source = 'request:get (- {url: "{input[site]}", output_mode: [response_json], error_on_status: false} -)'
    assert output(runner, source, {"site": f"{service}/teapot"})["response"] == {"error": "teapot"}
    flow = run(runner, "@task ask = request:get (- url: x -)\n ask(- url: " + service + "/json -)")
    assert (flow.status, task(flow, 1).alias) == (Status.FINISH, "ask")


def test_keys_of_the_input_stand_in_for_parameters_and_are_no_templates(runner: InlineRunner, service: str) -> None:
    value = {"url": f"{service}/json?q={{input[x]}}", "output_mode": ["status"], "template": None, "x": 1}
    made = output(runner, text("get", url="https://other.example/", output_mode=["response_json"]), value)
    assert made == {**value, "request_status": 200}
    assert Service.asked[0]["query"] == {"q": ["{input[x]}"]}
    assert failure(runner, text("get", url=service), {"sync": "perhaps"}).startswith("parameter sync: ")


def test_a_step_may_leave_its_parameters_to_no_input(runner: InlineRunner, service: str) -> None:
    value = {"url": f"{service}/text", "use_input_parameters": True, "output_mode": ["status"]}
    made = output(runner, text("get", url=f"{service}/json", use_input_parameters=False), value)
    assert (made["response"], made["url"]) == ({"n": 1}, value["url"])
    made = output(runner, text("get", url=f"{service}/json"), {**value, "use_input_parameters": False})
    assert made == {**value, "use_input_parameters": False, "request_status": 200}
    assert [asked["path"] for asked in Service.asked] == ["/json", "/text"]


def test_an_input_cannot_lead_secrets_of_the_parameters_elsewhere(runner: InlineRunner, service: str) -> None:
    source = text("post", url=f"{service}/json", template='{{"password": "hunter2-hunter2"}}')
    assert output(runner, source, {"id": 1})["request_status"] == 200
    error = failure(runner, source, {"url": f"{service}/text"})
    assert error == "the input gives url, but the parameters hold secrets, which must not go elsewhere"
    assert len(Service.asked) == 1


@pytest.mark.parametrize(("value", "expected"), [(None, {}), ([1, 2], {"input": [1, 2]}), ("a", {"input": "a"})])
def test_an_input_may_be_missing_or_no_object(runner: InlineRunner, service: str, value: Any, expected: Any) -> None:
    made = output(runner, text("get", url=f"{service}/json", output_mode="status"), value)
    assert made == {**expected, "request_status": 200}


def test_the_command_line_runs_a_text_with_a_request(runner: InlineRunner, service: str) -> None:
    source = text("get", url=service + "/{input[path]}", output_mode=["response_json"]) + " → flow:gate"
    answer = command("run", "-e", source, "--input", '{"path": "json"}')
    assert answer.code == 0, answer.err
    runner.run()
    flow = engine.get_flow(answer.out.strip())
    assert (flow.status, flow.output) == (Status.FINISH, {"path": "json", "response": {"n": 1}})


# What is returned


@pytest.mark.parametrize(
    ("path", "modes", "expected"),
    [
        ("/json", ["status"], {"request_status": 200}),
        ("/json", ["response_text"], {"response": '{"n": 1}'}),
        ("/json", ["response_json"], {"response": {"n": 1}}),
        ("/json", [], {}),
        ("/text", ["response_text", "response_json"], {"response": "not JSON"}),
        ("/nothing", ["response_json", "status"], {"response": None, "request_status": 204}),
        ("/nan", ["response_text", "response_json"], {"response": '{"a": NaN}'}),
    ],
)
def test_the_output_has_what_its_mode_says(
    runner: InlineRunner, service: str, path: str, modes: list[str], expected: Any
) -> None:
    assert output(runner, text("get", url=service + path, output_mode=modes)) == expected


@pytest.mark.parametrize(("path", "response"), [("/broken", "<h1>broken</h1>"), ("/teapot", {"error": "teapot"})])
def test_a_status_that_is_no_success_fails_the_task_unless_it_is_taken(
    runner: InlineRunner, service: str, path: str, response: Any
) -> None:
    status = Service.answers[path][0]
    error = failure(runner, text("get", url=service + path))
    assert error.startswith(f"GET {service}{path} answered {status}")
    made = output(
        runner, text("get", url=service + path, error_on_status=False, output_mode=["status", "response_json"])
    )
    assert made == {"request_status": status, "response": response}
    assert len(Service.asked) == 2


def test_what_is_no_json_fails_the_task_where_json_is_asked_for(runner: InlineRunner, service: str) -> None:
    error = failure(runner, text("get", url=f"{service}/text", output_mode=["response_json"]))
    assert error.endswith(
        "/text answered 200, but the response is not JSON: Expecting value at line 1, column 1; "
        "add response_text to output_mode"
    )


def test_a_redirect_is_a_status_and_is_not_followed(runner: InlineRunner, service: str) -> None:
    assert "answered 302" in failure(runner, text("get", url=f"{service}/away"))
    assert output(runner, text("get", url=f"{service}/away", error_on_status=False))["request_status"] == 302


# Where a call may go


def test_a_category_is_a_base_address_with_headers_of_its_own(runner: InlineRunner, service: str) -> None:
    source = text("get", url="/json?id={input[id]}", category="shop", environ="test")
    assert output(runner, source, {"id": 3})["response"] == {"n": 1}
    assert output(runner, text("get", url="json", category="shop"))["response"] == {"n": 1}
    assert output(runner, text("get", url="json"), {"category": "shop", "environ": "test"})["request_status"] == 200
    first, second, third = Service.asked
    assert (first["path"], first["query"]) == ("/api/json", {"id": ["3"]})
    assert first["headers"]["authorization"] == third["headers"]["authorization"] == f"Bearer {SECRET}"
    assert second["path"] == "/json"
    assert "authorization" not in second["headers"]


def test_the_headers_are_masked_wherever_an_attempt_quotes_them(
    runner: InlineRunner, service: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    flow = run(runner, text("get", url="echo", category="shop", environ="test"))
    assert flow.output["response"]["x-org"] == "••••"
    assert SECRET not in json.dumps(flow.output)
    Service.answers["/quoting"] = (500, f"no access for {SECRET} of org-of-ours-17")
    flow = run(runner, text("get", url="quoting", category="shop", environ="test"))
    error = task(flow, 1)
    for quoted in (error.error, error.traceback, caplog.text, str(list(flow.history.values()))):
        assert SECRET not in quoted
        assert "org-of-ours-17" not in quoted
    assert SECRET not in str(error.parameters)


@pytest.mark.parametrize(
    ("parameters", "input", "error"),
    [
        ({}, {}, "url is missing: neither the parameters of the step nor its input have it"),
        ({"url": "/json"}, {}, "URL '/json' is not an http or https address"),
        ({"url": "{input[u]}"}, {"u": 5}, "URL '5' is not an http or https address"),
        ({"url": "{{ input.u }}"}, {"u": 5}, "parameter url: its template gives no text"),
        ({"url": "{input[u]}"}, {"v": 5}, "parameter url: line 1, column 7: input has no key 'u'; there are: v"),
        (
            {"url": "x", "category": "bank"},
            {},
            "FLOWER['REQUEST_URLS'] has no base address 'bank'; it has: shop, test:shop",
        ),
        ({"url": "{input[u]}", "category": "shop"}, {"u": "https://a.example/"}, "url is a whole address"),
        ({"url": "{input[u]}", "category": "shop"}, {"u": "//a.example/"}, "url is a whole address"),
        ({"url": "{input[u]}", "category": "shop"}, {"u": "a/%2e%2e/b"}, "url leads out of the base address"),
        ({"url": "{input[u]}", "category": "shop"}, {"u": "a\\..\\b"}, "url leads out of the base address"),
        ({"template": "{input[t]}", "url": "http://a.example/"}, {}, "parameter template: line 1, column 7"),
    ],
)
def test_what_cannot_be_called_fails_the_task_and_says_where(
    runner: InlineRunner, service: str, parameters: dict[str, Any], input: Any, error: str
) -> None:
    assert error in failure(runner, text("post", **parameters), input)
    assert Service.asked == []


def test_a_private_address_is_not_called(runner: InlineRunner) -> None:
    assert "is the private address 127.0.0.1 (loopback)" in failure(runner, text("get", url="http://127.0.0.1:1/"))


@pytest.mark.parametrize(
    ("parameters", "problem"),
    [
        ({"url": "{input.id}"}, "line 1, column 1: parameter url: line 1, column 1: a field reads keys"),
        ({"url": "https://a.example/{input[id]"}, "parameter url: line 1, column 19: { begins no field"),
        ({"url": "https://a.example/", "template": '{"a": 1}'}, "parameter template: line 1, column 1: { begins no"),
        ({"url": "ftp://a.example/{input[id]}"}, "is not an http or https address"),
        ({"url": "localhost:8000/x"}, "is not an http or https address"),
        ({"url": "https://a.example/", "category": "shop"}, "write the path below it, or drop the category"),
        ({"url": "../x", "category": "shop"}, "url leads out of the base address"),
        ({"url": "https://a.example/", "output_mode": ["all"]}, "parameter output_mode"),
        ({"url": "https://a.example/", "timeout": 0}, "parameter timeout"),
        ({"uri": "https://a.example/"}, "parameter uri: request:get has no such parameter; it takes: url, category"),
    ],
)
def test_what_is_wrong_whatever_the_input_is_refused_at_once(parameters: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidPlanError) as refused:
        arrow.plan_of_text(text("get", **parameters))
    assert problem in str(refused.value)


# Retries


def test_a_service_that_gives_no_answer_is_asked_again(settings: Any) -> None:
    settings.FLOWER = {**settings.FLOWER, "HTTP_ALLOW_PRIVATE": ["127.0.0.1"]}
    with flower() as runner:
        flow = runner.run(engine.register_plan(arrow.plan_of_text(text("get", url="http://127.0.0.1:1/"))))
    failed = task(flow, 1)
    assert (failed.attempt, verbs(flow)) == (4, ["retry"] * 3 + ["fail"])
    assert failed.error.startswith("GET http://127.0.0.1:1/ failed: ConnectError")


def test_an_answer_that_is_an_error_is_not_asked_for_again(runner: InlineRunner, service: str) -> None:
    failure(runner, text("post", url=f"{service}/broken"))
    assert len(Service.asked) == 1


def test_all_attempts_have_one_key(service: str) -> None:
    program = get("request:post")
    for attempt in (1, 2):
        context = context_for("request:post", attempt=attempt, flow_id="f", seq=3)
        program.call({"url": f"{service}/json"}, context)
    assert {asked["headers"]["idempotency-key"] for asked in Service.asked} == {"f:3:1"}
    with pytest.raises(RetryTask, match=r"nowhere\.invalid"):
        program.call({"url": "http://nowhere.invalid/"}, context_for("request:post"))


# Hostile services


@pytest.mark.parametrize(
    "behavior", [silent, dripping(b"200 OK\r\nContent-Length: 1000000\r\n\r\n"), dripping(b"200 OK\r\nX: ")]
)
def test_a_service_that_never_ends_is_given_up(service: str, behavior: Behavior) -> None:
    server = Server(behavior)
    parameters = {"url": f"http://{server.address}/", "timeout": 1}
    with pytest.raises(RetryTask, match=r"no whole answer within 1 s; raise timeout"):
        get("request:get").call(parameters, context_for("request:get"))
    until(server.left.is_set)
    server.close()


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"200 OK\r\n\r\n" + b"x" * 1_100_000, "is over 1,048,576 bytes"),
        (b"200 OK\r\nContent-Encoding: gzip\r\n\r\n" + gzip.compress(bytes(50_000_000)), "is over 1,048,576 bytes"),
        (b"200 OK\r\n\r\n" + b"[" * 100_000, "the response is nested too deeply"),
        (b"200 OK\r\n\r\n" + b"9" * 100_000, "the response is not JSON"),
        (b"200 OK\r\n\r\n" + b"[" * 300 + b"]" * 300, "is nested too deeply"),
        (b"200 OK\r\n\r\n\xff\xfe", "the response is not JSON"),
        (b"200 OK\r\nContent-Type: application/json; charset=hex\r\n\r\n[]", "a character set that is not known"),
        (b"302 Found\r\nLocation: http://169.254.169.254/\r\n\r\n", "answered 302"),
        (b"999 What\r\n\r\n", "answered 999"),
        (b"nonsense", "failed: "),
    ],
)
def test_an_answer_that_cannot_be_used_fails_the_task(
    runner: InlineRunner, service: str, answer: bytes, error: str
) -> None:
    def serve(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 " + answer)

    server = Server(serve)
    source = text("get", url=f"http://{server.address}/", output_mode=["response_json"])
    flow = engine.register_plan(arrow.plan_of_text(source))
    runner.run()
    assert error in task(flow, 1).error
    server.close()


# Services that end the step


ASKING = 'request:post({{"url": "{}/accepted?mine=1", "sync": false}}) → flow:gate'


def asking(runner: InlineRunner, service: str, *, source: str = "", input: Any = None) -> Flow:
    """A flow whose first step waits for the service that it has called."""
    return run(runner, source or ASKING.format(service), input if input is not None else {"id": 7})


def test_a_call_that_is_not_sync_names_its_step_and_waits_without_a_worker(runner: InlineRunner, service: str) -> None:
    flow = asking(runner, service)
    check(flow)
    (asked,) = Service.asked
    assert asked["query"] == {
        "mine": ["1"],
        "littleflow-name": ["request:post"],
        "littleflow-base": ["request:post"],
        "littleflow-index": ["1"],
        "littleflow-workflow": [f"workflow:{flow.pk}"],
        "littleflow-attempt": ["1"],
    }
    row = tasks.whole_task(flow.pk, 1)
    assert (row.status, row.parked, row.awaits_answer, flow.status) == (Status.WAIT, True, True, Status.RUNNING)
    assert wait_reasons([row])[row.pk] == "for the service that it has called, which ends it"
    assert {"end", "fail"} <= task_verbs(row)
    runner.run()
    assert len(Service.asked) == 1
    flow = engine.end_task(f"{flow.pk}", 1, output={"done": True})
    runner.run()
    check(flow)
    assert engine.get_flow(flow.pk).output == {"done": True}
    assert verbs(flow) == ["park", "end"]


def test_the_name_of_a_step_is_its_alias(runner: InlineRunner, service: str) -> None:
    source = f"@task ask = request:get (- {{url: {service}/accepted, sync: false}} -)\n ask"
    asking(runner, service, source=source)
    query = Service.asked[0]["query"]
    assert (query["littleflow-name"], query["littleflow-base"]) == (["ask"], ["request:get"])


def test_the_context_can_be_left_out(runner: InlineRunner, service: str) -> None:
    source = text("get", url=f"{service}/accepted", sync=False, use_context_parameters=False)
    assert asking(runner, service, source=source).status is Status.RUNNING
    assert Service.asked[0]["query"] == {}


def test_it_is_ended_by_command_and_over_http(runner: InlineRunner, service: str, client: Any, admin_user: Any) -> None:
    flow = asking(runner, service)
    answer = command("end", f"workflow:{flow.pk}", 1, "--output", '{"n": 2}')
    assert answer.code == 0, answer.err
    runner.run()
    assert engine.get_flow(flow.pk).output == {"n": 2}
    flow = asking(runner, service)
    client.force_login(admin_user)
    path = f"/api/flows/workflow:{flow.pk}/tasks/1/end/"
    answer = client.post(path, {"output": {"n": 3}}, content_type="application/json")
    assert answer.status_code == 200, answer.content
    runner.run()
    assert engine.get_flow(flow.pk).output == {"n": 3}
    assert client.post(path, {}, content_type="application/json").status_code == 409


def test_the_service_may_report_a_failure_and_a_rerun_asks_anew(runner: InlineRunner, service: str) -> None:
    flow = asking(runner, service)
    flow = engine.fail_task(flow.pk, 1, "no paper")
    check(flow)
    assert (flow.status, task(flow, 1).error, task(flow, 1).parked) == (Status.SUSPEND, "no paper", False)
    engine.rerun(flow.pk)
    runner.run()
    check(flow)
    keys = [asked["headers"]["idempotency-key"] for asked in Service.asked]
    assert keys == [f"{flow.pk}:1:1", f"{flow.pk}:1:2"]
    assert task(flow, 1).awaits_answer


def test_each_child_waits_for_its_own_answer(runner: InlineRunner, service: str) -> None:
    ask = text("post", url=f"{service}/accepted", sync=False)
    flow = run(runner, f'<[{{"n": 1}}, {{"n": 2}}]> → * {ask}')
    seqs = [int(asked["query"]["littleflow-index"][0]) for asked in Service.asked]
    assert [(row.task_exec_seq, row.awaits_answer) for row in flow.tasks.exclude(parent_seq=None)] == [
        (seq, True) for seq in sorted(seqs)
    ]
    for seq in seqs:
        check(flow)
        engine.end_task(flow.pk, seq, output=seq)
    runner.run()
    assert engine.get_flow(flow.pk).output == seqs
    flow = run(runner, f'<[{{"n": 1}}, {{"n": 2}}]> → * {ask}')
    seq = int(Service.asked[-1]["query"]["littleflow-index"][0])
    engine.fail_task(flow.pk, seq, "no paper")
    check(flow)
    assert engine.get_flow(flow.pk).status is Status.SUSPEND


def test_it_can_be_skipped_cancelled_and_held(runner: InlineRunner, service: str) -> None:
    flow = asking(runner, service)
    engine.skip(flow.pk, 1)
    runner.run()
    check(flow)
    assert engine.get_flow(flow.pk).output == {"id": 7}
    flow = asking(runner, service)
    engine.cancel(flow.pk)
    with pytest.raises(StateConflictError, match="is Cancelled already"):
        engine.end_task(flow.pk, 1)
    flow = engine.register_plan(arrow.plan_of_text(ASKING.format(service)))
    with pytest.raises(StateConflictError, match="is not ready: it waits for a worker"):
        engine.end_task(flow.pk, 1)
    runner.run()
    engine.suspend(flow.pk)
    engine.end_task(flow.pk, 1, output=1)
    check(flow)
    assert engine.get_flow(flow.pk).output == 1


def test_a_service_that_refuses_fails_the_step(runner: InlineRunner, service: str) -> None:
    source = text("post", url=f"{service}/broken", sync=False, error_on_status=False)
    assert "answered 500" in failure(runner, source)


@pytest.mark.parametrize("ends", [True, False])
def test_an_answer_before_the_step_waits_counts_and_the_attempt_is_late(runner: InlineRunner, ends: bool) -> None:
    source = text("post", url="https://a.example/", sync=False) + " → flow:gate"
    flow = engine.register_plan(arrow.plan_of_text(source))
    claim = Task.objects.claim(TaskRef(flow.pk, 1), Process("w", 1))
    assert claim
    if ends:
        engine.end_task(flow.pk, 1, output={"early": True})
    else:
        engine.fail_task(flow.pk, 1, "no paper")
    assert not fail(claim, ParkTask("accepted")).finished
    check(flow)
    flow = engine.get_flow(flow.pk)
    assert (flow.status, flow.output) == ((Status.FINISH, {"early": True}) if ends else (Status.SUSPEND, {}))
    assert task(flow, 1).error == ("" if ends else "no paper")
