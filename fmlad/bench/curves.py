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
    """One line of a plot: ``x`` and ``y`` are ``(n,)``, x rising.

    ``colour`` and ``dash`` are numbered from 0; dash 0 is solid.
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
        x_max: Right end of the x axis, from 0.
        steps: Between the ticks of the x axis.
        chance: Whether the diagonal is drawn.
        mark: Place of an upright line, or None.
        width, height: Of the plot in px.
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


def _spro(cell: CellResult) -> tuple[Floats, Floats] | None:
    return (np.array(cell.curve["fpr"]), np.array(cell.curve["spro"])) if cell.curve else None


@dataclass(frozen=True)
class Curve:
    """A kind of curve: the axes, where cells' curves are averaged, and the curve of a cell."""

    axes: Axes
    grid: Floats
    of: Callable[[CellResult], tuple[Floats, Floats] | None]

    def mean(self, cells: Sequence[CellResult]) -> Floats | None:
        """Mean height at each place of the grid, over seeds and then over tasks; None without any.

        Every curve is averaged by itself, because scores of two fits have no common scale.
        """
        tasks: dict[str, list[Floats]] = {}
        for cell in cells:
            if (curve := self.of(cell)) is not None:
                # Where a curve rises straight up, np.interp takes its upper end.
                heights = np.interp(self.grid, *curve)
                tasks.setdefault(cell.cell.task.title, []).append(heights)
        if not tasks:
            return None
        return np.asarray(np.mean([np.mean(found, axis=0) for found in tasks.values()], axis=0))


ROC_AXES = Axes("false positive rate", "true positive rate", chance=True)
SPRO_AXES = Axes("false positive rate of pixels", "sPRO", SPRO_LIMIT, steps=6, mark=0.05)
ROC = Curve(ROC_AXES, GRID, lambda cell: roc(cell.rows))
SPRO = Curve(SPRO_AXES, SPRO_GRID, _spro)
CURVES = {"ROC": ROC, "sPRO": SPRO}
