"""A trained part segmenter of PSAD: it predicts, and it is saved and restored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from fmlad.backbones.roles import Encoder
from fmlad.errors import BackboneMismatchError, OptionError
from fmlad.io.tensors import TensorReader, module_tensors
from fmlad.methods.psad import segmenter_data as data
from fmlad.methods.psad.segmenter_config import SegmenterConfig
from fmlad.networks.part_segmenter import PartSegmenter, PixelClassifier
from fmlad.training.augment import Pixels


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
        found = channels_of(module)
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
            classifier = classifier_of(config, classes, channels)
            reader.module("classifier", classifier)
        found = cls(config, classes, channels, classifier, device=device)
        found._waiting = {name: t for name, t in tensors.items() if name not in ours}
        if encoder is not None:
            found.attach(encoder)
        return found


def classifier_of(
    config: SegmenterConfig, classes: int, channels: Sequence[int]
) -> PixelClassifier:
    """A fresh classifier of so many classes, over maps with so many channels."""
    return PixelClassifier(
        channels,
        classes,
        config.hidden,
        config.coordinate_scale,
        config.harmonics,
        config.context,
    )


def channels_of(module: Any) -> tuple[int, ...]:
    """Channels of an encoder's maps, the finest first."""
    return tuple(int(count) for count in module.channels)
