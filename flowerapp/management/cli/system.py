"""What there is beside flows: workflows, programs, pools, workers, queues."""

from __future__ import annotations

from typing import Any

from flowerapp import registry
from flowerapp.management.cli import documents, tables
from flowerapp.management.cli.display import Text
from flowerapp.management.cli.follow import unserved_sentence
from flowerapp.management.cli.output import Output, plain, status_text
from flowerapp.models import TaskDefinition
from flowerapp.selectors import pools as pool_reads
from flowerapp.selectors import programs as program_reads
from flowerapp.selectors import queues as queue_reads
from flowerapp.selectors import workers as worker_reads
from flowerapp.selectors.workflows import with_descriptions

Options = dict[str, Any]
DONE = 0


def programs(out: Output, options: Options) -> int:
    """All programs."""
    registered = registry.programs()
    if out.as_json:
        out.document([program_reads.document(program) for program in registered])
    else:
        out.result(tables.programs_view(registered))
    return DONE


def pools(out: Output, options: Options) -> int:
    """All pools."""
    listed = [documents.pool_document(pool) for pool in pool_reads.with_use()]
    out.document(listed)
    listing = tables.table("Pool", "Slots", "Held", "Waiting", "Description", right=("Slots", "Held", "Waiting"))
    for pool in listed:
        numbers = (f"{pool[name]:,}" for name in ("slots", "held", "waiting"))
        listing.add_row(plain(pool["name"]), *numbers, plain(pool["description"]).partition("\n")[0])
    out.result(listing if listed else "no pools")
    return DONE


def workflows(out: Output, options: Options) -> int:
    """All workflows."""
    listed = with_descriptions(TaskDefinition.objects.workflows())
    out.document(listed)
    listing = tables.table("Workflow", "Steps", "Description", right=("Steps",))
    for row in listed:
        listing.add_row(plain(row["task_id"]), str(row["steps"]), plain(row["description"]).partition("\n")[0])
    out.result(listing if listed else "no workflows")
    return DONE


def workers(out: Output, options: Options) -> int:
    """The workers; of many, those that have stopped are left out first."""
    listed, more = worker_reads.newest()
    alive = worker_reads.alive_ids()
    out.document([documents.worker_document(worker, alive=worker.pk in alive) for worker in listed])
    listing = tables.table(
        *("Worker", "Status", "Pool", "Processes", "Queues", "Started", "Last heartbeat"), right=("Processes",)
    )
    for worker in listed:
        status = status_text(worker_reads.style_of(worker), out.out)
        names = plain(", ".join(map(str, worker.queues)))
        times = (tables.moment(worker.started_ts), tables.moment(worker.seen_ts))
        listing.add_row(plain(worker.name), status, plain(worker.pool), str(worker.concurrency), names, *times)
    out.result(listing if listed else "no workers")
    if more:
        out.note(f"… {more:,} more workers")
    if not alive:
        out.note(f"no worker is running; start one with: {worker_reads.start_command()}", style="yellow")
    return DONE


def queues(out: Output, options: Options) -> int:
    """The queues that a worker serves or a task waits in; those that none serves with the command that does."""
    listed = queue_reads.overview()
    out.document([documents.queue_document(queue) for queue in listed])
    listing = tables.table("Queue", "Waiting", "In the broker", "Workers", right=("Waiting", "In the broker"))
    for queue in listed:
        messages = "unknown" if queue.messages is None else f"{queue.messages:,}"
        listing.add_row(plain(queue.name), f"{queue.waiting:,}", messages, plain(", ".join(queue.workers)))
    out.result(listing if listed else "no queues")
    for reason in sorted({queue.unknown for queue in listed if queue.unknown}):
        out.note(f"the number of messages is unknown: {reason}")
    for queue in listed:
        if queue.unserved:
            out.line(Text(f"! {plain(unserved_sentence(queue.name))}", style="bold yellow"))
    return DONE
