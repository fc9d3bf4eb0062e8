"""One cell, from the draw to its figures."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fmlad.bench.draw import draw
from fmlad.bench.environment import environment
from fmlad.bench.maps import ArraySpool
from fmlad.bench.model import Cell, CellResult, Estimator, ImageRecord, Scored
from fmlad.bench.plan import prompts_of
from fmlad.datasets.model import Dataset, Sample
from fmlad.errors import OptionError

FIT_FRESH = "fit_fresh"  # a fact of estimators that know; 0 where a fit was quicker than it is
CURVE_POINTS = 200  # of a stored sPRO curve


@dataclass(frozen=True)
class Measured:
    """What came of judging some images; fields as of :class:`fmlad.bench.model.CellResult`."""

    rows: tuple[ImageRecord, ...]
    figures: Mapping[str, float]
    curve: Mapping[str, Sequence[float]]
    notes: tuple[str, ...]


def run_cell(cell: Cell, dataset: Dataset, estimator: Estimator) -> CellResult:
    """Draws shots, fits the estimator and judges every test image that the task uses.

    Raises:
        FmladError: The draw is not possible, an image cannot be read, or the estimator refuses.
    """
    drawn = draw(dataset, cell.shots, cell.seed, cell.task.each_subtype)
    fitter = Fitter(cell, dataset, estimator)
    if not dataset.paired:
        fitter.fit([sample.path for sample in drawn.shots])
    measured = judge_all(
        drawn.test,
        lambda sample: estimator.score(sample.path),
        localise=cell.task.localise and dataset.localised,
        before=fitter.fit_to_reference if dataset.paired else None,
    )
    cost = {
        **({"fit_seconds": float(np.mean(fitter.seconds))} if fitter.seconds else {}),
        "normals_beyond_k": float(len(fitter.validation)),
        "peak_mb": peak_mb(),
        **latency(measured.rows),
        **{name: v for name, v in estimator.facts().items() if name != FIT_FRESH},
    }
    shots = tuple(sample.name for sample in drawn.shots)
    figures, curve = measured.figures, measured.curve
    notes = (*dataset.notes, *measured.notes, *estimator.notes())
    return CellResult(cell, shots, measured.rows, figures, curve, cost, notes, environment())


class Fitter:
    """Fits an estimator as a cell says, and not again to what it is fitted to.

    Attributes:
        validation: What is handed over beyond the shots.
        seconds: Of each fit that made no use of what was computed before it.
    """

    def __init__(self, cell: Cell, dataset: Dataset, estimator: Estimator) -> None:
        self._estimator, self._seed = estimator, cell.seed
        self._prompts = prompts_of(cell.entry, cell.task, dataset)
        self.validation = [s.path for s in dataset.validation] if cell.entry.validation else []
        self.seconds: list[float] = []
        self._shots: list[Path] | None = None

    def fit(self, shots: list[Path]) -> None:
        """Fits to some shots."""
        if shots == self._shots:
            return
        start = time.perf_counter()
        self._estimator.fit(
            shots, seed=self._seed, validation=self.validation, prompts=self._prompts
        )
        if self._estimator.facts().get(FIT_FRESH, 1.0):
            self.seconds.append(time.perf_counter() - start)
        self._shots = shots

    def fit_to_reference(self, sample: Sample) -> None:
        """Fits to the one shot that a test image of a pair has."""
        self.fit([] if sample.reference is None else [sample.reference])


def judge_all(
    samples: Sequence[Sample],
    score: Callable[[Sample], Scored],
    *,
    localise: bool,
    before: Callable[[Sample], None] | None = None,
    tell: Callable[[int, int], None] | None = None,
) -> Measured:
    """Judges images one by one and measures scores and maps against the annotations.

    Args:
        samples, score: The images, and what judges one.
        localise: Whether to measure maps, too.
        before: Called before each image, outside the time that is taken.
        tell: Called as ``tell(done, total)``.

    Raises:
        FmladError: An image or its annotation cannot be read.
        OptionError: A score is not finite, or a map has not the size of its image's annotation.
    """
    rows: list[ImageRecord] = []
    with ArraySpool() if localise else nullcontext() as spool:
        pixels = _Pixels(spool) if spool is not None else None
        for done, sample in enumerate(samples, start=1):
            if before is not None:
                before(sample)
            start = time.perf_counter()
            scored = score(sample)
            seconds = time.perf_counter() - start
            if not np.isfinite(scored.score):
                raise OptionError(f"{sample.name}: the score is not finite ({scored.score}).")
            threshold = None if scored.threshold is None else float(scored.threshold)
            of_sample = (sample.name, sample.kind, sample.defect)
            value, fresh = float(scored.score), scored.fresh
            rows.append(ImageRecord(*of_sample, value, threshold, seconds, fresh))
            if pixels is not None:
                pixels.add(sample, scored.anomaly_map)
            if tell is not None:
                tell(done, len(samples))
        of_pixels, curve, notes = pixels.measured() if pixels is not None else ({}, {}, ())
    return Measured(tuple(rows), image_figures(rows) | of_pixels, curve, notes)


def image_figures(rows: Sequence[ImageRecord]) -> dict[str, float]:
    """The figures that hang on scores alone; {} without normal or without anomalous images."""
    from fmlad.metrics.summary import image_metrics

    if len({row.kind == "good" for row in rows}) < 2:
        return {}
    return image_metrics([row.kind for row in rows], [row.score for row in rows])


def recompute(result: CellResult) -> dict[str, float]:
    """The image figures of a stored cell, from its rows; the same as the stored ones."""
    return image_figures(result.rows)


def latency(rows: Sequence[ImageRecord]) -> dict[str, float]:
    """``p50_seconds`` and ``p95_seconds`` of a query, over fresh rows; {} where there are none."""
    fresh = [row.seconds for row in rows if row.fresh]
    if not fresh:
        return {}
    p50, p95 = np.percentile(fresh, [50, 95])
    return {"p50_seconds": float(p50), "p95_seconds": float(p95)}


def peak_mb() -> float:
    """The most memory that this process has held so far, in MiB."""
    try:
        import resource
    except ImportError:  # not on Windows
        return float("nan")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


class _Pixels:
    """Maps and annotations of one cell."""

    def __init__(self, spool: ArraySpool) -> None:
        self._spool = spool
        self._kept: list[tuple[Any, ...]] = []  # map, regions, saturations, kind
        self._without_map = self._without_annotation = 0

    def add(self, sample: Sample, anomaly_map: npt.NDArray[np.float32] | None) -> None:
        if anomaly_map is None:
            self._without_map += 1
            return
        annotation = sample.annotation()
        if annotation is None and sample.kind != "good":
            self._without_annotation += 1
            return
        size = anomaly_map.shape
        regions = np.zeros((0, *size), bool) if annotation is None else annotation.regions
        if anomaly_map.ndim != 2 or regions.shape[1:] != size:
            raise OptionError(
                f"{sample.name}: the map has the shape {size} and its annotation "
                f"{regions.shape[1:]}; maps must be given at the image's own size."
            )
        kept = [self._spool.keep(array) for array in (np.asarray(anomaly_map, np.float32), regions)]
        saturations = () if annotation is None else tuple(annotation.saturations)
        self._kept.append((*kept, saturations, sample.kind))

    def measured(self) -> tuple[dict[str, float], dict[str, list[float]], tuple[str, ...]]:
        """Figures, the thinned sPRO curve and notes; no figure where no map was measured."""
        from fmlad.metrics import summary

        notes = []
        if self._without_map:
            notes.append(f"{self._without_map} images got no map: nothing was measured by pixels")
        if self._without_annotation:
            notes.append(
                f"{self._without_annotation} anomalous images have no annotation and count by "
                f"images alone"
            )
        if self._without_map or not any(len(regions) for _, regions, *_ in self._kept):
            return {}, {}, tuple(notes)
        maps, regions, saturations, kinds = map(list, zip(*self._kept, strict=True))
        report = summary.pixel_report(maps, regions, saturations, CURVE_POINTS, kinds)
        curve = report.curve
        drawn = {} if curve is None else {"fpr": curve.fpr.tolist(), "spro": curve.spro.tolist()}
        return dict(report.figures), drawn, tuple(notes)


@contextmanager
def threads_fixed(count: int) -> Iterator[None]:
    """Computes with so many threads within: sums in another order end in other digits."""
    import torch
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        with threadpool_limits(limits=count):
            yield
    finally:
        torch.set_num_threads(before)
