"""Values that are loaded from an address and stored at one: files under a root, servers through the guarded client."""

from __future__ import annotations

import json
import os
import stat
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from flowerapp.exceptions import InvalidPlanError
from flowerapp.programs.resources import LOAD, STORE
from flowerapp.registry import get
from flowerapp.states import Status
from flowerapp.testing import InlineRunner, inline
from flowerapp.workflows import arrow
from tests.workflows.arrow.support import run

pytestmark = pytest.mark.django_db(transaction=True)


class Shelf(BaseHTTPRequestHandler):
    """Gives the documents by their paths, each with its content type, and keeps what is stored."""

    documents: ClassVar[dict[str, tuple[str, str]]] = {
        "/order": ("application/json", '{"n": 1}'),
        "/order.yaml": ("text/plain", "n: 2\nday: 2026-01-31\n"),
        "/order.json": ("application/octet-stream", "[3]"),
        "/plain": ("text/plain", "- 4\n"),
        "/problem": ("application/problem+json; charset=utf-8", '{"title": "é"}'),
        "/x-yaml": ("application/x-yaml", "a: {b: 5}"),
        "/page": ("text/html", "<h1>No value</h1>"),
        "/broken": ("application/json", '{"n": '),
        "/tag.yaml": ("application/yaml", "a: 1\nb: !!python/object/apply:os.system [id]\n"),
        "/bomb.yaml": (
            "application/yaml",
            "a: &a [1,1,1,1,1,1,1,1,1]\n"
            + "".join(f"{n}: &{n} [{f'*{o},' * 9}]\n" for o, n in zip("abcdefgh", "bcdefghi", strict=True)),
        ),
        "/bom": ("application/json", "\ufeff[6]"),
        "/login": ("text/plain", "Log in, please"),
        "/empty": ("text/plain", ""),
        "/many.yaml": ("application/yaml", "- a\n" * 110_000),
        "/odd": ("application/json; charset=hex", "[1]"),
        "/huge": ("application/json", f'"{"x" * 1_100_000}"'),
    }
    stored: ClassVar[list[dict[str, Any]]] = []

    def do_GET(self) -> None:
        """A document."""
        kind, text = self.documents.get(self.path, ("text/plain", ""))
        self._answer(200 if self.path in self.documents else 404, kind, text.encode())

    def do_POST(self) -> None:
        """Keep what is sent."""
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.stored.append({"method": self.command, "path": self.path, "body": body, **dict(self.headers.items())})
        self._answer(500 if self.path.startswith("/full") else 201, "text/plain", b"kept")

    do_PUT = do_PATCH = do_POST  # noqa: N815 - the names that the server looks for

    def _answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def shelf(settings: Any) -> Iterator[str]:
    """The address of a server that may be called."""
    settings.FLOWER = {**settings.FLOWER, "HTTP_ALLOW_PRIVATE": ["127.0.0.1"]}
    Shelf.stored.clear()
    with HTTPServer(("127.0.0.1", 0), Shelf) as server:
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def root(settings: Any, tmp_path: Path) -> Path:
    """The directory for resources."""
    directory = tmp_path / "root"
    directory.mkdir()
    settings.FLOWER = {**settings.FLOWER, "RESOURCE_ROOT": str(directory)}
    return directory


@pytest.fixture
def runner() -> Iterator[InlineRunner]:
    with inline() as runner:
        yield runner


def failure(runner: InlineRunner, text: str) -> str:
    """The error of the flow's only failed task."""
    flow = run(runner, text)
    assert flow.status is Status.SUSPEND, flow.output
    assert flow.failed_task is not None
    return str(flow.failed_task.error)


def refusal(text: str) -> str:
    with pytest.raises(InvalidPlanError) as caught:
        arrow.plan_of_text(text)
    return str(caught.value)


# Both ends in one text


def test_a_text_loads_a_file_and_stores_its_output(runner: InlineRunner, root: Path) -> None:
    (root / "in.yaml").write_text("n: 1\ntags: [a, é]\n", encoding="utf-8")
    flow = run(runner, "<in.yaml> → flow:gate → <out/of/it.json>")
    assert flow.output == json.loads((root / "out/of/it.json").read_text("utf-8")) == {"n": 1, "tags": ["a", "é"]}
    assert [*(root / "out/of").iterdir()] == [root / "out/of/it.json"]


