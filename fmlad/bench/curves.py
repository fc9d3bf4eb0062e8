"""Curves over several cells, and their drawing as plain SVG that suits light and dark pages."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fmlad.bench.model import CellResult, Row

Floats = npt.NDArray[np.float64]

GRID = np.linspace(0.0, 1.0, 201)  # false positive rates at which curves are averaged
SPRO_LIMIT = 0.3  # right end of the sPRO plots; what lies beyond is of no use to anybody
SPRO_GRID = np.linspace(0.0, np.sqrt(SPRO_LIMIT), 121) ** 2  # dense where the curve is steep

WIDTH, HEIGHT = 320, 268
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 26, 42  # px around the plot
COLOURS = 8
DASHES = ("", "6 3", "2 3", "8 3 2 3")

# Okabe and Ito's colours, which the colour-blind tell apart; paler ones on dark ground.
STYLE = """
:root{--c0:#0072b2;--c1:#d55e00;--c2:#009e73;--c3:#b8509a;--c4:#9a7200;--c5:#2f9fd0;--c6:#555;
--c7:#8a4b2b}
@media(prefers-color-scheme:dark){:root{--c0:#5cb8f0;--c1:#ff9350;--c2:#45d6ab;--c3:#ee9fd6;
--c4:#f0c94a;--c5:#8fdcff;--c6:#bbb;--c7:#d9a07c}}
svg.plot{width:100%;height:auto;display:block;color:inherit}
svg.plot text{font:11px system-ui,sans-serif;fill:currentColor}
svg.plot text.title{font-size:12px;font-weight:600}
svg.plot .frame{fill:none;stroke:currentColor;opacity:.5}
svg.plot .grid{stroke:currentColor;opacity:.14}
svg.plot .chance,svg.plot .mark{stroke:currentColor;opacity:.45;stroke-dasharray:3 3}
svg.plot polyline,.legend line{fill:none;stroke-width:2;stroke-linejoin:round}
.plots{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,280px),1fr));gap:14px}
.legend{list-style:none;display:flex;flex-wrap:wrap;gap:.2em 1.2em;padding:0;margin:.5em 0}
.legend li{display:flex;align-items:center;gap:.5em}.legend svg{flex:none}
"""


@dataclass(frozen=True)
class Series:
    """One line of a plot.

    Attributes:
        label: In the legend.
        x: ``(n,)``, rising.
        y: ``(n,)``.
        colour: Number of its colour, from 0.
        dash: Number of its dash, from 0 (solid).
    """

    label: str
    x: Floats
    y: Floats
    colour: int = 0
    dash: int = 0


@dataclass(frozen=True)
class Axes:
    """What a plot is drawn in; y goes from 0 to 1.

    Attributes:
        x_label: Under the frame.
        y_label: On its left.
        x_max: Right end of the x axis, from 0.
        steps: Between the ticks of the x axis.
        chance: Whether the diagonal is drawn.
        mark: Place of an upright line, or None.
    """

    x_label: str
    y_label: str
    x_max: float = 1.0
    steps: int = 5
    chance: bool = False
    mark: float | None = None


ROC = Axes("false positive rate", "true positive rate", chance=True)
SPRO = Axes("false positive rate of pixels", "sPRO", SPRO_LIMIT, steps=6, mark=0.05)


def roc(rows: Sequence[Row]) -> tuple[Floats, Floats] | None:
    """False and true positive rates of all thresholds, from (0, 0) to (1, 1).

    Equal scores are one threshold, so that they make a slope. None where one kind is absent.
    """
    scores = np.array([row.score for row in rows], np.float64)
    odd = np.array([row.kind != "good" for row in rows], bool)
    if not odd.any() or odd.all():
        return None
    order = np.argsort(-scores, kind="stable")
    last_of_tie = np.append(np.diff(scores[order]) != 0, True)
    hits = np.cumsum(odd[order])[last_of_tie] / odd.sum()
    alarms = np.cumsum(~odd[order])[last_of_tie] / (~odd).sum()
    return np.append(0.0, alarms), np.append(0.0, hits)


def mean_roc(cells: Sequence[CellResult]) -> Floats | None:
    """Mean true positive rate at each place of :data:`GRID`: over seeds, then over tasks.

    Every curve is averaged by itself, because scores of two fits have no common scale.
    """
    return _mean(cells, [_at(roc(cell.rows), GRID) for cell in cells])


def mean_spro(cells: Sequence[CellResult]) -> Floats | None:
    """Mean sPRO at each place of :data:`SPRO_GRID`; None where no cell has a curve."""
    curves = [
        _at((np.asarray(c.curve["fpr"]), np.asarray(c.curve["spro"])) if c.curve else None,
            SPRO_GRID)
        for c in cells
    ]  # fmt: skip
    return _mean(cells, curves)


def _at(curve: tuple[Floats, Floats] | None, grid: Floats) -> Floats | None:
    """A curve at given rates; where it rises straight up, its upper end."""
    return None if curve is None else np.interp(grid, *curve)


def _mean(cells: Sequence[CellResult], curves: Sequence[Floats | None]) -> Floats | None:
    tasks: dict[str, list[Floats]] = {}
    for cell, curve in zip(cells, curves, strict=True):
        if curve is not None:
            tasks.setdefault(cell.cell.task.title, []).append(curve)
    if not tasks:
        return None
    return np.asarray(np.mean([np.mean(found, axis=0) for found in tasks.values()], axis=0))


def plot(series: Sequence[Series], axes: Axes, title: str) -> str:
    """Lines over a frame with ticks, as an ``svg`` element; the legend stands apart."""
    x_max = axes.x_max
    safe = html.escape(title)
    lines = [
        f'<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{safe}">',
        f'<text class="title" x="{LEFT}" y="16">{safe}</text>',
    ]
    for step in range(axes.steps + 1):
        place = step / axes.steps * x_max
        x = _x(place, x_max)
        lines += [
            f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_y(1):.1f}" y2="{_y(0):.1f}"/>',
            f'<text x="{x:.1f}" y="{_y(0) + 15:.1f}" text-anchor="middle">{place:g}</text>',
        ]
    for step in range(6):
        y = _y(step / 5)
        lines += [
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>',
            f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{step / 5:g}</text>',
        ]
    middle = (_y(0) + _y(1)) / 2
    lines += [
        f'<rect class="frame" x="{LEFT}" y="{TOP}" width="{WIDTH - LEFT - RIGHT}" '
        f'height="{HEIGHT - TOP - BOTTOM}"/>',
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2:.1f}" y="{HEIGHT - 8}" text-anchor="middle">'
        f"{html.escape(axes.x_label)}</text>",
        f'<text x="12" y="{middle:.1f}" text-anchor="middle" '
        f'transform="rotate(-90 12 {middle:.1f})">{html.escape(axes.y_label)}</text>',
    ]
    if axes.chance:
        lines.append(
            f'<line class="chance" x1="{LEFT}" y1="{_y(0):.1f}" x2="{_x(x_max, x_max):.1f}" '
            f'y2="{_y(min(1.0, x_max)):.1f}"/>'
        )
    if axes.mark is not None:
        x = _x(axes.mark, x_max)
        lines.append(
            f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{_y(1):.1f}" y2="{_y(0):.1f}"/>'
        )
    lines += [_line(one, x_max) for one in series]
    return "".join([*lines, "</svg>"])


def legend(series: Sequence[Series]) -> str:
    """Colours, dashes and names of lines, each once, as a list."""
    named = {one.label: one for one in series}
    items = "".join(
        f'<li><svg width="34" height="10" aria-hidden="true"><line x1="1" y1="5" x2="33" y2="5" '
        f"{_stroke(one)}/></svg>{html.escape(label)}</li>"
        for label, one in named.items()
    )
    return f'<ul class="legend">{items}</ul>'


def _line(one: Series, x_max: float) -> str:
    inside = one.x <= x_max + 1e-12
    points = " ".join(
        f"{_x(x, x_max):.1f},{_y(y):.1f}" for x, y in zip(one.x[inside], one.y[inside], strict=True)
    )
    name = html.escape(one.label)
    return f'<polyline points="{points}" {_stroke(one)}><title>{name}</title></polyline>'


def _stroke(one: Series) -> str:
    dash = DASHES[one.dash % len(DASHES)]
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return f'style="stroke:var(--c{one.colour % COLOURS})"{dashes}'


def _x(value: float, x_max: float) -> float:
    return LEFT + value / x_max * (WIDTH - LEFT - RIGHT)


def _y(value: float) -> float:
    return HEIGHT - BOTTOM - value * (HEIGHT - TOP - BOTTOM)
