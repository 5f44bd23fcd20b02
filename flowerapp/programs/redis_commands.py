"""Programs ``redis:COMMAND`` for the commands of ``FLOWER["REDIS_COMMANDS"]``, if REDIS_TASKS names a server."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, Literal
from urllib.parse import unquote, urlsplit

from pydantic import Field

from flowerapp import conf
from flowerapp.core import values
from flowerapp.core.expressions import ExpressionError
from flowerapp.core.format_templates import filled, template_problems
from flowerapp.exceptions import FlowerError, RetryTask
from flowerapp.programs.deadline import within
from flowerapp.registry import Context, Program, Source, add_source

PREFIX = "redis:"
NAME = re.compile(r"[a-z][a-z0-9._-]{0,60}")
ANY = "*"
"""In ``FLOWER["REDIS_COMMANDS"]``: all of ``HARMLESS``."""
SECONDS = 10
"""Longest time to connect, and to wait for the server to continue with its reply."""
LONGEST = 60
"""Seconds for a whole command."""
MOST_ARGUMENTS = 10_000
_HARMLESS = """
    copy del dbsize echo exists expire expireat expiretime object persist pexpire pexpireat pexpiretime ping pttl
    rename renamenx scan sort sort_ro time touch ttl type unlink
    append decr decrby get getdel getex getrange getset incr incrby incrbyfloat lcs mget mset msetnx psetex set
    setex setnx setrange strlen substr bitcount bitfield bitfield_ro bitop bitpos getbit setbit
    hdel hexists hget hgetall hgetdel hgetex hincrby hincrbyfloat hkeys hlen hmget hmset hrandfield hscan hset
    hsetex hsetnx hstrlen hvals hexpire hexpireat hexpiretime hpersist hpexpire hpexpireat hpexpiretime hpttl httl
    lindex linsert llen lmove lmpop lpop lpos lpush lpushx lrange lrem lset ltrim rpop rpoplpush rpush rpushx
    sadd scard sdiff sdiffstore sinter sintercard sinterstore sismember smembers smismember smove spop srandmember
    srem sscan sunion sunionstore
    zadd zcard zcount zdiff zdiffstore zincrby zinter zintercard zinterstore zlexcount zmpop zmscore zpopmax
    zpopmin zrandmember zrange zrangebylex zrangebyscore zrangestore zrank zrem zremrangebylex zremrangebyrank
    zremrangebyscore zrevrange zrevrangebylex zrevrangebyscore zrevrank zscan zscore zunion zunionstore
    xack xadd xautoclaim xclaim xdel xgroup xinfo xlen xpending xrange xread xreadgroup xrevrange xtrim
    geoadd geodist geohash geopos geosearch geosearchstore pfadd pfcount pfmerge publish spublish
"""
HARMLESS = frozenset(_HARMLESS.split())
"""Commands that read and change values, and answer at once.

