"""Greedy k-centre against its definition."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from fmlad.memory.coreset import k_centre


@given(st.integers(0, 1000), st.integers(1, 9))
def test_each_row_is_the_farthest_from_those_before(seed: int, count: int) -> None:
    points = torch.randn(12, 3, generator=torch.Generator().manual_seed(seed)).double()
    rows = k_centre(points, count, first=4)
    assert rows[0] == 4
    assert len(set(rows)) == count
    for number in range(1, count):
        gaps = torch.cdist(points, points[rows[:number]]).amin(1)
        torch.testing.assert_close(gaps[rows[number]], gaps.max())
