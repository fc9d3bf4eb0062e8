"""Fits the rating of regions, on pictures that the decoder was not trained on.

Every region of the tree is compared with the true objects. Targets are the intersection over union
with the visible part of one object, and with the whole outline of one that holds others.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from fmlad.backbones.embedded.learned_objects import LearnedProposer
from fmlad.backbones.embedded.region_rating import RegionRating, quantities
from fmlad.backbones.embedded.region_tree import AREA, RegionTree
from tools.objects.store import Store
from tools.objects.targets import innermost

ZOOMS = (1.0, 1.4)  # pictures are also seen larger, as photographs are
EPOCHS, RATE, BATCH = 12, 2e-3, 4096
HELD_OUT = 0.2  # share of the pictures by which the rating is judged
Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.uint8]


def overlaps(tree: RegionTree, layers: Numbers, holders: npt.NDArray[np.bool_]) -> Floats:
    """Intersection over union ``(n, 2)`` of every region with the best true object.

    Args:
        tree: Of a picture.
        layers: uint8 ``(3, h, w)`` at the size of its basins.
        holders: bool ``(256,)``.
    """
    area = tree.sums[:, AREA, None]
    result = np.zeros((len(tree), 2))
    for column, truth in ((0, innermost(layers)), *((1, layer) for layer in layers)):
        table = np.zeros((len(tree.rank), 256))
        np.add.at(table, (tree.basins.ravel(), truth.ravel()), 1.0)
        common = tree.added_up(table)
        share = common / np.maximum(area + table.sum(0) - common, 1)
        share[:, 0] = 0
        if column == 1:
            share[:, ~holders] = 0
        result[:, column] = np.maximum(result[:, column], share.max(1))
    return result


def examples(
    proposer: LearnedProposer, store: Store, indices: range
) -> tuple[Floats, Floats, Floats]:
    """Quantities, overlaps and weights of the regions of some pictures, which weigh alike."""
    import cv2

    rows, targets, weights = [], [], []
    for number, index in enumerate(indices):
        pixels, layers, leaves = store[index]
        side = round(pixels.shape[0] * ZOOMS[number % len(ZOOMS)] / 32) * 32
        large: Any = cv2.resize(np.asarray(pixels), (side, side), interpolation=cv2.INTER_LINEAR)
        tree = proposer.tree(torch.from_numpy(large).permute(2, 0, 1)[None])
        size = tree.basins.shape[::-1]
        small = [cv2.resize(np.asarray(x), size, interpolation=cv2.INTER_NEAREST) for x in layers]
        rows.append(quantities(tree))
        targets.append(overlaps(tree, np.asarray(small, np.uint8), ~leaves))
        weight = 0.15 + targets[-1].max(1)  # regions of good overlap are few
        weights.append(weight / weight.sum())
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
                error = F.binary_cross_entropy_with_logits(
                    rating(x[batch]), y[batch], weight=w[batch]
                )
                optimizer.zero_grad()
                torch.autograd.backward(error)
                optimizer.step()
                schedule.step()
    return rating.eval()


def add_rating(decoder: Path, weights: Path, store: Store, pictures: range) -> None:
    """Fits the rating for a decoder and writes both to one file, as float16."""
    state = load_file(decoder)
    untrained = {f"rating.{name}": t for name, t in RegionRating().state_dict().items()}
    save_file(state | untrained, weights)
    torch.set_num_threads(1)
    proposer = LearnedProposer(weights=weights)
    split = pictures[round(len(pictures) * (1 - HELD_OUT))]
    rating = fit(*examples(proposer, store, range(pictures.start, split)))
    rows, wanted, _ = examples(proposer, store, range(split, pictures.stop))
    with torch.inference_mode():
        said = rating(torch.from_numpy(rows).float()).sigmoid().numpy()
    for column, what in enumerate(("visible part", "whole outline")):
        error = np.abs(said[:, column] - wanted[:, column])
        good = wanted[:, column] > 0.5
        of_good = f"{error[good].mean():.3f}" if good.any() else "none"
        related = np.corrcoef(said[:, column], wanted[:, column])[0, 1]
        print(
            f"{what}: mean error {error.mean():.3f}, of good regions {of_good}, "
            f"correlation {related:.3f}, {len(rows)} regions"
        )
    state |= {f"rating.{name}": tensor for name, tensor in rating.state_dict().items()}
    halves = {n: t.half() if t.is_floating_point() else t for n, t in state.items()}
    save_file({name: tensor.contiguous() for name, tensor in halves.items()}, weights)
