"""Events and latches: report an event, list what there is, free a latch."""

from __future__ import annotations

from typing import Any

from flowerapp import engine
from flowerapp.management.cli import arguments, detail, documents, tables
from flowerapp.management.cli.display import Text
from flowerapp.management.cli.output import Output, plain
from flowerapp.selectors import events as event_reads
from flowerapp.selectors import latches as latch_reads

Options = dict[str, Any]
DONE = 0
MOST_LISTED = 20
"""Events in a list for which no number is wanted."""
MOST_EVENTS = 10_000
"""Events in a list, whatever number is wanted."""
MOST_LATCHES = 1000
"""Latches in a list."""
MOST_STARTED = 100
"""Flows that an event started whose ids are printed."""


def event(out: Output, options: Options) -> int:
    """Report an event, and say what it led to."""
    data = arguments.read_input(options["data"], "--data")
    reported = engine.emit(options["kind"], data, actor=arguments.actor())
    outcome = reported.outcome
    started = list(outcome.started[:MOST_STARTED]) if outcome else []
    facts = {"id": reported.pk, "kind": reported.kind, "ended": outcome and outcome.ended, "started": started}
    out.document(facts)
    if outcome is None:
        out.note("what waits for it ends within seconds, by the watcher of a worker")
        return DONE
    flows = f", {len(outcome.started):,} flows started" if outcome.started else ""
    out.result(f"event {reported.pk}: {outcome.ended:,} waits ended{flows}")
    for flow_id in started:
        out.line(Text(flow_id))
    return DONE


def list_events(out: Output, options: Options) -> int:
    """The newest events."""
    listed = list(event_reads.events(options["kind"])[: min(options["limit"] or MOST_LISTED, MOST_EVENTS)])
    out.document([documents.event_document(row) for row in listed])
    listing = tables.table("Event", "Kind", "When", "Who", "Taken", "Data", right=("Event",))
    for row in listed:
        data = f"{row.left_out['data']:,} bytes" if row.left_out else detail.short_json(row.data)
        facts = (tables.moment(row.ts), plain(row.actor), "yes" if row.consumed_ts else "", plain(data))
        listing.add_row(str(row.pk), plain(row.kind), *facts)
    out.result(listing if listed else "no events")
    return DONE


def list_latches(out: Output, options: Options) -> int:
    """The latches that are held."""
    listed: list[Any] = list(latch_reads.with_use()[: MOST_LATCHES + 1])
    more, listed = listed[MOST_LATCHES:], listed[:MOST_LATCHES]
    out.document([documents.latch_document(latch) for latch in listed])
    listing = tables.table("Latch", "Count", "Waiting", "Since", right=("Count", "Waiting"))
    for latch in listed:
        listing.add_row(plain(latch.name), f"{latch.count:,}", f"{latch.waiting:,}", tables.moment(latch.ts))
    out.result(listing if listed else "no latches are held")
    if more:
        out.note(f"there are more than {MOST_LATCHES:,} latches")
    return DONE


def release(out: Output, options: Options) -> int:
    """Take away all counts of a latch, or those of one flow."""
    flow_id = None if options["flow"] is None else arguments.find_flow(options["flow"]).pk
    name, why = options["name"], options["why"]
    number = engine.release_latch(name, flow_id=flow_id, actor=arguments.actor(), why=why)
    out.document({"name": name, "released": number})
    out.result(f"latch {plain(name)}: {number:,} counts taken away")
    return DONE
