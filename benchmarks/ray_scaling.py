"""What Ray costs, and what two workers gain: the figures of the cost model in docs/cluster.md.

    OMP_NUM_THREADS=1 python -m benchmarks.ray_scaling

All on this machine. One process, one worker and two workers judge the same pictures in turn, round
after round; figures are medians over the rounds, so that a machine that swings does so for all
three. Seconds are this machine's; what carries over is the model.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Iterable
from math import ceil
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does
os.environ["FMLAD_CACHE_LIMIT_MB"] = "0"  # a cached answer would cost nothing
# Ray's own spelling. Its workers have low priority else, and others slow them alone.
os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112

from PIL import Image

import fmlad
from benchmarks.common import keep
from benchmarks.cost import SIDE, pictures
from fmlad.engines import cluster, predict, predict_ray
from fmlad.engines.threads import Threads

BATCH = 8  # as predict has it
SHOTS = 4
EMPTY = 400  # pictures of the runs in which workers do nothing


class Idle(predict.BatchWorker):
    """A worker that gives every picture the verdict of the first one: what is left is Ray."""

    def do(self, job: predict.Batch) -> list[fmlad.Prediction | fmlad.Failure]:
        if self._detector is None:
            self._verdict = self.load().predict(job.images[0])
        return [self._verdict] * len(job.images)


def timed(outcomes: Iterable[object]) -> tuple[float, float]:
    """Seconds until the first outcome, and until the last."""
    start = time.perf_counter()
    first = 0.0
    for number, outcome in enumerate(outcomes):
        if isinstance(outcome, fmlad.Failure):
            raise outcome.error
        if number == 0:
            first = time.perf_counter() - start
    return first, time.perf_counter() - start


def modelled(one: float, start: float, pipe: float, images: int, workers: int) -> float:
    """Seconds of a run once the cluster is there, by the model of docs/cluster.md.

    Args:
        one: Seconds of an image in one process.
        start: Seconds until a worker has its detector.
        pipe: Seconds that a batch costs on the way.
        images: How many.
        workers: How many.
    """
    return start + ceil(ceil(images / BATCH) / workers) * (BATCH * one + pipe)


def measure(images: int, rounds: int) -> dict[str, Any]:
    """All figures."""
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as home:
        shots, *queries = pictures(SHOTS), *pictures(SHOTS + BATCH)[SHOTS:]
        detector = fmlad.Detector.from_shots(shots, profile="builtin").save(Path(home) / "detector")
        paths = []
        for index in range(images):
            path = Path(home) / f"{index:04d}.png"
            Image.fromarray(queries[index % BATCH]).save(path)
            paths.append(str(path))
        start = time.perf_counter()
        with cluster.connected():
            cold = time.perf_counter() - start
            alone: list[float] = []
            first: list[float] = []
            ones: list[float] = []
            twos: list[float] = []
            empty: list[float] = []
            fitted = fmlad.Detector.load(detector)
            list(fitted.predict_many(paths[:1]))
            judge = predict.BatchWorker
            for _ in range(rounds):
                alone.append(timed(fitted.predict_many(paths, BATCH))[1])
                for workers, took in ((1, ones), (2, twos)):
                    took.append(
                        timed(predict_ray(detector, paths, workers=workers, batch_size=BATCH))[1]
                    )
                predict.BatchWorker = Idle
                many = (paths * ceil(EMPTY / images))[:EMPTY]
                to_first, whole = timed(predict_ray(detector, many, workers=1, batch_size=BATCH))
                first.append(to_first)  # with one image judged, as idle as it is otherwise
                empty.append((whole - to_first) / (EMPTY / BATCH - 1))
                predict.BatchWorker = judge
    one, pipe = statistics.median(alone) / images, statistics.median(empty)
    up = statistics.median(first) - one
    figures: dict[str, Any] = {
        "images": images,
        "rounds": rounds,
        "load of the machine before": round(load, 1),
        "cores": os.cpu_count(),
        "cluster of one's own, s": round(cold, 1),
        "worker with its detector, s": round(up, 1),
        "an image in one process, s": round(one, 3),
        "a batch on its way, s": round(pipe, 3),
        "two workers over one": round(
            statistics.median(a / b for a, b in zip(ones, twos, strict=True)), 2
        ),
        "two workers over one process": round(
            statistics.median(a / b for a, b in zip(alone, twos, strict=True)), 2
        ),
    }
    for workers, took in ((1, ones), (2, twos)):
        figures[f"{workers} measured, s"] = round(statistics.median(took), 1)
        figures[f"{workers} modelled, s"] = round(modelled(one, up, pipe, images, workers), 1)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    figures = measure(options.images, options.rounds)
    count = Threads.current().torch
    threads = f"{count} thread{'' if count == 1 else 's'}"
    keep(
        "ray",
        f"scenes pushpins at {SIDE} px, {SHOTS} shots, builtin, {threads}, batches of {BATCH}",
        figures,
    )


if __name__ == "__main__":
    main()
