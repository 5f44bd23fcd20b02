"""What a task that was skipped passes on in place of an output: what reached it, as the tasks after it see that."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from flowerapp.core import values
from flowerapp.exceptions import InvalidValueError

FLOW_INPUT = -1
"""Stands for the flow's input among seqs of tasks."""


NULL = object()
"""Stands for an output that is null because a text gives this value; None stands for an output that there is not."""


def value_of(output: Any) -> Any:
    """What the tasks after it see of an output: ``{}`` where there is none, which programs give by returning None."""
    return {} if output is None else plain(output)


def plain(output: Any) -> Any:
    """An output with None for null."""
    return None if output is NULL else output


class TooLarge(NamedTuple):
    """Stands for an output that was not read, because it is larger than what was asked for."""

    size: int
    """About how many bytes of JSON it has."""


class Skipped(NamedTuple):
    """A task that has no output of its own and passes its input on."""

    depends_on: Sequence[int]
    merge: bool
    task_seq: int


class Origins(NamedTuple):
    """Where the input of a skipped task comes from."""

    seqs: list[int]
    """The nearest tasks before it that were not skipped, or ``FLOW_INPUT``; each once, in the order of the inputs."""
    merge: bool
    """Whether their outputs become one object."""

    def joined(self, outputs: Mapping[int, Any]) -> Any:
        """What is passed on; ``outputs`` has those that there are. What cannot be merged is listed."""
        there = {seq: outputs[seq] for seq in self.seqs if seq in outputs}
        unread = [output.size for output in there.values() if isinstance(output, TooLarge)]
        if unread:
            return TooLarge(sum(unread))
        if self.merge:
            with suppress(InvalidValueError):
                return values.merge_objects(there)
        return values.merge(list(there.values()))


Rank = Callable[[int], Any]
"""What tasks are ordered by: it gives the same kind of value for each seq."""


def origins(seq: int, skipped: Mapping[int, Skipped], rank: Rank = int) -> Origins:
    """The origins of a skipped task; ``skipped`` has all skipped tasks from which paths lead to it.

    Each origin counts once, however many paths lead from it: a diamond of skipped tasks does not double it. The tasks
    that one depends on come in the order of their ``rank``.
    """
    while seq in skipped and len(skipped[seq].depends_on) == 1 and not skipped[seq].merge:
        (seq,) = skipped[seq].depends_on
    merge = seq in skipped and skipped[seq].merge
    met: dict[int, None] = {}
    ways = [seq]
    seen: set[int] = set()
    while ways:
        seq = ways.pop()
        if seq in seen:
            continue
        seen.add(seq)
        if seq not in skipped:
            met[seq] = None
        else:
            ways.extend(sorted(skipped[seq].depends_on, key=rank, reverse=True) or [FLOW_INPUT])
    return Origins(list(met), merge)


def all_origins(seqs: Collection[int], skipped: Mapping[int, Skipped], rank: Rank = int) -> dict[int, Origins]:
    """The origins of each of these tasks that is skipped."""
    return {seq: origins(seq, skipped, rank) for seq in seqs if seq in skipped}
