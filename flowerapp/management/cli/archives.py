"""Archive flows to files, folders and storages, and restore them."""

from __future__ import annotations

import codecs
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import IO, Any

from flowerapp import engine
from flowerapp.core import archives
from flowerapp.engine import archive_files
from flowerapp.engine.archive import write
from flowerapp.exceptions import FlowerError, InvalidError
from flowerapp.management.cli import arguments, documents, many
from flowerapp.management.cli.display import Text
from flowerapp.management.cli.output import Output, plain
from flowerapp.models import Flow
from flowerapp.selectors.flows import ended_before

Options = dict[str, Any]
DONE, REFUSED = 0, 1
"""Exit codes."""
PIECE = 64 * 1024
STDIN = "-"


def archive(out: Output, options: Options) -> int:
    """Write the archives of flows; of one flow without --to, print it."""
    _check(options)
    if options["to"] is None:
        return _print(_only(options["flows"]), out, options)
    if options["older_than"] is None and many.is_single(options["flows"]):
        out.document([_archived(_only(options["flows"]), out, options)])
        return DONE
    return _archive_all(out, options)


def _check(options: Options) -> None:
    """Raise InvalidError for options that do not go together."""
    if not options["flows"] and options["older_than"] is None:
        raise InvalidError("give ids of flows, - for ids on standard input, or --older-than DAYS")
    if options["flows"] and options["older_than"] is not None:
        raise InvalidError("give ids of flows or --older-than DAYS, not both")
    several = options["older_than"] is not None or not many.is_single(options["flows"])
    if several and (options["to"] is None or not archive_files.is_folder(options["to"])):
        raise InvalidError("several flows need --to FOLDER/ or --to storage:ALIAS/FOLDER/")
    if options["delete"] and options["to"] is None:
        raise InvalidError("--delete needs --to: what is printed may be lost")


def _only(texts: Sequence[str]) -> str:
    return str(arguments.find_flow(texts[0]).pk)


def _print(flow_id: str, out: Output, options: Options) -> int:
    with tempfile.TemporaryFile() as spool:
        write(flow_id, spool, with_secrets=options["with_secrets"], watch=_watch(flow_id, out))
        spool.seek(0)
        _copy(spool, out)
    out.raw("\n")
    return DONE


def _copy(spool: IO[bytes], out: Output) -> None:
    for text in _decoded(spool):
        out.raw(text)


def _decoded(spool: IO[bytes]) -> Iterator[str]:
    """The text of a file of UTF-8, piece by piece."""
    decoder = codecs.getincrementaldecoder("utf-8")("surrogatepass")
    while piece := spool.read(PIECE):
        yield decoder.decode(piece)


def _archive_all(out: Output, options: Options) -> int:
    results: list[dict[str, Any]] = []
    try:
        results.extend(_tried(partial(_archived_text, text, out, options), text, out) for text in _chosen(options))
    finally:
        out.document(results)
    if not results:
        out.note("there is no such flow" if options["older_than"] is not None else "there were no ids")
    return REFUSED if any(result["error"] for result in results) else DONE


def _chosen(options: Options) -> Iterable[str]:
    if options["older_than"] is None:
        return many.ids(options["flows"])
    return ended_before(options["older_than"], many.MOST_IDS)


def _archived_text(text: str, out: Output, options: Options) -> dict[str, Any]:
    arguments.check_text(text)
    return _archived(str(arguments.find_flow(text).pk), out, options)


def _archived(flow_id: str, out: Output, options: Options) -> dict[str, Any]:
    """Write one archive, and say where it is."""
    call = archive_files.archive_and_delete if options["delete"] else engine.archive_to
    watch = _watch(flow_id, out)
    written = call(flow_id, options["to"], with_secrets=options["with_secrets"], watch=watch)
    out.line(Text(f"{flow_id}  {plain(written.place)}{'  deleted' if options['delete'] else ''}"))
    return {
        "task_flow_id": flow_id,
        "place": written.place,
        "bytes": written.size,
        "sha256": written.sha256,
        "deleted": bool(options["delete"]),
        "error": "",
    }


def _tried(call: Callable[[], dict[str, Any]], name: str, out: Output) -> dict[str, Any]:
    """What a call returns, or the refusal."""
    try:
        return call()
    except FlowerError as error:
        out.note(f"{name}: refused: {plain(error)}", style="red")
        return {"task_flow_id": name, "error": str(error)}


def _watch(flow_id: str, out: Output) -> Callable[[int, int], None]:
    def watch(done: int, total: int) -> None:
        out.note(f"{flow_id}: {done:,} of {total:,} tasks are archived")

    return watch


# Restore


def restore(out: Output, options: Options) -> int:
    """Restore the flows of archives."""
    places = options["files"]
    if len(places) == 1:
        flow = _restored(places[0], options)
        _say(flow, out)
        out.document(documents.flow_document(flow) | {"created": flow.created})
        return DONE
    results: list[dict[str, Any]] = []
    try:
        results.extend(_tried(partial(_restored_document, place, out, options), place, out) for place in places)
    finally:
        out.document(results)
    return REFUSED if any(result["error"] for result in results) else DONE


def _restored_document(place: str, out: Output, options: Options) -> dict[str, Any]:
    flow = _restored(place, options)
    _say(flow, out)
    return documents.result_document(flow) | {"created": flow.created}


def _restored(place: str, options: Options) -> Flow:
    document = archives.loads(sys.stdin.buffer.read()) if place == STDIN else engine.read_archive(place)
    return engine.restore(document, replace=options["replace"], actor=arguments.actor())


def _say(flow: Flow, out: Output) -> None:
    out.line(Text(flow.pk))
    if not flow.created:
        out.note(f"flow {flow.pk} is there already, and equal to the archive")
