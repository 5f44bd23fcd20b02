"""The lines that programs log: written in batches."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from django.db import models

from flowerapp.core import values
from flowerapp.core.task_log import LONGEST_LINE
from flowerapp.querysets.db import atomic, connection


class LogRow(NamedTuple):
    """A line as it is stored."""

    flow_id: str
    seq: int
    attempt: int
    ts: float
    """Seconds since 1970."""
    level: int
    source: str
    message: str


LOCK_CLASS = 0x6C6F67
"""The first key of the advisory locks of this module."""
LOCKS = 64
"""Flows share so many locks, because PostgreSQL has a limited number."""

_LOCK = "SELECT PG_ADVISORY_XACT_LOCK(%s, key) FROM UNNEST(%s::int[]) AS key"
_INSERT = """
INSERT INTO kr_task_log (task_flow_id, task_exec_seq, attempt, ts, level, source, message)
SELECT line.flow_id, line.seq, line.attempt, TO_TIMESTAMP(line.ts), line.level, line.source, line.message
  FROM UNNEST(%s::varchar[], %s::int[], %s::int[], %s::float8[], %s::smallint[], %s::varchar[], %s::text[])
       WITH ORDINALITY AS line (flow_id, seq, attempt, ts, level, source, message, place)
 WHERE EXISTS (SELECT 1 FROM kr_task_flow AS flow WHERE flow.task_flow_id = line.flow_id)
 ORDER BY line.place
"""


class LogQuerySet(models.QuerySet[Any]):
    """The lines."""

    def write(self, rows: Sequence[LogRow]) -> None:
        """Store lines, except those of flows that are deleted.

        The ids of a flow's lines grow in the order in which they are committed, so that a reader who asks for what
        follows an id misses none: the processes that write lines of one flow take turns.
        """
        with atomic(self.db):
            if connection().vendor == "postgresql":
                self._write_at_once(rows)
            else:
                self._write_portably(rows)

    def _write_at_once(self, rows: Sequence[LogRow]) -> None:
        keys = sorted({zlib.crc32(row.flow_id.encode()) % LOCKS for row in rows})
        cut = [row._replace(message=values.cut(row.message, LONGEST_LINE)) for row in rows]
        with connection().cursor() as cursor:
            cursor.execute(_LOCK, [LOCK_CLASS, keys])
            cursor.execute(_INSERT, [list(column) for column in zip(*cut, strict=True)])

    def _write_portably(self, rows: Sequence[LogRow]) -> None:
        flows = self.model._meta.get_field("task_flow").related_model._default_manager.using(self.db)
        ids = {row.flow_id for row in rows}
        present = set(flows.filter(pk__in=ids).values_list("pk", flat=True))
        self.bulk_create([self._line(row) for row in rows if row.flow_id in present], batch_size=500)

    def _line(self, row: LogRow) -> Any:
        return self.model(
            task_flow_id=row.flow_id,
            task_exec_seq=row.seq,
            attempt=row.attempt,
            ts=datetime.fromtimestamp(row.ts, UTC),
            level=row.level,
            source=row.source,
            message=row.message,
        )
