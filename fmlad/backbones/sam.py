"""SAM, SAM-HQ and SAM 2 as mask proposers: everything in a picture, or what is prompted."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fmlad.backbones.hub import CHECKPOINTS, folder_hash, from_folder, locate, unavailable
from fmlad.backbones.mask_generator import GeneratorSettings, generate
from fmlad.backbones.roles import Masks
from fmlad.backbones.sam_models import Pixels, Promptable, Seen, TransformersSam
from fmlad.backbones.sam_original import from_checkpoint
from fmlad.errors import MissingDependencyError, OptionError

Floats = npt.NDArray[np.float32]

# Family -> what it differs in from segment-anything's defaults, by its own repository.
DEFAULTS = {
    "sam": GeneratorSettings(),
    "sam-hq": GeneratorSettings(),
    "sam2": GeneratorSettings(iou=0.8),
}
COUNTS = ("points", "batch", "crops", "specks")  # options that are whole numbers
SHARES = ("iou", "stability", "nms")  # and those between 0 and 1
PROMPTS = 64  # answered at a time


def load(name: str, device: str = "cpu") -> SAM:
    """Builds the backbone from ``"FAMILY:SOURCE"`` or ``"FAMILY:SOURCE#points=16,iou=0.8"``.

    FAMILY is ``sam``, ``sam-hq`` or ``sam2``. SOURCE is a folder or hub identifier of such a model
    as transformers saves it or, for the first two, a checkpoint of the original repositories
    (``sam_vit_b_01ec64.pth``, ``sam_hq_vit_h.pth``), which is read as tensors alone.

    Options behind ``#`` are those of
    :class:`~fmlad.backbones.mask_generator.GeneratorSettings`: ``points``, ``batch``, ``crops``,
    ``specks``, ``iou``, ``stability`` and ``nms``.

    Raises:
        WeightsUnavailableError: The weights cannot be had, or are not what the name says.
        MissingDependencyError: transformers is not installed.
        OptionError: An option that does not exist, or a value that does not fit.
    """
    family, _, rest = name.partition(":")
    source, _, options = rest.partition("#")
    settings = _parse(name, options, DEFAULTS[family])
    try:
        from transformers import Sam2Model, SamHQModel, SamModel
    except ImportError as error:
        raise MissingDependencyError("SAM needs the package transformers.") from error
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

    A picture larger than the network's input is brought to that size first (with crops, twice
    that a layer), and masks come on its grid. The image encoder runs once for a picture that is
    asked about several times in a row.
    """

    expensive = True

    def __init__(
        self, name: str, model: Promptable, weights_hash: str, settings: GeneratorSettings
    ) -> None:
        """Wraps a loaded network.

        Args:
            name: As users write it.
            model: The network.
            weights_hash: Of its weights and configuration.
            settings: Of the generator.
        """
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
        self._last: tuple[str, Seen] | None = None

    @torch.inference_mode()
    def propose(self, image: Tensor) -> Masks:
        """All masks of ``uint8 (1, 3, H, W)``, best predicted quality first.

        Wholes and their parts alike: each point is asked for three masks (SAM-HQ: one).
        """
        pixels = self._shrunk(image)
        masks, quality = generate(self._model, pixels, self.settings, self._seen(pixels))
        return _as_masks(masks, quality, image)

    @torch.inference_mode()
    def prompt(
        self,
        image: Tensor,
        boxes: Floats | None = None,
        points: Floats | None = None,
    ) -> Masks:
        """One mask per box ``(n, 4) xyxy`` and per point ``(n, 2) xy``, boxes first.

        A point gets the best of the masks that the network offers for it; a box its only one. A
        prompt that the network has no mask for gets an empty one. ``boxes`` of the result are the
        masks' own.
        """
        pixels = self._shrunk(image)
        seen = self._seen(pixels)
        scale = np.array([seen.size[1] / image.shape[-1], seen.size[0] / image.shape[-2]])
        answers = [(torch.zeros(0, *seen.size, dtype=torch.bool), torch.zeros(0))]
        for key, given, width in (("boxes", boxes, 4), ("points", points, 2)):
            places = np.reshape(given if given is not None else [], (-1, width)).astype(np.float64)
            places = places * np.tile(scale, width // 2)
            for start in range(0, len(places), PROMPTS):
                asked: dict[str, Any] = {key: places[start : start + PROMPTS]}
                logits, quality = self._model.answer(seen, several=key == "points", **asked)
                best = quality.argmax(1)
                chosen = logits[torch.arange(len(best), device=best.device), best]
                masks = self._model.enlarge(chosen, seen) > 0
                answers.append((masks.cpu(), quality.amax(1).cpu()))
        masks, quality = (torch.cat(parts) for parts in zip(*answers, strict=True))
        return _as_masks(masks.numpy(), quality.numpy(), image)

    def _seen(self, pixels: Pixels) -> Seen:
        key = hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()
        last = self._last  # once: another thread may replace it meanwhile
        if last is None or last[0] != key:
            last = (key, self._model.look(pixels))
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
        width, height = (
            max(1, round(s * most / longer)) for s in (pixels.shape[1], pixels.shape[0])
        )
        resized = Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR)
        return np.array(resized)


def _as_masks(masks: npt.NDArray[np.bool_], quality: Floats, image: Tensor) -> Masks:
    """With boxes in input pixels; an empty mask has the box 0, 0, 0, 0."""
    boxes = np.zeros((len(masks), 4), np.float32)
    across, down = image.shape[-1] / masks.shape[2], image.shape[-2] / masks.shape[1]
    for index, mask in enumerate(masks):
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if len(rows):
            boxes[index, ::2] = columns[0] * across, (columns[-1] + 1) * across
            boxes[index, 1::2] = rows[0] * down, (rows[-1] + 1) * down
    return Masks(masks, boxes, np.clip(quality, 0, 1).astype(np.float32))


def _parse(name: str, options: str, settings: GeneratorSettings) -> GeneratorSettings:
    """The settings of a backbone's name."""
    for option in filter(None, options.split(",")):
        key, _, text = option.partition("=")
        number: Callable[[str], float] = int if key in COUNTS else float
        try:
            value = number(text)
        except ValueError:
            value = -1
        least = 1 if key in ("points", "batch") else 0
        most = {**dict.fromkeys(SHARES, 1.0), "crops": 2, "points": 256}.get(key, 2**30)
        if key not in (*COUNTS, *SHARES) or not least <= value <= most:
            raise OptionError(
                f"The backbone {name!r} has an option {option!r}; expected whole numbers for "
                f"points (1 to 256), batch (1 or more), crops (0 to 2) and specks (0 or more), and "
                f"numbers from 0 to 1 for iou, stability and nms."
            )
        chosen: dict[str, Any] = {key: value}
        settings = replace(settings, **chosen)
    return settings
