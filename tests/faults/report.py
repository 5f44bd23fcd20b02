"""The ledger as tables: a short one for the terminal, and the page ``docs/reliability.md``.

``python -m tests.faults.report LEDGER…`` adds up the ledgers that several runs of pytest saved and prints the short
table; with ``--page FILE`` it writes the page too. It fails if a flow was lost or a success recorded twice.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from contextlib import closing, suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.ledger import NO_FAULT, Account, Ledger
from tests.services import Service, address_of

PACKAGES = {"Django": "django", "Celery": "celery", "kombu": "kombu", "redis-py": "redis", "psycopg": "psycopg"}
TEMPLATE = Path(__file__).with_name("reliability.md")
"""The page without its figures."""
HEADINGS = ("fault", "runs", "tasks", "lost", "doubled", "recovered in: median", "worst", "promised")


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f} s" if value < 100 else f"{value:.0f} s"


def _cells(account: Account) -> list[str]:
    return [
        account.fault,
        f"{account.made.total() or account.runs:,}",
        f"{account.tasks:,}",
        str(account.lost),
        str(account.doubled),
        _seconds(account.median),
        _seconds(account.worst),
        "–" if account.within is None else f"{account.within:g} s",
    ]


def _broken(ledger: Ledger) -> list[Account]:
    return [account for account in ledger.used if account.fault != NO_FAULT]


def _total(accounts: Iterable[Account]) -> Account:
    total = Account("all faults")
    for account in accounts:
        total.count(account)
        total.runs += (account.made.total() or account.runs) - account.runs
    return total


def short(ledger: Ledger) -> list[str]:
    """Lines for the terminal; none if nothing was counted."""
    accounts = _broken(ledger)
    lines = []
    if accounts:
        rows = [list(HEADINGS), *map(_cells, accounts), _cells(_total(accounts))]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines += [_line(row, widths) for row in rows]
    lines += [f"{account.fault}: {note}" for account in accounts for note in account.notes]
    if calm := ledger.accounts.get(NO_FAULT):
        lines.append(f"without a fault: {calm.runs} runs, {calm.tasks:,} tasks, {calm.interventions} interventions")
    return lines


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = zip(cells, widths, strict=True)
    return "  ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)])


def page(ledger: Ledger) -> str:
    """The page as Markdown."""
    return TEMPLATE.read_text(encoding="utf-8").replace("{figures}", "\n".join(_figures(ledger)))


def _figures(ledger: Ledger) -> list[str]:
    accounts = _broken(ledger)
    total = _total(accounts)
    lines = [
        f"Of {datetime.now(UTC):%d %B %Y}, on {machine()}.",
        "",
        _row(HEADINGS),
        _row(["---", *["---:"] * (len(HEADINGS) - 1)]),
        *(_row(_cells(account)) for account in accounts),
        _row([f"**{cell}**" if cell != "–" else cell for cell in _cells(total)]),
        "",
        f"In these {total.runs:,} runs with {total.tasks:,} tasks, {total.lost} flows were lost,"
        f" {total.doubled} successes were recorded twice, and the watcher stepped in {total.interventions:,} times.",
    ]
    for account in accounts:
        if account.made:
            made = ", ".join(f"{name} ({count})" for name, count in sorted(account.made.items()))
            lines += ["", f"{account.fault[0].upper()}{account.fault[1:]}: {account.made.total()} faults: {made}."]
    if calm := ledger.accounts.get(NO_FAULT):
        lines += [
            "",
            f"Without a fault: {calm.runs:,} runs with {calm.tasks:,} tasks, in which the watcher stepped in"
            f" {calm.interventions} times.",
        ]
    return lines


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


# What it ran on


def machine() -> str:
    """What it ran on, in general terms."""
    python = f"{platform.python_implementation()} {platform.python_version()}"
    parts = [f"{platform.system()} with {os.cpu_count()} cores", python, *_servers()]
    parts += [f"{name} {version(package)}" for name, package in PACKAGES.items()]
    return ", ".join(parts)


def _servers() -> list[str]:
    versions = {"PostgreSQL": _postgres_version(), "Redis": _redis_version(), "RabbitMQ": _rabbitmq_version()}
    return [f"{name} {number}" for name, number in versions.items() if number]


def _postgres_version() -> str:
    import psycopg

    url, _ = address_of(Service.POSTGRES)
    if url is None:
        return ""
    with closing(psycopg.connect(url)) as server:
        row: Any = server.execute("SHOW server_version").fetchone()
        return str(row[0]).split()[0]


def _redis_version() -> str:
    import redis

    url, _ = address_of(Service.REDIS)
    if url is None:
        return ""
    with closing(redis.Redis.from_url(url)) as client:
        answer: Any = client.info("server")
        return str(answer["redis_version"])


def _rabbitmq_version() -> str:
    command = shutil.which("rabbitmqctl")
    if command is None:
        return ""
    with suppress(subprocess.SubprocessError):
        done = subprocess.run([command, "version"], capture_output=True, text=True, timeout=60, check=True)
        return done.stdout.strip().splitlines()[-1]
    return ""


def main(arguments: Sequence[str]) -> int:
    """The command's body; its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.report", description="Add up ledgers.")
    parser.add_argument("ledgers", nargs="+", type=Path, metavar="LEDGER")
    parser.add_argument("--page", type=Path, metavar="FILE")
    options = parser.parse_args(arguments)
    ledger = Ledger()
    for path in options.ledgers:
        ledger.load(path)
    sys.stdout.write("\n".join(short(ledger)) + "\n")
    if options.page:
        options.page.write_text(page(ledger), encoding="utf-8")
    return int(any(account.lost or account.doubled for account in ledger.used))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
