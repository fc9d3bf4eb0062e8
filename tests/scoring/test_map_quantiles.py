"""Quantile-normalised maps."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from fmlad.errors import ShotsError
from fmlad.scoring.map_quantiles import MapQuantiles


def maps() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.gamma(2, size=(20, 30)), rng.gamma(2, size=(10, 10))]


def test_quantiles_over_all_places_become_0_and_a_tenth() -> None:
    scale = MapQuantiles.fit(maps())
    pooled = np.sort(np.concatenate([one.ravel() for one in maps()]))
    assert np.quantile(scale(pooled), 0.9) == pytest.approx(0)
    assert np.quantile(scale(pooled), 0.995) == pytest.approx(0.1)


def test_order_stays_and_units_fall_out() -> None:
    one, other = MapQuantiles.fit(maps()), MapQuantiles.fit([1000 * one + 5 for one in maps()])
    values = np.linspace(0, 20, 50)
    assert (np.diff(one(values)) > 0).all()
    assert one(values) == pytest.approx(other(1000 * values + 5))


def test_arrays_and_tensors_alike() -> None:
    scale = MapQuantiles(2.0, 4.0)
    assert scale(torch.tensor([2.0, 4.0, 6.0])).tolist() == pytest.approx([0, 0.1, 0.2])
    assert MapQuantiles(*json.loads(json.dumps(scale.to_list()))) == scale


def test_a_flat_map_is_only_shifted() -> None:
    scale = MapQuantiles.fit([np.full((4, 4), 3.0)])
    assert scale(np.array([3.0, 3.5])) == pytest.approx([0, 0.5])


def test_no_map_and_bad_quantiles_are_refused() -> None:
    with pytest.raises(ShotsError):
        MapQuantiles.fit([])
    for low, high in ((1.0, 1.0), (2.0, 1.0), (0.0, np.inf), (np.nan, 1.0)):
        with pytest.raises(ValueError, match="rising"):
            MapQuantiles(low, high)
