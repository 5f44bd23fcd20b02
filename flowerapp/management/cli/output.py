"""Where the CLI writes: results to stdout, progress and notes to stderr, each as its stream can take it."""

from __future__ import annotations

import json
import os
import sys
from functools import cached_property
from typing import Any, TextIO

from django.core.serializers.json import DjangoJSONEncoder

from flowerapp.core.names import visible_lines
from flowerapp.management.cli.display import REDRAWS, Console, Drawable, Text, console
from flowerapp.models import Flow
from flowerapp.selectors.counts import Counts
from flowerapp.selectors.status_style import Style, flow_note, flow_style

COLORS = {
    "waiting": "bright_black",
    "running": "blue",
    "failed": "bold red",
    "held": "yellow",
    "finished": "green",
    "ignored": "magenta",
}
"""Color token of a state → style on a terminal."""
WIDE = 400
"""Columns of output that goes to a file or a pipe."""


class Output:
    """The two streams of one call."""

    def __init__(self, stdout: TextIO | None, stderr: TextIO | None, *, color: bool | None, as_json: bool) -> None:
        self._stdout = stdout or sys.stdout
        self._stderr = stderr or sys.stderr
        self._color = color
        self.as_json = as_json
        """Whether stdout gets one JSON document and nothing else."""

    @cached_property
    def out(self) -> Console:
        """For results."""
        return _console(self._stdout, self._color)

    @cached_property
    def err(self) -> Console:
        """For progress, notes and warnings."""
        return _console(self._stderr, self._color)

    @property
    def live(self) -> bool:
        """Whether progress may be redrawn in place."""
        return REDRAWS and is_terminal(self._stderr) and os.environ.get("TERM") != "dumb"

    def result(self, what: Drawable) -> None:
        """Print a result for people; nothing where JSON is wanted."""
        if not self.as_json:
            self.out.print(what)

    def line(self, text: Text) -> None:
        """Print a line that users may copy, unbroken."""
        if not self.as_json:
            self.out.print(text, soft_wrap=True)

    def document(self, value: Any) -> None:
        """Print the one JSON document; nothing unless JSON is wanted."""
        if self.as_json:
            text = json.dumps(value, cls=DjangoJSONEncoder, ensure_ascii=not _speaks_unicode(self._stdout), indent=2)
            self.raw(text + "\n")

    def raw(self, text: str) -> None:
        """Print text as it stands."""
        try:
            self.out.file.write(text)
            self.out.file.flush()
        except BrokenPipeError:
            self.out.on_broken_pipe()

    def note(self, text: str, style: str = "") -> None:
        """Print a message to stderr, unbroken."""
        self.err.print(Text(plain(text), style=style), soft_wrap=True)

    @property
    def unicode(self) -> bool:
        """Whether results may hold more than ASCII."""
        return _speaks_unicode(self._stdout)


def is_terminal(stream: Any) -> bool:
    """Whether a person sees what is written to ``stream``."""
    return bool(getattr(stream, "isatty", lambda: False)())


def _speaks_unicode(stream: Any) -> bool:
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return str(encoding).lower().replace("-", "").startswith("utf")


def _console(stream: TextIO, color: bool | None) -> Console:
    """A console for ``stream``; ``color`` is None where the terminal decides, else whether the user wants it."""
    if not _speaks_unicode(stream) and hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="replace")
    terminal = is_terminal(stream)
    width = None if terminal else int(os.environ.get("COLUMNS") or WIDE)
    return console(stream, width, color=color, is_terminal=terminal)


def plain(text: object) -> str:
    """Text from programs and users with escapes for what could steer a terminal or mislead a reader."""
    return visible_lines(str(text)).replace("\r", "\\r")


def status_text(style: Style, where: Console, note: str = "") -> Text:
    """A state as symbol, word and color, with what the word does not say."""
    symbol = style.symbol if _speaks_unicode(where.file) else style.plain_symbol
    return Text(
        ", ".join(filter(None, [f"{symbol} {style.word}", plain(note)])), style=COLORS[style.color], no_wrap=True
    )


def flow_status(flow: Flow, counts: Counts, where: Console) -> Text:
    """A flow's state, with the number of failures beside it."""
    return status_text(flow_style(flow), where, flow_note(flow, counts))
