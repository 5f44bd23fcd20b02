"""``manage.py flow``: run workflows, and read, repair and rerun flows."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import InterfaceError, OperationalError, ProgrammingError

from flowerapp.exceptions import FlowerError
from flowerapp.management.cli import parser as arguments
from flowerapp.management.cli.arguments import check_text
from flowerapp.management.cli.output import Output, plain

VERBS = {
    "run": "verbs.run",
    "list": "verbs.list_flows",
    "show": "verbs.show",
    "logs": "logs.logs",
    "follow": "verbs.follow_flow",
    "task": "verbs.show_task",
    "suspend": "verbs.suspend",
    "resume": "verbs.resume",
    "cancel": "verbs.cancel",
    "skip": "verbs.skip",
    "end": "remote.end",
    "fail": "remote.fail",
    "wake": "verbs.wake",
    "set": "verbs.change",
    "rerun": "verbs.rerun",
    "approvals": "approvals.approvals",
    "approve": "approvals.approve",
    "reject": "approvals.reject",
    "archive": "archives.archive",
    "restore": "archives.restore",
    "simulate": "remote.simulate",
    "receipts": "remote.receipts",
    "graph": "graphs.draw",
    "inspect": "vectors.inspect",
    "workflows": "system.workflows",
    "pools": "system.pools",
    "cache": "caches.cache",
    "programs": "system.programs",
    "event": "events.event",
    "events": "events.list_events",
    "latches": "events.list_latches",
    "release": "events.release",
    "workers": "system.workers",
    "queues": "system.queues",
    "lint": "texts.lint",
    "format": "texts.format_texts",
    "token": "tokens.token",
}
"""Subcommand → its function, by module of ``flowerapp.management.cli``; a call imports the one that it needs."""
WRONG_USAGE = 2
"""Exit code."""


def verb_named(name: str) -> Callable[[Output, dict[str, Any]], int]:
    """What a subcommand does."""
    module, _, function = VERBS[name].partition(".")
    verb: Callable[[Output, dict[str, Any]], int] = getattr(
        import_module(f"flowerapp.management.cli.{module}"), function
    )
    return verb


class Command(BaseCommand):
    """Exit codes: 0 done, 1 the flow ended otherwise (suspended, cancelled), 2 wrong usage."""

    help = (
        "Run workflows, and read, repair and rerun flows. Exit codes: 0 done, 1 the flow ended otherwise "
        "(suspended, cancelled), 2 wrong usage."
    )
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the subcommands."""
        arguments.add_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        """Call the verb; its exit code ends the process unless it is 0."""
        out = Output(
            options.get("stdout"),
            options.get("stderr"),
            color=True if options["force_color"] else False if options["no_color"] else None,
            as_json=options.get("json", False),
        )
        code = self._call(out, options)
        if code:
            raise SystemExit(code)

    def _call(self, out: Output, options: dict[str, Any]) -> int:
        try:
            _check_texts(options)
            return verb_named(options["verb"])(out, options)
        except FlowerError as error:
            raise CommandError(plain(error), returncode=WRONG_USAGE) from error
        except ProgrammingError as error:
            message = f"the database lacks tables or columns; run `python manage.py migrate` ({_first_line(error)})"
            raise CommandError(message, returncode=WRONG_USAGE) from error
        except (OperationalError, InterfaceError) as error:
            message = f"the database does not answer; see settings.DATABASES, or run `migrate` ({_first_line(error)})"
            raise CommandError(message, returncode=WRONG_USAGE) from error


def _first_line(error: Exception) -> str:
    return plain(error).partition("\n")[0]


def _check_texts(options: dict[str, Any]) -> None:
    for value in options.values():
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str):
                check_text(text)
