"""SAM, SAM-HQ and SAM 2 as mask proposers: everything in an image, or what is prompted."""

from __future__ import annotations

import hashlib
from dataclasses import fields
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fmlad.backbones.common import parse
from fmlad.backbones.hub import CHECKPOINTS, folder_hash, from_folder, locate, unavailable
from fmlad.backbones.roles import Masks
from fmlad.backbones.sam.mask_generator import GeneratorSettings, generate
from fmlad.backbones.sam.sam_models import EncodedImage, Pixels, TransformersSam
from fmlad.backbones.sam.sam_original import from_checkpoint

Floats = npt.NDArray[np.float32]

DEFAULTS: dict[str, dict[str, float]] = {"sam2": {"iou": 0.8}}  # by its own repository
PROMPTS = 64  # answered at a time


def load(name: str, device: str = "cpu") -> SAM:
    """Builds the backbone from ``"FAMILY:SOURCE"`` or ``"FAMILY:SOURCE#points=16,iou=0.8"``.

    FAMILY is ``sam``, ``sam-hq`` or ``sam2``. SOURCE is a folder or hub identifier of such a model
    as transformers saves it or, for the first two, a checkpoint of the original repositories
    (``sam_vit_b_01ec64.pth``, ``sam_hq_vit_h.pth``), which is read as tensors alone.

    Options behind ``#`` are those of :class:`.GeneratorSettings`: ``points``, ``batch``,
    ``crops``, ``specks``, ``iou``, ``stability`` and ``nms``.

    Raises:
        WeightsUnavailableError: The weights cannot be had, or are not what the name says.
        OptionError: An option that does not exist, or a value that does not fit.
    """
    from transformers import Sam2Model, SamHQModel, SamModel

    family = name.partition(":")[0]
    source, settings = parse(name, GeneratorSettings, **DEFAULTS.get(family, {}))
    place = locate(source, family=family)
    if place.is_dir():
        kinds: dict[str, dict[str, Any]] = {
            "sam": {"sam": SamModel},
            "sam-hq": {"sam_hq": SamHQModel},
            # The video model contains the image model; its memory is left out.
            "sam2": {"sam2": Sam2Model, "sam2_video": Sam2Model},
        }
        model = from_folder(kinds[family], place, source, family)
    elif family != "sam2" and place.suffix in CHECKPOINTS:
        model = from_checkpoint(place, source, family)
    else:
        why = f"{place} is one file, and the folder with its config.json is needed"
        raise unavailable(source, why, family)
    return SAM(name, TransformersSam(model, device), folder_hash(place), settings)


class SAM:
    """:class:`~fmlad.backbones.roles.MaskProposer` over a promptable network.

    An image larger than the network's input is brought to that size first (with crops, twice
    that a layer), and masks come on its grid. The image encoder runs once for an image that is
    asked about several times in a row.
    """

    expensive = True

    def __init__(
        self, name: str, model: TransformersSam, weights_hash: str, settings: GeneratorSettings
    ) -> None:
        """Wraps a loaded network; the hash is of its weights and configuration."""
        self.name = name
        self.settings = settings
        # The batch is left out: it changes no mask.
        numbers = ",".join(
            f"{field.name}={getattr(settings, field.name):g}"
            for field in fields(settings)
            if field.name != "batch"
        )
        self.fingerprint = f"sam side={model.side} {numbers} imagenet sha256={weights_hash}"
        self._model = model
        self._last: tuple[str, EncodedImage] | None = None

    @torch.inference_mode()
    def propose(self, image: Tensor) -> Masks:
        """All masks of ``uint8 (1, 3, H, W)``, best predicted quality first.

        Wholes and their parts alike: each point is asked for three masks (SAM-HQ: one).
        """
        pixels = self._shrunk(image)
        masks, quality = generate(self._model, pixels, self.settings, self._encoded(pixels))
        return _as_masks(masks, quality, image)

    @torch.inference_mode()
    def prompt(
        self, image: Tensor, boxes: Floats | None = None, points: Floats | None = None
    ) -> Masks:
        """One mask per box ``(n, 4) xyxy`` and per point ``(n, 2) xy``, boxes first.

        A point gets the best of the masks that the network offers for it; a box its only one. A
        prompt that the network has no mask for gets an empty one. ``boxes`` of the result are the
        masks' own.
        """
        pixels = self._shrunk(image)
        encoded = self._encoded(pixels)
        scale = np.array([encoded.size[1] / image.shape[-1], encoded.size[0] / image.shape[-2]])
        answers = [(torch.zeros(0, *encoded.size, dtype=torch.bool), torch.zeros(0))]
        for key, given, width in (("boxes", boxes, 4), ("points", points, 2)):
            places = np.reshape(given if given is not None else [], (-1, width)).astype(np.float64)
            places = places * np.tile(scale, width // 2)
            for start in range(0, len(places), PROMPTS):
                asked: dict[str, Any] = {key: places[start : start + PROMPTS]}
                logits, quality = self._model.decode(encoded, several=key == "points", **asked)
                best = quality.argmax(1)
                chosen = logits[torch.arange(len(best), device=best.device), best]
                masks = self._model.enlarge(chosen, encoded) > 0
                answers.append((masks.cpu(), quality.amax(1).cpu()))
        masks, quality = (torch.cat(parts) for parts in zip(*answers, strict=True))
        return _as_masks(masks.numpy(), quality.numpy(), image)

    def _encoded(self, pixels: Pixels) -> EncodedImage:
        key = hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()
        last = self._last  # once: another thread may replace it meanwhile
        if last is None or last[0] != key:
            last = (key, self._model.encode(pixels))
            self._last = last
        return last[1]

    def _shrunk(self, image: Tensor) -> Pixels:
        """uint8 ``(H, W, 3)``, no larger than the network can use."""
        from PIL import Image

        pixels = np.ascontiguousarray(image[0].permute(1, 2, 0).cpu().numpy())
        most = self._model.side << self.settings.crops
        longer = max(pixels.shape[:2])
        if longer <= most:
            return pixels
        size = tuple(max(1, round(side * most / longer)) for side in pixels.shape[1::-1])
        return np.array(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))


def _as_masks(masks: npt.NDArray[np.bool_], quality: Floats, image: Tensor) -> Masks:
    """With boxes in input pixels; an empty mask has the box 0, 0, 0, 0."""
    from segment_anything.utils import amg

    boxes = amg.batched_mask_to_box(torch.from_numpy(masks)).numpy().astype(np.float64)
    boxes[:, 2:] += np.asarray(masks.any((1, 2)))[:, None]  # the far edges of the last pixels
    boxes *= np.tile((image.shape[-1] / masks.shape[2], image.shape[-2] / masks.shape[1]), 2)
    return Masks(masks, boxes.astype(np.float32), np.clip(quality, 0, 1).astype(np.float32))
