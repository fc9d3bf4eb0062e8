"""Measures of regions against shapes whose measures are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fmlad.backbones.embedded.region_shapes import PRIOR_REGIONS, PRIOR_SHARE, QUANTITIES, measure
from tests.backbones.test_lexicon import disc, grid, rectangle


def test_a_rectangle() -> None:
    found = {
        name: float(values[0]) for name, values in measure(rectangle(40, 60, 120, 30)[None]).items()
    }
    assert found["elongation"] == pytest.approx(4, rel=0.03)
    assert found["solidity"] == pytest.approx(1)
    assert found["rectangularity"] == pytest.approx(1)
    assert found["hole"] == 0
    assert found["unity"] == 1
    length = math.hypot(120, 30)
    assert found["roundness"] == pytest.approx(120 * 30 / (math.pi / 4 * length**2))
    assert found["length"] / found["width"] == pytest.approx(length**2 / (120 * 30))


def test_a_turned_rectangle() -> None:
    y, x = grid()
    for degrees in (10, 35, 60, 80):
        c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        u, v = (x - 160) * c + (y - 160) * s, (y - 160) * c - (x - 160) * s
        found = measure(((np.abs(u) < 80) & (np.abs(v) < 20))[None])
        assert found["rectangularity"][0] > 0.93
        assert found["elongation"][0] == pytest.approx(4, rel=0.03)
        assert found["solidity"][0] > 0.96  # steps along the edge


def test_discs_and_rings() -> None:
    found = measure(np.stack([disc(100, 100, 60), disc(100, 100, 60, 30)]))
    assert found["roundness"] == pytest.approx([1, 1], abs=0.03)
    assert found["rectangularity"] == pytest.approx([math.pi / 4] * 2, abs=0.02)
    assert found["hole"] == pytest.approx([0, 0.25], abs=0.01)
    assert found["elongation"] == pytest.approx([1, 1], abs=0.01)


def test_a_hexagon_is_between_a_disc_and_a_square() -> None:
    y, x = grid()
    turned = [
        np.abs((x - 160) * math.cos(a) + (y - 160) * math.sin(a))
        for a in (0, math.pi / 3, 2 * math.pi / 3)
    ]
    hexagon = np.max(turned, axis=0) < 60
    found = measure(np.stack([hexagon, disc(160, 160, 60), rectangle(100, 100, 120, 120)]))
    assert found["roundness"] == pytest.approx([0.827, 1, 0.637], abs=0.03)


def test_sizes_are_logs_against_the_typical_region() -> None:
    regions = np.stack(
        [rectangle(10 + 70 * i, 10, side, side) for i, side in enumerate((20, 20, 40))]
    )
    size = measure(regions)["size"]
    assert size[2] - size[0] == pytest.approx(2)  # four times the area
    alone = measure(regions[:1])["size"][0]
    share = 400 / 320**2
    # One region against the prior, by their weights.
    expected = math.log2(share / PRIOR_SHARE) * PRIOR_REGIONS / (1 + PRIOR_REGIONS)
    assert alone == pytest.approx(expected, abs=1e-5)


def test_a_tray_is_no_measure_of_what_lies_in_it() -> None:
    things = [rectangle(40 + 70 * i, 40, 20, 20) for i in range(3)]
    tray = rectangle(20, 20, 280, 280)
    within = measure(np.stack([*things, tray]))["size"]
    assert within[:3] == pytest.approx(measure(np.stack(things))["size"])
    assert within[3] - within[0] == pytest.approx(math.log2(280**2 / 400))


def test_pieces_and_solidity() -> None:
    pieces = rectangle(20, 20, 60, 20) | rectangle(20, 200, 20, 20)
    cross = rectangle(100, 140, 120, 20) | rectangle(150, 90, 20, 120)
    found = measure(np.stack([pieces, cross]))
    assert found["unity"] == pytest.approx([0.75, 1])
    assert found["solidity"][1] < 0.7


@pytest.mark.parametrize("shape", [(0, 20, 20), (3, 20, 20)])
def test_nothing_at_all(shape: tuple[int, int, int]) -> None:
    found = measure(np.zeros(shape, bool))
    assert tuple(found) == QUANTITIES
    assert all(len(values) == shape[0] and np.isnan(values).all() for values in found.values())


def test_the_smallest_and_the_largest_regions() -> None:
    one, line, column, all_ = (np.zeros((16, 16), bool) for _ in range(4))
    one[5, 5] = True
    line[3] = True
    column[:, 15] = True
    all_[:] = True
    found = measure(np.stack([one, line, column, all_, np.zeros((16, 16), bool)]))
    for name, values in found.items():
        assert np.isfinite(values[:4]).all(), name
        assert np.isnan(values[4]), name
    assert found["elongation"][1] == found["elongation"][2] > 10
    assert found["solidity"][:4].tolist() == [1, 1, 1, 1]
