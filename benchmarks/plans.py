"""What a statement of PostgreSQL costs: its plan, and the buffers that each node of it reads."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.db import connection, transaction

_LIKE_INDEX = re.compile(r"kr_task_flow_task_flow_id_\w+_like")
"""Django's second index of the key, for prefixes; looking a key up costs the same in either."""
EXPLAIN = "EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON)"


@dataclass(slots=True)
class Cost:
    """What a statement costs in one state of the tables; statements of the same text are counted together."""

    buffers: int = 0
    plan: list[str] = field(default_factory=list)
    """Kinds of nodes with their indexes and tables, in order."""
    own: list[int] = field(default_factory=list)
    """Buffers of each of these alone."""
    heaviest: str = ""
    """The node that reads most buffers itself."""

    def add(self, plan: dict[str, Any]) -> None:
        """Count an executed plan in."""
        nodes = list(_nodes(plan))
        self.buffers += _buffers(plan) + _after_the_end(nodes)
        if not self.plan:
            self.plan = [_node_name(node) for node in nodes]
            self.own = [_own_buffers(node) for node in nodes]
            self.heaviest = _described(max(nodes, key=_own_buffers))

    @property
    def text(self) -> str:
        """The plan in one line."""
        return ", ".join(f"{name} ({own})" if own else name for name, own in zip(self.plan, self.own, strict=True))


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _nodes(child)


def _buffers(node: dict[str, Any]) -> int:
    return int(node.get("Shared Hit Blocks", 0) + node.get("Shared Read Blocks", 0))


def _after_the_end(nodes: list[dict[str, Any]]) -> int:
    """Buffers of writing CTEs that nothing reads: they run when the top node is done, which does not count them."""
    read = {f"CTE {node['CTE Name']}" for node in nodes if node["Node Type"] == "CTE Scan"}
    names = [(node.get("Subplan Name", ""), _buffers(node)) for node in nodes]
    return sum(buffers for name, buffers in names if name.startswith("CTE ") and name not in read)


def _own_buffers(node: dict[str, Any]) -> int:
    if node["Node Type"] == "CTE Scan":  # counted at the CTE itself
        return 0
    below = [child for child in node.get("Plans", ()) if child.get("Parent Relationship") != "InitPlan"]
    return max(0, _buffers(node) - sum(_buffers(child) for child in below))


def _node_name(node: dict[str, Any]) -> str:
    parallel = "Parallel " if node.get("Parallel Aware") else ""
    index = f" using {_LIKE_INDEX.sub('kr_task_flow_pkey', node['Index Name'])}" if "Index Name" in node else ""
    table = f" on {node['Relation Name']}" if "Relation Name" in node else ""
    return f"{parallel}{node.get('Operation', node['Node Type'])}{index}{table}"


def _described(node: dict[str, Any]) -> str:
    facts = [f"{name}: {node[name]}" for name in ("Index Cond", "Filter", "Rows Removed by Filter") if node.get(name)]
    rows = f"{node['Actual Rows']} rows × {node['Actual Loops']}"
    return f"{_node_name(node)}: {_own_buffers(node)} buffers, {rows}; {'; '.join(facts)}"[:600]


def explained(statement: str, values: Any = None, before: tuple[str, ...] = ()) -> dict[str, Any]:
    """The plan of a statement, which is executed and rolled back; ``before`` are statements to execute first."""
    with transaction.atomic(), connection.cursor() as cursor:
        for preparation in before:
            cursor.execute(preparation)
        cursor.execute(f"{EXPLAIN} {statement}", values)
        answer = cursor.fetchone()[0]
        transaction.set_rollback(True)
    (top,) = answer if isinstance(answer, list) else json.loads(answer)
    return dict(top["Plan"])


def as_generic(statement: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """The generic plan of a prepared statement, which PostgreSQL makes for any values."""
    places = {name: f"${number}" for number, name in enumerate(values, start=1)}
    arguments = ", ".join(["%s"] * len(values))
    with connection.cursor() as cursor:
        cursor.execute(f"PREPARE measured AS {statement % places}")
    try:
        generic = ("SET LOCAL plan_cache_mode = force_generic_plan",)
        return explained(f"EXECUTE measured ({arguments})", list(values.values()), generic)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DEALLOCATE measured")
