"""What the fault tests saw, added up by fault: the tables of ``docs/reliability.md``.

Several processes may run a part of the tests each: each saves its ledger, and one adds them up.
"""

from __future__ import annotations

import json
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

NO_FAULT = "none"
"""The account of what runs while nothing is broken."""


@dataclass
class Account:
    """All that was seen of one fault."""

    fault: str
    within: float | None = None
    """Seconds that the project promises to recover in; None where it promises none."""
    runs: int = 0
    tasks: int = 0
    lost: int = 0
    doubled: int = 0
    interventions: int = 0
    times: list[float] = field(default_factory=list)
    """Seconds that each recovery took."""
    made: Counter[str] = field(default_factory=Counter)
    """How often each fault was made, where they are drawn at random."""
    notes: list[str] = field(default_factory=list)
    """What is needed to repeat it."""

    def add(self, other: Account) -> None:
        """Add what another run saw of the same fault."""
        self.count(other)
        self.times += other.times
        self.made += other.made
        self.notes += other.notes

    def count(self, other: Account) -> None:
        """Add the counts of ``other``."""
        self.runs += other.runs
        self.tasks += other.tasks
        self.lost += other.lost
        self.doubled += other.doubled
        self.interventions += other.interventions

    @property
    def median(self) -> float | None:
        """Seconds that a recovery took; None if none was timed."""
        return statistics.median(self.times) if self.times else None

    @property
    def worst(self) -> float | None:
        """Seconds that the longest recovery took."""
        return max(self.times, default=None)


class Ledger:
    """The accounts of a run of the tests; what runs without a fault goes to ``NO_FAULT``."""

    def __init__(self) -> None:
        self.accounts: dict[str, Account] = {}
        self.current: Account | None = None

    @contextmanager
    def opened(self, fault: str, within: float | None = None) -> Iterator[Account]:
        """Within the block, what is counted belongs to this fault."""
        before = self.current
        self.current = self.accounts.setdefault(fault, Account(fault, within))
        try:
            yield self.current
        finally:
            self.current = before

    def count(self, *, tasks: int, lost: int, doubled: int, interventions: int) -> None:
        """Add the outcome of one run."""
        if self.current is not None:
            run = Account(self.current.fault, runs=1, tasks=tasks, lost=lost, doubled=doubled)
            run.interventions = interventions
            self.current.count(run)

    def recovered(self, seconds: float) -> None:
        """Add the time of one recovery; AssertionError if it took longer than is promised."""
        if self.current is not None:
            self.current.times.append(seconds)
            within = self.current.within
            assert within is None or seconds <= within, f"recovered after {seconds:.1f} s, not within {within:g} s"

    def made(self, faults: Iterable[str]) -> None:
        """Add faults that were drawn at random."""
        if self.current is not None:
            self.current.made.update(faults)

    def note(self, text: str) -> None:
        """Add what is needed to repeat it."""
        if self.current is not None:
            self.current.notes.append(text)

    @property
    def used(self) -> list[Account]:
        """The accounts in which something was counted; that without a fault comes first, the others by name."""
        used = [account for account in self.accounts.values() if account.runs]
        return sorted(used, key=lambda account: (account.fault != NO_FAULT, account.fault))

    def save(self, path: Path) -> None:
        """Write the accounts as JSON."""
        accounts = [asdict(account) | {"made": dict(account.made)} for account in self.used]
        path.write_text(json.dumps(accounts), encoding="utf-8")

    def load(self, path: Path) -> None:
        """Add the accounts of a saved ledger."""
        for columns in json.loads(path.read_text(encoding="utf-8")):
            self.add(Account(**columns | {"made": Counter(columns["made"])}))

    def add(self, account: Account) -> None:
        """Add what another run saw of a fault."""
        self.accounts.setdefault(account.fault, Account(account.fault, account.within)).add(account)


LEDGER = Ledger()
"""The one of this run."""
