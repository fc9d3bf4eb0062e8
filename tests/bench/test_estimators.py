"""Methods as estimators: the verdicts of a detector, and every backbone once per image."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import fmlad
from fmlad import profiles
from fmlad.bench import plan as plan_module
from fmlad.bench.estimators import TIMED, MethodEstimator, ViewCache, make_estimator
from fmlad.bench.model import Entry
from fmlad.bench.worker import run_cell_by_value
from fmlad.errors import InvalidImageError, MissingDependencyError, OptionError
from tests.bench.support import KINDS, plan_of
from tests.conftest import CountingFeatures

OPTIONS = {"banks": ["patch"], "registration": False}
PATCH = Entry("patch", "banks", "builtin", OPTIONS)
TESTED = sum(KINDS.values())


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> CountingFeatures:
    """The feature extractor of every profile, counting."""
    features = CountingFeatures()
    real = profiles.load_backbones

    def counting(chosen: Any, device: str) -> Any:
        return {**real(chosen, device), "feature_extractor": features}

    monkeypatch.setattr(profiles, "load_backbones", counting)
    return features


def test_verdicts_are_those_of_a_detector(pictures: Path) -> None:
    shots = sorted((pictures / "train").glob("*.png"))[:3]
    queries = [pictures / "good" / "00.png", pictures / "structural" / "00.png"]
    estimator = MethodEstimator(PATCH, ViewCache())
    estimator.fit(shots, seed=4)
    detector = fmlad.Detector.from_shots(
        shots, method="banks", profile="builtin", seed=4, **OPTIONS
    )
    for query in (*queries, *queries):  # the second time from the cache
        scored, verdict = estimator.score(query), detector.predict(query)
        assert scored.score == verdict.score
        assert scored.threshold == verdict.threshold
        assert (scored.anomaly_map == verdict.anomaly_map).all()


def test_every_backbone_runs_once_per_image_over_all_cells(
    pictures: Path, counted: CountingFeatures
) -> None:
    cells = plan_of(pictures, PATCH, shots=(2, 3), seeds=(0, 1)).cells()
    results = [run_cell_by_value(cell, "cpu", 1) for cell in cells]
    shots = {name for result in results for name in result.shots}
    # The first fit of each size looks anew at what is there already: 2 of its 3 shots, and the
    # queries that are timed after it.
    assert counted.images == TESTED + len(shots) + 2 + TIMED
    first, other, timed, last = ([row.fresh for row in result.rows] for result in results)
    assert all(first)
    assert sum(timed) == TIMED
    assert not any((*other, *last))


def test_entries_share_what_a_backbone_said(pictures: Path, counted: CountingFeatures) -> None:
    both = Entry("both", "banks", "builtin", {**OPTIONS, "banks": ["patch", "histogram"]})
    cells = plan_of(pictures, PATCH, both, shots=(2,), seeds=(0,)).cells()
    first, second = (run_cell_by_value(cell, "cpu", 1) for cell in cells)
    # The other entry looks anew to be timed, at its shots and at some queries.
    assert counted.images == TESTED + 2 + 2 + TIMED
    assert sum(row.fresh for row in first.rows) == TESTED
    assert sum(row.fresh for row in second.rows) == TIMED
    assert second.cost["p50_seconds"] > 0
    assert second.cost["fit_seconds"] > 0


def test_a_cache_of_views_forgets_what_was_used_longest_ago(pictures: Path) -> None:
    paths = sorted((pictures / "train").glob("*.png"))[:3]
    estimator = MethodEstimator(PATCH, ViewCache())
    size = 0
    for limit, kept in ((1000.0, 3), (0.001, 1)):
        cache = ViewCache(limit)
        for path in (*paths, paths[0]):
            view = cache.view(path, estimator._backbones, "shelf")
            view.pyramid()
            size = view.nbytes
        cache.view(paths[0], estimator._backbones, "shelf")
        assert sum(path in cache for path in paths) == kept
        assert paths[0] in cache
    cache = ViewCache(2.5 * size / 2**20)
    for path in paths:
        cache.view(path, estimator._backbones, "shelf").pyramid()
    cache.view(paths[2], estimator._backbones, "shelf")
    assert [path in cache for path in paths] == [False, True, True]


def test_an_unreadable_picture_leaves_the_cache_as_it_was(tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    cache = ViewCache()
    estimator = MethodEstimator(PATCH, cache)
    for _ in range(2):
        with pytest.raises(InvalidImageError):
            cache.view(broken, estimator._backbones, "shelf")
    assert broken not in cache


def test_the_disk_cache_makes_nobody_quick(
    pictures: Path, monkeypatch: pytest.MonkeyPatch, counting: Callable[..., CountingFeatures]
) -> None:
    features = counting(expensive=True)
    real = profiles.load_backbones
    monkeypatch.setattr(
        profiles, "load_backbones", lambda c, d: {**real(c, d), "feature_extractor": features}
    )
    shots = sorted((pictures / "train").glob("*.png"))[:2]
    queries = [p for kind in KINDS for p in sorted((pictures / kind).glob("*.png"))]
    for again in (False, True):  # a second process finds the features on disk
        estimator = MethodEstimator(PATCH, ViewCache())
        estimator.fit(shots, seed=0)
        estimator.fit(shots, seed=1)
        fresh = [estimator.score(query).fresh for query in queries]
        rest = TIMED if again else len(queries)
        assert fresh == [True] * rest + [False] * (len(queries) - rest)


def test_facts_know_the_size_of_what_is_remembered(pictures: Path) -> None:
    estimator = MethodEstimator(PATCH, ViewCache())
    assert estimator.facts()["weights_mb"] == 0
    estimator.fit([pictures / "train" / "00.png"], seed=0)
    assert 0 < estimator.facts()["memory_mb"] < 100


def test_misuse_says_so(pictures: Path) -> None:
    estimator = MethodEstimator(PATCH, ViewCache())
    with pytest.raises(OptionError, match="before it was fitted"):
        estimator.score(pictures / "good" / "00.png")
    with pytest.raises(OptionError, match="makes no use of prompts"):
        estimator.fit([pictures / "train" / "00.png"], seed=0, prompts="dice")


def test_a_peer_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_module, "PEERS", {"odd": "no_such_package.peers:make"})
    with pytest.raises(MissingDependencyError, match="no_such_package"):
        make_estimator(Entry("a", "odd:a"), ViewCache())
