"""Fits the rating of regions: ``python -m tools.objects.rating``.

On pictures that the decoder was not trained on: every region of the tree is compared with the true
objects. Targets are the intersection over union with the visible part of one object, and with the
whole outline of one that holds others.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from fmlad.backbones.embedded.learned_objects import WEIGHTS_FILE, LearnedProposer
from fmlad.backbones.embedded.region_rating import RegionRating, quantities
from fmlad.backbones.embedded.region_tree import AREA, RegionTree
from tools.objects.store import Store
from tools.objects.targets import innermost

ZOOMS = (1.0, 1.4)  # pictures are also seen larger, as photographs are
EPOCHS, RATE, BATCH = 12, 2e-3, 4096
Floats = npt.NDArray[np.float64]


def overlaps(
    tree: RegionTree, layers: npt.NDArray[np.uint8], holders: npt.NDArray[np.bool_]
) -> Floats:
    """Intersection over union ``(n, 2)`` of every region with the best true object.

    Args:
        tree: Of a picture.
        layers: uint8 ``(3, h, w)`` at the size of its basins.
        holders: bool ``(256,)``.
    """
    count = len(tree.rank)
    area = tree.sums[:, AREA]
    result = np.zeros((len(tree), 2))
    for column, truth in ((0, innermost(layers)), *((1, layer) for layer in layers)):
        table = np.zeros((count, 256))
        np.add.at(table, (tree.basins.ravel(), truth.ravel()), 1.0)
        common = tree.added_up(table)
        total = table.sum(0)
        union = area[:, None] + total[None] - common
        share = common / np.maximum(union, 1)
        share[:, 0] = 0
        if column == 1:
            share[:, ~holders] = 0
        result[:, column] = np.maximum(result[:, column], share.max(1))
    return result


def examples(
    proposer: LearnedProposer, store: Store, indices: range
) -> tuple[Floats, Floats, Floats]:
    """Quantities, overlaps and weights of the regions of some pictures; pictures weigh alike."""
    import cv2

    rows, targets, weights = [], [], []
    for number, index in enumerate(indices):
        pixels, layers, leaves = store[index]
        zoom = ZOOMS[number % len(ZOOMS)]
        side = round(pixels.shape[0] * zoom / 32) * 32
        large: Any = cv2.resize(np.asarray(pixels), (side, side), interpolation=cv2.INTER_LINEAR)
        tree = proposer.tree(torch.from_numpy(large).permute(2, 0, 1)[None])
        size = tree.basins.shape[::-1]
        small = np.stack(
            [cv2.resize(np.asarray(one), size, interpolation=cv2.INTER_NEAREST) for one in layers]
        )
        holders = ~leaves
        rows.append(quantities(tree))
        targets.append(overlaps(tree, small, holders))
        # Regions of good overlap are few: they and large ones weigh more.
        weight = 0.15 + targets[-1].max(1)
        weights.append(weight / weight.sum())
        if number % 50 == 49:
            print(f"{number + 1} of {len(indices)} pictures", flush=True)
    return np.concatenate(rows), np.concatenate(targets), np.concatenate(weights)


def fit(rows: Floats, targets: Floats, weights: Floats, seed: int = 0) -> RegionRating:
    """Trains the rating."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        rating = RegionRating()
        rating.middle.copy_(torch.from_numpy(rows.mean(0)))
        rating.spread.copy_(torch.from_numpy(rows.std(0) + 1e-3))
        x, y = torch.from_numpy(rows).float(), torch.from_numpy(targets).float()
        w = torch.from_numpy(weights / weights.mean()).float()[:, None]
        steps = EPOCHS * -(-len(x) // BATCH)
        optimizer = torch.optim.AdamW(rating.parameters(), lr=RATE, weight_decay=1e-3)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5 * RATE, total_steps=steps)
        for _ in range(EPOCHS):
            for batch in torch.randperm(len(x)).split(BATCH):
                said = rating(x[batch])
                value = (
                    F.binary_cross_entropy_with_logits(said, y[batch], reduction="none") * w[batch]
                ).mean()
                optimizer.zero_grad()
                value.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
    return rating.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--weights", type=Path, default=WEIGHTS_FILE, help="with a decoder; changed"
    )
    parser.add_argument("--out", type=Path, default=Path("build/objects"))
    parser.add_argument("--first", type=int, default=6000, help="first picture")
    parser.add_argument("--pictures", type=int, default=1000)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    store = Store(arguments.out / "pictures")
    store.draw(arguments.first + arguments.pictures, 2)
    proposer = LearnedProposer(weights=arguments.weights)
    split = arguments.first + arguments.pictures * 4 // 5
    rows, targets, weights = examples(proposer, store, range(arguments.first, split))
    rating = fit(rows, targets, weights)
    held, wanted, _ = examples(proposer, store, range(split, arguments.first + arguments.pictures))
    with torch.inference_mode():
        said = rating(torch.from_numpy(held).float()).sigmoid().numpy()
    for column, what in enumerate(("visible", "whole")):
        error = np.abs(said[:, column] - wanted[:, column])
        good = wanted[:, column] > 0.5
        print(
            f"{what}: mean error {error.mean():.3f}, of good regions {error[good].mean():.3f}, correlation {np.corrcoef(said[:, column], wanted[:, column])[0, 1]:.3f}, n {len(held)}"
        )
    stored = {n: t for n, t in load_file(arguments.weights).items() if not n.startswith("rating.")}
    stored |= {f"rating.{n}": t.contiguous() for n, t in rating.state_dict().items()}
    save_file(stored, arguments.weights)


if __name__ == "__main__":
    main()
