"""``flow run NAME --many FILE``: a flow for each input of a file, all or none."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from flowerapp import conf, engine
from flowerapp.core import values
from flowerapp.engine import Registration
from flowerapp.exceptions import MOST_PROBLEMS, InvalidError, InvalidValueError, RegistrationsRefusedError
from flowerapp.management.cli import arguments, documents
from flowerapp.management.cli.display import Text
from flowerapp.management.cli.output import Output
from flowerapp.models import Flow

MOST_BYTES = 64 * 1024 * 1024
"""Bytes of the largest file."""
QUIET_SECONDS = 2.0
"""Seconds without a note while flows are registered."""
NOT_WITH = {"input": "--input", "wait": "--wait", "follow": "--follow"}
"""Options that are about one flow."""


def run(out: Output, options: dict[str, Any]) -> None:
    """Register the flows and print their ids; raises InvalidError with the line or item at fault."""
    for name, option in NOT_WITH.items():
        if options[name]:
            raise InvalidError(f"{option} is for one flow and --many for several; leave one out")
    inputs = read(options["many"])
    common = {
        "priority": options["priority"],
        "entrance": arguments.step(options["entrance"]),
        "parameters": arguments.steps(options["set"]),
    }
    with _noted(out, f"registering {len(inputs):,} flows of workflow {options['workflow']!r} in one commit …"):
        registrations = [Registration(options["workflow"], input=value, **common) for value in inputs]
        flows = _registered(registrations)
    _print(out, flows)


def _registered(registrations: Sequence[Registration]) -> list[Flow]:
    try:
        return engine.register_many(registrations, actor=arguments.actor())
    except RegistrationsRefusedError as error:
        every = len(error.refusals) == min(len(registrations), MOST_PROBLEMS)
        if every and len({str(refused.error) for refused in error.refusals}) == 1:  # about the workflow, not an input
            raise error.refusals[0].error from None
        raise


def _print(out: Output, flows: Sequence[Flow]) -> None:
    for flow in flows:
        out.line(Text(flow.pk))
    if out.as_json:
        listed = documents.flow_documents(flows)
        out.document([row | {"created": flow.created} for row, flow in zip(listed, flows, strict=True)])
    created = sum(flow.created for flow in flows)
    before = f"; {len(flows) - created:,} were registered before" if created < len(flows) else ""
    out.note(f"registered {created:,} flows{before}")


@contextmanager
def _noted(out: Output, text: str) -> Iterator[None]:
    """Print a note if what is within the block takes long."""
    timer = threading.Timer(QUIET_SECONDS, out.note, [text])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def read(name: str) -> list[Any]:
    """The inputs in a file, or in standard input for ``-``: a JSON list of them, or one in each line.

    Empty lines are left out. Raises InvalidError.
    """
    raw = _content(name)
    if len(raw) > MOST_BYTES:
        raise InvalidError(f"--many {name}: over {MOST_BYTES:,} bytes; split it")
    if raw.lstrip()[:1] == b"[":
        try:
            return _listed(raw, name)
        except InvalidValueError:
            if b"\n" not in raw.strip():
                raise
    return _of_lines(raw, name)


def _content(name: str) -> bytes:
    try:
        if name == "-":
            return sys.stdin.buffer.read(MOST_BYTES + 1)
        with Path(name).open("rb") as file:
            return file.read(MOST_BYTES + 1)
    except OSError as error:
        raise InvalidError(f"--many {name}: {error.strerror or error}; name a file that can be read") from None


def _listed(raw: bytes, name: str) -> list[Any]:
    """The items of a file that is one list; the engine checks each."""
    items: list[Any] = values.parsed(raw, f"--many {name}")
    return items


def _of_lines(raw: bytes, name: str) -> list[Any]:
    most = conf.get().MAX_REGISTRATIONS
    numbered = ((number, line) for number, line in enumerate(raw.splitlines(), start=1) if line.strip())
    return [values.loads(line, f"--many {name}, line {number}") for number, line in islice(numbered, most + 1)]
