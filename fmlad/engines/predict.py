"""A saved detector on many images, by workers: the same verdicts in the same order.

Each worker loads the detector once and is handed one batch at a time, the very batches that
``Detector.predict_many`` would make, so that not a digit differs. What is done before its turn
stays in Ray's memory, up to a few batches for each worker; then the workers wait.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

from fmlad import storage
from fmlad.detector import Detector
from fmlad.engines import cluster
from fmlad.errors import ClusterError, OptionError
from fmlad.io.images import ImageSource, source_name
from fmlad.io.inputs import one_by_one
from fmlad.loading import Inputs
from fmlad.prediction import Failure, Prediction

AHEAD = 4  # batches for each worker that may be done before an earlier one is


def predict_ray(
    detector: str | os.PathLike[str],
    sources: Inputs,
    *,
    workers: int | None = None,
    batch_size: int = 8,
    threads: int | None = None,
    device: str = "auto",
    threshold: float | None = None,
    address: str | None = None,
) -> Iterator[Prediction | Failure]:
    """Judges images with a saved detector on Ray; a bad one yields a :class:`Failure`.

    The outcomes are those of ``Detector.load(detector).predict_many(sources)``, in its order and to
    the last bit on machines of one kind. A worker that dies is replaced and its batch is done
    again; images of a batch that three workers died of are failures, and the rest goes on.

    Args:
        detector: Folder of the saved detector, under the same path on all machines.
        sources: A folder, one image, or several; paths must be the same on all machines.
        workers: Processes that judge; None means as many as fit.
        batch_size: Images of one size that a backbone sees together.
        threads: Of each worker; None means as many as this process computes with.
        device: ``"auto"`` gives each worker a GPU where the cluster has some.
        threshold: Decide at this score instead of the saved one.
        address: Of a running cluster; None means ``$RAY_ADDRESS``, else a cluster of our own on
            this machine, which is stopped at the end.

    Raises:
        MissingDependencyError: Ray is not installed.
        OptionError: A number does not fit, so many workers do not fit on the cluster, or an open
            file is among the images.
        CorruptDetectorError: The detector is not there, or damaged.
        ShotsError: ``sources`` is an empty or missing folder.
        ClusterError: There is no cluster, or workers cannot start.
    """
    cluster.import_ray()
    cluster.check_count("batch_size", batch_size)
    cluster.check_count("workers", workers)
    images = list(one_by_one(sources))
    for image in images:
        if hasattr(image, "read"):
            raise OptionError(
                f"{source_name(image)}: other processes cannot read an open file; pass its path or "
                f"its bytes."
            )
    setting = cluster.setting(threads, needed=any(map(_is_relative, images)))
    folder = Path(detector).absolute()
    storage.read(folder)  # what is wrong with it is said before anything is started
    batches = [images[i : i + batch_size] for i in range(0, len(images), batch_size)]

    def outcomes() -> Iterator[Prediction | Failure]:
        if not batches:
            return
        with cluster.connected(address) as ray:
            count = setting.threads.torch
            pool = cluster.worker_pool(ray, workers, count, device, len(batches))
            waiting = deque(range(len(batches)))
            done: dict[int, list[Prediction | Failure]] = {}
            due = 0

            def take(worker: int) -> Batch | None:
                if not waiting or len(done) >= AHEAD * pool.workers:
                    return None
                place = waiting.popleft()
                return Batch(place, batches[place])

            arguments = setting, str(folder), pool.device, threshold
            for batch, found in cluster.work_off(ray, pool, BatchWorker, arguments, take):
                lost = isinstance(found, ClusterError)
                done[batch.place] = [*map(_lost, batch.images)] if lost else found
                while due in done:
                    # Copies, because the arrays that Ray gives are read-only and fill its store.
                    yield from map(deepcopy, done.pop(due))
                    due += 1

    return outcomes()


@dataclass(frozen=True)
class Batch:
    """Images that a backbone sees together, and the place of the batch among all."""

    place: int
    images: list[ImageSource]


class BatchWorker(cluster.Worker):
    """Loads the detector once and judges batches."""

    def __init__(
        self, setting: cluster.Setting, detector: str, device: str, threshold: float | None
    ) -> None:
        super().__init__(setting)
        self._arguments = detector, device, threshold
        self._detector: Detector | None = None

    def do(self, job: Batch) -> list[Prediction | Failure]:
        """Outcomes of the images of a batch, in order."""
        return list(self.load().predict_many(job.images, len(job.images)))

    def load(self) -> Detector:
        """The detector."""
        if self._detector is None:
            folder, device, threshold = self._arguments
            self._detector = Detector.load(folder, device=device)
            if threshold is not None:
                self._detector.threshold = threshold
        return self._detector


def _lost(image: ImageSource) -> Failure:
    name = source_name(image)
    return Failure(
        name,
        ClusterError(
            f"{name}: {cluster.RETRIES + 1} workers died one after the other over the batch that "
            f"it is in. Judge its images one by one (batch_size=1) to find the one."
        ),
    )


def _is_relative(image: ImageSource) -> bool:
    return isinstance(image, str | os.PathLike) and not Path(os.fsdecode(image)).is_absolute()
