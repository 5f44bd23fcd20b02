"""``flow end``, ``fail``, ``receipts`` and ``simulate``: remote tasks, and what is done in place of their workers."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable, Sequence
from typing import Any

from flowerapp import engine
from flowerapp.exceptions import InvalidError
from flowerapp.executors.streams.address import Address, address
from flowerapp.management.cli import arguments, documents, many, verbs
from flowerapp.management.cli.display import Text
from flowerapp.management.cli.follow import close_interrupted
from flowerapp.management.cli.output import Output, plain
from flowerapp.models import Flow
from flowerapp.selectors.flows import get_flow
from flowerapp.selectors.node_indexes import seq_at, seqs_named
from flowerapp.states import Status

Options = dict[str, Any]
DONE, ENDED_OTHERWISE = 0, 1


# end, fail


def end(out: Output, options: Options) -> int:
    """End a remote task, of each flow that is named, or fail it with --failure."""
    texts, seq_of = _target(options["words"])
    if options["failure"] is not None and options["output"] is not None:
        raise InvalidError("--output and --failure exclude each other: a task that failed has no output")
    facts = {"attempt": options["attempt"], "actor": arguments.actor(), "why": options["why"]}
    output = arguments.read_input(options["output"], "--output")

    def verb(flow_id: str) -> Flow:
        seq = seq_of(get_flow(flow_id))
        if options["failure"] is not None:
            return engine.fail_task(flow_id, seq, options["failure"], retry=False, **facts)
        return engine.end_task(flow_id, seq, output=output, **facts)

    return verbs.on_each(verb, texts, out)


def fail(out: Output, options: Options) -> int:
    """Fail a remote task, of each flow that is named."""

    def verb(flow_id: str) -> Flow:
        return engine.fail_task(flow_id, options["seq"], options["reason"], retry=False, actor=arguments.actor())

    return verbs.on_each(verb, options["flows"], out)


def _target(words: Sequence[str]) -> tuple[list[str], Callable[[Flow], int]]:
    """``ID … SEQ``, ``ID … NAME`` or ``ID NAME INDEX`` as ids, and what finds the task; raises InvalidError."""
    *texts, last = words
    if not texts:
        raise InvalidError("write end ID [ID …] SEQ, end ID NAME or end ID NAME INDEX")
    number = arguments.step(last)
    if not isinstance(number, int):
        return texts, functools.partial(_only_named, name=last)
    if len(texts) == 2 and many.STDIN not in texts and seqs_named(arguments.find_flow(texts[0]), texts[1]):
        return texts[:1], functools.partial(_at_index, name=texts[1], index=number)
    return texts, lambda flow: number


def _only_named(flow: Flow, name: str) -> int:
    seqs = seqs_named(flow, name)
    if len(seqs) != 1:
        numbers = ", ".join(map(str, seqs))
        how = f"several steps {name!r}; give the SEQ of one of them: {numbers}" if seqs else f"no step {name!r}"
        raise InvalidError(f"flow {flow.pk} has {how}")
    return seqs[0]


def _at_index(flow: Flow, name: str, index: int) -> int:
    seq = seq_at(flow, index)
    if seq not in seqs_named(flow, name):
        raise InvalidError(
            f"the step with the index {index} of flow {flow.pk} is not {name!r}; see `flow show {flow.pk}`"
        )
    return seq


# receipts


def receipts(out: Output, options: Options) -> int:
    """Log the receipts of the stream, and act on them, until Ctrl-C or for as long as --wait says."""
    from flowerapp.executors.streams.receipt_log import Processed, ReceiptLog

    def log(processed: Processed) -> None:
        if out.as_json:
            out.raw(json.dumps({"event": processed.event, "processed": processed.at}) + "\n")
        else:
            out.line(Text(plain(f"{json.dumps(processed.event, ensure_ascii=False)} processed at {processed.at}")))

    reader = ReceiptLog(_stream(), log)
    try:
        reader.run(wait=options["wait"], limit=options["limit"])
    except KeyboardInterrupt:
        close_interrupted()
    finally:
        reader.close()
    return DONE


def _stream() -> Address:
    """Where the stream is; raises InvalidError where there is none."""
    where = address()
    if where is None:
        raise InvalidError("there is no Redis with a stream: set FLOWER['STREAM_URL'], or REDIS_HOST")
    return where


# simulate


def simulate(out: Output, options: Options) -> int:
    """Be the workers of all remote tasks until Ctrl-C, or of one flow until that has ended."""
    from flowerapp.executors.streams.simulation import Chances, Simulated, simulator

    flow_id = str(arguments.find_flow(options["only"]).pk) if options["only"] else ""
    ended: list[Simulated] = []

    def log(simulated: Simulated) -> None:
        ended.append(simulated)
        how = "failed" if simulated.failed else "ended"
        out.note(f"{simulated.flow}  {simulated.name} {how} after {simulated.seconds:.1f} s")

    chances = Chances(wait_period=options["wait_period"], failures=options["failures"], flow_id=flow_id, log=log)
    until = float("inf") if options["wait"] is None else time.monotonic() + options["wait"]
    try:
        simulator(options["group"], chances).run_until(
            lambda: time.monotonic() >= until or bool(flow_id and _rests(get_flow(flow_id)))
        )
    except KeyboardInterrupt:
        close_interrupted()
    return _result(out, flow_id, len(ended), sum(simulated.failed for simulated in ended))


def _rests(flow: Flow) -> bool:
    return bool(flow.ended) or flow.status is Status.SUSPEND


def _result(out: Output, flow_id: str, number: int, failed: int) -> int:
    numbers = {"tasks": number, "failed": failed}
    if not flow_id:
        out.document(numbers)
        out.line(Text(f"{number} tasks, {failed} of them failed"))
        return DONE
    flow = get_flow(flow_id)
    out.document(numbers | {"flow": documents.flow_document(flow)})
    verbs.print_state(flow, out)
    return DONE if flow.status is Status.FINISH else ENDED_OTHERWISE
