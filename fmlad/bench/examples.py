"""Images that an entry judged best and worst, judged again so that they can be shown.

A results folder holds scores and no maps. The entry is fitted once more on the recorded shots of
one cell and asked about those few images, as long as they are where they were.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fmlad.bench.draw import open_task
from fmlad.bench.model import ALL, CellResult, ImageRecord
from fmlad.bench.plan import is_peer, prompts_of
from fmlad.datasets.model import Dataset, Sample
from fmlad.errors import FmladError, OptionError

PATIENCE = 120.0  # seconds that a fit took in the run; what took longer is not fitted again
TOLERANCE = 1e-3  # of a score, relative: another machine sums in another order
SENTENCES = 3
MAIN = ("auroc_mean", "auroc_micro", "aupro")  # the first that is there says how a task went

Judge = Callable[[Sample], tuple[float, Image.Image, Image.Image, tuple[str, ...]]]


@dataclass(frozen=True)
class Example:
    """One image and what was said of it.

    Attributes:
        role: Why it is shown.
        row: As recorded.
        score: Now.
        picture: The image.
        overlay: With heat, and boxes where the entry finds any.
        sentences: Its first findings.
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
    """The examples of one entry.

    Attributes:
        result: The cell they are of.
        examples: Empty where there are none.
        missing: Why there are none, in a sentence; "" where there are.
    """

    result: CellResult
    examples: tuple[Example, ...] = ()
    missing: str = ""

    @property
    def label(self) -> str:
        """Of the entry."""
        return self.result.cell.entry.label


def entry_examples(cells: Sequence[CellResult], count: int) -> list[EntryExamples]:
    """Best and worst images of each entry, all of one task, one number of shots and one seed.

    Args:
        cells: Of one dataset.
        count: Images of each entry; 0 gives no examples.
    """
    return [examples_of(cell, count) for cell in typical(cells)] if count else []


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
    took = result.cost.get("fit_seconds", 0.0)
    if took > PATIENCE:
        why = f"Not fitted again for pictures: a fit took {took:.0f} s."
        return EntryExamples(result, missing=why)
    try:
        dataset = open_task(result.cell.task)
        samples = {sample.name: sample for sample in dataset.test}
        chosen = [(role, row, _found(samples, row.name)) for role, row in pick(result.rows, count)]
        judge = _judge(result, dataset)
        examples = [Example(role, row, *judge(sample)) for role, row, sample in chosen]
    except FmladError as error:
        why = f"No pictures, for the run cannot be repeated here: {error}"
        return EntryExamples(result, missing=why)
    return EntryExamples(result, tuple(examples))


def _found(samples: dict[str, Sample], name: str) -> Sample:
    if name not in samples:
        raise OptionError(f"the image {name!r} is not in the dataset any more.")
    return samples[name]


def _judge(result: CellResult, dataset: Dataset) -> Judge:
    """What judges one image as the entry of the cell did."""
    entry = result.cell.entry
    given: dict[str, Any] = {
        "seed": result.cell.seed,
        "validation": [s.path for s in dataset.validation] if entry.validation else (),
        "prompts": prompts_of(entry, result.cell.task, dataset),
    }

    def fit(shots: Sequence[Path]) -> Judge:
        return (_peer if is_peer(entry.method) else _method)(result, shots, given)

    if not dataset.paired:
        train = {sample.name: sample for sample in dataset.train}
        return fit([_found(train, name).path for name in result.shots])
    return lambda sample: fit([] if sample.reference is None else [sample.reference])(sample)


def _method(result: CellResult, shots: Sequence[Path], given: dict[str, Any]) -> Judge:
    """A method of this package: the same path as everybody's, with its findings."""
    from fmlad.detector import Detector

    entry = result.cell.entry
    detector = Detector.from_shots(
        shots, method=entry.method, profile=entry.profile, **given, **entry.options
    )

    def judge(sample: Sample) -> tuple[float, Image.Image, Image.Image, tuple[str, ...]]:
        verdict = detector.predict(sample.path)
        sentences = tuple(finding.text for finding in verdict.findings[:SENTENCES])
        picture = Image.fromarray(np.array(verdict.pixels))
        return verdict.score, picture, verdict.overlay(), sentences

    return judge


def _peer(result: CellResult, shots: Sequence[Path], given: dict[str, Any]) -> Judge:
    """A peer: heat alone, on the scale of its threshold, or of the image where it has none."""
    from fmlad import draw
    from fmlad.bench.estimators import ViewCache, make_estimator
    from fmlad.io.images import load_image

    estimator = make_estimator(result.cell.entry, ViewCache())
    estimator.fit(shots, **given)

    def judge(sample: Sample) -> tuple[float, Image.Image, Image.Image, tuple[str, ...]]:
        scored = estimator.score(sample.path)
        pixels = load_image(sample.path)
        picture = Image.fromarray(pixels)
        if scored.anomaly_map is None:
            return scored.score, picture, picture, ()
        top = scored.threshold or float(scored.anomaly_map.max()) / 2 or 1.0
        heat = draw.heat(pixels, scored.anomaly_map, start=0.5 * top, full=2.0 * top)
        return scored.score, picture, heat, ()

    return judge
