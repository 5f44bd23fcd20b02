"""``flow cache``: what the output cache holds, and how it is forgotten."""

from __future__ import annotations

import json
from typing import Any

from flowerapp import engine
from flowerapp.engine.output_cache import text_of_key
from flowerapp.exceptions import InvalidError
from flowerapp.management.cli import documents, tables
from flowerapp.management.cli.output import Output, plain
from flowerapp.selectors import output_cache

Options = dict[str, Any]
DONE = 0
MOST_LISTED = 20
"""Entries in a list for which no number is wanted."""


def cache(out: Output, options: Options) -> int:
    """List what is kept, or forget it."""
    return _forget(out, options) if options["act"] == "forget" else _list(out, options)


def _list(out: Output, options: Options) -> int:
    if options["all"]:
        raise InvalidError("--all is for `flow cache forget`; `flow cache list` lists what is kept anyway")
    key = None if options["key"] is None else text_of_key(_key_of(options["key"]))
    entries = output_cache.entries(options["program"], options["workflow"], key)
    limit = options["limit"] or MOST_LISTED
    listed = list(entries[: limit + 1])
    out.document([documents.cache_document(entry) for entry in listed[:limit]])
    listing = tables.table("Entry", "Program", "Workflow", "Key", "Bytes", "Stored", "Expires", "By", right=("Bytes",))
    for entry in listed[:limit]:
        stored = tables.moment(entry.filled_ts) or "is being stored"
        listing.add_row(
            *(str(entry.pk), plain(entry.program), plain(entry.task_id) or "all", plain(entry.key)),
            *(f"{entry.size:,}", stored, tables.moment(entry.expires_ts)),
            f"{plain(entry.task_flow_id)} {entry.task_exec_seq}",
        )
    out.result(listing if listed else "the output cache is empty")
    if len(listed) > limit:
        out.note(f"there are more than {limit:,} entries; --limit N lists more of them")
    return DONE


def _forget(out: Output, options: Options) -> int:
    chosen = {name: options[name] for name in ("program", "workflow") if options[name] is not None}
    if options["key"] is not None:
        chosen["key"] = _key_of(options["key"])
    if bool(chosen) is bool(options["all"]):
        raise InvalidError("say what to forget: --program, --workflow or --key, or else --all")
    forgotten = engine.forget_cache(**chosen)
    out.document({"forgotten": forgotten})
    out.result(f"{forgotten:,} {'output' if forgotten == 1 else 'outputs'} forgotten")
    return DONE


def _key_of(text: str) -> Any:
    """The value of a key: JSON, or else the text itself."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
