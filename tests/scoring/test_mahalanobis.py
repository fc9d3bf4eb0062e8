"""Corrected Eq. 4."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from fmlad.errors import CorruptDetectorError
from fmlad.scoring.fusion import AdaptiveScaling, fusion_from_dict
from fmlad.scoring.mahalanobis import Mahalanobis


def normals(count: int = 200, scale: float = 1.0) -> list[dict[str, float]]:
    rng = np.random.default_rng(0)
    scores = rng.multivariate_normal([5, 9], [[1.0, 0.6], [0.6, 2.0]], count)
    return [{"a": float(x), "b": scale * float(y)} for x, y in scores]


def test_equals_the_direct_formula() -> None:
    images = normals()
    fitted = Mahalanobis.fit(images, two_sided=True)
    data = np.array([[image["a"], image["b"]] for image in images])
    covariance = np.cov(data.T)
    off = np.array([9.0, 4.0]) - data.mean(0)
    direct = math.sqrt(off @ np.linalg.inv(covariance) @ off)
    assert fitted.fused({"a": 9.0, "b": 4.0}) == pytest.approx(direct, rel=1e-4)


def test_the_inverse_makes_it_free_of_scale() -> None:
    # As printed, by the covariance itself, a branch in larger units would drown the other.
    one = Mahalanobis.fit(normals())
    other = Mahalanobis.fit(normals(scale=1000.0))
    assert one.fused({"a": 8.0, "b": 12.0}) == pytest.approx(
        other.fused({"a": 8.0, "b": 12000.0}), rel=1e-6
    )


def test_one_sided_by_default() -> None:
    low = {"a": -50.0, "b": -50.0}
    assert Mahalanobis.fit(normals()).fused(low) == 0.0
    assert Mahalanobis.fit(normals(), two_sided=True).fused(low) > 10
    assert Mahalanobis.fit(normals()).scaled(low) == {"a": 0.0, "b": 0.0}


def test_constant_branches_and_few_images_stay_finite() -> None:
    images = [{"a": 1.0, "b": 0.0}, {"a": 1.2, "b": 0.0}]
    fitted = Mahalanobis.fit(images)
    assert fitted.covariance[0, 1] == 0  # two images say nothing about how branches go together
    assert fitted.fused({"a": 1.1, "b": 2.0}) == pytest.approx(2.0, rel=1e-3)
    alone = Mahalanobis.fit(images[:1], {"b": 0.5})
    assert alone.fused({"a": 1.0, "b": 1.0}) == pytest.approx(2.0, rel=1e-3)


def test_few_images_scale_only_what_has_no_unit() -> None:
    images = [{"count": c, "patch": p} for c, p in ((3.0, 10.0), (1.0, 10.1), (2.0, 9.9))]
    few = Mahalanobis.fit(images, {"count": 1.0})
    assert few.scaled({"count": 3.0, "patch": 12.0}) == pytest.approx(
        {"count": 3.0, "patch": 2.0}, rel=1e-3
    )
    many = Mahalanobis.fit(images * 10, {"count": 1.0})
    assert many.mean.tolist() == pytest.approx([2.0, 10.0])
    assert many.scaled({"count": 2.0, "patch": 10.1})["patch"] > 1
    assert many.covariance[0, 1] != 0
    constant = Mahalanobis.fit([{"count": 0.0, "patch": 10.0}] * 30, {"count": 1.0})
    assert constant.scaled({"count": 1.0})["count"] == pytest.approx(4.0, rel=1e-3)


def test_the_map_is_on_the_scores_scale() -> None:
    fitted = Mahalanobis.fit(normals())
    maps = {
        "a": np.array([[5.0, 9.0]], np.float32),
        "b": np.array([[0.0, 0.0]], np.float32),
    }
    fused = fitted.fused_map(maps)
    assert fused.dtype == np.float32
    assert fused[0, 1] == pytest.approx(fitted.scaled({"a": 9.0})["a"], rel=1e-5)
    assert fused[0, 0] < 0.2


def test_saved_and_loaded_by_kind() -> None:
    for fusion in (Mahalanobis.fit(normals()), AdaptiveScaling({"a": 1.0, "b": 2.0})):
        again = fusion_from_dict(json.loads(json.dumps(fusion.to_dict())))
        assert type(again) is type(fusion)
        scores = {"a": 7.0, "b": 10.0}
        assert again.fused(scores) == pytest.approx(fusion.fused(scores), rel=1e-12)


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "other"},
        {"mean": [1.0]},
        {"covariance": [[1.0, 2.0], [2.0, 1.0]]},
        {"covariance": [[1.0, float("nan")], [float("nan"), 1.0]]},
        {"branches": []},
        {"two_sided": 1},
    ],
)
def test_damaged_descriptions_are_refused(change: dict[str, object]) -> None:
    data = Mahalanobis.fit(normals()).to_dict() | change
    with pytest.raises(CorruptDetectorError, match="unreadable"):
        fusion_from_dict(data)


def test_an_infinite_score_is_the_oddest_there_is_and_nan_stays_nan() -> None:
    rng = np.random.default_rng(0)
    normal = [dict(zip("ab", rng.uniform(0, 1, 2).tolist(), strict=True)) for _ in range(8)]
    fusion = Mahalanobis.fit(normal)
    assert np.isfinite(fusion.fused({"a": np.inf, "b": 0.0}))
    assert fusion.fused({"a": np.inf, "b": 0.0}) > fusion.fused({"a": 1e3, "b": 1e3})
    assert np.isnan(fusion.fused({"a": np.nan, "b": 0.0}))
    # One shot that lacks what the others have must not spoil the scales.
    spoiled = Mahalanobis.fit([*normal, {"a": np.inf, "b": 0.5}])
    assert Mahalanobis.from_dict(spoiled.to_dict()).fused({"a": np.inf, "b": 0.5}) > 0
