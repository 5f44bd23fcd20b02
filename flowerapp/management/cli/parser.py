"""Arguments of ``manage.py flow`` and its subcommands."""

from __future__ import annotations

import argparse
from typing import Any

from flowerapp.core.task_log import LEVELS
from flowerapp.selectors.status_words import FLOW_CHOICES

SET_HELP = "set a parameter of a step first, as text; SEQ.KEY:=JSON for other values; may be repeated"
PAIR_HELP = "KEY=TEXT, or KEY:=JSON for a number, true, null, a list or an object"
FLOWS_HELP = (
    "ids of flows, each whole or at least its first 6 characters, with or without workflow: in front; - reads ids from "
    "standard input, one a line"
)
FILES_HELP = ".flow or .lf files; - reads standard input"
LONGEST_WAIT = 86_400
"""Seconds of the longest wait of a command."""
FLOW_HELP = "id of a flow, or at least its first 6 characters; it may have workflow: in front"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands to Django's parser."""
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    _add_run(verbs)
    _add_readers(verbs)
    for name, what in (
        ("suspend", "hold a flow: running tasks end, no other is started"),
        ("resume", "let a held flow continue"),
        ("cancel", "end a flow; its open tasks are cancelled"),
    ):
        _with_why(_add_of_flows(verbs, name, what))
    _add_task_verbs(verbs)
    _add_rerun(verbs)
    _add_approvals(verbs)
    _add_archives(verbs)
    _add_remote(verbs)
    _add_stand_ins(verbs)
    _add_events(verbs)
    _add_texts(verbs)
    _add_token(verbs)


