"""A saved detector on a dataset: its figures without any draw."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fmlad.bench.draw import open_task
from fmlad.bench.model import ImageRecord, Scored, Task
from fmlad.bench.runner import judge_all
from fmlad.datasets.model import Sample
from fmlad.errors import DatasetError, OptionError
from fmlad.progress import Progress


@dataclass(frozen=True)
class Evaluation:
    """How a detector does on a dataset.

    Attributes:
        rows: One a test image, without those that are among the detector's shots.
        alarms: Kind -> share of its images that were called anomalous; empty where nothing is
            decided.
        notes: What was left out, in plain sentences.
    """

    task: Task
    rows: tuple[ImageRecord, ...]
    figures: Mapping[str, float]
    alarms: Mapping[str, float]
    notes: tuple[str, ...]


def evaluate(
    detector: str | os.PathLike[str],
    task: Task,
    *,
    device: str = "auto",
    progress: Progress | None = None,
) -> Evaluation:
    """Judges the test images of a task with a saved detector.

    Test images that are among the detector's shots, by their pixels, are left out.

    Args:
        detector: Folder of a saved detector.
        task: The dataset; its shots and seeds play no part.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ...
        progress: Called as ``progress(done, total, what)``.

    Raises:
        CorruptDetectorError: The detector is damaged.
        DatasetError: The dataset is not what the task says, or has no test image that is not a
            shot.
        OptionError: Its images are to be judged by a reference each.
        InvalidImageError: A test image cannot be read.
    """
    from fmlad import storage
    from fmlad.detector import Detector
    from fmlad.io.images import load_image
    from fmlad.views import pixels_key

    dataset = open_task(task, progress)
    if dataset.paired:
        raise OptionError(
            f"Every image of {task.title} is judged by a reference of its own, so one detector "
            f"cannot judge them all; use fmlad bench run."
        )
    shots = set(storage.read(Path(detector)).record.shot_keys)
    fitted = Detector.load(detector, device=device)
    new = [s for s in dataset.test if not shots or pixels_key(load_image(s.path)) not in shots]
    notes = list(dataset.notes)
    if len(new) < len(dataset.test):
        notes.append(f"{len(dataset.test) - len(new)} test images are shots and were left out")
    if len({sample.kind == "good" for sample in new}) < 2:
        raise DatasetError(
            f"{task.title} has no normal or no anomalous test image that the detector has not seen."
        )

    def score(sample: Sample) -> Scored:
        verdict = fitted.predict(sample.path)
        return Scored(verdict.score, verdict.anomaly_map, verdict.threshold)

    measured = judge_all(
        new,
        score,
        localise=task.localise and dataset.localised,
        tell=lambda done, total: progress(done, total, "judging images") if progress else None,
    )
    decided: dict[str, list[bool]] = {}
    for row in measured.rows:
        if row.threshold is not None:
            decided.setdefault(row.kind, []).append(row.score > row.threshold)
    alarms = {kind: sum(said) / len(said) for kind, said in decided.items()}
    return Evaluation(task, measured.rows, measured.figures, alarms, (*notes, *measured.notes))
