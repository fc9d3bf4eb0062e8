"""PSAD's few-shot part segmenter: a few labelled images, many without labels, two stages.

First the labelled images train alone (cross-entropy, Dice); then predictions on unlabelled images
are made certain (entropy) and their class areas like those of the labelled image of the same
product type (histogram matching). PSAD, "Part Segmentation Using Limited Annotations", Eqs. 1
and 2. The last weights are kept: no labels are set aside to choose others.

The released code then trains a second network on the predictions of the first (``second``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fmlad.backbones.roles import Encoder
from fmlad.errors import OptionError
from fmlad.methods.psad import segmenter_data as data
from fmlad.methods.psad.fitted_segmenter import FittedSegmenter, channels_of, classifier_of
from fmlad.methods.psad.loose import laid, loose_pieces
from fmlad.methods.psad.product_types import ProductTypes, nearest_labelled, pooled
from fmlad.methods.psad.segmenter_config import SegmenterConfig
from fmlad.networks.part_segmenter import resized
from fmlad.progress import Progress, silent
from fmlad.training.augment import Pixels
from fmlad.training.loop import SAVE_SECONDS, Shuffled, seeded, train
from fmlad.training.losses import dice_loss, entropy_loss, histogram_loss


def fit_segmenter(
    labelled: Sequence[tuple[Pixels, npt.NDArray[np.integer]]],
    unlabeled: Sequence[Pixels],
    classes: int,
    encoder: Encoder,
    config: SegmenterConfig,
    *,
    seed: int = 0,
    device: str = "cpu",
    progress: Progress = silent,
    checkpoint: Path | None = None,
    resume: bool = False,
    settings: Mapping[str, Any] | None = None,
) -> FittedSegmenter:
    """Trains in stages; the same arguments give the same weights on a CPU.

    Each unlabelled image is compared with the labelled image of its product type
    (``config.types``). The class areas of the latter are those of the image as it
    is, because a rotation cuts off its corners (the code takes the rotated one).

    Args:
        labelled: Normal images, uint8 ``(H, W, 3)``, with the class of each pixel, integers
            ``(H, W)`` in 0..``classes`` - 1. Sizes may differ.
        unlabeled: Further images, uint8 ``(H, W, 3)``, normal ones as a rule: those of the second
            stage, in which the labelled ones may be again. Where there are none, the labelled ones
            take their place.
        classes: K, the background (0) included.
        encoder: The backbone in that role.
        config: All numbers.
        seed: Of the first weights and all draws, at least 0.
        device: Where it is trained.
        progress: As :func:`fmlad.training.loop.train` calls it.
        checkpoint: File for checkpoints, or None; that of a second network is beside it.
        resume: Goes on from that file where it exists.
        settings: JSON-ready, of what must be the same on resumption (names of images and so on);
            config, classes and encoder are added.

    Raises:
        ShotsError: There is no labelled image.
        OptionError: Labels that do not fit their image or the classes; nothing to train.
        TrainingError: The weights are no longer finite, or a checkpoint does not fit.
    """
    told = partial(
        _fitted, classes=classes, encoder=encoder, seed=seed, device=device, progress=progress,
        resume=resume, settings=settings,
    )  # fmt: skip
    first = told(labelled, unlabeled, config=config, checkpoint=checkpoint)
    if not config.second:
        return first
    images = list(unlabeled) or [pixels for pixels, _ in labelled]
    guessed = [(pixels, first.predict(pixels, own_size=True)) for pixels in images]
    copies = -(-config.copies * len(labelled) // len(guessed))  # as many in all, rounded up
    alone = replace(config, supervised=config.second, joint=0, second=0, copies=copies)
    beside = checkpoint and checkpoint.with_stem(f"{checkpoint.stem}-second")
    return told(guessed, [], config=alone, checkpoint=beside)


def _fitted(
    labelled: Sequence[tuple[Pixels, npt.NDArray[np.integer]]],
    unlabeled: Sequence[Pixels],
    classes: int,
    encoder: Encoder,
    config: SegmenterConfig,
    seed: int,
    device: str,
    progress: Progress,
    checkpoint: Path | None,
    resume: bool,
    settings: Mapping[str, Any] | None,
) -> FittedSegmenter:
    """One network."""
    data.checked(labelled, classes)
    given = [data.squared(pixels, config.side, labels) for pixels, labels in labelled]
    others = [data.squared(pixels, config.side) for pixels in unlabeled] or given
    training = _Training(given, others, classes, encoder, config, seed, device, progress)
    must = {
        **(settings or {}), "segmenter": asdict(config), "classes": classes,
        "encoder": encoder.fingerprint, "images": [len(labelled), len(unlabeled)],
    }  # fmt: skip
    train(
        training.loss, training.modules, [training.optimizer], steps=training.steps, seed=seed,
        checkpoint=checkpoint, resume=resume, settings=must, save_seconds=SAVE_SECONDS,
        progress=progress, what="segmenter",
    )  # fmt: skip
    found = FittedSegmenter(
        config, classes, training.channels, training.classifier, device=device,
        types=training.types(),
    )  # fmt: skip
    found.join(training.encoder)
    return found


# Labelled images and copies whose maps a frozen encoder keeps: 190 MB with EfficientNet-Lite0.
MOST_SQUARES = 256


class _Training:
    """Networks, data and loss of one training."""

    def __init__(
        self,
        labelled: list[data.Square],
        unlabelled: list[data.Square],
        classes: int,
        encoder: Encoder,
        config: SegmenterConfig,
        seed: int,
        device: str,
        progress: Progress,
    ) -> None:
        self._config, self._device = config, device
        self._labelled, self._unlabelled = labelled, unlabelled
        self._loose = loose_pieces(labelled) if config.laid else []
        self.encoder = encoder.build().to(device).eval()
        self.channels = channels_of(self.encoder)
        with seeded(seed, device):
            self.classifier = classifier_of(config, classes, self.channels).to(device)
        self.modules: dict[str, nn.Module] = {"classifier": self.classifier}
        if config.frozen:
            self.encoder.requires_grad_(False)
        else:
            self.modules["encoder"] = self.encoder
        weights = [p for module in self.modules.values() for p in module.parameters()]
        self.optimizer = torch.optim.AdamW(weights, config.rate, weight_decay=config.weight_decay)
        self._areas = data.class_areas(labelled, classes).to(device)
        maps: tuple[Tensor, ...] | None = None
        if config.frozen or config.types == "encoder":
            maps = data.maps(self.encoder, unlabelled, device, progress, "segmenter: features")
        self._types = ProductTypes(len(unlabelled))
        self.modules["types"] = self._types
        if maps is not None and config.types == "encoder":
            known = data.maps(self.encoder, labelled, device, silent, "")
            self._types.settle(
                nearest_labelled(
                    pooled(maps, [one.inside for one in unlabelled]),
                    pooled(known, [one.inside for one in labelled]),
                )
            )
        if config.standardise and config.frozen and maps is not None:
            self.classifier.standardise(*(m.to(device) for m in data.moments(maps)))
        self._maps = maps if config.frozen else None
        self._copies = self._drawn(seed, progress) if config.copies else None
        self._order = Shuffled(len(unlabelled), config.batch, seed)
        self._labelled_order = Shuffled(len(labelled), config.batch, seed, stream=1)
        self._supervised, self.steps = (
            amount if config.unit == "steps" else self._order.steps(amount) if amount else 0
            for amount in (config.supervised, config.supervised + config.joint)
        )
        if not self.steps:
            raise OptionError("supervised=0 and joint=0 train nothing; one must be 1 or more.")

    def loss(self, step: int, rng: np.random.Generator) -> Tensor:
        """Eq. 1; without its unsupervised terms in the first stage."""
        config = self._config
        logits, labels = self._of_labelled(self._labelled_order(step), rng)
        labels = data.sampled(labels, logits.shape[-2:])
        value = config.cross_entropy * F.cross_entropy(logits, labels)
        value = value + config.dice * dice_loss(logits.softmax(1), labels)
        if step < self._supervised or not (config.entropy or config.histogram):
            return value
        rows = self._order(step)
        probabilities = self._of_unlabelled(rows).softmax(1)
        targets = data.labels_of([self._labelled[pair] for pair in self._settled(rows)])
        matching = _matching(probabilities, targets.to(self._device), config)
        value = value + config.entropy * entropy_loss(probabilities)
        return value + config.histogram * matching

    def types(self) -> list[int]:
        """The labelled image that each unlabelled one is compared with."""
        return self._settled(range(len(self._unlabelled)))

    def _settled(self, rows: Iterable[int]) -> list[int]:
        """A labelled image for each of some unlabelled ones, the same for the whole second stage.

        By predicted areas it is chosen once, as soon as labelled images have trained alone: chosen
        anew at every step, a wrong choice would confirm itself.
        """
        if not self._types.known:
            self._types.settle([self._nearest_areas(row) for row in range(len(self._unlabelled))])
        return self._types.of(rows)

    @torch.no_grad()
    def _nearest_areas(self, row: int) -> int:
        areas = self._of_unlabelled([row]).softmax(1).float().mean((2, 3))
        return int(torch.cdist(areas[:, 1:], self._areas[:, 1:], p=1).argmin())

    def _of_labelled(self, rows: list[int], rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Logits ``(B, K, S, S)`` of altered labelled images, and their labels ``(B, S, S)``."""
        if self._copies is None:
            squares = [self._altered(self._labelled[row], rng) for row in rows]
            with torch.set_grad_enabled(not self._config.frozen):
                levels = self.encoder(data.images(squares).to(self._device))
        else:
            squares, kept = self._copies
            sets = len(squares) // len(self._labelled)
            places = [row + len(self._labelled) * int(rng.integers(sets)) for row in rows]
            squares = [squares[place] for place in places]
            levels = self._levels(kept, squares, places)
        logits = self._logits(levels, data.places(squares))
        return logits, data.labels_of(squares).to(self._device)

    def _of_unlabelled(self, rows: list[int]) -> Tensor:
        squares = [self._unlabelled[row] for row in rows]
        return self._logits(self._levels(self._maps, squares, rows), data.places(squares))

    def _levels(
        self, kept: tuple[Tensor, ...] | None, squares: list[data.Square], rows: list[int]
    ) -> list[Tensor]:
        """Maps of some images, kept or computed now."""
        if kept is not None:
            return [level[rows].to(self._device).float() for level in kept]
        levels: list[Tensor] = self.encoder(data.images(squares).to(self._device))
        return levels

    def _logits(self, levels: Sequence[Tensor], places: Tensor) -> Tensor:
        logits: Tensor = self.classifier(levels, places.to(self._device))
        side = self._config.side
        return resized(logits, (side, side)) if self._config.losses_at == "input" else logits

    def _altered(self, square: data.Square, rng: np.random.Generator) -> data.Square:
        return data.altered(laid(square, self._loose, self._config.laid, rng), self._config, rng)

    def _drawn(
        self, seed: int, progress: Progress
    ) -> tuple[list[data.Square], tuple[Tensor, ...] | None]:
        """The labelled images and their copies, one set after another, and maps if frozen."""
        squares = list(self._labelled)
        for copy in range(max(1, min(self._config.copies, MOST_SQUARES // len(squares) - 1))):
            rng = np.random.default_rng((seed, copy, 2, 1))
            squares += [self._altered(one, rng) for one in self._labelled]
        if not self._config.frozen:
            return squares, None
        what = "segmenter: features of copies"
        return squares, data.maps(self.encoder, squares, self._device, progress, what)


def _matching(probabilities: Tensor, labels: Tensor, config: SegmenterConfig) -> Tensor:
    """The histogram loss of a batch, as paper or code reduce it."""
    if config.histogram_over == "sum":
        return histogram_loss(probabilities, labels).sum()
    # Eq. 2 counts every class; histogram_loss leaves out class 0, so that an empty one goes before.
    shifted = F.pad(probabilities, (0, 0, 0, 0, 1, 0))
    return histogram_loss(shifted, labels + 1).mean() / probabilities.shape[1]
