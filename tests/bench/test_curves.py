"""Curves: exact where they can be, and drawings that are well-formed."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fmlad.bench.curves import CURVES, GRID, ROC, SPRO, SPRO_GRID, Axes, Series, roc
from fmlad.bench.model import Cell, ImageRecord, Task
from fmlad.metrics import auroc
from fmlad.report import template
from tests.bench.report_support import BAD_NAME, entry, result

PLOTS: Any = template("bench/plot.html").module


def rows(scores: list[int], odd: list[bool]) -> list[ImageRecord]:
    kinds = ("good", "logical")
    return [
        ImageRecord(str(i), kinds[bad], None, float(score), None, 0.1, True)  # type: ignore[arg-type]
        for i, (score, bad) in enumerate(zip(scores, odd, strict=True))
    ]


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=30))
def test_the_area_under_roc_is_auroc(pairs: list[tuple[int, bool]]) -> None:
    scores, odd = map(list, zip(*pairs, strict=True))
    curve = roc(rows(scores, odd))
    if len(set(odd)) < 2:
        assert curve is None
        return
    assert curve is not None
    x, y = curve
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
    assert (np.diff(x) >= 0).all()
    assert (np.diff(y) >= 0).all()
    assert np.trapezoid(y, x) == pytest.approx(auroc(odd, scores))


def cell(category: str, seed: int) -> Cell:
    return Cell(entry("e"), Task("scenes", "/nowhere", category), 1, seed)


def test_the_mean_is_over_seeds_and_then_over_tasks() -> None:
    cells = [result(cell("a", seed), 1.0, images=40) for seed in range(3)]
    cells.append(result(cell("b", 0), 0.2, images=40))
    mean = ROC.mean(cells)
    assert mean is not None
    areas = [np.trapezoid(c, GRID) for c in (mean, ROC.mean(cells[:3]), ROC.mean(cells[3:]))]
    assert areas[0] == pytest.approx((areas[1] + areas[2]) / 2)
    by_cell = [one.figures["auroc_micro"] for one in cells]
    assert areas[1] == pytest.approx(np.mean(by_cell[:3]), abs=0.005)
    assert areas[2] == pytest.approx(by_cell[3], abs=0.005)


def test_a_straight_rise_counts_with_its_upper_end() -> None:
    perfect = result(cell("a", 0), 100.0)
    mean = ROC.mean([perfect])
    assert mean is not None
    assert (mean == 1).all()  # at rate 0 as well


def test_spro_is_averaged_where_it_was_measured() -> None:
    curves = ([0.0, 0.5], [0.5, 1.0])
    cells = [
        result(cell("a", seed), 1.0, curve={"fpr": [0.0, 1.0], "spro": spro})
        for seed, spro in enumerate(curves)
    ]
    cells.append(result(cell("b", 0), 1.0, curve={}))
    mean = SPRO.mean(cells)
    assert mean is not None
    assert mean == pytest.approx(0.25 + 0.5 * SPRO_GRID)
    assert SPRO.mean(cells[2:]) is None


@pytest.mark.parametrize("axes", [curve.axes for curve in CURVES.values()])
def test_a_plot_is_well_formed_and_keeps_within_its_frame(axes: Axes) -> None:
    series = [Series(BAD_NAME, GRID, GRID**0.5, 1, 1), Series("other", GRID, GRID, 10, 0)]
    drawn = PLOTS.plot(BAD_NAME, axes, series)
    root = ET.fromstring(drawn)
    assert root.attrib["aria-label"] == BAD_NAME
    width, height = map(float, root.attrib["viewBox"].split()[2:])
    lines = root.findall("polyline")
    assert len(lines) == 2
    for line in lines:
        points = [tuple(map(float, pair.split(","))) for pair in line.attrib["points"].split()]
        assert len(points) > 20
        assert all(0 <= x <= width and 0 <= y <= height for x, y in points)
    assert lines[0].findtext("title") == BAD_NAME
    assert lines[0].attrib["style"] != lines[1].attrib["style"]
    ticks = [text.text for text in root.findall("text")]
    assert {"0", f"{axes.x_max:g}", axes.x_label, axes.y_label} <= set(ticks)


def test_a_legend_names_each_line() -> None:
    one = Series(BAD_NAME, GRID, GRID)
    root = ET.fromstring(PLOTS.legend([one, Series("b", GRID, GRID, 1)]))
    assert ["".join(item.itertext()) for item in root] == [BAD_NAME, "b"]
