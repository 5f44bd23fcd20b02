"""Tables of the CLI: flows, tasks, programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from flowerapp.management.cli.display import Console, Drawable, Group, Table, Text
from flowerapp.management.cli.output import flow_status, plain, status_text
from flowerapp.models import Flow, Task
from flowerapp.registry import Program
from flowerapp.selectors import counts, programs, tasks, times
from flowerapp.selectors.counts import Counts
from flowerapp.selectors.durations import duration
from flowerapp.selectors.status_style import STYLES, task_style
from flowerapp.states import SATISFIED, Status

NARROW = 100
"""Columns below which a list of flows takes two lines for each."""


@dataclass(frozen=True, slots=True)
class Row:
    """A step in a table, with the counts of its children if it has added some."""

    task: Task
    children: Counts | None

    @property
    def note(self) -> str:
        """What the word of the state does not say."""
        return tasks.note(self.task, self.children)

    def status(self, console: Console) -> Text:
        """State as symbol, word and color."""
        return status_text(tasks.style_of(self.task), console, self.note)


def rows_of(flow_id: str) -> list[Row]:
    """The steps of a flow in order of seq."""
    steps = tasks.shown_tasks(flow_id).filter(parent_seq=None).order_by("task_exec_seq")
    listed = list(steps.only(*tasks.ROW_COLUMNS, "error"))
    children = tasks.children_of(listed)
    return [Row(task, children.get(task.task_exec_seq)) for task in listed]


def moment(when: datetime | None) -> str:
    """A time of the project's time zone."""
    return "" if when is None else times.plain(when)


def table(*columns: str, right: Sequence[str] = ()) -> Table:
    """An empty table in the CLI's looks."""
    result = Table()
    for name in columns:
        result.add_column(name, justify="right" if name in right else "left", overflow="fold")
    return result


def tasks_table(rows: Iterable[Row], console: Console, waits: Mapping[int, str] | None = None) -> Table:
    """Tasks with state, duration and attempts, and by seq why they wait if one has a reason."""
    result = table("Task", "Program", "Status", "Duration", "Attempt", right=("Duration", "Attempt"))
    if waits:
        result.add_column("Waits", overflow="fold")
    for row in rows:
        task = row.task
        why = [plain(waits.get(task.task_exec_seq, ""))] if waits else []
        columns = (plain(task.own_title), plain(tasks.program_text(task)), row.status(console), tasks.duration_of(task))
        result.add_row(*columns, str(task.attempt or ""), *why)
    return result


def most_urgent(rows: Sequence[Row], most: int) -> list[Row]:
    """At most ``most`` of the tasks: failed, running, ready and waiting ones, then the last to end; in order of seq."""
    if len(rows) <= most:
        return list(rows)
    ranks = {Status.SUSPEND: 0, Status.RUNNING: 1, Status.WAIT: 2, Status.FINISH: 3, Status.IGNORE: 4}

    def urgency(row: Row) -> tuple[int, bool, int]:
        task = row.task
        waits = task.status is Status.WAIT and task.pending > 0
        return ranks[task.status], waits, -task.task_exec_seq if task.status in SATISFIED else task.task_exec_seq

    return sorted(sorted(rows, key=urgency)[: max(1, most)], key=lambda row: row.task.task_exec_seq)


def rest(rows: Sequence[Row], listed: Sequence[Row]) -> str:
    """``… 480 more tasks: 470 Waiting, 10 Finished``; empty if all are listed."""
    if len(listed) == len(rows):
        return ""
    numbers = Counter(task_style(row.task.exec_status, row.task.ignored_by) for row in rows)
    numbers.subtract(task_style(row.task.exec_status, row.task.ignored_by) for row in listed)
    states = ", ".join(f"{numbers[style]:,} {style.word}" for style in STYLES if numbers[style])
    return f"… {len(rows) - len(listed):,} more tasks: {states}"


def flows_view(flows: Sequence[Flow], console: Console) -> Drawable:
    """A list of flows; on a narrow terminal two lines for each."""
    if not flows:
        return Text("no flows")
    numbers = counts.of_flows(flows)
    if console.width < NARROW:
        return Group(*(_flow_lines(flow, numbers[flow.pk], console) for flow in flows))
    result = table("Flow", "Workflow", "Status", "Tasks", "Registered", "Duration", right=("Duration",))
    result.columns[0].no_wrap = True
    for flow in flows:
        status = flow_status(flow, numbers[flow.pk], console)
        columns = (numbers[flow.pk].text, moment(flow.registered_ts), duration(flow))
        result.add_row(flow.pk, plain(flow.task_id), status, *columns)
    return result


def _flow_lines(flow: Flow, numbers: Counts, console: Console) -> Text:
    state = flow_status(flow, numbers, console)
    parts = (f"  {plain(flow.task_id)}", numbers.tasks_text, moment(flow.registered_ts), duration(flow))
    return Text(flow.pk, overflow="fold").append("\n  ").append(state).append("  ".join(filter(None, parts)))


def programs_view(listed: Iterable[Program]) -> Drawable:
    """Programs, each with its parameters and retry policy."""
    return Group(*(_program_lines(program) for program in listed))


def _program_lines(program: Program) -> Text:
    text = Text(plain(program.name), style="bold")
    if program.description:
        text.append(f"\n    {plain(program.description)}", style="not bold")
    for parameter in programs.parameters(program):
        default = "required" if parameter.required else f"{parameter.default} by default"
        text.append(f"\n    {plain(parameter.name)}: {parameter.type}, {default}", style="not bold")
    text.append(f"\n    {retry_sentence(program)}\n", style="dim not bold")
    return text


def retry_sentence(program: Program) -> str:
    """A program's retry policy for people."""
    if not program.autoretry_for or program.max_retries == 0:
        return "no retries"
    named = ", ".join(error.__name__ for error in program.autoretry_for)
    errors = "any error" if program.autoretry_for == (Exception,) else named
    times = "any number of retries" if program.max_retries is None else f"up to {program.max_retries} retries"
    if program.retry_backoff:
        first, longest = max(1, int(program.retry_backoff)), program.retry_backoff_max
        delay = f"after {first} s, twice as long each time, {longest:g} s at most"
    else:
        delay = f"after {program.default_retry_delay:g} s"
    return f"{times} on {errors}, {delay}"


def pairs_view(pairs: Mapping[str, Drawable | None]) -> Table:
    """Names and values in two columns; empty values are left out."""
    result = Table(show_header=False)
    result.add_column(style="dim", no_wrap=True)
    result.add_column(overflow="fold")
    for name, value in pairs.items():
        if value not in (None, ""):
            result.add_row(name, plain(value) if isinstance(value, str) else value)
    return result
