"""Programs that quote what they have wherever a program can."""

from __future__ import annotations

import base64
import json
import logging
import sys
from typing import Any
from urllib.parse import quote, urlencode

from celery import Celery

from flowerapp import registry
from flowerapp.exceptions import ParkTask
from flowerapp.executors.celery import tasks
from flowerapp.registry import Context, program
from flowerapp.workflows import Workflow, task
from tests.surfaces.planted.secrets import Planter

PLANTER = Planter()
"""The secrets of this run."""


def texts_in(value: Any) -> list[str]:
    """All texts within a JSON value."""
    if isinstance(value, dict):
        return [text for item in value.values() for text in texts_in(item)]
    if isinstance(value, list):
        return [text for item in value for text in texts_in(item)]
    return [value] if isinstance(value, str) else []


def quoting(value: Any) -> str:
    """A text that quotes all of a value in many forms."""
    texts = texts_in(value)
    login = base64.b64encode(f"bob:{texts[0] if texts else ''}".encode()).decode()
    forms = [repr(value), json.dumps(value), urlencode({"q": json.dumps(value)}), f"Authorization: Basic {login}"]
    return "; ".join([*forms, *texts, *map(repr, texts), *map(quote, texts)])


def echo(ctx: Context, **parameters: Any) -> dict[str, Any]:
    """Return what it has, under names and in texts, and a secret of its own."""
    plant = PLANTER.plant
    return {
        "parameters": parameters,
        "input": ctx.input,
        "quoted": quoting(parameters),
        "of_input": f"input {json.dumps(ctx.input)}",
        "api_key": plant("output, by name"),
        "rows": [["token", plant("output, name and value")], {"name": "password", "value": plant("output, named")}],
        "as_text": json.dumps({"deep": json.dumps({"client-secret": plant("output, text of JSON in text")})}),
        "url": f"https://bob:{plant('output, login of a URL')}@h/?access_token={plant('output, query of a URL')}",
        "plain": f"password={plant('output, plain text')} and Bearer {plant('output, credential')}",
        f"https://bob:{plant('output, key')}@h": 1,
    }


own = logging.getLogger("planted.own")
own.propagate = False  # what a host's loggers write is the host's; here it is looked for in the task's log alone
own.addHandler(logging.NullHandler())


def say(text: str) -> None:
    """Say a text in every way that a task's log captures."""
    own.info("logged %s", text)
    print("printed", text)  # noqa: T201 - what is tested
    print(text, file=sys.stderr, end="")  # noqa: T201 - the same
    try:
        raise ValueError(text)
    except ValueError:
        own.exception("caught")
    logging.getLogger(f"planted.own.{text[:80]}").warning("named")


def leak(ctx: Context, how: str = "error", **parameters: Any) -> Any:
    """Quote parameters, input and state in an error, a log line, the state, a reason or children."""
    everything = {"parameters": parameters, "input": ctx.input}
    ctx.log(f"begins with {quoting(everything)}")
    say(quoting(everything))
    ctx.log(f"and with token={PLANTER.plant('log line, of no parameter')}")
    ctx.change_state(lambda state: state | {"cookie": PLANTER.plant("state"), "of": json.dumps(parameters)})
    report: Any = ctx
    report.report({"state": quoting(parameters), "password": PLANTER.plant("progress")})
    match how:
        case "retry":
            raise OSError(quoting(everything))
        case "park":
            raise ParkTask(quoting(everything), seconds=3600)
        case "children":
            items = [{"password": PLANTER.plant("item of a child"), "how": end} for end in ("echo", "error")]
            ctx.add_children({f"child-{number}": item for number, item in enumerate(items)})
            return None
    error = ValueError(quoting({**everything, "state": ctx.state}))
    error.add_note(quoting(parameters))
    raise error from KeyError(*texts_in(parameters))


def child(ctx: Context) -> Any:
    """Return or quote its item."""
    ctx.log(quoting(ctx.input))
    say(quoting(ctx.input))
    if ctx.input[0]["how"] == "echo":
        return {"item": ctx.input, "quoted": quoting(ctx.input), "text": json.dumps(ctx.input)}
    raise RuntimeError(quoting(ctx.input))


def host(self: Any, data: Any = None, password: str = "", options: Any = None) -> Any:
    """A Celery task of the host."""
    own = {"password": password, "options": options}
    say(quoting(own))
    self.update_state(state="PROGRESS", meta={**own, "note": quoting(own)})
    if self.request.retries == 0:
        raise self.retry(exc=ValueError(quoting(own)))
    raise ValueError(quoting({**own, "data": data}))


def install(app: Celery) -> type[Workflow]:
    """Register the programs and a workflow class, in every app; the class."""

    def default() -> str:
        return PLANTER.plant("default of a program's parameter")

    @program("PlantedDefault")
    def with_defaults(password: str = default(), options: dict[str, Any] = {"token": default()}) -> None:  # noqa: B006, B008
        """Have secrets as defaults."""

    class PlantedClass(Workflow):
        """A workflow of a class, with secrets."""

        task_id = "planted-class"

        @task
        def first(self, ctx: Any, api_key: str = default()) -> Any:
            """Return what it has."""
            return {"api_key": api_key, "quoted": quoting({"api_key": api_key}), "input": ctx.input}

        @task
        def second(self, ctx: Any, password: str = "") -> Any:
            """Quote what it has."""
            ctx.log(quoting(password))
            raise LookupError(quoting({"password": password, "input": ctx.input}))

    app.task(name="planted.host", bind=True, max_retries=1, default_retry_delay=0)(host)
    program("PlantedEcho")(echo)
    program("PlantedLeak", autoretry_for=(OSError,), max_retries=1, default_retry_delay=0)(leak)
    program("PlantedChild")(child)
    for entry in registry.registered():
        if entry.name.lower().startswith("planted"):
            tasks.add(entry)
    return PlantedClass