def test_a_store_merges_what_it_collects_and_replaces_the_file(runner: InlineRunner, root: Path) -> None:
    (root / "out.yaml").write_text("old: 1\n" * 100)
    flow = run(
        runner,
        '{ <{"a": 1}> → flow:gate; <{"b": 2}> → flow:gate } → > <out.yaml>',
    )
    assert flow.output == {"a": 1, "b": 2}
    assert (root / "out.yaml").read_text() == "a: 1\nb: 2\n"


# Files


@pytest.mark.parametrize(
    "address",
    [
        "in.json",
        "./in.json",
        "a/../in.json",
        "file:in.json",
        "file:%69n.json",
        "{root}/in.json",
        "file://{root}/in.json",
        "file://localhost{root}/in.json",
    ],
)
def test_a_file_is_named_in_several_ways(runner: InlineRunner, root: Path, address: str) -> None:
    (root / "in.json").write_text("[7]")
    assert run(runner, f"<{address.format(root=root)}> → flow:gate").output == [7]


@pytest.mark.parametrize(
    "address",
    [
        "../out.json",
        "a/../../out.json",
        "/etc/passwd",
        "file:///etc/passwd",
        "file:..%2Fout.json",
        "link/out.json",
        "link.json",
        ".",
        "",
        "file:",
    ],
)
@pytest.mark.parametrize("program", [LOAD, STORE])
def test_what_is_not_under_the_root_is_refused_before_anything_is_written(
    root: Path, address: str, program: str
) -> None:
    (root.parent / "out.json").write_text('"secret"')
    (root / "link").symlink_to(root.parent)
    (root / "link.json").symlink_to(root.parent / "out.json")
    ((_, sentence),) = get(program).parameter_problems({"uri": address})
    assert "is not in the directory for resources (FLOWER['RESOURCE_ROOT'])" in sentence
    assert str(root.parent) not in sentence


def test_an_address_of_another_machine_or_scheme_is_refused(root: Path) -> None:
    assert "names another machine; write file:/x.json" in refusal("<file://server/x.json> → flow:gate")
    assert "line 1, column 13: parameter uri: Value error, s3: is not possible" in refusal(
        "flow:gate → <s3://bucket/x>"
    )


def test_without_a_root_no_file_is_touched() -> None:
    assert "files are not allowed here: FLOWER['RESOURCE_ROOT'] names no directory" in refusal("<in.json> → flow:gate")


def test_what_is_no_plain_file_is_not_waited_for(runner: InlineRunner, root: Path) -> None:
    os.mkfifo(root / "pipe.json")
    (root / "directory").mkdir()
    assert failure(runner, "<pipe.json> → flow:gate").endswith("pipe.json cannot be read: it is no plain file")
    assert failure(runner, "<directory> → flow:gate").endswith("directory cannot be read: it is no plain file")
    assert failure(runner, "flow:gate → <directory>").endswith("directory cannot be written: it is no plain file")
    assert failure(runner, "<missing.json> → flow:gate").endswith(
        "missing.json cannot be read: No such file or directory"
    )


@pytest.mark.parametrize(
    "value",
    [
        "a\x85b",
        "\x85",
        {"\x85": ["\u2028", "\r\n", "\ufeff", " x ", "#", "yes", "2026-01-31", "1e3", "<<", "é"]},
        [1, 10**30, 0.1, True, None, {}, []],
    ],
)
@pytest.mark.parametrize("ending", ["json", "yaml"])
def test_what_is_stored_is_loaded_again(runner: InlineRunner, root: Path, value: Any, ending: str) -> None:
    run(runner, f"flow:gate → <x.{ending}>", {"value": value})
    assert run(runner, f"<x.{ending}> → flow:gate").output == {"value": value}


