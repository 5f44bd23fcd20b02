"""A graph as a state diagram of Mermaid, in the form that littleflow gives."""

from __future__ import annotations

import re

from flowerapp.core.names import visible
from flowerapp.workflows.arrow.graph import FLOW_START, Graph, Kind, Step

MANGLED = {":": "_COLON_", "-": "_HYPHEN_"}
MARKUP = re.compile(r'["#<>&`\\;:*~\[\]{}()|%]')
NOTE = 80
"""Most characters of a note or a guard."""


def diagram(graph: Graph, *, vertical: bool = False, docs: bool = True) -> str:
    """The text of a diagram; ``docs`` adds the first line of each task's doc as a note."""
    names = {FLOW_START: "[*]", graph.end: "[*]"}
    names |= {step.index: _name(step) for step in graph.steps[:-1]}
    lines = ["stateDiagram-v2", *([] if vertical else ["  direction LR"])]
    lines += [f"  {_state(step, names[step.index])}" for step in graph.steps[:-1]]
    guards = {step.index: f": {_text(step.guard)}" for step in graph.steps if step.guard}
    lines += [f"  {names[before]}-->{names[index]}{guards.get(index, '')}" for before, index in graph.edges]
    for step in graph.steps if docs else ():
        if step.doc.strip():
            name, note = names[step.index], _text(step.doc.strip().splitlines()[0])
            lines += [f"  note left of {name}", f"    {note}", "  end note"]
    return "\n".join(lines) + "\n"


def _name(step: Step) -> str:
    if step.kind is Kind.TASK:
        return f"{re.sub('[:-]', lambda match: MANGLED[match[0]], step.name)}.{step.index}"
    return f"_{step.kind}_{step.index}_"


def _state(step: Step, name: str) -> str:
    if step.kind is Kind.START:
        return f"state {name} <<fork>>"
    if step.kind is Kind.END:
        return f"state {name} <<join>>"
    return f'state "{_text(step.name, keep=":") or "value"}" as {name}'


def _text(text: str, keep: str = "") -> str:
    """Text in one line, with Mermaid's entity codes for characters that could count as markup."""
    line = " ".join(visible(text.replace("\n", " ")).split())
    short = line if len(line) <= NOTE else f"{line[: NOTE - 1]}…"
    return MARKUP.sub(lambda match: match[0] if match[0] in keep else f"#{ord(match[0])};", short)
