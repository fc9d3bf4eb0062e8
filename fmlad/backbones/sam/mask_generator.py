"""All masks of a picture from a network that answers prompts (Kirillov et al. 2023, section 5).

A grid of points is asked for masks; those of low predicted or measured quality go, then duplicates,
then specks and holes. Crops of the picture may be asked as well, for small objects. The result
is that of segment-anything's own generator, without its full-size logits for every mask: what
the network itself thinks little of is dropped before it is enlarged.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fmlad.backbones.sam.sam_models import Pixels, Promptable, Seen

Bools = npt.NDArray[np.bool_]
Box = tuple[int, int, int, int]

CROP_OVERLAP = 512 / 1500  # of the shorter side, in the first layer of crops
EDGE = 20  # px: a mask that ends this near to a crop's edge is cut off by it
ENLARGED = 2**26  # numbers of full-size logits at a time: 256 MiB


@dataclass(frozen=True)
class GeneratorSettings:
    """The numbers of the generator; defaults are segment-anything's for ViT-H, but for specks.

    Attributes:
        points: Points on a side of the grid.
        batch: Points asked at a time; more need more memory.
        iou: A mask's predicted overlap with the truth must be above this; 0: any will do.
        stability: So much of it must stay when the cutoff of its logits moves.
        offset: How far the cutoff moves, both ways.
        nms: Of two masks whose boxes overlap more than this the worse goes.
        crops: Layers of crops; layer n has 4 ** n.
        specks: Holes and islands below this many pixels go; 0: nothing goes (ours; 100 is usual).
    """

    points: int = 32
    batch: int = 64
    iou: float = 0.88
    stability: float = 0.95
    offset: float = 1.0
    nms: float = 0.7
    crops: int = 0
    specks: int = 100


@dataclass
class _Found:
    """Candidates; masks are packed, eight pixels a byte, because there may be thousands."""

    bits: npt.NDArray[np.uint8]
    boxes: Tensor  # float (n, 4) xyxy; the far edges are the last pixels within
    quality: Tensor  # float (n,)
    crop: Tensor  # float (n,): area of the crop it came from

    def __len__(self) -> int:
        return len(self.bits)

    def take(self, kept: Tensor) -> _Found:
        kept = kept.cpu()
        return _Found(
            self.bits[kept.numpy()], self.boxes[kept], self.quality[kept], self.crop[kept]
        )


def generate(
    model: Promptable, pixels: Pixels, settings: GeneratorSettings, seen: Seen | None = None
) -> tuple[Bools, npt.NDArray[np.float32]]:
    """Every mask of a picture.

    Args:
        model: Answers the prompts.
        pixels: uint8 ``(H, W, 3)`` RGB.
        settings: The numbers.
        seen: The whole picture as the model saw it, if it did before.

    Returns:
        bool ``(n, H, W)`` and the predicted overlap with the truth ``(n,)``, best first.
    """
    height, width = pixels.shape[:2]
    boxes = list(crop_boxes((height, width), settings.crops))
    parts = []
    for box in boxes:
        whole = box == (0, 0, width, height)
        if not whole or seen is None:
            looked = model.look(np.ascontiguousarray(pixels[box[1] : box[3], box[0] : box[2]]))
        else:
            looked = seen
        parts.append(_in_crop(model, looked, box, (height, width), settings))
    found = _joined(parts)
    if len(boxes) > 1:  # what small crops show is sharper
        found = found.take(_distinct(found.boxes, 1 / found.crop, settings.nms))
    masks = _unpacked(found.bits, height, width)
    quality = found.quality
    if settings.specks > 0 and len(masks):
        masks, kept = _without_specks(masks, settings)
        quality = quality[kept]
    order = quality.argsort(descending=True, stable=True).numpy()
    return masks[order], quality.numpy()[order].astype(np.float32)


def crop_boxes(size: tuple[int, int], layers: int) -> Iterator[Box]:
    """The whole picture, then the crops of each layer, xyxy."""
    height, width = size
    yield 0, 0, width, height
    for layer in range(1, layers + 1):
        count = 2**layer
        overlap = int(CROP_OVERLAP * min(size) * 2 / count)
        across = math.ceil((overlap * (count - 1) + width) / count)
        down = math.ceil((overlap * (count - 1) + height) / count)
        for column, row in product(range(count), repeat=2):
            left, top = column * (across - overlap), row * (down - overlap)
            yield left, top, min(left + across, width), min(top + down, height)


def point_grid(count: int) -> npt.NDArray[np.float64]:
    """Centres of ``count ** 2`` equal cells of the unit square, row by row, ``(count ** 2, 2)``."""
    line = (np.arange(count) + 0.5) / count
    return np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)


def remove_specks(mask: Bools, least: int) -> tuple[Bools, bool]:
    """Fills holes and drops islands of fewer than ``least`` pixels; corners connect.

    The largest island stays in any case.

    Returns:
        bool ``(H, W)`` and whether there was such a hole or island.
    """
    from scipy import ndimage

    corners = np.ones((3, 3), int)
    holes, count = ndimage.label(~mask, corners)
    sizes = np.bincount(holes.ravel(), minlength=count + 1)
    small = sizes < least
    small[0] = False
    filled = mask | small[holes]
    islands, count = ndimage.label(filled, corners)
    sizes = np.bincount(islands.ravel(), minlength=count + 1)
    sizes[0] = 0
    kept = sizes >= least
    some = bool(small.any() or not kept[1:].all())
    if count and not kept.any():
        kept[sizes.argmax()] = True
    return kept[islands], some


def _in_crop(
    model: Promptable, seen: Seen, box: Box, size: tuple[int, int], settings: GeneratorSettings
) -> _Found:
    """The distinct good masks of a crop, in the whole picture's pixels."""
    height, width = seen.size
    points = point_grid(settings.points) * (width, height)
    parts = []
    for start in range(0, len(points), settings.batch):
        logits, quality = model.answer(seen, points=points[start : start + settings.batch])
        logits, quality = logits.flatten(0, 1), quality.flatten()
        good = quality > (settings.iou or -math.inf)
        logits, quality = logits[good], quality[good]
        # On the way masks may pass through the network's input size.
        step = max(1, ENLARGED // max(height * width, model.side**2))
        for first in range(0, len(logits), step):
            piece = slice(first, first + step)
            full = model.enlarge(logits[piece], seen)
            parts.append(_judged(full, quality[piece], box, size, settings))
    found = _joined(parts) if parts else _nothing(size)
    return found.take(_distinct(found.boxes, found.quality, settings.nms))


def _judged(
    logits: Tensor, quality: Tensor, box: Box, size: tuple[int, int], settings: GeneratorSettings
) -> _Found:
    """Those of some full-size masks that are stable and not cut off by the crop."""
    inside = (logits > settings.offset).sum((1, 2), dtype=torch.int32)
    outside = (logits > -settings.offset).sum((1, 2), dtype=torch.int32)
    masks = logits > 0
    good = (inside / outside >= settings.stability) & masks.any(2).any(1)  # 0 / 0 is not stable
    masks, quality = masks[good], quality[good]
    boxes = _boxes(masks) + torch.tensor([box[0], box[1], box[0], box[1]], device=masks.device)
    edges = torch.tensor(box, device=boxes.device)
    outer = torch.tensor([0, 0, size[1], size[0]], device=boxes.device)
    cut = ((boxes - edges).abs() <= EDGE) & ((boxes - outer).abs() > EDGE)
    whole = ~cut.any(1)
    masks, quality, boxes = masks[whole].cpu(), quality[whole].cpu(), boxes[whole].float().cpu()
    full = np.zeros((len(masks), *size), bool)
    full[:, box[1] : box[3], box[0] : box[2]] = masks.numpy()
    area = float((box[2] - box[0]) * (box[3] - box[1]))
    return _Found(_packed(full), boxes, quality, torch.full_like(quality, area))


def _boxes(masks: Tensor) -> Tensor:
    """First and last column and row within each mask, none of them empty; int ``(n, 4) xyxy``."""
    columns, rows = masks.any(1).int(), masks.any(2).int()
    right = masks.shape[2] - 1 - columns.flip(1).argmax(1)
    bottom = masks.shape[1] - 1 - rows.flip(1).argmax(1)
    return torch.stack([columns.argmax(1), rows.argmax(1), right, bottom], 1)


def _without_specks(masks: Bools, settings: GeneratorSettings) -> tuple[Bools, Tensor]:
    """Cleaned masks, without those that became duplicates, and which they are."""
    cleaned = [remove_specks(mask, settings.specks) for mask in masks]
    masks = np.stack([mask for mask, _ in cleaned])
    # A mask that needed no cleaning is preferred.
    untouched = torch.tensor([float(not some) for _, some in cleaned])
    kept = _distinct(_boxes(torch.from_numpy(masks)).float(), untouched, settings.nms)
    return masks[kept.numpy()], kept


def _distinct(boxes: Tensor, scores: Tensor, most: float) -> Tensor:
    """Non-maximum suppression: numbers of those that stay, best first."""
    from torchvision.ops import nms

    kept: Tensor = nms(boxes, scores.to(boxes.dtype), most)
    return kept


def _packed(masks: Bools) -> npt.NDArray[np.uint8]:
    return np.packbits(masks.reshape(len(masks), masks.shape[1] * masks.shape[2]), axis=1)


def _unpacked(bits: npt.NDArray[np.uint8], height: int, width: int) -> Bools:
    flat = np.unpackbits(bits, axis=1, count=height * width).astype(bool)
    return flat.reshape(len(bits), height, width)


def _joined(parts: list[_Found]) -> _Found:
    return _Found(
        np.concatenate([part.bits for part in parts]),
        torch.cat([part.boxes for part in parts]),
        torch.cat([part.quality for part in parts]),
        torch.cat([part.crop for part in parts]),
    )


def _nothing(size: tuple[int, int]) -> _Found:
    none = torch.zeros(0)
    return _Found(_packed(np.zeros((0, *size), bool)), torch.zeros(0, 4), none, none)