Not among them are those that end or change the server, run scripts, look at other clients, change the connection, look
at all keys, or wait.
"""
MAY_WAIT = {"xread": "block", "xreadgroup": "block"}
"""An argument by which a command waits."""


class RedisCommandError(FlowerError):
    """The Redis command failed."""

    code = "redis"


@dataclass(frozen=True, kw_only=True)
class Wish:
    """The parameters of a command."""

    args: Annotated[tuple[Any, ...], Field(description="The arguments.", max_length=MOST_ARGUMENTS)] = ()
    format: Annotated[bool, Field(description="Whether each argument that is a text is a template.")] = True
    key: Annotated[str, Field(description="Where the output has the reply; by default the first argument.")] = ""
    type: Annotated[Literal["string", "int"], Field(description="What a text in the reply becomes.")] = "string"


@dataclass(frozen=True, kw_only=True)
class RedisProgram(Program):
    """A command as a program."""

    command: str
    """Its name."""

    @property
    def description(self) -> str:
        """What the program does."""
        return f"Run the Redis command {self.command.upper()}; the input with the reply is the output."

    @property
    def is_named(self) -> bool:
        """Whether the settings name the command itself."""
        return self.command in map(str.lower, conf.get().REDIS_COMMANDS)

    @property
    def refusal(self) -> str:
        """Why the command must not be run."""
        if self.is_named or (self.command in HARMLESS and ANY in conf.get().REDIS_COMMANDS):
            return ""
        return f"{self.name} is refused; name {self.command!r} in FLOWER['REDIS_COMMANDS'] if flows may run it"

    def parameter_problems(
        self, parameters: Mapping[str, Any], *, follows: bool = False, later: Collection[str] = ()
    ) -> list[tuple[str, str]]:
        """The errors in ``parameters``, those in templates included."""
        problems = super().parameter_problems(parameters, follows=follows, later=later)
        return problems or [("args", problem) for problem in self._argument_problems(parameters)]

    def _argument_problems(self, parameters: Mapping[str, Any]) -> Iterator[str]:
        wish = self.function(**self._values(self._coerce(parameters)))
        for number, item in enumerate(wish.args if wish.format else (), start=1):
            if isinstance(item, str):
                yield from (f"argument {number}: {sentence}" for sentence in template_problems(item))
        if self._waits(wish.args):
            yield f"{self.name} with {MAY_WAIT[self.command].upper()} would hold its worker"

    def _waits(self, arguments: Collection[Any]) -> bool:
        """Whether the arguments let the command wait, and the settings do not name it."""
        options = [str(item).lower() for item in arguments]
        before = options[: options.index("streams")] if "streams" in options else options
        return not self.is_named and MAY_WAIT.get(self.command) in before

    def call(self, parameters: Mapping[str, Any], context: Context) -> Any:
        """The input with the reply. Raises RedisCommandError, and RetryTask where the server does not answer."""
        if self.refusal:
            raise RedisCommandError(self.refusal)
        wish: Wish = super().call(parameters, context)
        value = {} if context.input is None else context.input
        arguments = [_argument(item, wish, value, parameters) for item in wish.args]
        if self._waits(arguments):
            raise RedisCommandError(f"{self.name} with {MAY_WAIT[self.command].upper()} would hold its worker")
        reply = _plain(self._reply(arguments, context), int if wish.type == "int" else str)
        output = dict(value) if isinstance(value, dict) else {"input": value}
        if reply is not None and not isinstance(reply, bool):
            output[wish.key or (arguments[0] if arguments else self.command)] = reply
        return output

    def _reply(self, arguments: list[str], context: Any) -> Any:
        from redis import exceptions

        url = conf.get().REDIS_TASKS or ""
        context.give("redis", {"secret": _password(url)})
        try:
            with _client(url) as client:
                return within(LONGEST, lambda _: client.execute_command(self.command.upper(), *arguments))
        except TimeoutError:
            raise RetryTask(f"{self.name}: Redis does not answer: no whole reply within {LONGEST:g} s") from None
        except (exceptions.AuthenticationError, exceptions.AuthorizationError) as error:
            raise RedisCommandError(f"{self.name}: {error}") from None
        except (exceptions.ConnectionError, exceptions.TimeoutError) as error:
            raise RetryTask(f"{self.name}: Redis does not answer: {error}") from None
        except (exceptions.RedisError, ValueError) as error:
            raise RedisCommandError(f"{self.name}: {error}") from None


def _client(url: str) -> Any:
    """A client, which connects with its first command and sends nothing twice by itself."""
    from redis import Redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    times = {"socket_timeout": SECONDS, "socket_connect_timeout": SECONDS}
    return Redis.from_url(url, protocol=2, retry=Retry(NoBackoff(), 0), **times)


def _password(url: str) -> str:
    try:
        return unquote(urlsplit(url).password or "")
    except ValueError:
        return url


def _argument(item: Any, wish: Wish, value: Any, parameters: Mapping[str, Any]) -> str:
    """An argument as text."""
    if isinstance(item, str) and wish.format:
        try:
            item = filled(item, value, parameters)
        except ExpressionError as error:
            raise RedisCommandError(f"parameter args: {error}") from None
    if item is None:
        raise RedisCommandError("parameter args: an argument is null; write a text or a number")
    return item if isinstance(item, str) else values.dumps(item, "an argument")


def _plain(reply: Any, convert: Callable[[str], Any], depth: int = 0) -> Any:
    """A reply as JSON; ``convert`` is for its texts, and for those of a list."""
    if isinstance(reply, (bytes, str)):
        return _converted(values.text(reply.decode(errors="replace") if isinstance(reply, bytes) else reply), convert)
    if isinstance(reply, float) and not math.isfinite(reply):
        return str(reply)
    if reply is None or isinstance(reply, (bool, int, float)):
        return reply
    inner = convert if depth == 0 else str
    if isinstance(reply, dict):
        return {str(_plain(key, str)): _plain(item, inner, depth + 1) for key, item in reply.items()}
    if isinstance(reply, (set, frozenset)):
        return sorted((_plain(item, inner, depth + 1) for item in reply), key=str)
    if isinstance(reply, (list, tuple)):
        return [_plain(item, inner, depth + 1) for item in reply]
    return values.text(reply)


def _converted(text: str, convert: Callable[[str], Any]) -> Any:
    try:
        return convert(text)
    except ValueError:
        raise RedisCommandError("the reply is no whole number; leave type: int out") from None


@lru_cache(maxsize=1000)
def _program(name: str) -> RedisProgram:
    return RedisProgram(name=name, function=Wish, command=name.removeprefix(PREFIX), retry_backoff=5)


def redis_program(name: str) -> Program | None:
    """The program of that name; None if it is none of these, or there is no server for them."""
    if not conf.get().REDIS_TASKS or not name.startswith(PREFIX) or not NAME.fullmatch(name, len(PREFIX)):
        return None
    return _program(name)


def redis_program_names() -> Iterator[str]:
    """Names of the programs that flows may run."""
    if not conf.get().REDIS_TASKS:
        return
    allowed = {command.lower() for command in conf.get().REDIS_COMMANDS}
    commands = allowed - {ANY} | (HARMLESS if ANY in allowed else set())
    yield from (f"{PREFIX}{command}" for command in sorted(commands))


def setting_problems() -> Iterator[str]:
    """What is wrong with ``FLOWER["REDIS_TASKS"]`` and ``REDIS_COMMANDS``, in sentences that quote no secret."""
    settings = conf.get()
    for command in settings.REDIS_COMMANDS:
        if command != ANY and not NAME.fullmatch(command.lower()):
            yield f"FLOWER['REDIS_COMMANDS'] has {command!r}, which is no command; write one word, such as 'get'"
    if settings.REDIS_TASKS is None:
        return
    try:
        _client(settings.REDIS_TASKS)
    except ValueError:
        yield "FLOWER['REDIS_TASKS'] is no address of a Redis server; write redis://127.0.0.1:6379/1"


SOURCE = Source(redis_program, redis_program_names)
"""The commands, for the registry."""
add_source(SOURCE)
