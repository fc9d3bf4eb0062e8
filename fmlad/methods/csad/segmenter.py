"""CSAD's part segmenter: a decoder over a frozen encoder, and how it is trained (section 3.2).

Labelled images train alone at first, altered by logical synthetic anomalies; then the areas that
are predicted on unlabelled images are matched with those of labelled ones, and predictions are made
certain (Eq. 3). The last weights are kept: nothing is chosen by test labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fmlad.errors import BackboneMismatchError, OptionError
from fmlad.io.tensors import TensorReader, module_tensors
from fmlad.methods.csad import segmenter_data as data
from fmlad.methods.csad.lsa import Labelled
from fmlad.methods.csad.segmentation import Labels
from fmlad.methods.csad.segmenter_config import SegmenterConfig
from fmlad.methods.shared_encoder import Pixels, SharedEncoder
from fmlad.networks.deeplab import DeepLabDecoder
from fmlad.progress import Progress, silent
from fmlad.training.loop import SAVE_SECONDS, Shuffled, seeded, train
from fmlad.training.losses import dice_loss, entropy_loss, focal_loss, histogram_loss
from fmlad.views import ImageView

DECODER = "decoder"  # prefix of its tensors


class FittedSegmenter:
    """A trained segmenter; see :class:`fmlad.methods.csad.segmentation.Segmenter`.

    Attributes:
        config: It was trained with.
        names: Of the classes but the background.
        notes: What a user must know about the labels that it learned from.
    """

    def __init__(
        self,
        config: SegmenterConfig,
        names: Sequence[str],
        notes: Sequence[str],
        decoder: DeepLabDecoder,
        encoder: SharedEncoder,
    ) -> None:
        """Puts the decoder on the encoder's device, in evaluation mode."""
        self.config, self.names, self.notes = config, tuple(names), tuple(notes)
        self._encoder = encoder
        self._decoder = decoder.to(encoder.device).eval().requires_grad_(False)

    @property
    def classes(self) -> int:
        """K, the background (0) among them."""
        return 1 + len(self.names)

    def predict(self, pixels: Pixels) -> Labels:
        """The likeliest class of each pixel of uint8 ``(H, W, 3)``, squashed: int32 ``(S, S)``."""
        return self.predict_maps(self._encoder.encode(self._encoder.square(pixels)[None]))

    def predict_maps(self, levels: Sequence[Tensor]) -> Labels:
        """The same of the encoder's levels ``(1, C, h, w)`` of an image."""
        side = self._encoder.side
        with torch.inference_mode():
            logits = self._decoder([level.float() for level in levels])
            # With PyTorch 2.15 on a CPU, argmax takes five times as long.
            found = data.resized(logits, (side, side))[0].max(0).indices
        return np.asarray(found.cpu().numpy(), dtype=np.int32)

    def tensors(self) -> dict[str, Tensor]:
        """Named tensors on the CPU."""
        return module_tensors(DECODER, self._decoder)

    def meta(self) -> dict[str, Any]:
        """JSON-ready facts that are not tensors."""
        return {
            "names": list(self.names),
            "notes": list(self.notes),
            "channels": list(self._encoder.channels),
            "config": asdict(self.config),
        }

    @classmethod
    def restore(
        cls,
        tensors: Mapping[str, Tensor],
        meta: Mapping[str, Any],
        device: str,
        encoder: SharedEncoder,
    ) -> FittedSegmenter:
        """Inverse of :meth:`tensors` and :meth:`meta`.

        Raises:
            CorruptDetectorError: Something is missing, too much, or of another shape or dtype.
            BackboneMismatchError: The encoder has other maps than that of the training.
        """
        reader = TensorReader(tensors, device)
        with reader.description("segmenter"):
            channels = tuple(map(int, meta["channels"]))
            facts = dict(meta["config"])
            config = SegmenterConfig(**{**facts, "rates": tuple(facts["rates"])})
            names, notes = tuple(map(str, meta["names"])), tuple(map(str, meta["notes"]))
            decoder = _decoder(config, 1 + len(names), channels)
            reader.module(DECODER, decoder)
        if channels != encoder.channels:
            raise BackboneMismatchError(
                f"The segmenter was trained on maps with {channels} channels, and the encoder has "
                f"{encoder.channels}. Bring the encoder of the training."
            )
        return cls(config, names, notes, decoder, encoder)


def fit_segmenter(
    labelled: Sequence[Labelled],
    unlabelled: Sequence[ImageView],
    names: Sequence[str],
    encoder: SharedEncoder,
    config: SegmenterConfig,
    *,
    notes: Sequence[str] = (),
    seed: int = 0,
    device: str = "cpu",
    progress: Progress = silent,
    checkpoint: Path | None = None,
    resume: bool = False,
    settings: Mapping[str, Any] | None = None,
) -> FittedSegmenter:
    """Trains in two stages; the same arguments give the same weights on a CPU.

    Args:
        labelled: Images at the encoder's size, one or more.
        unlabelled: Further normal images; where there are none, the labelled ones take their place.
        names: Of the classes but the background, one or more.
        encoder: Frozen.
        config: All numbers.
        notes: For the segmenter.
        seed: Of the first weights and all draws, at least 0.
        device: Where it is trained.
        progress: As :func:`fmlad.training.loop.train` calls it.
        checkpoint: File for checkpoints, or None.
        resume: Goes on from that file where it exists.
        settings: JSON-ready, of what must be the same on resumption (names of images and so on);
            config, classes and encoder are added.

    Raises:
        OptionError: Labels beyond the names; nothing to train.
        TrainingError: The weights are no longer finite, or a checkpoint does not fit.
    """
    data.checked(labelled, 1 + len(names))
    training = _Training(labelled, unlabelled, names, encoder, config, seed, device, progress)
    must = {
        **(settings or {}), "segmenter": asdict(config), "classes": 1 + len(names),
        "encoder": encoder.fingerprint, "side": encoder.side,
        "labels": data.digest(labelled), "images": [len(labelled), len(unlabelled)],
    }  # fmt: skip
    train(
        training.loss, {DECODER: training.decoder}, [training.optimizer], steps=training.steps,
        seed=seed, checkpoint=checkpoint, resume=resume, settings=must, save_seconds=SAVE_SECONDS,
        progress=progress, what="segmenter",
    )  # fmt: skip
    return FittedSegmenter(config, names, notes, training.decoder, encoder)