def test_the_largest_value_can_be_loaded_again(runner: InlineRunner, root: Path) -> None:
    value = {"n": [1] * 400_000}
    run(runner, "flow:gate → <x.json>", value)
    assert run(runner, "<x.json> → flow:gate").output == value
    flow = run(runner, "flow:gate → <x.yaml>", value)
    assert flow.failed_task is not None
    assert "x.yaml is over 1,048,576 bytes as application/yaml" in flow.failed_task.error
    assert not (root / "x.yaml").exists()


def test_a_file_that_is_replaced_keeps_its_mode(runner: InlineRunner, root: Path) -> None:
    (root / "x.json").touch(0o600)
    run(runner, "flow:gate → <x.json>", [1])
    assert stat.S_IMODE((root / "x.json").stat().st_mode) == 0o600
    assert (root / "x.json").read_text() == "[1]"


def test_odd_names_are_names(runner: InlineRunner, root: Path) -> None:
    for name, written in (
        ("a#1.yaml", "a#1.yaml"),
        ("漢" * 80 + ".json", "漢" * 80 + ".json"),
        ("file:b%3F.json", "b?.json"),
    ):
        run(runner, f"flow:gate → <{name}>", {"a": 1})
        assert (root / written).read_text() == ("a: 1\n" if "yaml" in name else '{"a":1}')
        assert run(runner, f"<{name}> → flow:gate").output == {"a": 1}


def test_a_link_that_leads_nowhere_shows_no_path(root: Path) -> None:
    (root / "loop").symlink_to(root / "loop")
    sentence = refusal("<loop> → flow:gate")
    assert "loop cannot be a file" in sentence
    assert str(root) not in sentence
    assert "an address of a file has at most 400 characters" in refusal(f"<{'a/' * 300}x> → flow:gate")


def test_a_header_that_is_not_ascii_is_said(runner: InlineRunner, shelf: str) -> None:
    error = failure(runner, f'flow:gate → <{shelf}/new>({{"headers": {{"X-Name": "é"}}}})')
    assert error.endswith("/new failed: a header holds 'é'; headers are ASCII")


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b'"' + b"x" * 2_000_000 + b'"', "x.json is over 1,048,576 bytes (FLOWER['MAX_JSON_BYTES'])"),
        (b'"\xff"', "x.json is no text in UTF-8, at byte 1"),
        (b'{"a": NaN}', "NaN"),
        (b"{", "x.json is not JSON: Expecting property name enclosed in double quotes at line 1, column 2"),
    ],
)
def test_a_file_that_holds_no_value_fails_the_task(
    runner: InlineRunner, root: Path, content: bytes, error: str
) -> None:
    (root / "x.json").write_bytes(content)
    assert error in failure(runner, "<x.json> → flow:gate")


# Servers


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("/order", {"n": 1}),
        ("/order.yaml", {"n": 2, "day": "2026-01-31"}),
        ("/order.json", [3]),
        ("/plain", [4]),
        ("/problem", {"title": "é"}),
        ("/x-yaml", {"a": {"b": 5}}),
        ("/bom", [6]),
    ],
)
def test_a_value_is_read_as_its_server_or_address_says(runner: InlineRunner, shelf: str, path: str, value: Any) -> None:
    assert run(runner, f"<{shelf}{path}> → flow:gate").output == value


def test_the_text_can_say_how_a_value_is_written(runner: InlineRunner, shelf: str) -> None:
    assert run(runner, f"<{shelf}/plain>(- content-type: yaml -) → flow:gate").output == [4]
    error = failure(runner, f"<{shelf}/plain>(- content-type: application/json -) → flow:gate")
    assert "/plain is not JSON" in error


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("/page", "/page is text/html, which cannot be read as a value; if it is JSON or YAML, say so"),
        ("/broken", "/broken is not JSON: Expecting value at line 1, column 7"),
        ("/tag.yaml", "/tag.yaml is no value, line 2: the YAML tag !!python/object/apply:os.system is not allowed"),
        ("/bomb.yaml", "/bomb.yaml is no value, line 6: the YAML value is larger than 4 MiB with its aliases"),
        ("/huge", "/huge is over 1,048,576 bytes"),
        ("/missing", "/missing answered 404"),
        ("/login", "/login is a plain text; if it is YAML, say so: (- content-type: application/yaml -)"),
        ("/empty", "/empty is a plain text"),
        ("/many.yaml", "the YAML has more than 100,000 values; write it as JSON"),
        ("/odd", "/odd has a character set that is not known"),
    ],
)
def test_what_is_no_value_fails_the_task(runner: InlineRunner, shelf: str, path: str, error: str) -> None:
    assert error in failure(runner, f"<{shelf}{path}> → flow:gate")


