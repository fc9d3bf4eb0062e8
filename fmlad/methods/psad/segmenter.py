"""PSAD's few-shot part segmenter: a few labelled images, many without labels, two stages.

First the labelled images train alone (cross-entropy, Dice); then predictions on unlabelled images
are made certain (entropy) and their class areas like those of the labelled image of the same
product type (histogram matching). PSAD, "Part Segmentation Using Limited Annotations", Eqs. 1
and 2. The last weights are kept: no labels are set aside to choose others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fmlad.backbones.roles import Encoder
from fmlad.errors import BackboneMismatchError, OptionError
from fmlad.io.tensors import TensorReader, module_tensors
from fmlad.methods.psad import segmenter_data as data
from fmlad.methods.psad.product_types import ProductTypes, nearest_labelled, pooled
from fmlad.methods.psad.segmenter_config import SegmenterConfig
from fmlad.networks.part_segmenter import PartSegmenter, PixelClassifier, resized
from fmlad.progress import Progress, silent
from fmlad.training.augment import Pixels
from fmlad.training.loop import SAVE_SECONDS, Shuffled, seeded, train
from fmlad.training.losses import dice_loss, entropy_loss, histogram_loss


class FittedSegmenter:
    """A trained segmenter. It can be saved as tensors and JSON.

    Attributes:
        config: It was trained with.
        classes: K, the background (0) included.
        types: For each unlabelled image the labelled one it was compared with, at last; empty once
            restored.
    """

    def __init__(
        self,
        config: SegmenterConfig,
        classes: int,
        channels: Sequence[int],
        classifier: PixelClassifier,
        *,
        device: str = "cpu",
        types: Sequence[int] = (),
    ) -> None:
        """Without its encoder, which :meth:`attach` brings; ``channels`` are those of its maps."""
        self.config, self.classes, self.types = config, classes, tuple(types)
        self._channels, self._device = tuple(channels), device
        self._classifier = classifier
        self._network: PartSegmenter | None = None
        self._waiting: dict[str, Tensor] = {}  # weights of a trained encoder, until it is attached

    @property
    def attached(self) -> bool:
        """Whether it can predict."""
        return self._network is not None

    def attach(self, encoder: Encoder) -> None:
        """Brings the backbone in the role ``encoder`` that it was trained with.

        Raises:
            CorruptDetectorError: The saved weights do not fit it.
            BackboneMismatchError: It has other maps.
        """
        module = encoder.build()
        found = _channels(module)
        if found != self._channels:
            raise BackboneMismatchError(
                f"The segmenter was trained on maps with {self._channels} channels, and "
                f"{encoder.name} has {found}. Bring the encoder of the training."
            )
        if not self.config.frozen:
            reader = TensorReader(self._waiting, self._device)
            with reader.description("segmenter"):
                reader.module("encoder", module)
        self.join(module)

    def join(self, encoder: nn.Module) -> None:
        """Takes a module that already has its weights, and freezes it."""
        frozen = encoder.to(self._device).eval().requires_grad_(False)
        self._network = PartSegmenter(frozen, self._classifier.to(self._device).eval())
        self._waiting = {}

    def probabilities(self, pixels: Pixels) -> npt.NDArray[np.float32]:
        """Of each class at the working size, longer side ``config.side`` px.

        Args:
            pixels: uint8 ``(H, W, 3)``.

        Returns:
            float32 ``(K, h, w)`` with sum 1 over the classes.

        Raises:
            OptionError: Its encoder was not attached.
        """
        if self._network is None:
            raise OptionError("The segmenter was restored without its encoder; attach() it first.")
        square = data.squared(pixels, self.config.side)
        rows, columns = square.size
        with torch.inference_mode():
            image, places = data.images([square]), data.places([square])
            logits = self._network(image.to(self._device), places.to(self._device))
            found = logits[0, :, :rows, :columns].float().softmax(0)
        return np.asarray(found.cpu().numpy(), dtype=np.float32)

    def predict(self, pixels: Pixels, *, own_size: bool = False) -> npt.NDArray[np.int32]:
        """The likeliest class of each pixel.

        Args:
            pixels: uint8 ``(H, W, 3)``.
            own_size: At the image's own size, by nearest neighbour; else at the working size, where
                areas of images of any size can be compared.

        Returns:
            int32 ``(h, w)`` in 0..K - 1.
        """
        labels = np.asarray(self.probabilities(pixels).argmax(0), dtype=np.int32)
        if not own_size:
            return labels
        height, width = pixels.shape[:2]
        rows = np.arange(height) * labels.shape[0] // height
        columns = np.arange(width) * labels.shape[1] // width
        return np.asarray(labels[rows[:, None], columns], dtype=np.int32)

    def tensors(self) -> dict[str, Tensor]:
        """Named tensors on the CPU: the classifier's, and the encoder's where it was trained."""
        found = module_tensors("classifier", self._classifier)
        if self._network is None:
            return {**found, **self._waiting}
        trained = not self.config.frozen
        return {**found, **(module_tensors("encoder", self._network.encoder) if trained else {})}

    def meta(self) -> dict[str, Any]:
        """JSON-ready facts that are not tensors."""
        facts = {"classes": self.classes, "channels": list(self._channels)}
        return {**facts, "config": asdict(self.config)}

    @classmethod
    def restore(
        cls,
        tensors: Mapping[str, Tensor],
        meta: Mapping[str, Any],
        device: str,
        encoder: Encoder | None = None,
    ) -> FittedSegmenter:
        """Inverse of :meth:`tensors` and :meth:`meta`; without ``encoder`` it is to be attached.

        Raises:
            CorruptDetectorError: Something is missing, too much, or of another shape or dtype.
        """
        ours = {name: t for name, t in tensors.items() if not name.startswith("encoder.")}
        reader = TensorReader(ours, device)
        with reader.description("segmenter"):
            config = SegmenterConfig(**meta["config"])
            classes, channels = int(meta["classes"]), tuple(map(int, meta["channels"]))
            classifier = _classifier(config, classes, channels)
            reader.module("classifier", classifier)
        found = cls(config, classes, channels, classifier, device=device)
        found._waiting = {name: t for name, t in tensors.items() if name not in ours}
        if encoder is not None:
            found.attach(encoder)
        return found


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
    """Trains in two stages; the same arguments give the same weights on a CPU.

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
        checkpoint: File for checkpoints, or None.
        resume: Goes on from that file where it exists.
        settings: JSON-ready, of what must be the same on resumption (names of images and so on);
            config, classes and encoder are added.

    Raises:
        ShotsError: There is no labelled image.
        OptionError: Labels that do not fit their image or the classes; nothing to train.
        TrainingError: The weights are no longer finite, or a checkpoint does not fit.
    """
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
        self.encoder = encoder.build().to(device).eval()
        self.channels = _channels(self.encoder)
        with seeded(seed, device):
            self.classifier = _classifier(config, classes, self.channels).to(device)
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
            squares = [data.altered(self._labelled[row], self._config, rng) for row in rows]
            with torch.set_grad_enabled(not self._config.frozen):
                levels = self.encoder(data.images(squares).to(self._device))
        else:
            squares, kept = self._copies
            places = [
                row + len(self._labelled) * int(rng.integers(self._config.copies + 1))
                for row in rows
            ]
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

    def _drawn(
        self, seed: int, progress: Progress
    ) -> tuple[list[data.Square], tuple[Tensor, ...] | None]:
        """The labelled images and their copies, one set after another, and maps if frozen."""
        squares = list(self._labelled)
        for copy in range(self._config.copies):
            rng = np.random.default_rng((seed, copy, 2, 1))
            squares += [data.altered(one, self._config, rng) for one in self._labelled]
        if not self._config.frozen:
            return squares, None
        what = "segmenter: features of copies"
        return squares, data.maps(self.encoder, squares, self._device, progress, what)


def _classifier(config: SegmenterConfig, classes: int, channels: Sequence[int]) -> PixelClassifier:
    return PixelClassifier(
        channels, classes, config.hidden, config.coordinate_scale, config.harmonics
    )


def _channels(module: Any) -> tuple[int, ...]:
    return tuple(int(count) for count in module.channels)


def _matching(probabilities: Tensor, labels: Tensor, config: SegmenterConfig) -> Tensor:
    """The histogram loss of a batch, as paper or code reduce it."""
    if config.histogram_over == "sum":
        return histogram_loss(probabilities, labels).sum()
    # Eq. 2 counts every class; histogram_loss leaves out class 0, so that an empty one goes before.
    shifted = F.pad(probabilities, (0, 0, 0, 0, 1, 0))
    return histogram_loss(shifted, labels + 1).mean() / probabilities.shape[1]
