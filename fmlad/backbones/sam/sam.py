"""SAM, SAM-HQ and SAM 2 as mask proposers: everything in an image, or what is prompted."""

from __future__ import annotations

import hashlib
from dataclasses import fields
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
import torch
from pydantic.dataclasses import dataclass
from torch import Tensor

from fmlad.backbones.common import STRICT, parse
from fmlad.backbones.hub import CHECKPOINTS, folder_hash, from_folder, locate, unavailable
from fmlad.backbones.mask_prompts import mask_prompts
from fmlad.backbones.roles import Masks
from fmlad.backbones.sam.mask_generator import GeneratorSettings, generate
from fmlad.backbones.sam.sam_models import EncodedImage, Pixels, SamNetwork, TransformersSam
from fmlad.backbones.sam.sam_original import from_checkpoint
from fmlad.backbones.sam.sam_package import PackageSam, checkpoint_of, package_model
from fmlad.errors import OptionError

Floats = npt.NDArray[np.float32]

Ints = npt.NDArray[np.int64]

DEFAULTS: dict[str, dict[str, float]] = {"sam2": {"iou": 0.8}}  # by its own repository
PROMPTS = 64  # answered at a time


@dataclass(frozen=True, config=STRICT)
class SamOptions(GeneratorSettings):
    """Options behind ``#``: those of the generator, and ``dtype``, the image encoder's numbers."""

    dtype: Literal["float32", "float16", "bfloat16"] = "float32"

    def generator(self) -> GeneratorSettings:
        """The generator's part."""
        names = (field.name for field in fields(GeneratorSettings) if field.init)
        return GeneratorSettings(**{name: getattr(self, name) for name in names})

    def numbers(self, name: str, device: str) -> torch.dtype:
        """As torch has it; OptionError for float16 on a CPU, which hardly computes in it."""
        if self.dtype == "float16" and torch.device(device).type == "cpu":
            raise OptionError(
                f"The backbone {name!r} asks for dtype=float16, which needs a GPU; the device is "
                f"{device!r}. Use dtype=bfloat16 or dtype=float32."
            )
        return cast(torch.dtype, getattr(torch, self.dtype))


@dataclass(frozen=True, config=STRICT)
class PackageOptions(SamOptions):
    """Options of ``segment-anything:SIZE``: also the ``checkpoint``, a file."""

    checkpoint: str = ""


def load(name: str, device: str = "cpu") -> SAM:
    """Builds the backbone from ``"FAMILY:SOURCE"`` or ``"FAMILY:SOURCE#points=16,iou=0.8"``.

    FAMILY is ``sam``, ``sam-hq`` or ``sam2``. SOURCE is a folder or hub identifier of such a model
    as transformers saves it or, for the first two, a checkpoint of the original repositories
    (``sam_vit_b_01ec64.pth``, ``sam_hq_vit_h.pth``), which is read as tensors alone.

    Options behind ``#`` are those of :class:`.GeneratorSettings`: ``points``, ``batch``,
    ``crops``, ``specks``, ``iou``, ``stability`` and ``nms``; and ``dtype``.

    Raises:
        WeightsUnavailableError: The weights cannot be had, or are not what the name says.
        OptionError: An option that does not exist, or a value that does not fit.
    """
    from transformers import Sam2Model, SamHQModel, SamModel

    family = name.partition(":")[0]
    source, options = parse(name, SamOptions, **DEFAULTS.get(family, {}))
    numbers = options.numbers(name, device)
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
    network = TransformersSam(model, device, numbers)
    return SAM(name, network, folder_hash(place), options.generator())


def load_package(name: str, device: str = "cpu") -> SAM:
    """Builds the backbone from ``"segment-anything:SIZE"``, with the package's own modules.

    ``"segment-anything:vit_h#checkpoint=FILE"`` names the size (``vit_b``, ``vit_l`` or ``vit_h``,
    the package's registry) and an original checkpoint; without ``checkpoint`` it is the published
    one of the catalogue. ``"segment-anything:FILE"`` reads the size off the file. Other options
    are those of :func:`load`.

    Raises:
        WeightsUnavailableError: The checkpoint cannot be had, is damaged, something else, or of
            another size than the name says.
        OptionError: No such size, an option that does not exist, or a value that does not fit.
    """
    source, options = parse(name, PackageOptions)
    numbers = options.numbers(name, device)
    file = checkpoint_of(name, source, options.checkpoint)
    model = package_model(file, source)
    network = PackageSam(model, device, numbers)
    return SAM(name, network, folder_hash(file), options.generator())


class SAM:
    """:class:`~fmlad.backbones.roles.MaskProposer` over a promptable network.

    An image larger than the network's input is brought to that size first (with crops, twice
    that a layer), and masks come on its grid. The image encoder runs once for an image that is
    asked about several times in a row.
    """

    expensive = True

    def __init__(
        self, name: str, model: SamNetwork, weights_hash: str, settings: GeneratorSettings
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
        network = f"side={model.side} {numbers} imagenet sha256={weights_hash}"
        self.fingerprint = f"sam {network}{model.details}"
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
        self,
        image: Tensor,
        boxes: Floats | None = None,
        points: Floats | None = None,
        labels: Ints | None = None,
    ) -> Masks:
        """One mask per box ``(n, 4) xyxy`` and per set of points, boxes first.

        Args:
            image: ``uint8 (1, 3, H, W)``.
            boxes: In input pixels.
            points: ``(n, 2) xy``, a mask each, or ``(n, p, 2)``, p points for each of n masks.
            labels: Of points ``(n, p)``: 1 on the object, 0 beside it, -1 no point at all; None:
                all are on it.

        A single point is ambiguous (a part, or the whole): it gets the best, by its predicted
        quality, of the masks that the network offers. A box or several points say what is meant:
        they get the network's one mask for such prompts (Kirillov et al. 2023, appendix A). Points
        labelled -1 are left out, so a set gets the mask that it would get without them. A prompt
        that the network has no mask for gets an empty one. ``boxes`` of the result are the masks'
        own.

        Raises:
            OptionError: Shapes or labels do not fit; see :func:`.mask_prompts.mask_prompts`.
        """
        asked = mask_prompts(boxes, points, labels)
        pixels = self._shrunk(image)
        encoded = self._encoded(pixels)
        scale = np.array([encoded.size[1] / image.shape[-1], encoded.size[0] / image.shape[-2]])
        first = len(asked.boxes)
        masks = np.zeros((first + len(asked.points), *encoded.size), bool)
        quality = np.zeros(len(masks), np.float32)
        groups: list[tuple[Ints, dict[str, Any]]] = [
            (np.arange(first), {"boxes": asked.boxes * np.tile(scale, 2), "several": False})
        ]
        for rows, places, kinds in asked.sets():
            alone = places.shape[1] == 1
            given = {"points": places * scale, "labels": kinds, "several": alone}
            groups.append((first + rows, given))
        for rows, given in groups:
            several = given.pop("several")
            for start in range(0, len(rows), PROMPTS):
                part = slice(start, start + PROMPTS)
                some = {key: places[part] for key, places in given.items()}
                logits, guessed = self._model.decode(encoded, several=several, **some)
                best = guessed.argmax(1)
                chosen = logits[torch.arange(len(best), device=best.device), best]
                masks[rows[part]] = (self._model.enlarge(chosen, encoded) > 0).cpu().numpy()
                quality[rows[part]] = guessed.amax(1).cpu().numpy()
        return _as_masks(masks, quality, image)

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
