"""SVG drawings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape

from flowerapp.core import graph
from flowerapp.drawing.colors import DARK, LIGHT, BoxColors
from flowerapp.drawing.layout import BOX_HEIGHT, BOX_WIDTH, MARGIN, Layout
from flowerapp.drawing.nodes import Node, clean, collapse, shortened
from flowerapp.drawing.parts import WHOLE, Part, View, drawn, fits
from flowerapp.selectors.status_style import STYLES

NOTE_WIDTH, NOTE_HEIGHT = 900, 24
"""Room for the note that steps were left out, in pixels."""
LABEL_COLUMNS = 21
"""Characters of a label that fit into a box."""
NOTE_COLUMNS = 33
"""Characters of a note, in smaller letters, that fit into a box."""


@dataclass(frozen=True, kw_only=True)
class Lines:
    """Colors of what has no state."""

    page: str
    line: str
    none: BoxColors


LINES_LIGHT = Lines(page="#ffffff", line="#8c959f", none=BoxColors("#ffffff", "#57606a", "#1f2328"))
LINES_DARK = Lines(page="#0d1117", line="#6e7681", none=BoxColors("#161b22", "#8b949e", "#e6edf3"))


def svg(
    nodes: Iterable[Node], edges: graph.Edges, title: str = "Workflow", view: View = WHOLE, *, styled: bool = True
) -> str:
    """An SVG drawing in light or dark colors, as the reader's system asks; screen readers read ``title`` aloud.

    It is not ``styled`` in a page that has ``stylesheet`` already.
    """
    everything = list(nodes)
    _, text = drawn(everything, edges, view, lambda part: _drawn(part, title, view, styled))
    return text


def _drawn(part: Part, title: str, view: View, styled: bool) -> str | None:
    shown, depends = collapse(part.nodes, part.edges)
    if len(shown) > view.most_nodes or sum(map(len, depends.values())) > view.most_edges:
        return None
    layout = Layout.of(depends)
    by_seq = {node.seq: node for node in shown}
    paths = [layout.path(route) for route in layout.routes]
    boxes = [_box(by_seq[seq], *layout.corner(seq)) for seq in sorted(by_seq)]
    width, height = layout.size
    if part.note:
        width, height = max(width, NOTE_WIDTH), height + NOTE_HEIGHT
        boxes.append(f'<text class="word note" x="{MARGIN}" y="{height - MARGIN}">{escape(part.note)}</text>')
    return fits(
        "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
                f'viewBox="0 0 {width} {height}" role="img" aria-labelledby="flow-title flow-desc" class="flow-graph">',
                f'<title id="flow-title">{escape(clean(title))}</title>',
                f'<desc id="flow-desc">{escape(_description(part))}</desc>',
                *([f"<style>{stylesheet()}</style>"] if styled else []),
                '<defs><marker id="flow-arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7"'
                ' orient="auto-start-reverse"><path class="head" d="M0 0 8 4 0 8z"/></marker></defs>',
                f'<rect class="page" width="{width}" height="{height}"/>',
                *(f'<path class="edge" d="{path}" marker-end="url(#flow-arrow)"/>' for path in paths),
                *boxes,
                "</svg>\n",
            ]
        )
    )


def _description(part: Part) -> str:
    counts = Counter(node.style for node in part.nodes)
    states = ", ".join(f"{counts[style]:,} {style.word}" for style in STYLES if counts[style])
    number = f"{len(part.nodes):,} task{'s' if len(part.nodes) != 1 else ''}" + (f": {states}" if states else "")
    return f"{number}. {part.note}" if part.note else number


def stylesheet() -> str:
    """CSS of all drawings."""
    plain = (
        ".flow-graph{font:14px system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif}"
        ".flow-graph{color-scheme:light dark}"
        ".flow-graph .name{font-weight:600}.flow-graph .seq{font-weight:400;opacity:.75}"
        ".flow-graph .word{font-size:12px}"
        ".flow-graph rect{stroke-width:1.5}.flow-graph .edge{fill:none;stroke-width:1.5}"
        ".flow-graph .sign{font-weight:700;text-anchor:middle}.flow-graph .more rect{stroke-dasharray:5 4}"
    )
    light, dark = _theme(".flow-graph", LIGHT, LINES_LIGHT), _theme(".flow-graph", DARK, LINES_DARK)
    chosen = "".join(
        _theme(f"[data-theme={name}] .flow-graph", boxes, lines)
        for name, boxes, lines in (("light", LIGHT, LINES_LIGHT), ("dark", DARK, LINES_DARK))
    )
    return f"{plain}{light}@media(prefers-color-scheme:dark){{{dark}}}{chosen}"


def _theme(within: str, boxes: Mapping[str, BoxColors], lines: Lines) -> str:
    """Rules for drawings that ``within`` selects: by themselves, or in a page whose reader chose a theme."""
    states = "".join(
        f"{within} .{name} rect{{fill:{box.fill};stroke:{box.line}}}{within} .{name} text{{fill:{box.text}}}"
        f"{within} .{name} circle{{fill:{box.line}}}{within} .{name} .sign{{fill:{box.fill}}}"
        for name, box in {"plain": lines.none, **boxes}.items()
    )
    ground = f"{within} .page{{fill:{lines.page};stroke:none}}{within} .note{{fill:{lines.none.text}}}"
    return f"{ground}{within} .edge{{stroke:{lines.line}}}{within} .head{{fill:{lines.line}}}{states}"


def _box(node: Node, x: float, y: float) -> str:
    classes = (node.style.color if node.style else "plain") + (" more" if node.more else "")
    left = 44 if node.style else 16
    numbers = " ".join(f"{style.symbol} {count}" for style, count in node.counts)
    below = shortened(node.note, NOTE_COLUMNS) if node.style else numbers
    seq = "" if node.more else f'<tspan class="seq">{node.seq}</tspan> '
    label = escape(shortened(clean(node.name or node.label), LABEL_COLUMNS - len(str(node.seq))))
    parts = [
        f'<g class="{classes}" transform="translate({x:g} {y:g})"><title>{escape(clean(node.tooltip))}</title>',
        f'<rect width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="9"/>',
        f'<text class="name" x="{left}" y="{21 if below else 29}">{seq}{label}</text>',
    ]
    if node.style:
        parts.append(f'<circle cx="24" cy="24" r="11"/><text class="sign" x="24" y="29">{node.style.symbol}</text>')
    if below:
        parts.append(f'<text class="word" x="{left}" y="38">{below}</text>')
    return "".join([*parts, "</g>"])