class _Training:
    """Network, data and loss of one training."""

    def __init__(
        self,
        labelled: Sequence[Labelled],
        unlabelled: Sequence[ImageView],
        names: Sequence[str],
        encoder: SharedEncoder,
        config: SegmenterConfig,
        seed: int,
        device: str,
        progress: Progress,
    ) -> None:
        self._labelled, self._config, self._encoder = list(labelled), config, encoder
        self._device, self._classes = device, 1 + len(names)
        self._unlabelled: list[ImageView | Labelled] = list(unlabelled or labelled)
        with seeded(seed, device):
            self.decoder = _decoder(config, self._classes, encoder.channels).to(device)
        self.optimizer = torch.optim.Adam(
            self.decoder.parameters(), config.rate, weight_decay=config.weight_decay
        )
        self._areas = data.areas([one.labels for one in labelled], self._classes).to(device)
        self._copies: data.Copies | None = None
        if config.copies:
            self._copies = data.drawn(self._labelled, encoder, config, seed, progress)
        count = len(labelled) if self._copies is None else len(self._copies.labels)
        self._order = Shuffled(count, config.batch, seed, stream=1)
        self._unlabelled_order = Shuffled(len(self._unlabelled), config.batch, seed)
        epochs = Shuffled(len(labelled), config.batch, seed)
        self._supervised, self.steps = (
            amount if config.unit == "steps" else epochs.steps(amount) if amount else 0
            for amount in (config.supervised, config.supervised + config.joint)
        )
        if not self.steps:
            raise OptionError("supervised=0 and joint=0 train nothing; one must be 1 or more.")

    def loss(self, step: int, rng: np.random.Generator) -> Tensor:
        """Eq. 3; without its unsupervised terms in the first stage."""
        config = self._config
        logits, labels = self._of_labelled(self._order(step), rng)
        probabilities = logits.float().softmax(1)
        value = self._supervised_loss(logits.float(), probabilities, labels)
        if step < self._supervised or not (config.entropy or config.histogram):
            return value
        own = self._of_unlabelled(self._unlabelled_order(step)).float().softmax(1)
        value = value + config.histogram * self._matching(own, rng)
        entropy = entropy_loss(own)
        if config.entropy_of_labelled:
            entropy = entropy + entropy_loss(probabilities)
        return value + config.entropy * entropy

    def _supervised_loss(self, logits: Tensor, probabilities: Tensor, labels: Tensor) -> Tensor:
        config = self._config
        entropy = F.cross_entropy(probabilities if config.twice else logits, labels)
        return (
            config.cross_entropy * entropy
            + config.dice * dice_loss(probabilities, labels, config.dice_by_area)
            + config.focal * focal_loss(probabilities, labels)
        )

    def _matching(self, probabilities: Tensor, rng: np.random.Generator) -> Tensor:
        """Eq. 2 against the areas of one labelled image for each prediction."""
        config = self._config
        said = probabilities.mean((2, 3))
        if config.histogram_of == "nearest":
            rows = torch.cdist(said.detach()[:, 1:], self._areas[:, 1:], p=1).argmin(1).tolist()
        else:
            rows = rng.integers(len(self._labelled), size=len(said)).tolist()
        labels = torch.stack([torch.from_numpy(self._labelled[row].labels) for row in rows])
        loss = histogram_loss(probabilities, labels.to(self._device)).mean()
        return loss if config.histogram_over == "sum" else loss / (self._classes - 1)

    def _of_labelled(self, rows: list[int], rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Logits of altered labelled images, and labels of their size."""
        if self._copies is not None:
            levels: Sequence[Tensor] = [one[rows].float() for one in self._copies.levels]
            labels = self._copies.labels[rows]
        else:
            some = [data.altered(self._labelled, row, self._config, rng) for row in rows]
            levels = self._encoder.encode(data.squares([pixels for pixels, _ in some]))
            labels = np.stack([own for _, own in some])
        logits = self._logits(levels)
        numbers = torch.from_numpy(labels).to(self._device)
        return logits, data.sampled(numbers, logits.shape[-2:])

    def _of_unlabelled(self, rows: list[int]) -> Tensor:
        some = [self._unlabelled[row] for row in rows]
        if self._copies is None:
            squares = torch.stack([self._encoder.square(one.pixels) for one in some])
            return self._logits(self._encoder.encode(squares))
        # Kept by the views, and shared with whoever else starts from them.
        each = [
            self._encoder.levels(one)
            if isinstance(one, ImageView)
            else self._encoder.encode(self._encoder.square(one.pixels)[None])
            for one in some
        ]
        return self._logits([torch.cat(level) for level in zip(*each, strict=True)])

    def _logits(self, levels: Sequence[Tensor]) -> Tensor:
        logits: Tensor = self.decoder([level.to(self._device) for level in levels])
        side = self._encoder.side
        return data.resized(logits, (side, side)) if self._config.losses_at == "input" else logits


def _decoder(config: SegmenterConfig, classes: int, channels: Sequence[int]) -> DeepLabDecoder:
    return DeepLabDecoder(channels, classes, config.width, config.shallow, config.rates)