def test_a_private_address_is_not_called(runner: InlineRunner) -> None:
    assert "is the private address 127.0.0.1 (loopback)" in failure(runner, "<http://127.0.0.1:1/> → flow:gate")


@pytest.mark.parametrize(
    ("parameters", "method"), [("", "POST"), ("(- method: PUT -)", "PUT"), ("(- method: PATCH -)", "PATCH")]
)
def test_a_value_is_stored_at_a_server_once_for_each_run(
    runner: InlineRunner, shelf: str, parameters: str, method: str
) -> None:
    flow = run(runner, f"flow:gate → <{shelf}/new>{parameters}", {"é": 1})
    (call,) = Shelf.stored
    assert (call["method"], json.loads(call["body"]), call["Content-Type"]) == (method, {"é": 1}, "application/json")
    assert call["Idempotency-Key"] == f"{flow.pk}:2:1"
    assert flow.output == {"é": 1}


def test_a_value_is_stored_as_the_text_says(runner: InlineRunner, shelf: str) -> None:
    parameters = '{"content-type": "application/x-yaml", "headers": {"Authorization": "Bearer abc"}}'
    run(runner, f"flow:gate → <{shelf}/new>({parameters})", [1, {"a": "b"}])
    (call,) = Shelf.stored
    assert (call["body"], call["Content-Type"], call["Authorization"]) == (
        "- 1\n- a: b\n",
        "application/x-yaml",
        "Bearer abc",
    )


def test_a_header_of_the_text_takes_the_place_of_ours(runner: InlineRunner, shelf: str) -> None:
    run(runner, f'flow:gate → <{shelf}/new>({{"headers": {{"content-type": "text/x", "IDEMPOTENCY-KEY": "mine"}}}})')
    (call,) = Shelf.stored
    names = [name.lower() for name in call]
    assert (names.count("content-type"), names.count("idempotency-key")) == (1, 1)
    assert (call["content-type"], call["IDEMPOTENCY-KEY"]) == ("text/x", "mine")


def test_errors_quote_no_secret_of_the_call(runner: InlineRunner, shelf: str) -> None:
    address = f"{shelf}/full?token=hunter2hunter2"
    error = failure(runner, f'flow:gate → <{address}>({{"headers": {{"Authorization": "Bearer opensesame1"}}}})')
    assert "answered 500" in error
    assert "hunter2" not in error
    assert "opensesame" not in error


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("<http://a.b/c>(- method: DELETE -) → flow:gate", "line 1, column 1: parameter method"),
        (
            "<http://a.b/c>(- accept: x -) → flow:gate",
            "line 1, column 1: parameter accept: resource:load has no such parameter",
        ),
        ("flow:gate → <http://a.b/c>(- [PUT] -)", "line 1, column 13: the parameters of an address are an object"),
        ("<http://a.b/c>(- content-type: text/yaml; charset=utf-16 -) → flow:gate", "a value is text in UTF-8"),
        ("<file:a?b.json> → flow:gate", "file:a?b.json has a query or fragment, as no file has; write %3F for ?"),
        ("resource:lod(- uri: x.json -)", "line 1, column 1: there is no program 'resource:lod'"),
        ("flow:remote", "flow:remote is no program by itself"),
        ("flow:gate → <http://[>", "line 1, column 13: parameter uri"),
        ("flow:gate → <http:///x>", "line 1, column 13: parameter uri"),
    ],
)
def test_what_a_resource_does_not_take_is_refused_with_its_place(root: Path, text: str, problem: str) -> None:
    assert problem in refusal(text)
