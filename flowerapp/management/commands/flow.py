"""``manage.py flow``: run workflows, and read, repair and rerun flows."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import InterfaceError, OperationalError, ProgrammingError

from flowerapp.exceptions import FlowerError, InvalidError
from flowerapp.management.cli import parser as arguments
from flowerapp.management.cli.output import Output, plain
from flowerapp.management.cli.verbs import VERBS, WRONG_USAGE


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
            _refuse_broken_text(options)
            return VERBS[options["verb"]](out, options)
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


def _refuse_broken_text(options: dict[str, Any]) -> None:
    """Bytes that are not UTF-8 on the command line cannot be stored or looked up."""
    for value in options.values():
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and (not _encodable(text) or "\0" in text):
                raise InvalidError(f"{plain(text)!r} is not UTF-8 text")


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
