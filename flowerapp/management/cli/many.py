"""Verbs on several flows: their ids as arguments or on standard input, and a result for each."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from flowerapp.exceptions import FlowerError, InvalidError
from flowerapp.management.cli import arguments, documents
from flowerapp.management.cli.display import Text
from flowerapp.management.cli.output import Output, flow_status, plain
from flowerapp.models import Flow
from flowerapp.selectors import counts

STDIN = "-"
"""In place of an id: ids from standard input, one a line."""
MOST_IDS = 10_000
"""Ids that one call takes."""
LONGEST_LINE = 1000
"""Characters of a line of standard input that are read."""
DONE, REFUSED = 0, 1
"""Exit codes."""


def is_single(texts: Sequence[str]) -> bool:
    """Whether the arguments name one flow by itself, whose result is printed as that of one."""
    return len(texts) == 1 and texts[0] != STDIN


def ids(texts: Iterable[str]) -> list[str]:
    """Ids in the order in which they are given, each once; ``-`` stands for the lines of standard input.

    Raises InvalidError for more than ``MOST_IDS``.
    """
    flow_ids: dict[str, None] = {}
    for text in texts:
        for flow_id in _lines() if text == STDIN else (text,):
            flow_ids[flow_id] = None
            if len(flow_ids) > MOST_IDS:
                raise InvalidError(f"there are more than {MOST_IDS:,} ids; give them in several calls")
    return list(flow_ids)


def _lines() -> Iterator[str]:
    """The lines of standard input that are not blank."""
    while line := sys.stdin.readline(LONGEST_LINE):
        if text := line.strip():
            yield text


def apply(verb: Callable[[str], Flow], texts: Sequence[str], out: Output) -> int:
    """Call the verb for each flow, print a result or a refusal for each, and return the exit code.

    A refusal of one does not keep the others from being tried.
    """
    results: list[dict[str, Any]] = []
    done: set[str] = set()
    wanted = ids(texts)
    try:
        for text in wanted:
            results.extend(_result(verb, text, done, out))
    finally:
        out.document(results)
    if not wanted:
        out.note("there were no ids on standard input")
    return REFUSED if any(result["error"] for result in results) else DONE


def _result(verb: Callable[[str], Flow], text: str, done: set[str], out: Output) -> Iterator[dict[str, Any]]:
    """The document of the outcome; none if another text named the flow before."""
    try:
        arguments.check_text(text)
        flow_id = arguments.find_flow(text).pk
        if flow_id in done:
            return
        done.add(flow_id)
        flow = verb(flow_id)
    except FlowerError as error:
        out.note(f"{text}: refused: {plain(error)}", style="red")
        yield {"task_flow_id": text, "error": str(error)}
        return
    _print(flow, out)
    yield documents.result_document(flow)


def _print(flow: Flow, out: Output) -> None:
    if not out.as_json:
        out.line(Text(f"{flow.pk}  ").append(flow_status(flow, counts.of_flow(flow), out.out)))
