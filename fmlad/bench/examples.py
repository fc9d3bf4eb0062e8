"""Images that an entry judged best and worst, judged again so that they can be shown.

A results folder holds scores and no maps. The entry is fitted once more on the recorded shots of
one cell and asked about those few images, as long as they are where they were.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from PIL import Image

from fmlad import draw
from fmlad.bench.draw import open_task
from fmlad.bench.estimators import ViewCache, make_estimator
from fmlad.bench.model import ALL, CellResult, ImageRecord, Scored
from fmlad.bench.runner import Fitter
from fmlad.datasets.model import Sample
from fmlad.errors import FmladError, OptionError
from fmlad.io.images import load_image

PATIENCE = 120.0  # seconds that a fit took in the run; what took longer is not fitted again
TOLERANCE = 1e-3  # of a score, relative: another machine sums in another order
SENTENCES = 3
MAIN = ("auroc_mean", "auroc_micro", "aupro")  # the first that is there says how a task went


@dataclass(frozen=True)
class Example:
    """One image, why it is shown (``role``), and what was said of it.

    ``row`` is as recorded, ``score`` that of now; ``overlay`` is the picture with heat, and boxes
    where the entry finds any; ``sentences`` are its first findings.
    """

    role: str
    row: ImageRecord
    score: float
    picture: Image.Image = field(repr=False)
    overlay: Image.Image = field(repr=False)
    sentences: tuple[str, ...] = ()

    @property
    def same(self) -> bool:
        """Whether the score is that of the run."""
        return abs(self.score - self.row.score) <= TOLERANCE * max(1.0, abs(self.row.score))


@dataclass(frozen=True)
class EntryExamples:
    """The examples of one entry, of one cell; ``missing`` says in a sentence why there are none."""

    result: CellResult
    examples: tuple[Example, ...] = ()
    missing: str = ""


def typical(cells: Sequence[CellResult]) -> list[CellResult]:
    """One cell of each entry: the task in the middle, the most shots, the first seed.

    Of the tasks that most entries have done, the one of median mean figure; ``ALL`` shots only
    where there is nothing else.
    """
    tasks: dict[str, list[CellResult]] = {}
    for cell in cells:
        tasks.setdefault(cell.cell.task.title, []).append(cell)
    chosen = [_most_shots(found) for found in tasks.values()]
    most = max(map(len, chosen), default=0)
    full = sorted((found for found in chosen if len(found) == most), key=_mean_figure)
    return full[(len(full) - 1) // 2] if full else []


def _most_shots(cells: Sequence[CellResult]) -> list[CellResult]:
    few = [c for c in cells if c.cell.shots != ALL] or list(cells)
    shots = max(c.cell.shots for c in few)
    mine = [c for c in few if c.cell.shots == shots]
    seed = min(c.cell.seed for c in mine)
    return [c for c in mine if c.cell.seed == seed]


def _mean_figure(cells: Sequence[CellResult]) -> float:
    values = [next((c.figures[m] for m in MAIN if m in c.figures), 0.5) for c in cells]
    return float(np.mean(values))


def pick(rows: Sequence[ImageRecord], count: int) -> list[tuple[str, ImageRecord]]:
    """Which images are shown, and why: in turn the worst and the best of either kind.

    Scores are taken relative to their thresholds, where there are any.
    """
    odd = sorted((r for r in rows if r.kind != "good"), key=_relative)
    good = sorted((r for r in rows if r.kind == "good"), key=_relative, reverse=True)
    queues = {
        "the least suspected anomaly": odd,
        "the most suspected normal image": good,
        "the most suspected anomaly": odd[::-1],
        "the least suspected normal image": good[::-1],
    }
    picked: dict[str, tuple[str, ImageRecord]] = {}
    for turn in range(len(rows)):
        for role, queue in queues.items():
            if turn < len(queue) and len(picked) < count:
                which = role if turn == 0 else f"{role}, no. {turn + 1}"
                picked.setdefault(queue[turn].name, (which, queue[turn]))
    return list(picked.values())


def _relative(row: ImageRecord) -> float:
    return row.score / row.threshold if row.threshold and row.threshold > 0 else row.score


def examples_of(result: CellResult, count: int) -> EntryExamples:
    """Fits the entry of a cell again and shows some of its images."""
    if (took := result.cost.get("fit_seconds", 0.0)) > PATIENCE:
        missing = f"Not fitted again for pictures: a fit took {took:.0f} s."
        return EntryExamples(result, missing=missing)
    try:
        return EntryExamples(result, tuple(_judged_again(result, count)))
    except FmladError as error:
        missing = f"No pictures, for the run cannot be repeated here: {error}"
        return EntryExamples(result, missing=missing)


def _judged_again(result: CellResult, count: int) -> Iterator[Example]:
    dataset = open_task(result.cell.task)

    def found(samples: Sequence[Sample], name: str) -> Sample:
        if same := [sample for sample in samples if sample.name == name]:
            return same[0]
        raise OptionError(f"the image {name!r} is not in the dataset any more.")

    chosen = [(role, row, found(dataset.test, row.name)) for role, row in pick(result.rows, count)]
    estimator = make_estimator(result.cell.entry, ViewCache())
    fitter = Fitter(result.cell, dataset, estimator)
    if not dataset.paired:
        fitter.fit([found(dataset.train, name).path for name in result.shots])
    for role, row, sample in chosen:
        if dataset.paired:
            fitter.fit_to_reference(sample)
        scored = estimator.score(sample.path)
        pixels = load_image(sample.path)
        yield Example(role, row, scored.score, Image.fromarray(pixels), *_overlay(scored, pixels))


def _overlay(scored: Scored, pixels: npt.NDArray[np.uint8]) -> tuple[Image.Image, tuple[str, ...]]:
    """With boxes and findings, if a method of this package judged; of a peer heat alone.

    Its scale is that of the threshold, or of the image where there is none.
    """
    if scored.prediction is not None:
        findings = scored.prediction.findings[:SENTENCES]
        return scored.prediction.overlay(), tuple(finding.text for finding in findings)
    if scored.anomaly_map is None:
        return Image.fromarray(pixels), ()
    top = scored.threshold or float(scored.anomaly_map.max()) / 2 or 1.0
    return draw.heat(pixels, scored.anomaly_map, start=0.5 * top, full=2.0 * top), ()
