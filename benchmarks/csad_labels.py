"""CSAD's pseudo-labels on scenes: mean IoU with the true parts, each class given to one part.

    python -m benchmarks.csad_labels --worlds 0 3
    python -m benchmarks.csad_labels --categories screw_bag --set bandwidth=0.4
    python -m benchmarks.csad_labels --bandwidths 0.5 0.75 1.5  # factors; Figure 10

Worlds 1 and 2 are those on which options are chosen. Classes and parts are paired so that the sum
of IoU is largest; a part without a class counts 0, the background is left out.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmarks.common import json_options, keep, unfinished
from fmlad import profiles
from fmlad.datasets import make_scenes
from fmlad.datasets.scenes import SCENE_CATEGORIES
from fmlad.io.images import load_image
from fmlad.methods.csad.describe import describer
from fmlad.methods.csad.pseudo_config import pseudo_config
from fmlad.methods.csad.pseudo_labels import PseudoLabels, make_pseudo_labels
from fmlad.methods.csad.report import write_report
from fmlad.methods.shared_encoder import SharedEncoder
from fmlad.views import BackboneSet

WORLDS = (1, 2)
SIDE = 256  # px of the encoder's input; components are smaller
ROLES = ("mask_proposer", "encoder")
PROTOCOL = (
    "scenes-v1, profile builtin, preset cpu, no tags; {images} training images; mean IoU of parts, "
    "on the labelled images and on all"
)

Labels = npt.NDArray[np.integer]


def best_iou(said: Sequence[Labels], true: Sequence[Labels]) -> float:
    """Mean IoU of the parts that occur, over all images together, after the best pairing.

    Args:
        said: ``(h, w)`` in 0..K - 1 each, 0 the background.
        true: In the same sizes, 0 the background.
    """
    from scipy.optimize import linear_sum_assignment

    classes, parts = (1 + max(int(one.max()) for one in maps) for maps in (said, true))
    both = np.zeros((parts, classes))
    for own, truth in zip(said, true, strict=True):
        pairs = truth.astype(np.int64).ravel() * classes + own.ravel()
        both += np.bincount(pairs, minlength=parts * classes).reshape(parts, classes)
    union = both.sum(1)[:, None] + both.sum(0)[None] - both
    ious = (both / np.maximum(union, 1))[1:, 1:]
    occurring = both[1:].sum(1) > 0
    rows, columns = linear_sum_assignment(-ious[occurring])
    return float(ious[occurring][rows, columns].sum() / max(int(occurring.sum()), 1))


def truth(home: Path, count: int, like: Sequence[Labels]) -> list[Labels]:
    """Part maps of the first training images, in the sizes of some labels."""
    found = []
    for number, labels in zip(range(count), like, strict=True):
        parts = np.asarray(Image.open(home / f"parts/train/good/{number:03d}.png"))
        rows, columns = (
            np.arange(new) * old // new for new, old in zip(labels.shape, parts.shape, strict=True)
        )
        found.append(parts[rows[:, None], columns])
    return found


def measured(said: PseudoLabels, home: Path) -> dict[str, float]:
    """Mean IoU, number of classes, and share of labelled images."""
    true = truth(home, len(said.labels), said.labels)
    rows = said.rows
    return {
        "labelled": round(best_iou([said.labels[r] for r in rows], [true[r] for r in rows]), 3),
        "all": round(best_iou(said.labels, true), 3),
        "classes": len(said.names),
        "share labelled": round(len(rows) / len(true), 2),
        "bandwidth": round(said.bandwidth, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--worlds", type=int, nargs="+", default=list(WORLDS))
    parser.add_argument("--categories", nargs="+", default=list(SCENE_CATEGORIES))
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--root", type=Path, help="keeps scenes and components there")
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=JSON", help="other options")
    parser.add_argument(
        "--bandwidths", type=float, nargs="+", help="factors of the chosen one, a row each"
    )
    parser.add_argument("--report", type=Path, help="writes pictures of all stages there")
    parser.add_argument("--name", default="csad-labels")
    given = parser.parse_args()
    config = pseudo_config("cpu", **json_options(given.set))
    protocol = PROTOCOL.format(images=given.images) + "".join(f"; {one}" for one in given.set)
    figures: dict[str, Any] = unfinished(given.name, protocol)
    backbones = BackboneSet(profiles.load_backbones(profiles.resolve(ROLES, "builtin"), "cpu"))
    encoder: Any = backbones.backbones["encoder"]
    describe, fingerprint = describer(backbones, SharedEncoder(encoder, SIDE))
    counts = {"train": given.images, "validation": 0}
    counts |= dict.fromkeys(("test_good", "test_logical", "test_structural"), 0)
    with tempfile.TemporaryDirectory() as folder:
        for world in given.worlds:
            for category in given.categories:
                if (name := f"{category}, world {world}") in figures:
                    continue
                home = (given.root or Path(folder)) / f"{category}-{world}"
                if not home.exists():
                    make_scenes(home, category, seed=world, counts=counts)
                paths = sorted((home / "train" / "good").glob("*.png"))[: given.images]
                views = [backbones.view(load_image(path), path.stem) for path in paths]
                kept = home.with_name(f"{home.name}-components") if given.root else None

                def made(options: Any, views: Any = views, kept: Any = kept) -> PseudoLabels:
                    return make_pseudo_labels(
                        views, describe, fingerprint, options, folder=kept, resume=True
                    )

                begun = time.perf_counter()
                said = made(config)
                figures[name] = measured(said, home)
                figures[name]["seconds"] = round(time.perf_counter() - begun)
                for factor in given.bandwidths or ():
                    other = pseudo_config(
                        "cpu", **json_options(given.set), bandwidth=factor * said.bandwidth
                    )
                    figures[f"{name}, bandwidth x {factor:g}"] = measured(made(other), home)
                if given.report:
                    write_report(given.report / home.name, views, said, config)
                print(name, figures[name], flush=True)
                keep(given.name, protocol, figures, seeds=given.worlds, finished=False)
    of_all = [one for key, one in figures.items() if "bandwidth x" not in key]
    for which in ("labelled", "all"):
        chosen = [one[which] for one in of_all]
        figures[f"mean, {which}"] = round(float(np.mean(chosen)), 3)
    keep(given.name, protocol, figures, seeds=given.worlds)


if __name__ == "__main__":
    main()
