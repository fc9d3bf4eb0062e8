"""Predictions by workers: the same to the last bit, whatever happens to the workers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fmlad
from fmlad.engines import cluster, predict, predict_ray
from fmlad.errors import (
    BackboneMismatchError,
    ClusterError,
    OptionError,
)
from fmlad.prediction import Failure, Prediction
from tests.conftest import picture
from tests.engines.conftest import SIZE

pytestmark = pytest.mark.slow  # a cluster of its own

MARK = "FMLAD_TEST_MARK"  # settings of fmlad's own reach the workers
Outcome = Prediction | Failure


def same(left: Outcome, right: Outcome) -> bool:
    if isinstance(left, Prediction) and isinstance(right, Prediction):
        return (
            left.to_dict() == right.to_dict()
            and np.array_equal(left.anomaly_map, right.anomaly_map)
            and np.array_equal(left.pixels, right.pixels)
        )
    return left.to_dict() == right.to_dict() and type(left) is type(right)


def local(
    saved: Path, sources: Any, batch_size: int, threshold: float | None = None
) -> list[Outcome]:
    detector = fmlad.Detector.load(saved)
    if threshold is not None:
        detector.threshold = threshold
    return list(detector.predict_many(sources, batch_size))


def test_the_outcomes_are_those_of_one_process(ray: Any, saved: Path, queries: Path) -> None:
    expected = local(saved, queries, 3)
    found = list(predict_ray(saved, queries, workers=2, batch_size=3))
    assert len(found) == 10
    assert all(map(same, found, expected))
    assert [type(outcome) for outcome in found].index(Failure) == 3
    assert "3.png" in str(found[3].error)  # type: ignore[union-attr]
    assert ray.is_initialized()  # not ours to stop


def test_relative_paths_arrays_bytes_and_a_threshold_go_to_the_workers(
    ray: Any, saved: Path, queries: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(queries)
    sources = ["0.png", Path("2.png"), "gone.png", picture(5, SIZE), Path("4.png").read_bytes()]
    found = list(predict_ray(saved, sources, threshold=0.001, workers=1))
    assert all(map(same, found, local(saved, sources, 8, threshold=0.001)))
    assert found[0].to_dict()["name"] == "0.png"
    assert isinstance(found[0], Prediction)
    assert (found[0].threshold, found[0].is_anomalous) == (0.001, True)
    assert list(predict_ray(saved, [])) == []


class DiesOnce(predict.BatchWorker):
    """The first worker that comes to the third batch dies."""

    def do(self, job: predict.Batch) -> list[Outcome]:
        mark = Path(os.environ[MARK])
        if job.place == 2 and not mark.exists():
            mark.touch()
            os._exit(1)
        return super().do(job)


class DiesAtIt(predict.BatchWorker):
    """Every worker dies of the third batch."""

    def do(self, job: predict.Batch) -> list[Outcome]:
        return os._exit(1) if job.place == 2 else super().do(job)


class NeverStarts(predict.BatchWorker):
    """As one whose detector is too large for the memory."""

    def load(self) -> fmlad.Detector:
        os._exit(1)


class Breaks(predict.BatchWorker):
    def load(self) -> fmlad.Detector:
        return None  # type: ignore[return-value]


def test_a_worker_that_dies_costs_a_retry_and_not_the_run(
    ray: Any, saved: Path, queries: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predict, "BatchWorker", DiesOnce)
    monkeypatch.setenv(MARK, str(tmp_path / "died"))
    found = list(predict_ray(saved, queries, workers=1, batch_size=2))
    assert (tmp_path / "died").exists()
    assert len(found) == 10
    assert all(map(same, found, local(saved, queries, 2)))


def test_images_that_kill_every_worker_are_failures_and_the_rest_goes_on(
    ray: Any, saved: Path, queries: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predict, "BatchWorker", DiesAtIt)
    found = list(predict_ray(saved, queries, workers=1, batch_size=2))
    expected = local(saved, queries, 2)
    assert len(found) == 10
    rest = [i for i in range(10) if i not in (4, 5)]
    assert all(same(found[i], expected[i]) for i in rest)
    for i in (4, 5):
        outcome = found[i]
        assert isinstance(outcome, Failure)
        assert isinstance(outcome.error, ClusterError)
        assert f"{i}.png: 3 workers died" in str(outcome.error)


def test_workers_that_never_start_end_the_run(
    ray: Any, saved: Path, queries: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predict, "BatchWorker", NeverStarts)
    # Each that is lost takes as many workers as there are tries, and each of them seconds.
    monkeypatch.setattr(cluster, "LOST", 1)
    monkeypatch.setattr(cluster, "RETRIES", 0)
    with pytest.raises(ClusterError, match="cannot go on"):
        list(predict_ray(saved, queries, workers=1, batch_size=1))


def test_a_bug_shows_itself(
    ray: Any, saved: Path, queries: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predict, "BatchWorker", Breaks)
    with pytest.raises(RuntimeError, match="'NoneType' object has no attribute 'predict_many'"):
        list(predict_ray(saved, queries, workers=1))


def test_what_a_worker_refuses_reaches_the_user_as_it_is(
    ray: Any, saved: Path, queries: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(OptionError, match="finite"):
        list(predict_ray(saved, queries, workers=1, threshold=float("nan")))
    real = cluster.setting
    other = lambda threads, needed: cluster.Setting("0.0", real(threads, needed).threads, "", False)  # noqa: E731
    monkeypatch.setattr(cluster, "setting", other)
    with pytest.raises(BackboneMismatchError, match=r"fmlad .* where this process has 0\.0"):
        list(predict_ray(saved, queries, workers=1))


def test_it_can_be_left_half_way(ray: Any, saved: Path, queries: Path) -> None:
    work = predict_ray(saved, queries, workers=1, batch_size=1)
    assert isinstance(next(work), Prediction)
    work.close()  # type: ignore[attr-defined]
    assert len(list(predict_ray(saved, queries, workers=1))) == 10


def test_what_does_not_fit_is_refused_at_once(ray: Any, saved: Path, queries: Path) -> None:
    with pytest.raises(OptionError, match="at most 4 workers"):
        list(predict_ray(saved, queries, workers=5, threads=1, batch_size=1))
    with pytest.raises(OptionError, match="no machine of this Ray cluster has a GPU"):
        list(predict_ray(saved, queries, device="cuda"))
    with pytest.raises(OptionError, match="connected to Ray already"):
        list(predict_ray(saved, queries, address="127.0.0.1:1"))
