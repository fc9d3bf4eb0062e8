"""A saved detector on many images, by workers: the same verdicts in the same order.

Ray Data does the work. Each worker loads the detector once and is handed one batch at a time, the
very batches that ``Detector.predict_many`` would make, so that not a digit differs. What is done
and not yet asked for stays in Ray's memory up to its limit; then the workers wait.
"""

from __future__ import annotations

import os
import traceback
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fmlad import storage
from fmlad.detector import Detector, Inputs
from fmlad.engines import cluster
from fmlad.errors import ClusterError, FmladError, OptionError
from fmlad.io.images import ImageSource, source_name
from fmlad.io.inputs import one_by_one
from fmlad.prediction import Failure, Prediction


@dataclass(frozen=True)
class Batch:
    """Images that a backbone sees together; ``first`` is the place of the first one among all."""

    first: int
    images: list[ImageSource]


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
    cluster.import_ray("ray.data")
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

    def outcomes() -> Iterator[Prediction | Failure]:
        batches = [
            Batch(first, images[first : first + batch_size])
            for first in range(0, len(images), batch_size)
        ]
        if not batches:
            return
        with cluster.connected(address) as ray:
            count = setting.threads.torch
            pool = cluster.worker_pool(ray, workers, count, device, len(batches))
            arguments = str(folder), pool.device, threshold, setting
            due = 0
            try:
                for place, outcome in _rows(batches, pool, arguments):
                    if isinstance(outcome, FmladError):
                        raise outcome
                    if isinstance(outcome, str):
                        raise RuntimeError(f"A worker failed:\n{outcome}")
                    yield from map(_lost, images[due:place])
                    yield outcome
                    due = place + 1
            except ray.exceptions.RayError as error:
                raise cluster.explained(error, "The workers cannot go on") from error
            yield from map(_lost, images[due:])

    return outcomes()


def _rows(
    batches: list[Batch], pool: cluster.WorkerPool, arguments: tuple[Any, ...]
) -> Iterator[tuple[int, Any]]:
    """Place and outcome of each image, in order, without those that were lost."""
    data = cluster.import_ray("ray.data")
    # A batch is a row and a row a block: Ray Data moves and repeats blocks, and never splits rows.
    rows = data.from_items(
        [{"batch": batch} for batch in batches], override_num_blocks=len(batches)
    )
    context = rows.context
    context.enable_progress_bars = False
    context.execution_options.preserve_order = True
    context.max_errored_blocks = max(cluster.LOST, len(batches) // 100)
    with warnings.catch_warnings():
        # Of what Ray will remove in versions that we do not allow.
        warnings.simplefilter("ignore", DeprecationWarning)
        judged = rows.map_batches(
            BatchWorker,
            fn_constructor_args=arguments,
            batch_size=1,
            # One at a time: a batch that waits behind one that kills the worker would die with it.
            compute=data.ActorPoolStrategy(size=pool.workers, max_tasks_in_flight_per_actor=1),
            **pool.options,
        )
    for block in judged.iter_batches(batch_size=None, prefetch_batches=0, batch_format="numpy"):
        yield from zip(map(int, block["place"]), block["outcome"], strict=True)


class BatchWorker:
    """A worker: the detector, loaded once, and what it says about batches."""

    def __init__(
        self, detector: str, device: str, threshold: float | None, setting: cluster.Setting
    ) -> None:
        # The detector is loaded by the first batch and not here: a worker that dies of loading it
        # would be started again for ever, while the number of times a batch is tried is limited.
        self._arguments = detector, device, threshold, setting
        self._detector: Detector | None = None

    def __call__(
        self, rows: Mapping[str, npt.NDArray[Any]]
    ) -> Iterator[dict[str, npt.NDArray[Any]]]:
        """Yields a row for each image of the one batch it is given.

        In place of an outcome: an error that stops this worker, or the traceback of a bug.
        """
        batch: Batch = rows["batch"][0]
        try:
            detector = self.load()
        except FmladError as error:
            yield _row(batch.first, error)
            return
        try:
            outcomes = detector.predict_many(batch.images, len(batch.images))
            for place, outcome in enumerate(outcomes, start=batch.first):
                yield _row(place, outcome)
        except Exception:
            # Ray Data would pass over it together with batches that kill their workers.
            yield _row(batch.first, traceback.format_exc())

    def load(self) -> Detector:
        """The detector, with this process made to compute as its driver would."""
        if self._detector is None:
            folder, device, threshold, setting = self._arguments
            cluster.settle(setting)
            self._detector = Detector.load(folder, device=device)
            if threshold is not None:
                self._detector.threshold = threshold
        return self._detector


def _row(place: int, outcome: object) -> dict[str, npt.NDArray[Any]]:
    column = np.empty(1, dtype=object)
    column[0] = outcome
    return {"place": np.array([place]), "outcome": column}


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
