"""Programs that call a service over HTTP and add its answer to their input: ``request:get`` and others.

With ``sync: false`` the service ends the step itself, later: the task is parked once the service has accepted the call.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal
from urllib.parse import unquote, urlsplit

from pydantic import BeforeValidator, Field

from flowerapp import conf
from flowerapp.core import masking, values
from flowerapp.core.expressions import ExpressionError
from flowerapp.core.format_templates import filled, template_problems
from flowerapp.core.masking import Secrets
from flowerapp.exceptions import FlowerError, InvalidValueError, ParkTask, RetryTask
from flowerapp.programs import client
from flowerapp.programs.client import Request, Response, UnreachableError, with_defaults
from flowerapp.registry import Context, Program, register

JSON = "application/json"
TEMPLATES = ("url", "template")
"""Parameters that are templates."""
PLACES = frozenset({"url", "category", "environ"})
"""Parameters that say where the call goes."""
WITH_BODY = frozenset({"POST", "PUT"})
WORKFLOW = "workflow:"
"""Stands before the id of a flow, as littleflow writes it."""
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[!-~]([ \t!-~]*[!-~])?")
_HTTP = re.compile(r"https?://", re.IGNORECASE)

Mode = Literal["status", "response_text", "response_json"]


class RequestError(FlowerError):
    """The request cannot be made, or its answer cannot be used."""

    code = "request"


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) and not value.startswith("[") else value


@dataclass(frozen=True, kw_only=True)
class Wish:
    """The parameters of a request."""

    url: Annotated[str, Field(description="Template of the URL, or of the path below the base address.")] = ""
    category: Annotated[str, Field(description="Which base address of FLOWER['REQUEST_URLS'] is meant.")] = ""
    environ: Annotated[str, Field(description="The environment of the category.")] = ""
    sync: Annotated[bool, Field(description="Whether the answer ends the step; else the service does, later.")] = True
    template: Annotated[str | None, Field(description="Template of the body; without one the input as JSON.")] = None
    content_type: Annotated[str, Field(description="Of the body.", max_length=200)] = JSON
    output_mode: Annotated[
        tuple[Mode, ...], Field(description="What is added to the input."), BeforeValidator(_as_list)
    ] = ("status", "response_text", "response_json")
    error_on_status: Annotated[bool, Field(description="Whether a status other than 2xx fails the task.")] = True
    use_context_parameters: Annotated[
        bool, Field(description="Whether a call that is not sync names flow and step in its query.")
    ] = True
    use_input_parameters: Annotated[
        bool, Field(description="Whether keys of the input stand in for parameters of the same name.")
    ] = True
    timeout: Annotated[float, Field(gt=0, le=3600, description="Seconds for the whole call.")] = 60


@dataclass(frozen=True, kw_only=True)
class RequestProgram(Program):
    """A method of HTTP as a program; keys of the input stand in for parameters of the same name."""

    method: str

    @property
    def description(self) -> str:
        """What the method is for."""
        body = ", with a body made by a template or of the input" if self.method in WITH_BODY else ""
        return f"Call an address by {self.method}{body}; the input with the answer is the output."

    def parameter_problems(
        self, parameters: Mapping[str, Any], *, follows: bool = False, later: Collection[str] = ()
    ) -> list[tuple[str, str]]:
        """The errors in ``parameters``, those in templates included."""
        problems = super().parameter_problems(parameters, follows=follows, later=later)
        return problems or [*_template_problems(parameters), *_url_problems(parameters)]

    def call(self, parameters: Mapping[str, Any], context: Context) -> Any:
        """The input with the answer; raises RetryTask where none came, and ParkTask where the service ends the step."""
        value = {} if context.input is None else context.input
        wish: Wish = super().call(parameters, context)
        own = _overrides(self, value) if wish.use_input_parameters else {}
        if own.keys() & PLACES and masking.hidden(dict(parameters)):
            names = ", ".join(sorted(own.keys() & PLACES))
            raise RequestError(f"the input gives {names}, but the parameters hold secrets, which must not go elsewhere")
        wish = super().call({**parameters, **own}, context) if own else wish
        call = _Call(self.method, wish, frozenset(own), value, parameters, context)
        try:
            return call.output()
        except UnreachableError as error:
            raise RetryTask(str(error)) from error


def _overrides(program: Program, value: Any) -> dict[str, Any]:
    """What the input gives for parameters."""
    if not isinstance(value, dict):
        return {}
    names = program.fields.keys() - {"use_input_parameters"}
    return {name: value[name] for name in sorted(names) if value.get(name) is not None}


def _template_problems(parameters: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name in TEMPLATES:
        if isinstance(template := parameters.get(name), str):
            yield from ((name, sentence) for sentence in template_problems(template))


def _url_problems(parameters: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What is wrong with a URL whatever its template reads, and whatever the input gives."""
    url = parameters.get("url")
    if not isinstance(url, str):
        return
    try:
        if parameters.get("category") or parameters.get("environ"):
            _must_be_below(url)
        elif _SCHEME.match(url) and not ("{" in url and _HTTP.match(url)):
            client.parsed(url)
    except FlowerError as error:
        yield "url", str(error)


def _must_be_below(url: str) -> None:
    """Raise RequestError unless a URL is a path below a base address."""
    if _SCHEME.match(url) or url.startswith(("//", "\\")):
        raise RequestError(
            "url is a whole address, and the category has a base address; write the path below it, or drop the category"
        )
    path = unquote(urlsplit(url.lstrip("/")).path).replace("\\", "/")
    if {".", ".."} & set(path.split("/")):
        raise RequestError("url leads out of the base address by . or ..")


