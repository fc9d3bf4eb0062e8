"""A small segmenter that trains in a second; run as a module, it trains and never ends.

It has what makes resuming hard: BatchNorm's counters, dropout, augmentation, two optimisers, a rate
that changes, and a last batch that reaches into the next order.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fmlad.training.augment import Augmentation
from fmlad.training.loop import Shuffled, late_drop, seeded, train
from fmlad.training.losses import dice_loss

PALETTE = np.array([[30, 40, 50], [220, 60, 40], [50, 90, 230]], np.uint8)
IMAGES, SIZE, STEPS = 7, 24, 60
AUGMENTATION = Augmentation(mirror=True, turns=True, degrees=10, brightness=0.2)


@cache
def image_and_labels(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """uint8 ``(SIZE, SIZE, 3)`` with noise and its labels, two boxes on a ground."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((SIZE, SIZE), np.int32)
    for part in (1, 2):
        y, x = rng.integers(0, SIZE - 8, 2)
        labels[y : y + 8, x : x + 8] = part
    pixels = PALETTE[labels] + rng.normal(0, 12, (SIZE, SIZE, 3))
    return pixels.clip(0, 255).astype(np.uint8), labels


def batch(indices: list[int], rng: np.random.Generator | None) -> tuple[Tensor, Tensor]:
    """Float ``(B, 3, SIZE, SIZE)`` in 0..1 and int64 ``(B, SIZE, SIZE)``."""
    pairs = [image_and_labels(index) for index in indices]
    if rng is not None:
        pairs = [AUGMENTATION(*pair, rng) for pair in pairs]
    pixels, labels = (torch.from_numpy(np.stack(arrays)) for arrays in zip(*pairs, strict=True))
    return pixels.permute(0, 3, 1, 2) / 255, labels.long()


def networks() -> dict[str, nn.Module]:
    body = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
    return {"body": body, "head": nn.Sequential(nn.Dropout(0.1), nn.Conv2d(8, 3, 1))}


def predict(modules: dict[str, nn.Module], images: Tensor) -> Tensor:
    return modules["head"](modules["body"](images))


def run(
    seed: int,
    *,
    device: str = "cpu",
    each: Callable[[int], None] = lambda step: None,
    **options: Any,
) -> dict[str, nn.Module]:
    """Trains; ``each`` is called at the start of every step."""
    with seeded(seed, device):
        modules = {name: module.to(device) for name, module in networks().items()}
    body = torch.optim.Adam(modules["body"].parameters(), 0.02)
    head = torch.optim.SGD(modules["head"].parameters(), 0.3, momentum=0.9)
    order = Shuffled(IMAGES, 4, seed)

    def loss(step: int, rng: np.random.Generator) -> Tensor:
        each(step)
        images, labels = (each.to(device) for each in batch(order(step), rng))
        images = images * (1 + 0.01 * random.random() + 0.01 * np.random.rand())  # noqa: NPY002
        logits = predict(modules, images)
        return F.cross_entropy(logits, labels) + dice_loss(logits.softmax(1), labels)

    options = {"steps": STEPS, "schedule": late_drop, **options}
    train(loss, modules, [body, head], seed=seed, **options)
    return modules


def weights(modules: dict[str, nn.Module]) -> dict[str, Tensor]:
    return {f"{n}.{key}": t for n, m in modules.items() for key, t in m.state_dict().items()}


if __name__ == "__main__":

    def each(step: int) -> None:
        print(step, flush=True)
        time.sleep(600 if step == STEPS - 5 else 0)  # waits to be killed, if it was not yet

    torch.set_num_threads(1)  # another number adds up in another order
    run(5, checkpoint=Path(sys.argv[1]), save_seconds=0.0, each=each)
