"""A saved detector on many images, by workers: the same verdicts in the same order.

Ray Data does the work. Each worker loads the detector once and is handed one batch at a time, the
very batches that ``Detector.predict_many`` would make, so that not a digit differs. What is done
and not yet asked for stays in Ray's memory up to its limit; then the workers wait.
"""

from __future__ import annotations

import os
import traceback
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
class Order:
    """What every worker is told once.

    Attributes:
        detector: Folder of the saved detector.
        device: To judge on.
        threshold: Decide at this score, or as saved.
        setting: How to compute.
    """

    detector: str
    device: str
    threshold: float | None
    setting: cluster.Setting


@dataclass(frozen=True)
class Batch:
    """Images that a backbone sees together.

    Attributes:
        first: Place of the first one among all.
        sources: The images.
    """

    first: int
    sources: tuple[ImageSource, ...]


@dataclass(frozen=True)
class _Refusal:
    """A worker cannot work, for a reason that somebody can mend."""

    error: FmladError


@dataclass(frozen=True)
class _Bug:
    """A worker met an exception that nobody raised on purpose."""

    trace: str


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
    order = Order(str(folder), device, threshold, setting)
    return _outcomes(order, images, batch_size, workers, address)


def _outcomes(
    order: Order,
    images: list[ImageSource],
    batch_size: int,
    workers: int | None,
    address: str | None,
) -> Iterator[Prediction | Failure]:
    batches = [
        Batch(first, tuple(images[first : first + batch_size]))
        for first in range(0, len(images), batch_size)
    ]
    if not batches:
        return
    with cluster.connected(address) as ray:
        threads = order.setting.threads.torch
        crew, device = cluster.crew(ray, workers, threads, order.device, len(batches))
        order = Order(order.detector, device, order.threshold, order.setting)
        due = 0
        try:
            for place, outcome in _rows(order, batches, crew):
                if isinstance(outcome, _Refusal):
                    raise outcome.error
                if isinstance(outcome, _Bug):
                    raise RuntimeError(f"A worker failed:\n{outcome.trace}")
                yield from map(_lost, images[due:place])
                yield outcome
                due = place + 1
        except ray.exceptions.RayError as error:
            raise cluster.explained(error, "The workers cannot go on") from error
        yield from map(_lost, images[due:])


def _rows(order: Order, batches: list[Batch], crew: cluster.Crew) -> Iterator[tuple[int, Any]]:
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
    with cluster.no_deprecations():
        judged = rows.map_batches(
            Judge,
            fn_constructor_args=(order,),
            batch_size=1,
            # One at a time: a batch that waits behind one that kills the worker would die with it.
            compute=data.ActorPoolStrategy(size=crew.workers, max_tasks_in_flight_per_actor=1),
            **crew.options(),
        )
    for block in judged.iter_batches(batch_size=None, prefetch_batches=0, batch_format="numpy"):
        yield from zip(map(int, block["place"]), block["outcome"], strict=True)


class Judge:
    """A worker: the detector, loaded once, and what it says about batches."""

    def __init__(self, order: Order) -> None:
        # The detector is loaded by the first batch and not here: a worker that dies of loading it
        # would be started again for ever, while the number of times a batch is tried is limited.
        self._order = order
        self._detector: Detector | None = None

    def __call__(
        self, rows: Mapping[str, npt.NDArray[Any]]
    ) -> Iterator[dict[str, npt.NDArray[Any]]]:
        """Yields a row for each image of the one batch it is given."""
        batch: Batch = rows["batch"][0]
        try:
            detector = self.load()
        except FmladError as error:
            yield _row(batch.first, _Refusal(error))
            return
        try:
            outcomes = detector.predict_many(list(batch.sources), len(batch.sources))
            for place, outcome in enumerate(outcomes, start=batch.first):
                yield _row(place, outcome)
        except Exception:
            # Ray Data would pass over it together with batches that kill their workers.
            yield _row(batch.first, _Bug(traceback.format_exc()))

    def load(self) -> Detector:
        """The detector, with this process made to compute as its driver would."""
        if self._detector is None:
            cluster.settle(self._order.setting)
            self._detector = Detector.load(self._order.detector, device=self._order.device)
            if self._order.threshold is not None:
                self._detector.threshold = self._order.threshold
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
