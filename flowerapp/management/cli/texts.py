"""Workflows as texts of the arrow language: run, check, format and draw them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from flowerapp import engine
from flowerapp.drawing import Node
from flowerapp.exceptions import InvalidError
from flowerapp.management.cli import arguments
from flowerapp.management.cli.display import Text
from flowerapp.management.cli.output import Output
from flowerapp.models import Flow
from flowerapp.workflows import arrow

Options = dict[str, Any]
DONE, NOTED = 0, 1
"""Exit codes."""
_OF_WORKFLOWS = {"entrance": "--entrance", "set": "--set", "many": "--many"}


def read(name: str) -> str:
    """The text of a file, or of standard input for ``-``; raises InvalidError."""
    try:
        raw = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        return raw.decode("utf-8-sig")
    except OSError as error:
        raise InvalidError(f"{name}: {error.strerror or error}; name a file that can be read") from None
    except UnicodeDecodeError as error:
        raise InvalidError(f"{name} is not UTF-8: {error.reason} at byte {error.start}") from None


def register(options: Options) -> Flow:
    """Register a flow of the text of ``-e`` or of a file."""
    if not_for_texts := [option for name, option in _OF_WORKFLOWS.items() if options[name] is not None]:
        raise InvalidError(f"{not_for_texts[0]} is for stored workflows; a text says itself what runs, and with what")
    if options["text"] is not None and options["workflow"] is not None:
        raise InvalidError("give a name, a file or -e TEXT, not two of them")
    text = read(options["workflow"]) if options["text"] is None else options["text"]
    return engine.register_plan(
        arrow.plan_of_text(text),
        input=arguments.read_input(options["input"]),
        priority=options["priority"],
        source=text,
        actor=arguments.actor(),
    )


def lint(out: Output, options: Options) -> int:
    """What in correct texts may not be meant."""
    notes = [(name, note) for name in options["files"] for note in arrow.lint_text(read(name))]
    if out.as_json:
        places = ({"file": name, "line": n.line, "column": n.column, "message": n.message} for name, n in notes)
        out.document(list(places))
    for name, note in notes:
        out.line(Text(f"{name}: {note}"))
    return NOTED if notes else DONE


def format_texts(out: Output, options: Options) -> int:
    """Print texts in their one form; write them back with --write, or with --check only say which differ."""
    differ = False
    for name in options["files"]:
        text = read(name)
        formatted = arrow.format_text(text)
        differ |= formatted != text
        if options["check"]:
            if formatted != text:
                out.line(Text(f"{name} would be changed"))
        elif options["write"] and name != "-":
            if formatted != text:
                Path(name).write_text(formatted, encoding="utf-8")
        else:
            out.raw(formatted)
    return NOTED if options["check"] and differ else DONE


def drawn(name: str) -> tuple[list[Node], dict[int, list[int]]]:
    """The steps and edges of a file's text, which is not run."""
    graph = arrow.compile_text(read(name))
    steps = [Node(seq=step.index, label=step.base or step.kind.value, name=step.name) for step in graph.steps]
    return steps, {step.index: [before for before in step.depends_on if before] for step in graph.steps}