@dataclass(frozen=True)
class _Call:
    """One call of an attempt."""

    method: str
    wish: Wish
    literal: frozenset[str]
    """Parameters that the input gives; they are no templates."""
    input: Any
    parameters: Mapping[str, Any]
    context: Context

    def output(self) -> Any:
        """Make the call: the input with the answer. Raises UnreachableError, HTTPError, RequestError and ParkTask."""
        request = self._request()
        response = client.call(request)
        if self.wish.sync:
            return self._output(request, response._replace(text=self._secrets.redact(response.text)))
        where = request.masked(f"{self.method} {request.url}")
        raise ParkTask(f"{where} was accepted with {response.status}; the service ends the step")

    def _request(self) -> Request:
        url, content = self._url(), self._content()
        typed = {"Content_Type": self.wish.content_type} if content is not None else {}
        key = self.context.idempotency_key
        headers = with_defaults(self._headers, Accept=f"{JSON}, */*;q=0.5", Idempotency_Key=key, **typed)
        secrets = self._secrets | masking.secrets_of({"url": url}, dict(self.parameters), self.input)
        takes_errors = self.wish.sync and not self.wish.error_on_status
        return Request(self.method, url, content, headers, self.wish.timeout, secrets, "; raise timeout", takes_errors)

    # Where it goes

    @property
    def _base(self) -> str:
        """The name of the base address; empty for none."""
        return ":".join(filter(None, (self.wish.environ, self.wish.category)))

    @property
    def _headers(self) -> Mapping[str, str]:
        """What is sent to the base address, and to no other."""
        return conf.get().REQUEST_HEADERS.get(self._base, {}) if self._base else {}

    @cached_property
    def _secrets(self) -> Secrets:
        """Those headers, which the attempt must not quote anywhere."""
        context: Any = self.context
        if self._headers:
            context.give("request headers", {"secret": list(self._headers.values())})
        return Secrets.of(self._headers.values())

    def _url(self) -> str:
        url = self._filled("url") if self.wish.url else ""
        if not isinstance(url, str):
            raise RequestError("parameter url: its template gives no text")
        target = client.parsed(self._joined(url))
        if self.wish.sync or not self.wish.use_context_parameters:
            return str(target)
        return str(target.copy_merge_params(self._context_parameters()))

    def _joined(self, url: str) -> str:
        if not self._base:
            if not url:
                raise RequestError("url is missing: neither the parameters of the step nor its input have it")
            return url
        bases = conf.get().REQUEST_URLS
        if self._base not in bases:
            names = ", ".join(sorted(bases)) or "none"
            raise RequestError(f"FLOWER['REQUEST_URLS'] has no base address {self._base[:200]!r}; it has: {names}")
        if not url:
            return bases[self._base]
        _must_be_below(url)
        return f"{bases[self._base].rstrip('/')}/{url.lstrip('/')}"

    def _context_parameters(self) -> dict[str, str]:
        """What the service needs to end the step."""
        return {
            "littleflow-name": self.context.name,
            "littleflow-base": f"request:{self.method.lower()}",
            "littleflow-index": str(self.context.seq),
            "littleflow-workflow": f"{WORKFLOW}{self.context.flow_id}",
            "littleflow-attempt": str(self.context.attempt),
        }

    # What it says

    def _filled(self, name: str) -> Any:
        template = getattr(self.wish, name)
        if name in self.literal:
            return template
        try:
            return filled(template, self.input, self.parameters)
        except ExpressionError as error:
            raise RequestError(f"parameter {name}: {error}") from None

    def _content(self) -> bytes | None:
        if self.method not in WITH_BODY:
            return None
        body = self.input if self.wish.template is None else self._filled("template")
        return (body if isinstance(body, str) else values.dumps(body, "the body")).encode()

    # What came

    def _output(self, request: Request, response: Response) -> dict[str, Any]:
        output = dict(self.input) if isinstance(self.input, dict) else {"input": self.input}
        modes = set(self.wish.output_mode)
        if "status" in modes:
            output["request_status"] = response.status
        if modes - {"status"}:
            output["response"] = self._value(request, response, modes)
        return output

    def _value(self, request: Request, response: Response, modes: Collection[Mode]) -> Any:
        """The body as JSON; as text if only that is asked for, or if it is no JSON and may be text."""
        if "response_json" not in modes:
            return response.text
        if not response.text.strip():
            return response.text if "response_text" in modes else None
        try:
            return values.parsed(response.text, "the response")
        except InvalidValueError as error:
            if "response_text" in modes or not response.is_success:
                return response.text
            raise request.error(f"answered {response.status}, but {error}; add response_text to output_mode") from None


# The settings


def address_problems(urls: Mapping[str, str]) -> Iterator[str]:
    """What is wrong with ``FLOWER["REQUEST_URLS"]``, in sentences that quote no secret."""
    for key, url in urls.items():
        try:
            target = client.parsed(url)
        except FlowerError as error:
            yield f"FLOWER['REQUEST_URLS'][{key!r}]: {error}"
            continue
        if target.query or target.fragment:
            yield f"FLOWER['REQUEST_URLS'][{key!r}] has a query or a fragment; paths are written behind it"


def header_problems(headers: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    """What is wrong with ``FLOWER["REQUEST_HEADERS"]``, in sentences that quote no secret."""
    for key, named in headers.items():
        if key not in conf.get().REQUEST_URLS:
            yield f"FLOWER['REQUEST_HEADERS'] has {key!r}, which is no key of REQUEST_URLS; they are sent nowhere"
        for name, value in named.items():
            if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
                yield f"FLOWER['REQUEST_HEADERS'][{key!r}] has a header {name!r} that cannot be sent; headers are ASCII"


for _method in ("GET", "POST", "PUT", "DELETE"):
    register(RequestProgram(name=f"request:{_method.lower()}", function=Wish, method=_method, retry_backoff=5))
