"""All masks of an image from a network that answers prompts (Kirillov et al. 2023, section 5).

A grid of points is asked for masks; those of low predicted or measured quality go, then duplicates,
then specks and holes. Crops of the image may be asked as well, for small objects. The result is
that of segment-anything's own generator, of whose parts it is built, without full-size logits for
every mask: masks of low predicted quality are dropped before they are enlarged.
"""

from __future__ import annotations

import math
from dataclasses import field
from typing import TYPE_CHECKING, Annotated

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from fmlad.backbones.common import STRICT
from fmlad.backbones.sam.sam_models import EncodedImage, Pixels, SamNetwork

if TYPE_CHECKING:
    from segment_anything.utils.amg import MaskData

Bools = npt.NDArray[np.bool_]
Share = Annotated[float, Field(ge=0, le=1)]

CROP_OVERLAP = 512 / 1500  # of the shorter side, in the first layer of crops
ENLARGED = 2**26  # numbers of full-size logits at a time: 256 MiB


@dataclass(frozen=True, config=STRICT)
class GeneratorSettings:
    """The numbers of the generator; defaults are segment-anything's for ViT-H, but for specks.

    Attributes:
        points: Points on a side of the grid.
        batch: Points asked at a time; more need more memory.
        iou: A mask's predicted overlap with the truth must be above this; 0: any will do.
        stability: Least overlap of the mask at a higher and a lower cutoff of its logits.
        offset: How far the cutoff moves, both ways; no option.
        nms: Of two masks whose boxes overlap more than this the worse goes.
        crops: Layers of crops; layer n has 4 ** n.
        specks: Holes and islands below this many pixels go; 0: nothing goes (ours; 100 is usual).
    """

    points: Annotated[int, Field(ge=1, le=256)] = 32
    batch: Annotated[int, Field(ge=1)] = 64
    iou: Share = 0.88
    stability: Share = 0.95
    offset: float = field(default=1.0, init=False)
    nms: Share = 0.7
    crops: Annotated[int, Field(ge=0, le=2)] = 0
    specks: Annotated[int, Field(ge=0)] = 100


def generate(
    model: SamNetwork, pixels: Pixels, settings: GeneratorSettings, whole: EncodedImage
) -> tuple[Bools, npt.NDArray[np.float32]]:
    """Every mask of an image uint8 ``(H, W, 3)``, of which ``whole`` is the encoded form.

    Returns:
        bool ``(n, H, W)`` and the predicted overlap with the truth ``(n,)``, best first.
    """
    from segment_anything.utils import amg

    height, width = pixels.shape[:2]
    found = amg.MaskData()
    crops, _ = amg.generate_crop_boxes((height, width), settings.crops, CROP_OVERLAP)
    for number, (left, top, right, bottom) in enumerate(crops):  # the first is the image itself
        crop = np.ascontiguousarray(pixels[top:bottom, left:right])
        encoded = model.encode(crop) if number else whole
        found.cat(_in_crop(model, encoded, crops[number], (height, width), settings))
    if len(crops) > 1:  # what small crops show is sharper
        found.filter(_distinct(found["boxes"], 1 / found["area"], settings.nms))
    masks = np.unpackbits(found["bits"], axis=1, count=height * width).astype(bool)
    masks, quality = masks.reshape(-1, height, width), found["quality"]
    if settings.specks > 0 and len(masks):
        masks, kept = _without_specks(masks, settings)
        quality = quality[kept]
    order = quality.argsort(descending=True, stable=True).numpy()
    return masks[order], quality.numpy()[order].astype(np.float32)