def _add(verbs: Any, name: str, what: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = verbs.add_parser(name, help=what, description=f"{what[0].upper()}{what[1:]}.")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    return parser


def _add_of_flow(verbs: Any, name: str, what: str) -> argparse.ArgumentParser:
    parser = _add(verbs, name, what)
    parser.add_argument("flow", metavar="ID", help=FLOW_HELP)
    return parser


def _add_of_flows(verbs: Any, name: str, what: str) -> argparse.ArgumentParser:
    """A verb that takes several flows, and has a result for each."""
    parser = _add(verbs, name, what)
    parser.add_argument("flows", metavar="ID", nargs="+", help=FLOWS_HELP)
    return parser


def _with_why(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--why", metavar="TEXT", default="", help="reason, for the history")


def _with_waiting(parser: argparse.ArgumentParser) -> None:
    waiting = parser.add_mutually_exclusive_group()
    waiting.add_argument("--wait", action="store_true", help="wait for the end; Ctrl-C detaches")
    waiting.add_argument("--follow", action="store_true", help="wait for the end and show every task; Ctrl-C detaches")


def _add_run(verbs: Any) -> None:
    parser = _add(verbs, "run", "register a flow of a workflow and print its id")
    parser.add_argument(
        "workflow", metavar="NAME|FILE", nargs="?", help="name of the workflow (task_id), or a .flow or .lf file"
    )
    parser.add_argument("-e", dest="text", metavar="TEXT", help="run this text of the arrow language: A -> B | C -> D")
    parser.add_argument("--input", metavar="JSON|@FILE", help="input of the flow; @- reads standard input")
    parser.add_argument(
        "--many",
        metavar="FILE",
        help="a flow for each input in this file, all or none: a JSON list of inputs, or one in each line; - reads "
        "standard input; not with --input, --wait or --follow",
    )
    parser.add_argument("--priority", metavar="N", type=int, default=0, help="-20 (first) to 19 (last), 0 by default")
    parser.add_argument(
        "--entrance", metavar="SEQ|NAME", help="run only this step (task_seq or name) and what follows it"
    )
    parser.add_argument("--set", metavar="SEQ.KEY=VALUE", action="append", help=f"{SET_HELP}; SEQ is the task_seq")
    _with_waiting(parser)


def _add_readers(verbs: Any) -> None:
    _add_list(verbs)
    parser = _add_of_flow(verbs, "show", "show a flow, its failures first")
    _with_traceback(parser)
    _add_logs(verbs)
    _add_of_flow(verbs, "follow", "show a flow until it ends, task by task; Ctrl-C detaches")
    parser = _add_of_flow(verbs, "task", "show a task with its attempts, times, parameters, input and output")
    _with_seq(parser)
    _with_traceback(parser)
    _add_inspect(verbs)
    _add_graph(verbs)
    _add_cache(verbs)
    for name, what in (
        ("workflows", "list the workflows"),
        ("pools", "list the pools with their slots and the tasks that wait for one"),
        ("programs", "list the programs with their parameters and retries"),
        ("workers", "list the workers with their queues and heartbeats"),
        ("queues", "list the queues with what waits in them and who serves them"),
    ):
        _add(verbs, name, what)


def _add_cache(verbs: Any) -> None:
    parser = _add(verbs, "cache", "list or forget the outputs that are kept for other tasks")
    parser.add_argument("act", choices=("list", "forget"), help="list what is kept, or forget it")
    parser.add_argument("--program", metavar="NAME", help="only outputs of this program")
    parser.add_argument("--workflow", metavar="NAME", help="only those kept for this workflow; '' for all workflows'")
    parser.add_argument("--key", metavar="JSON", help="only those of this value of their key; * for the whole input")
    parser.add_argument("--all", action="store_true", help="forget everything")
    parser.add_argument("--limit", metavar="N", type=_count, help="most entries to list; 20 by default")


def _add_list(verbs: Any) -> None:
    parser = verbs.add_parser("list", help="list the newest flows", description="List the newest flows.")
    parser.add_argument("--workflow", metavar="NAME", help="only of this workflow")
    parser.add_argument("--status", metavar="WORD", help=f"only in these states, joined by commas: {FLOW_CHOICES}")
    parser.add_argument("--limit", metavar="N", type=_count, help="most flows to list; 20, or 10,000 with -o ids")
    forms = parser.add_mutually_exclusive_group()
    forms.add_argument("--json", action="store_true", help="print one JSON document")
    forms.add_argument("-o", dest="form", choices=("table", "ids"), default="table", help="ids: one a line, for pipes")


def _add_inspect(verbs: Any) -> None:
    parser = _add_of_flow(verbs, "inspect", "print littleflow's vectors A and S of a flow, a number for each node")
    parser.add_argument("--all", action="store_true", help="also each change of them, the oldest first")


def _add_graph(verbs: Any) -> None:
    parser = verbs.add_parser("graph", help="draw a workflow or a flow", description="Draw a workflow or a flow.")
    parser.add_argument(
        "name", metavar="NAME|ID|FILE", help="name of a workflow, id of a flow or its beginning, or a .flow or .lf file"
    )
    parser.add_argument(
        "--format", choices=("ascii", "mermaid", "svg", "json"), default="ascii", help="ascii by default"
    )
    parser.add_argument(
        "--around", type=int, metavar="SEQ", help="of a graph that is too large to draw, the part around this step"
    )


def _add_texts(verbs: Any) -> None:
    parser = _add(verbs, "lint", "say what in texts of the arrow language may not be meant; exit code 1 if anything")
    parser.add_argument("files", metavar="FILE", nargs="+", help=FILES_HELP)
    what = "print texts of the arrow language in their one form"
    parser = verbs.add_parser("format", help=what, description=f"{what[0].upper()}{what[1:]}.")
    parser.add_argument("files", metavar="FILE", nargs="+", help=FILES_HELP)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--write", action="store_true", help="write the files anew instead")
    form.add_argument("--check", action="store_true", help="only say which would change; exit code 1 if any")


def _with_traceback(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--traceback", dest="with_traceback", action="store_true", help="with tracebacks of failures")


def _with_seq(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("seq", metavar="SEQ", type=int, help="number of the task (task_exec_seq)")


def _add_logs(verbs: Any) -> None:
    parser = _add_of_flow(verbs, "logs", "print what the programs of a flow log and print")
    parser.add_argument("seq", metavar="SEQ", type=int, nargs="?", help="only of this task (task_exec_seq)")
    parser.add_argument(
        "-f", "--follow", action="store_true", help="wait for further lines, until its end; Ctrl-C stops reading"
    )
    levels = [name.lower() for name in LEVELS]
    parser.add_argument("--level", choices=levels, type=str.lower, help="only lines of this level or above")
    parser.add_argument("--search", metavar="TEXT", help="only lines with this text, in any case")
    parser.add_argument("--limit", metavar="N", type=_count, default=1000, help="most lines, the last; 1000 by default")


def _count(text: str) -> int:
    number = int(text)
    if not 0 < number < 2**31:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def _add_task_verbs(verbs: Any) -> None:
    parser = _add_of_flows(verbs, "skip", "skip a task that waits or failed; its input becomes its output")
    _with_seq(parser)
    _with_why(parser)
    parser = _add_of_flows(verbs, "wake", "end the wait of a task before its time, event, latch or person has come")
    _with_seq(parser)
    parser.add_argument(
        "--output",
        metavar="JSON|@FILE",
        help="its output; without it a wait passes its input on, and a program that parked is started again",
    )
    _with_why(parser)
    parser = _add(verbs, "set", "change a task that waits or failed")
    parser.usage = "%(prog)s ID [ID ...] SEQ [KEY=VALUE ...] [--priority N] [--queue NAME] [--why TEXT] [--json]"
    parser.add_argument("words", metavar="ID SEQ KEY=VALUE", nargs="+", help=f"{FLOWS_HELP}; SEQ; {PAIR_HELP}")
    parser.add_argument("--priority", metavar="N", type=int, help="-20 (first) to 19 (last)")
    parser.add_argument("--queue", metavar="NAME", help="queue; empty for the program's own")
    _with_why(parser)


def _add_remote(verbs: Any) -> None:
    parser = _add(verbs, "end", "end a remote task that is ready or claimed, as another system has done its work")
    parser.usage = (
        "%(prog)s ID [ID ...] SEQ|NAME [--output JSON|@FILE | --failure REASON] [--attempt N] [--why TEXT] [--json]\n"
        "       %(prog)s ID NAME INDEX ..."
    )
    parser.add_argument(
        "words",
        metavar="ID SEQ|NAME INDEX",
        nargs="+",
        help=f"{FLOWS_HELP}; SEQ is the number of the task (task_exec_seq), NAME what it is called, INDEX the number "
        "of its node as `flow inspect` and littleflow count",
    )
    parser.add_argument("--output", metavar="JSON|@FILE", help="what it made; {} by default; @- reads standard input")
    parser.add_argument("--failure", metavar="REASON", help="fail it instead; the reason is shown as its error")
    parser.add_argument("--attempt", metavar="N", type=_count, help="only if this attempt of it runs")
    _with_why(parser)
    parser = _add_of_flows(
        verbs, "fail", "fail a remote task that is ready or claimed, as its worker could not do its work"
    )
    _with_seq(parser)
    parser.add_argument("--reason", metavar="TEXT", required=True, help="why, shown as the task's error")


def _add_stand_ins(verbs: Any) -> None:
    what = "end remote tasks after a random time, in place of their workers, until Ctrl-C; those named wait: are left"
    parser = _add(verbs, "simulate", what)
    parser.add_argument(
        "--wait-period", metavar="S", type=_amount, default=3.0, help="most seconds of a task; 3 by default"
    )
    parser.add_argument("--failures", metavar="PERCENT", type=_percent, default=0.0, help="how many fail; 0 by default")
    parser.add_argument(
        "--group", metavar="NAME", default="starting", help="consumer group in Redis; starting by default"
    )
    parser.add_argument("--only", metavar="ID", help="only of this flow, until it has ended or cannot continue")
    parser.add_argument("--wait", metavar="S", type=_amount, help="end after so many seconds")
    parser = _add(verbs, "receipts", "log each receipt of the stream with the event that it answers, until Ctrl-C")
    parser.add_argument("--wait", metavar="S", type=_amount, help="end when none came for so many seconds")
    parser.add_argument("--limit", metavar="N", type=_count, help="end after so many")


def _amount(text: str) -> float:
    number = float(text)
    if not 0 <= number <= LONGEST_WAIT:
        raise argparse.ArgumentTypeError(f"must be 0 to {LONGEST_WAIT:,}")
    return number


def _percent(text: str) -> float:
    number = float(text)
    if not 0 <= number <= 100:
        raise argparse.ArgumentTypeError("must be 0 to 100")
    return number


def _add_rerun(verbs: Any) -> None:
    parser = _add_of_flows(verbs, "rerun", "start tasks of flows again, the failed ones by default")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--failed", action="store_true", help="the failed tasks (the default)")
    which.add_argument("--from", metavar="SEQ", type=int, help="this task (task_exec_seq) and all that follows it")
    which.add_argument("--all", action="store_true", help="all tasks")
    parser.add_argument("--set", metavar="SEQ.KEY=VALUE", action="append", help=f"{SET_HELP}; SEQ is the task_exec_seq")
    parser.add_argument(
        "--refresh",
        action="store_true",
        help="take the definition's present state for the tasks that are started again",
    )
    _with_why(parser)
    _with_waiting(parser)


def _add_approvals(verbs: Any) -> None:
    parser = _add(verbs, "approvals", "list what people are asked to decide")
    parser.add_argument("flow", metavar="ID", nargs="?", help=f"only of this flow; {FLOW_HELP}")
    parser.add_argument("--all", action="store_true", help="also what was decided, behind the open ones")
    parser.add_argument("--limit", metavar="N", type=_count, help="most approvals to list; 50 by default")
    for name, what in (
        ("approve", "approve what a flow asks; or decide otherwise, with --choice"),
        ("reject", "reject what a flow asks; its task then fails, unless its step says otherwise"),
    ):
        parser = _add_of_flow(verbs, name, what)
        parser.add_argument("seq", metavar="SEQ", type=int, nargs="?", help="task that asks, if several of the flow do")
        parser.add_argument("--choice", metavar="NAME", help="one of the choices of the step")
        parser.add_argument("--comment", metavar="TEXT", default="", help="why, kept in the history and in the output")
        parser.add_argument(
            "--data", metavar="JSON|@FILE", help="the data that its form asks for; @- reads standard input"
        )


def _add_archives(verbs: Any) -> None:
    parser = _add(verbs, "archive", "write flows as JSON documents that `flow restore` takes")
    parser.add_argument("flows", metavar="ID", nargs="*", help=FLOWS_HELP)
    parser.add_argument("--to", metavar="FILE|FOLDER/|storage:ALIAS/PATH", help="where; standard output by default")
    parser.add_argument("--older-than", metavar="DAYS", type=_days, help="the flows that ended over so many days ago")
    parser.add_argument("--delete", action="store_true", help="delete each flow once its archive is read back")
    parser.add_argument("--with-secrets", action="store_true", help="with the values that are masked otherwise")
    parser = _add(verbs, "restore", "restore flows from archives")
    files = "archives: paths, or storage:ALIAS/PATH; - reads standard input"
    parser.add_argument("files", metavar="FILE", nargs="+", help=files)
    parser.add_argument("--replace", action="store_true", help="replace a flow of the same id that has ended")


def _days(text: str) -> float:
    number = float(text)
    if not 0 <= number < 100_000:
        raise argparse.ArgumentTypeError("must be 0 or more")
    return number


def _add_events(verbs: Any) -> None:
    parser = _add(verbs, "event", "report an event: what waits for it ends, and flows that it starts are registered")
    parser.add_argument("kind", metavar="KIND", help="kind of the event")
    parser.add_argument("--data", metavar="JSON|@FILE", help="a JSON object; {} by default; @- reads standard input")
    parser = _add(verbs, "events", "list the newest events")
    parser.add_argument("--kind", metavar="KIND", help="only of this kind")
    parser.add_argument("--limit", metavar="N", type=_count, help="most events to list; 20 by default")
    _add(verbs, "latches", "list the latches that are held, with how often and how many tasks wait")
    parser = _add(verbs, "release", "free a latch: take away all its counts; what waits for it ends")
    parser.add_argument("name", metavar="NAME", help="name of the latch")
    parser.add_argument("--flow", metavar="ID", help=f"only the counts of this flow: {FLOW_HELP}")
    _with_why(parser)


def _add_token(verbs: Any) -> None:
    parser = verbs.add_parser(
        "token", help="print the API token of a user", description="Print the API token of a user."
    )
    parser.add_argument("user", metavar="USER", help="user name, or what users of the project log in with")
    parser.add_argument(
        "--create",
        action="store_true",
        help="make the user if there is none; it may register, operate and read flows, and report events",
    )
