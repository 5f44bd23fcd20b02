"""``redis:*``: which commands there are, what is sent, and what replies become."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from celery.app import app_or_default

from flowerapp import engine, registry
from flowerapp.exceptions import FlowerError, InvalidPlanError, RetryTask
from flowerapp.executors.celery import tasks
from flowerapp.programs.redis_commands import HARMLESS
from flowerapp.registry import find, get
from flowerapp.states import Status
from flowerapp.testing import InlineRunner, context_for, inline
from flowerapp.testing.runner import flower
from flowerapp.workflows import arrow
from tests.engine.support import task
from tests.programs.test_http_bounds import Server
from tests.services import until, with_path
from tests.workflows.arrow.support import run

pytestmark = pytest.mark.django_db(transaction=True)

DATABASE = "15"
FOLDER = "flowerapp-tests:redis-commands"


@pytest.fixture
def runner() -> Iterator[InlineRunner]:
    with inline() as runner:
        yield runner


@pytest.fixture
def redis(settings: Any, redis_url: str) -> Iterator[Any]:
    """A client of the server on which the commands run; keys below ``FOLDER`` are deleted at the end."""
    from redis import Redis

    url = with_path(redis_url, DATABASE)
    settings.FLOWER = {**settings.FLOWER, "REDIS_TASKS": url}
    with Redis.from_url(url, decode_responses=True) as client:
        yield client
        for key in client.scan_iter(f"{FOLDER}*"):
            client.delete(key)


def text(command: str, *args: Any, **parameters: Any) -> str:
    return f"redis:{command}({json.dumps({'args': args, **parameters})})"


def output(runner: InlineRunner, source: str, input: Any = None) -> Any:
    flow = run(runner, source, input)
    assert flow.status is Status.FINISH, flow.failed_task and flow.failed_task.error
    return flow.output


def failure(runner: InlineRunner, source: str, input: Any = None) -> str:
    flow = run(runner, source, input)
    assert flow.failed_task is not None, flow.output
    return str(flow.failed_task.error)


def call(command: str, *args: Any, input: Any = None, **parameters: Any) -> Any:
    """The output of a command, without a flow."""
    name = f"redis:{command}"
    return get(name).call({"args": list(args), **parameters}, context_for(name, input=input))


# Which there are


def test_without_a_server_there_are_none() -> None:
    assert find("redis:get") is None
    assert not [program for program in registry.programs() if program.name.startswith("redis:")]
    with pytest.raises(InvalidPlanError) as refused:
        arrow.plan_of_text("A → redis:get(- args: [a] -)")
    assert "line 1, column 5: there is no program 'redis:get'; FLOWER['REDIS_TASKS'] names no server for it" in str(
        refused.value
    )


def test_with_a_server_there_are_those_that_only_handle_values(settings: Any) -> None:
    settings.FLOWER = {**settings.FLOWER, "REDIS_TASKS": "redis://redis.example/3"}
    names = {program.name for program in registry.programs() if program.name.startswith("redis:")}
    assert names == {f"redis:{command}" for command in HARMLESS}
    node, *_ = arrow.plan_of_text("redis:get(- args: [a] -)").nodes
    assert (node.program, node.remote, node.parameters) == ("redis:get", "", {"args": ["a"]})


def test_a_worker_has_celery_tasks_for_them(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.FLOWER = {**settings.FLOWER, "REDIS_TASKS": "redis://redis.example/3", "REDIS_COMMANDS": ["get", "keys"]}
    added: list[registry.Program] = []
    monkeypatch.setattr(tasks, "add", added.append)
    tasks.add_further(app_or_default())
    names = [program.name for program in added if program.name.startswith("redis:")]
    assert names == ["redis:get", "redis:keys"]


def test_names_are_in_lower_case(settings: Any) -> None:
    settings.FLOWER = {**settings.FLOWER, "REDIS_TASKS": "redis://redis.example/3"}
    assert [find(name) for name in ("redis:GET", "redis:", "redis:a b", "redis:../x")] == [None] * 4
    with pytest.raises(InvalidPlanError, match="there is no program 'redis:GET'; write 'redis:get'"):
        arrow.plan_of_text("redis:GET(- args: [a] -)")


DANGEROUS = (
    *("flushall", "flushdb", "config", "shutdown", "eval", "evalsha", "script", "function", "fcall", "module", "debug"),
    *("keys", "randomkey", "info", "monitor", "client", "acl", "auth", "hello", "select", "swapdb", "move", "migrate"),
    *("replicaof", "slaveof", "failover", "cluster", "sync", "psync", "save", "bgsave", "bgrewriteaof", "restore"),
    *("multi", "exec", "watch", "subscribe", "psubscribe", "ssubscribe", "blpop", "brpop", "blmove", "brpoplpush"),
    *("bzpopmin", "bzpopmax", "blmpop", "bzmpop", "wait", "waitaof", "quit", "reset", "memory", "latency", "nonsense"),
)


@pytest.mark.parametrize("command", DANGEROUS)
def test_all_others_are_refused_unless_they_are_named(settings: Any, command: str) -> None:
    settings.FLOWER = {**settings.FLOWER, "REDIS_TASKS": "redis://redis.example/3"}
    with pytest.raises(InvalidPlanError, match=rf"redis:{command} is refused; name '{command}' in FLOWER"):
        arrow.plan_of_text(text(command, "a"))
    with pytest.raises(FlowerError, match="is refused"):
        call(command, "a")
    settings.FLOWER = {**settings.FLOWER, "REDIS_COMMANDS": [command.upper()]}
    assert arrow.plan_of_text(text(command, "a")).nodes[0].program == f"redis:{command}"


def test_a_list_without_the_star_allows_nothing_else(settings: Any) -> None:
    settings.FLOWER = {**settings.FLOWER, "REDIS_TASKS": "redis://redis.example/3", "REDIS_COMMANDS": ["get", "KEYS"]}
    assert [program.name for program in registry.programs() if program.name.startswith("redis:")] == [
        "redis:get",
        "redis:keys",
    ]
    with pytest.raises(InvalidPlanError, match="redis:set is refused"):
        arrow.plan_of_text(text("set", "a", "b"))


def test_a_command_that_may_wait_is_refused_with_the_option_by_which_it_does(settings: Any) -> None:
    settings.FLOWER = {**settings.FLOWER, "REDIS_TASKS": "redis://redis.example/3"}
    with pytest.raises(InvalidPlanError, match="parameter args: redis:xread with BLOCK would hold its worker"):
        arrow.plan_of_text(text("xread", "Block", 0, "STREAMS", "s", "$"))
    with pytest.raises(FlowerError, match="with BLOCK would hold"):
        call("xread", "{input[how]}", 0, "STREAMS", "s", "$", input={"how": "BLOCK"})
    arrow.plan_of_text(text("xread", "STREAMS", "block", "0"))
    settings.FLOWER = {**settings.FLOWER, "REDIS_COMMANDS": ["*", "xread"]}
    arrow.plan_of_text(text("xread", "BLOCK", 0, "STREAMS", "s", "$"))


@pytest.mark.parametrize(
    ("parameters", "problem"),
    [
        (
            {"args": ["{input.x}"]},
            "parameter args: argument 1: line 1, column 1: a field reads keys, and no attributes",
        ),
        ({"args": "a"}, "parameter args: "),
        ({"args": ["a"], "type": "float"}, "parameter type: "),
        ({"arg": ["a"]}, "parameter arg: redis:get has no such parameter; it takes: args, format, key, type"),
    ],
)
def test_wrong_parameters_are_refused_at_once(settings: Any, parameters: Any, problem: str) -> None:
    settings.FLOWER = {**settings.FLOWER, "REDIS_TASKS": "redis://redis.example/3"}
    with pytest.raises(InvalidPlanError) as refused:
        arrow.plan_of_text(f"redis:get({json.dumps(parameters)})")
    assert problem in str(refused.value)


# What they do


def test_a_value_is_set_and_read(runner: InlineRunner, redis: Any) -> None:
    source = f"redis:set(- args: ['{FOLDER}:{{input[id]}}', '12345'] -) → redis:get(- args: ['{FOLDER}:7'] -)"
    assert output(runner, source, {"id": 7}) == {"id": 7, f"{FOLDER}:7": "12345"}
    assert redis.get(f"{FOLDER}:7") == "12345"
    assert output(runner, text("get", f"{FOLDER}:7", key="n", type="int")) == {"n": 12345}
    assert output(runner, text("incr", f"{FOLDER}:7", key="n")) == {"n": 12346}
    assert output(runner, text("get", f"{FOLDER}:8")) == {}


def test_arguments_are_templates_unless_format_is_off(redis: Any) -> None:
    value = {"id": 7, "all": [1, "é"]}
    call("rpush", f"{FOLDER}:list", "{input[id]}", "{{ input.all }}", 5, 2.5, True, [1], {"a": 1}, input=value)
    call("rpush", f"{FOLDER}:list", "{input[id]}", format=False)
    assert redis.lrange(f"{FOLDER}:list", 0, -1) == [
        "7",
        '[1,"é"]',
        "5",
        "2.5",
        "true",
        "[1]",
        '{"a":1}',
        "{input[id]}",
    ]


def test_replies_become_json(redis: Any) -> None:
    redis.hset(f"{FOLDER}:hash", mapping={"b": "2", "a": "é"})
    redis.sadd(f"{FOLDER}:set", "b", "a")
    redis.zadd(f"{FOLDER}:sorted", {"x": 1.5, "y": float("inf")})
    redis.rpush(f"{FOLDER}:list", "1", "2")
    redis.xadd(f"{FOLDER}:stream", {"kind": "a"}, id="1-1")
    redis.set(f"{FOLDER}:bytes", b"\xff\x00a")
    replies: dict[tuple[Any, ...], Any] = {
        ("hgetall", "hash"): {"a": "é", "b": "2"},
        ("smembers", "set"): ["a", "b"],
        ("lrange", "list", 0, -1): ["1", "2"],
        ("zscore", "sorted", "x"): 1.5,
        ("zscore", "sorted", "y"): "inf",
        ("xrange", "stream", "-", "+"): [["1-1", {"kind": "a"}]],
        ("get", "bytes"): "\ufffd\ufffda",
        ("strlen", "bytes"): 3,
        ("type", "set"): "set",
    }
    for (command, name, *rest), reply in replies.items():
        assert call(command, f"{FOLDER}:{name}", *rest, key="r") == {"r": reply}, command
    assert call("lrange", f"{FOLDER}:list", 0, -1, key="r", type="int") == {"r": [1, 2]}
    assert call("xread", "COUNT", 5, "STREAMS", f"{FOLDER}:stream", "0-0", key="r") == {
        "r": [[f"{FOLDER}:stream", [["1-1", {"kind": "a"}]]]]
    }


@pytest.mark.parametrize(("command", "args"), [("get", ["nothing"]), ("set", ["x", "y"]), ("hexists", ["x", "y"])])
def test_a_boolean_and_null_are_not_kept(redis: Any, command: str, args: list[str]) -> None:
    names = [f"{FOLDER}:{command}:{args[0]}", *args[1:]]
    assert call(command, *names, input={"a": 1}) == {"a": 1}


def test_a_reply_has_a_place_whatever_the_input_and_the_arguments_are(redis: Any) -> None:
    assert call("echo", "hello") == {"hello": "hello"}
    assert call("dbsize").keys() == {"dbsize"}
    assert call("echo", "{input[0]}", input=["a"], key="r") == {"input": ["a"], "r": "a"}


@pytest.mark.parametrize(
    ("source", "error"),
    [
        (text("lrange", f"{FOLDER}:a"), "redis:lrange: wrong number of arguments for 'lrange' command"),
        (
            text("set", f"{FOLDER}:a", "{input[b]}"),
            "parameter args: line 1, column 7: input has no key 'b'; it is empty",
        ),
        (text("set", f"{FOLDER}:a", None), "parameter args: an argument is null; write a text or a number"),
        (text("echo", "abc", type="int"), "the reply is no whole number; leave type: int out"),
    ],
)
def test_an_error_fails_the_task_with_its_reason(runner: InlineRunner, redis: Any, source: str, error: str) -> None:
    assert error in failure(runner, source)


def test_a_reply_that_is_too_large_fails_the_task(runner: InlineRunner, redis: Any) -> None:
    redis.set(f"{FOLDER}:large", "x" * 1_100_000)
    assert "is 1,100," in failure(runner, text("get", f"{FOLDER}:large"))


def test_a_server_that_does_not_answer_is_asked_again(settings: Any) -> None:
    settings.FLOWER = {**settings.FLOWER, "REDIS_TASKS": "redis://:sesame-4711@127.0.0.1:1/0"}
    with flower() as runner:
        flow = runner.run(engine.register_plan(arrow.plan_of_text(text("get", "a"))))
    failed = task(flow, 1)
    assert failed.attempt == 4
    assert failed.error.startswith("redis:get: Redis does not answer: ")
    assert "sesame" not in failed.error + failed.traceback


def test_a_server_that_hangs_is_given_up(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flowerapp.programs.redis_commands.SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        settings.FLOWER = {**settings.FLOWER, "REDIS_TASKS": f"redis://127.0.0.1:{listener.getsockname()[1]}/0"}
        with pytest.raises(RetryTask, match="Redis does not answer: Timeout"):
            call("get", "a")


def test_a_reply_without_an_end_is_given_up(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flowerapp.programs.redis_commands.LONGEST", 0.5)

    def serve(connection: socket.socket) -> None:
        if b"GET" not in connection.recv(65536):
            connection.sendall(b"+OK\r\n" * 2)
        connection.sendall(b"$1000000\r\n")
        while connection.send(b"x"):
            time.sleep(0.05)

    server = Server(serve)
    settings.FLOWER = {**settings.FLOWER, "REDIS_TASKS": f"redis://{server.address}/0"}
    with pytest.raises(RetryTask, match=r"no whole reply within 0\.5 s"):
        call("get", "a")
    until(server.left.is_set)
    server.close()
