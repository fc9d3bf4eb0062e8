"""sPRO on a category of the size of MVTec LOCO's: time and memory, beside a slow reference.

    python -m benchmarks.spro [--images 340] [--folder FOLDER]

Maps are made up: a smooth field, noise, and in each region a bump of random strength. A third of
the images are good; a third have one or two large overlapping regions that saturate at a tenth of
their area; a third have one small region that saturates with its area. Maps (float32) and regions
(bool) lie in memory-mapped files in a temporary folder (about 3.5 GB), deleted at the end.

The reference is that of the tests: every image anew for every threshold. At this size it would take
years, so two things are measured: one small category, whole, by both; and on the large one how long
the reference takes for a single threshold (mean of three). As every distinct value is a threshold,
it needs at least as many as the first map alone has distinct values.

Memory is what the process itself holds, without pages of files: sampled from Linux' RssAnon.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does

import numpy as np

from benchmarks.common import keep
from fmlad.metrics import pixel_report, spro_curve
from fmlad.metrics.summary import SPRO_LIMITS
from tests.metrics import reference

SIZE = (1280, 1600)
SMALL, SMALL_IMAGES = (48, 64), 9
THRESHOLDS = 3  # of the reference on the large category


@dataclass(frozen=True)
class Category:
    """Maps (n, H, W), regions of all images in a row (R, H, W), and whose they are."""

    maps: Any
    masks: Any
    owners: tuple[tuple[int, ...], ...]
    saturations: tuple[tuple[int, ...], ...]

    @property
    def regions(self) -> Sequence[Any]:
        """Per image, bool (r, H, W), read when asked for."""
        return Regions(self)


class Regions(Sequence[Any]):
    """Slices of the file of masks."""

    def __init__(self, category: Category) -> None:
        self.category = category

    def __len__(self) -> int:
        return len(self.category.owners)

    def __getitem__(self, index: Any) -> Any:
        owned = self.category.owners[index]
        first = owned[0] if owned else 0
        return self.category.masks[first : first + len(owned)]


def boxes(rng: np.random.Generator, index: int, size: tuple[int, int]) -> list[tuple[slice, slice]]:
    """Where the regions of an image are."""
    shares = ((), (0.4, 0.4), (0.06,))[index % 3]  # of the side; the second large one not always
    found = []
    for share in shares[: 1 + int(rng.integers(2))]:
        sides = [max(2, round(side * share)) for side in size]
        corner = [int(rng.integers(0, side - own)) for side, own in zip(size, sides, strict=True)]
        found.append(tuple(slice(c, c + s) for c, s in zip(corner, sides, strict=True)))
    return found  # type: ignore[return-value]


def make(folder: Path, count: int, size: tuple[int, int]) -> Category:
    """Writes a category."""
    rng = np.random.default_rng(0)
    places = [boxes(rng, index, size) for index in range(count)]
    total = sum(map(len, places))
    maps = np.memmap(folder / "maps", np.float32, "w+", shape=(count, *size))
    masks = np.memmap(folder / "masks", np.bool_, "w+", shape=(total, *size))
    rows, columns = (np.linspace(0, 9, side, dtype=np.float32)[:, None] for side in size)
    owners, saturations, number = [], [], 0
    for index, own in enumerate(places):
        noise = rng.random(size, dtype=np.float32)
        maps[index] = np.sin(rows + index) * np.cos(columns.T - index) + noise
        for box in own:
            maps[index][box] += np.float32(2 * rng.random())
            masks[number][box] = True
            number += 1
        owners.append(tuple(range(number - len(own), number)))
        areas = [int(masks[region].sum()) for region in owners[-1]]
        saturations.append(tuple(max(1, a // 10) if index % 3 == 1 else a for a in areas))
    return Category(maps, masks, tuple(owners), tuple(saturations))


def held() -> float:
    """Memory of this process, MB, files not counted."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("this system does not tell RssAnon; run the benchmark on Linux")


@contextmanager
def peak() -> Iterator[Callable[[], float]]:
    """Most memory held meanwhile, over what was held before, MB."""
    before, done, seen = held(), threading.Event(), [0.0]

    def watch() -> None:
        while not done.wait(0.005):
            seen[0] = max(seen[0], held() - before)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield lambda: seen[0]
    finally:
        done.set()
        watcher.join()


def seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def small(folder: Path) -> dict[str, float]:
    """Both, whole, on a category small enough."""
    data = make(folder, SMALL_IMAGES, SMALL)
    given = data.maps, data.regions, data.saturations
    slow, points = seconds(lambda: reference.curve(*given))
    rounds = [seconds(lambda: spro_curve(*given)) for _ in range(5)]
    fast, curve = statistics.median(time for time, _ in rounds), rounds[0][1]
    off = [abs(curve.area(limit) - reference.area(points, limit)) for limit in SPRO_LIMITS]
    return {
        "small: reference, s": round(slow, 2),
        "small: spro_curve, s": round(fast, 4),
        "small: times as fast": round(slow / fast),
        "small: thresholds": len(points) - 1,
        "small: largest difference at any limit": float(f"{max(off):.1e}"),
    }


def large(folder: Path, count: int) -> dict[str, Any]:
    """The large category: ours whole, the reference at a few thresholds."""
    data = make(folder, count, SIZE)
    given = data.maps, data.regions, data.saturations
    with peak() as most:
        ours, curve = seconds(lambda: spro_curve(*given))
    figures: dict[str, Any] = {
        "images": count,
        "size": f"{SIZE[1]} x {SIZE[0]}",
        "maps, MB": round(data.maps.nbytes / 1e6),
        "regions": len(data.masks),
        "spro_curve, s": round(ours, 1),
        "spro_curve, peak memory beyond the maps, MB": round(most()),
        "points of the curve": len(curve.fpr),
        **{f"spro@{limit}": round(curve.area(limit), 6) for limit in SPRO_LIMITS},
        **{f"proven error of spro@{x}": float(f"{curve.error(x):.1e}") for x in SPRO_LIMITS},
    }
    picked = [float(curve.thresholds[np.searchsorted(curve.fpr, x)]) for x in (0.01, 0.05, 0.3)]
    del curve
    with peak() as most:
        whole, report = seconds(lambda: pixel_report(*given))
    off = [abs(report.figures[f"spro@{x}"] - figures[f"spro@{x}"]) for x in SPRO_LIMITS]
    slow = statistics.mean(
        seconds(lambda threshold=threshold: reference.point(*given, threshold))[0]
        for threshold in picked[:THRESHOLDS]
    )
    least = len(np.unique(data.maps[0]))
    return figures | {
        "pixel_report, s": round(whole, 1),
        "pixel_report, peak memory beyond the maps, MB": round(most()),
        "pixel_report, largest difference of spro": float(f"{max(off):.1e}"),
        "reference, s per threshold": round(slow, 2),
        "thresholds the reference is through with when spro_curve is done": round(ours / slow),
        "distinct values of the first map alone": least,
        "times as fast as the reference, at least": round(slow * least / ours),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=340)
    parser.add_argument("--folder", type=Path, help="where to put the temporary files")
    given = parser.parse_args()
    figures: dict[str, Any] = {}
    for part in (small, lambda folder: large(folder, given.images)):
        with tempfile.TemporaryDirectory(dir=given.folder) as folder:
            figures |= part(Path(folder))
    figures["machine"] = f"{os.cpu_count()} cores, {platform.machine()}"
    keep("spro", f"{given.images} made-up maps of {SIZE[1]} x {SIZE[0]}, seed 0", figures)


if __name__ == "__main__":
    main()