def remove_specks(mask: Bools, least: int) -> tuple[Bools, bool]:
    """Fills holes and drops islands of fewer than ``least`` pixels; corners connect.

    The largest island stays in any case.

    Returns:
        bool ``(H, W)`` and whether there was such a hole or island.
    """
    from scipy import ndimage

    corners = np.ones((3, 3), int)
    holes, _ = ndimage.label(~mask, corners)
    small = np.bincount(holes.ravel()) < least
    small[0] = False
    filled = mask | small[holes]
    islands, count = ndimage.label(filled, corners)
    sizes = np.bincount(islands.ravel())
    sizes[0] = 0
    kept = sizes >= least
    some = bool(small.any() or not kept[1:].all())
    if count and not kept.any():
        kept[sizes.argmax()] = True
    return kept[islands], some


def _in_crop(
    model: SamNetwork,
    encoded: EncodedImage,
    box: list[int],
    size: tuple[int, int],
    settings: GeneratorSettings,
) -> MaskData:
    """The distinct good masks of a crop, in the whole image's pixels."""
    from segment_anything.utils import amg

    height, width = encoded.size
    found = _stable(torch.zeros(0, height, width), torch.zeros(0), box, size, settings)
    points = amg.build_point_grid(settings.points) * (width, height)
    # On the way masks may pass through the network's input size.
    step = max(1, ENLARGED // max(height * width, model.side**2))
    for start in range(0, len(points), settings.batch):
        asked = points[start : start + settings.batch, None]
        logits, quality = model.decode(encoded, points=asked)
        logits, quality = logits.flatten(0, 1), quality.flatten()
        good = quality > (settings.iou or -math.inf)
        for some, theirs in zip(
            torch.split(logits[good], step), torch.split(quality[good], step), strict=True
        ):
            found.cat(_stable(model.enlarge(some, encoded), theirs, box, size, settings))
    found.filter(_distinct(found["boxes"], found["quality"], settings.nms))
    return found


def _stable(
    logits: Tensor,
    quality: Tensor,
    box: list[int],
    size: tuple[int, int],
    settings: GeneratorSettings,
) -> MaskData:
    """Those of some full-size masks that are stable and not cut off by the crop, on the CPU.

    ``bits`` are the masks, packed: there may be thousands; ``boxes`` float ``(n, 4) xyxy``, whose
    far edges are the last pixels within; ``quality``, and ``area`` of the crop, float ``(n,)``.
    """
    from segment_anything.utils import amg

    masks = logits > 0
    boxes = amg.batched_mask_to_box(masks)
    good = amg.calculate_stability_score(logits, 0.0, settings.offset) >= settings.stability
    good &= masks.any(2).any(1)  # 0 / 0 is not stable
    good &= ~amg.is_box_near_crop_edge(boxes, box, [0, 0, size[1], size[0]])
    masks, boxes = masks[good].cpu(), amg.uncrop_boxes_xyxy(boxes, box)[good].float().cpu()
    full = amg.uncrop_masks(masks, box, *size).flatten(1).numpy()
    quality = quality[good].cpu()
    area = torch.full_like(quality, (box[2] - box[0]) * (box[3] - box[1]))
    return amg.MaskData(bits=np.packbits(full, axis=1), boxes=boxes, quality=quality, area=area)


def _without_specks(masks: Bools, settings: GeneratorSettings) -> tuple[Bools, Tensor]:
    """Cleaned masks, without those that became duplicates, and which they are."""
    from segment_anything.utils import amg

    cleaned = [remove_specks(mask, settings.specks) for mask in masks]
    masks = np.stack([mask for mask, _ in cleaned])
    # A mask that needed no cleaning is preferred.
    untouched = torch.tensor([float(not some) for _, some in cleaned])
    boxes = amg.batched_mask_to_box(torch.from_numpy(masks)).float()
    kept = _distinct(boxes, untouched, settings.nms)
    return masks[kept.numpy()], kept


def _distinct(boxes: Tensor, scores: Tensor, most: float) -> Tensor:
    """Non-maximum suppression: numbers of those that stay, best first."""
    from torchvision.ops import nms

    kept: Tensor = nms(boxes, scores.to(boxes.dtype), most)
    return kept
