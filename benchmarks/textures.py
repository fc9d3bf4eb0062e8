"""The patch bank on textures: photographs with drawn damage, for several feature extractors.

    python -m benchmarks.textures --features builtin:handmade@1 NAME ...

The pictures are those of :mod:`benchmarks.texture_pictures`. ``banks`` with the patch bank alone,
everything else as shipped; 4 and 16 shots, drawn six times from a pool of 32; 42 normal and 42
damaged test images a texture. AUROC, and AUPRO up to a false positive rate of 0.05: mean and worst
of the draws, per texture and over all.

Differences from the first features are paired: same shots, same images. Their 95 % intervals are
those of a bootstrap over images and draws of shots; AUPRO is drawn again at 200 thresholds. A
texture's images are crops of one photograph and overlap, so its intervals are rather too small.

World 0 and the textures ``REPORTED`` report, worlds 1 and 2 and the textures ``TUNING`` tune; what
they give is printed and not kept. With the code as committed, a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from unittest import mock

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from torch import Tensor

from benchmarks.common import auroc, code_name, keep
from benchmarks.texture_pictures import PHOTOGRAPHS, REPORTED, TUNING, textures
from fmlad import pipeline, profiles
from fmlad.bench.bootstrap import SEED, Floats, ImageDraws, interval, over_seeds
from fmlad.bench.model import ImageRecord
from fmlad.memory import free_search, patch_memory
from fmlad.memory.patch_index import PatchIndex
from fmlad.memory.registration import Edges, Fan, Registration, register
from fmlad.methods.protocol import FitContext
from fmlad.methods.registry import create_method
from fmlad.metrics import aupro
from fmlad.views import BackboneSet

__all__ = ["REPORTED", "TUNING", "textures"]

POOL, TESTS = 32, 42  # 14 of each kind of damage
SHOTS = (4, 16)
DRAWS = 6  # of the shots
LIMIT = 0.05  # false positive rate up to which AUPRO is measured
RATES = np.linspace(0, 3 * LIMIT, 201)[1:]  # false positive rates at which AUPRO is drawn again
TUNING_WORLDS = (1, 2)
FEATURES = ("builtin:handmade@1",)

Map = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Cell:
    """One texture with one number of shots, judged with one feature extractor.

    Attributes:
        aurocs, aupros: Of each draw of shots.
        auroc_draws, aupro_draws: The same over images drawn again, ``(draws of shots, 1000)``.
    """

    aurocs: Floats
    aupros: Floats
    auroc_draws: Floats
    aupro_draws: Floats

    def first(self, draws: int) -> Cell:
        """The same of the first draws of shots."""
        return Cell(*(values[:draws] for values in vars(self).values()))


@contextmanager
def remembering() -> Iterator[None]:
    """Patch banks answer once for each pair of images, which meet again in other draws of shots.

    The answers are the same; the images must stay in memory.
    """
    searched: dict[tuple[bytes, bytes], tuple[Tensor, Tensor]] = {}
    registered: dict[tuple[int, int], Registration] = {}

    def digest(patches: Tensor) -> bytes:
        return blake2b(patches.numpy().tobytes()).digest()

    class Index(PatchIndex):
        def __init__(self, patches: Tensor) -> None:
            super().__init__(patches)
            self._key = digest(patches)

        def search(self, patches: Tensor) -> tuple[Tensor, Tensor]:
            key = self._key, digest(patches)
            if key not in searched:
                searched[key] = super().search(patches)
            return searched[key]

    def register_once(query: Edges, shot: Fan) -> Registration:
        key = id(query), id(shot.edges)
        if key not in registered:
            registered[key] = register(query, shot)
        return registered[key]

    with (
        mock.patch.object(free_search, "PatchIndex", Index),
        mock.patch.object(patch_memory, "register", register_once),
    ):
        yield


@remembering()
def measure(features: str, texture: str, world: int, draws: int, tests: int) -> dict[int, Cell]:
    """A cell for each number of shots; every image is encoded once."""
    chosen = profiles.load_backbones({"feature_extractor": features}, "cpu")
    backbones = BackboneSet(chosen)
    pool, normal, damaged = textures(texture, world, POOL, tests)
    shots = [backbones.view(pixels, f"shot {number}") for number, pixels in enumerate(pool)]
    pictures = [*normal, *(pixels for pixels, _ in damaged)]
    views = [backbones.view(pixels, f"image {number}") for number, pixels in enumerate(pictures)]
    masks = [np.zeros(pixels.shape[:2], bool) for pixels in normal] + [mask for _, mask in damaged]
    labels = [regions(mask) for mask in masks]
    drawn = None
    found = {}
    for count in SHOTS:
        rows: list[tuple[float, float, Floats, Floats]] = []
        for seed in range(draws):
            picked = np.random.default_rng([world, count, seed]).choice(POOL, count, replace=False)
            method = create_method("banks", {"banks": ("patch",)})
            context = FitContext(seed=seed)
            fitted = pipeline.fit(method, [shots[number] for number in picked], context)
            predictions = [pipeline.judge(view, fitted) for view in views]
            records = [
                ImageRecord(
                    p.name, "structural" if mask.any() else "good", None, p.score, None, 0.0, False
                )
                for p, mask in zip(predictions, masks, strict=True)
            ]
            drawn = drawn or ImageDraws.of([records], _generator(texture, world))
            scores = [p.score for p in predictions]
            maps = [p.anomaly_map for p in predictions]
            rows.append(
                (
                    auroc(scores[: len(normal)], scores[len(normal) :]),
                    aupro(maps, labels, LIMIT),
                    drawn.figure("auroc_micro", records),
                    aupro_again(maps, labels, np.stack([drawn.counts[v.name] for v in views])),
                )
            )
        found[count] = Cell(*(np.stack(column) for column in zip(*rows, strict=True)))
    return found


def regions(mask: Mask) -> Labels:
    """Numbers of the 8-connected regions of a mask ``(H, W)``, 0 where it is normal."""
    labels, _ = ndimage.label(mask, np.ones((3, 3)))
    return np.asarray(labels, np.int32)


def aupro_again(maps: Sequence[Map], labels: Sequence[Labels], counts: Floats) -> Floats:
    """AUPRO up to ``LIMIT`` with each image as often as ``counts (n, draws)`` says, ``(draws,)``.

    At thresholds that let pass ``RATES`` of the normal pixels of all images.

    Args:
        maps: ``n`` maps ``(H, W)``.
        labels: Numbers of each image's regions, as :func:`regions` gives them.
    """
    normal = np.concatenate([one[mask == 0] for one, mask in zip(maps, labels, strict=True)])
    thresholds = np.quantile(normal, 1 - RATES)
    passed, overlap = (np.zeros((len(maps), len(RATES))) for _ in range(2))
    many = np.zeros(len(maps))
    for number, (one, mask) in enumerate(zip(maps, labels, strict=True)):
        passed[number] = _above(one[mask == 0], thresholds)
        numbers = np.unique(mask[mask > 0])
        many[number] = len(numbers)
        for region in numbers:
            overlap[number] += _above(one[mask == region], thresholds)
    clean = np.array([(mask == 0).sum() for mask in labels])
    rates = (counts.T * clean) @ passed / (counts.T @ clean)[:, None]
    hits = counts.T @ overlap / (counts.T @ many)[:, None]
    grid = np.linspace(0, LIMIT, 101)
    curves = [
        np.interp(grid, np.r_[0, rate], np.r_[0, hit])
        for rate, hit in zip(rates, hits, strict=True)
    ]
    areas: Floats = np.asarray(np.trapezoid(np.stack(curves), grid, axis=1)) / LIMIT
    return areas


def _above(values: Map, thresholds: Floats) -> Floats:
    """Share of values at or above each threshold."""
    below = np.searchsorted(np.sort(values), thresholds, side="left")
    return np.asarray((len(values) - below) / max(len(values), 1))


def kept_or_measured(
    folder: Path | None, features: str, texture: str, world: int, draws: int, tests: int
) -> dict[int, Cell]:
    """Cells of a run that was stopped, else measured."""
    key = f"{features} {texture} {world} {draws} {tests}"
    cells = read_cells(folder, key)
    if cells is None:
        cells = measure(features, texture, world, draws, tests)
        write_cells(folder, key, cells)
    return cells


def read_cells(folder: Path | None, key: str) -> dict[int, Cell] | None:
    """Cells by number of shots that :func:`write_cells` put under a key; None without them."""
    file = folder / f"{zlib.crc32(key.encode()):08x}.npz" if folder else None
    if file is None or not file.exists():
        return None
    with np.load(file) as saved:
        names = Cell.__dataclass_fields__
        shots = sorted({int(entry.split()[1]) for entry in saved})
        return {n: Cell(**{name: saved[f"{name} {n}"] for name in names}) for n in shots}


def write_cells(folder: Path | None, key: str, cells: dict[int, Cell]) -> None:
    """Keeps cells for a run that goes on; nothing is kept without a folder."""
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
        arrays = {f"{name} {n}": v for n, cell in cells.items() for name, v in vars(cell).items()}
        np.savez(folder / f"{zlib.crc32(key.encode()):08x}.npz", **arrays)


def summary(cells: Sequence[Cell], base: Sequence[Cell] | None = None) -> dict[str, object]:
    """Means over textures, worst draws of shots, and differences from other features."""
    row: dict[str, object] = {}
    for name, figure in (("AUROC", "auroc"), ("AUPRO@0.05", "aupro")):
        table = np.stack([getattr(cell, f"{figure}s") for cell in cells])
        row[name] = round(float(table.mean()), 3)
        row[f"{name}, worst draw"] = round(float(table.mean(0).min()), 3)
        if base is not None:
            gap = table - np.stack([getattr(cell, f"{figure}s") for cell in base])
            again = [
                over_seeds(
                    getattr(one, f"{figure}_draws") - getattr(other, f"{figure}_draws"),
                    np.random.default_rng([SEED, number]),
                )
                for number, (one, other) in enumerate(zip(cells, base, strict=True))
            ]
            low, high = interval(np.mean(again, axis=0))
            row[f"{name}, difference"] = [round(v, 3) for v in (float(gap.mean()), low, high)]
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--features", nargs="+", default=list(FEATURES), metavar="NAME")
    parser.add_argument("--world", nargs="+", type=int, default=[0], help="1 and 2 for tuning")
    parser.add_argument("--texture", nargs="+", choices=list(PHOTOGRAPHS))
    parser.add_argument("--draws", type=int, default=DRAWS, help="of the shots")
    parser.add_argument("--images", type=int, default=TESTS, help="normal and damaged ones each")
    parser.add_argument("--out", type=Path, default=Path("out/textures"), help="for stopped runs")
    parser.add_argument("--name", default="textures", help="of the file in benchmarks/results")
    given = parser.parse_args()
    tunes = bool(set(given.world) & set(TUNING_WORLDS))
    names = given.texture or (TUNING if tunes else REPORTED)
    folder = None if code_name().endswith("-changed") else given.out / code_name()
    everything: dict[str, list[dict[int, Cell]]] = {}
    figures: dict[str, object] = {}
    for name in names:
        for world in given.world:
            for features in given.features:
                cells = everything.setdefault(features, [])
                cells.append(
                    kept_or_measured(folder, features, name, world, given.draws, given.images)
                )
                base = everything[given.features[0]][len(cells) - 1]
                for shots, cell in cells[-1].items():
                    compared = None if features == given.features[0] else [base[shots]]
                    title = f"{name}, world {world}, {shots} shots, {features}"
                    figures[title] = row = summary([cell], compared)
                    print(f"{title}: {row}", flush=True)
    for features, cells in everything.items():
        for shots in SHOTS:
            first = [cell[shots] for cell in everything[given.features[0]]]
            compared = None if features == given.features[0] else first
            row = summary([cell[shots] for cell in cells], compared)
            figures[f"mean, {shots} shots, {features}"] = row
    if tunes:
        print("\n".join(f"{k}: {v}" for k, v in figures.items() if k.startswith("mean")))
        return
    protocol = (
        f"textures {', '.join(names)}; worlds {given.world}; {given.draws} draws of shots from "
        f"{POOL}; {given.images} normal and damaged test images each; patch bank alone; "
        f"differences from {given.features[0]} with 95 % intervals"
    )
    keep(given.name, protocol, figures, seeds=range(given.draws))


def _generator(texture: str, world: int) -> np.random.Generator:
    return np.random.default_rng([SEED, world, zlib.crc32(texture.encode())])


if __name__ == "__main__":
    main()
