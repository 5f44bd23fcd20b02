"""The ratios as a picture that can be read on light and on dark pages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

INK = "#808080"
COLORS = {"Celery, Redis": "#2a78b8", "Celery, django-db": "#c8761c"}


def draw(results: Sequence[dict[str, Any]], path: Path) -> None:
    """Wall time of each workload as a share of each other contender's, with its interval and its bar."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot

    rows = [(result, name) for result in results for name in result["ratios"]]
    colors = dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), INK)
    with mpl.rc_context({**colors, "svg.fonttype": "none", "svg.hashsalt": "flowerapp"}):
        figure, axes = pyplot.subplots(figsize=(9, 0.36 * len(rows) + 1))
        for place, (result, name) in enumerate(rows):
            ratio = result["ratios"][name]
            wall, bar = ratio["wall"], ratio["wall_bar"]
            interval = [[wall["median"] - wall["low"]], [wall["high"] - wall["median"]]]
            hatch = None if bar is None or wall["median"] <= bar else "///"
            axes.barh(place, wall["median"], xerr=interval, color=COLORS[name], hatch=hatch, ecolor=INK, height=0.7)
            if bar is not None:
                axes.plot([bar, bar], [place - 0.42, place + 0.42], color=INK, linewidth=2)
            axes.text(max(wall["high"], bar or 0) + 0.03, place + 0.2, f"{wall['median']:.2f}", fontsize=8, ha="left")
        axes.set_yticks(range(len(rows)), [f"{r['workload']}, {r['processes']} processes, to {n}" for r, n in rows])
        axes.invert_yaxis()
        axes.set_xlabel("wall time as a share of the other's; the upright line is the bar, hatched ones miss it")
        axes.spines[:].set_visible(False)
        figure.savefig(path, transparent=True, bbox_inches="tight", metadata={"Date": None})
