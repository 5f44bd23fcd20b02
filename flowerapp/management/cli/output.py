"""Where the CLI writes: results to stdout, progress and notes to stderr, each as its stream can take it."""

from __future__ import annotations

import json
import os
import re
import sys
from functools import cached_property
from typing import Any, TextIO

from django.core.serializers.json import DjangoJSONEncoder
from rich.console import Console, RenderableType
from rich.text import Text

from flowerapp.drawing import SYMBOLS, SYMBOLS_ASCII
from flowerapp.models import Flow
from flowerapp.states import Status

STYLES = {
    Status.WAIT: "bright_black",
    Status.RUNNING: "blue",
    Status.SUSPEND: "bold red",
    Status.FINISH: "green",
    Status.IGNORE: "yellow",
}
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
WIDE = 400
"""Columns of output that goes to a file or a pipe."""


class Output:
    """The two streams of one call."""

    def __init__(self, stdout: TextIO | None, stderr: TextIO | None, *, colour: bool | None, as_json: bool) -> None:
        self._stdout = stdout or sys.stdout
        self._stderr = stderr or sys.stderr
        self._colour = colour
        self.as_json = as_json
        """Whether stdout gets one JSON document and nothing else."""

    @cached_property
    def out(self) -> Console:
        """For results."""
        return _console(self._stdout, self._colour)

    @cached_property
    def err(self) -> Console:
        """For progress, notes and warnings."""
        return _console(self._stderr, self._colour)

    @property
    def live(self) -> bool:
        """Whether progress may be redrawn in place."""
        return is_terminal(self._stderr) and os.environ.get("TERM") != "dumb"

    def result(self, what: RenderableType) -> None:
        """Print a result for people; nothing when JSON was asked for."""
        if not self.as_json:
            self.out.print(what)

    def line(self, text: Text) -> None:
        """Print a line of a result that may be copied, so that nothing breaks it."""
        if not self.as_json:
            self.out.print(text, soft_wrap=True)

    def document(self, value: Any) -> None:
        """Print the one JSON document; nothing unless it was asked for."""
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
        """Tell something beside the result, on a line that a terminal may wrap but nothing breaks."""
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


def _console(stream: Any, colour: bool | None) -> Console:
    """``colour``: None for where it fits, else whether it was asked for."""
    if not _speaks_unicode(stream) and hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="replace")
    terminal = is_terminal(stream)
    return Console(
        file=stream,
        force_terminal=True if colour else terminal,
        no_color=colour is False or None,
        width=None if terminal else int(os.environ.get("COLUMNS") or WIDE),
        markup=False,
        highlight=False,
        emoji=False,
        soft_wrap=False,
        safe_box=True,
    )


def plain(text: object) -> str:
    """Text from programs and users without control characters, which could steer a terminal."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", str(text))


def status_text(status: Status, console: Console, note: str = "") -> Text:
    """A state as sign, word and colour."""
    symbols = SYMBOLS if _speaks_unicode(console.file) else SYMBOLS_ASCII
    return Text(f"{symbols[status]} {status.label}{f' ({note})' if note else ''}", style=STYLES[status], no_wrap=True)


def flow_status(flow: Flow, console: Console) -> Text:
    """A flow's state; says whether it is held or something failed."""
    why = "held" if flow.held else "failed" if flow.failed_seq is not None else ""
    return status_text(flow.status, console, why if flow.status is Status.SUSPEND else "")


def seconds(value: float | None) -> str:
    """A duration as people write it: ``0.3 s``, ``2 min 05 s``, ``3 h 04 min``."""
    if value is None:
        return ""
    if value < 60:
        return f"{max(0.0, value):.1f} s"
    minutes, rest = divmod(int(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    return f"{minutes // 60} h {minutes % 60:02} min"
