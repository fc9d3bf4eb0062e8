"""Curves over several cells, and the axes that they are drawn in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fmlad.bench.model import CellResult, ImageRecord

Floats = npt.NDArray[np.float64]

GRID = np.linspace(0.0, 1.0, 201)  # false positive rates at which curves are averaged
SPRO_LIMIT = 0.3  # right end of the sPRO plots; what lies beyond is of no use to anybody
SPRO_GRID = np.linspace(0.0, np.sqrt(SPRO_LIMIT), 121) ** 2  # dense where the curve is steep

LEFT, RIGHT, TOP, BOTTOM = 46, 12, 26, 42  # px around the plot


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
        width: Of the plot in px.
        height: Of the plot in px.
    """

    x_label: str
    y_label: str
    x_max: float = 1.0
    steps: int = 5
    chance: bool = False
    mark: float | None = None
    width: int = 320
    height: int = 268

    def x(self, value: float) -> float:
        """Place of a value in px from the left."""
        return round(LEFT + value / self.x_max * (self.width - LEFT - RIGHT), 1)

    def y(self, value: float) -> float:
        """Place of a value in px from the top."""
        return round(self.height - BOTTOM - value * (self.height - TOP - BOTTOM), 1)

    def points(self, series: Series) -> str:
        """``x,y`` of a line in px, as far as it lies within the axes."""
        inside = series.x <= self.x_max + 1e-12
        pairs = zip(series.x[inside], series.y[inside], strict=True)
        return " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in pairs)


def roc(rows: Sequence[ImageRecord]) -> tuple[Floats, Floats] | None:
    """False and true positive rates of all thresholds, from (0, 0) to (1, 1).

    Equal scores are one threshold, so that they make a slope. None where one kind is absent.
    """
    from sklearn.metrics import roc_curve

    odd = [row.kind != "good" for row in rows]
    if len(set(odd)) < 2:
        return None
    alarms, hits, _ = roc_curve(odd, [row.score for row in rows], drop_intermediate=False)
    return alarms, hits


def mean_roc(cells: Sequence[CellResult]) -> Floats | None:
    """Mean true positive rate at each place of :data:`GRID`: over seeds, then over tasks.

    Every curve is averaged by itself, because scores of two fits have no common scale.
    """
    return _mean(cells, lambda cell: roc(cell.rows), GRID)


def mean_spro(cells: Sequence[CellResult]) -> Floats | None:
    """Mean sPRO at each place of :data:`SPRO_GRID`; None where no cell has a curve."""
    return _mean(cells, _spro, SPRO_GRID)


def _spro(cell: CellResult) -> tuple[Floats, Floats] | None:
    return (np.array(cell.curve["fpr"]), np.array(cell.curve["spro"])) if cell.curve else None


def _mean(
    cells: Sequence[CellResult],
    curve_of: Callable[[CellResult], tuple[Floats, Floats] | None],
    grid: Floats,
) -> Floats | None:
    tasks: dict[str, list[Floats]] = {}
    for cell in cells:
        if (curve := curve_of(cell)) is not None:
            # Where a curve rises straight up, np.interp takes its upper end.
            tasks.setdefault(cell.cell.task.title, []).append(np.interp(grid, *curve))
    if not tasks:
        return None
    return np.asarray(np.mean([np.mean(found, axis=0) for found in tasks.values()], axis=0))


CURVES = {
    "ROC": (Axes("false positive rate", "true positive rate", chance=True), mean_roc, GRID),
    "sPRO": (
        Axes("false positive rate of pixels", "sPRO", SPRO_LIMIT, steps=6, mark=0.05),
        mean_spro,
        SPRO_GRID,
    ),
}
