"""Objects of an image with their feature maps, and what lies where in the like of them.

SAM-LAD's object feature maps (section 3.4.3) are the image's map times each mask. Its measurement
compares the same place of two images, though a matched object may lie elsewhere, turned, or larger:
here a place in one object is first brought to the same place in the other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from fmlad.io.tensors import TensorReader
from fmlad.methods.sam_lad.descriptors import Mode, describe_objects
from fmlad.methods.sam_lad.matching import ObjectDescriptors
from fmlad.methods.sam_lad.measurement import measure
from fmlad.objects.appearance import Objects

Align = Literal["box", "orientation", "none"]
Floats = npt.NDArray[np.float64]

COLUMNS = {"appearance": 7, "features": None, "boxes": 4, "places": 2, "objectness": 1}
BLOCK = 8  # masks that are converted at once
LEAST_SIDE = 1e-3  # of a box, as a share of the image
ROUND = 1.3  # ratio of axes below which an object has no direction
EDGE = 0.25  # share of a cell from which it counts as the object's


@dataclass(frozen=True)
class ObjectMaps:
    """What an image's objects are compared by.

    Attributes:
        level: Features ``(1, C, h, w)``.
        objects: Their descriptions.
        masks: Share of each cell that is the object's, float32 ``(n, h, w)`` on the CPU; the
            fullest cell of an object counts as 1, so that small objects are seen too.
        size: Height and width of the image in pixels.
        vector: The extractor's own features of the whole image, float32 ``(D,)``.
    """

    level: Tensor
    objects: Objects
    masks: Tensor
    size: tuple[int, int]
    vector: npt.NDArray[np.float32]
    _known: dict[Mode, ObjectDescriptors] = field(default_factory=dict, repr=False)
    _axes: dict[int, tuple[float, float, float, float, float]] = field(
        default_factory=dict, repr=False
    )

    def __len__(self) -> int:
        return len(self.objects)

    def described(self, mode: Mode) -> ObjectDescriptors:
        """What is compared to match them."""
        if mode not in self._known:
            found = describe_objects(self.level, self.masks, mode)
            vectors = found.cpu().double().numpy()
            self._known[mode] = ObjectDescriptors(
                vectors, self.objects.appearance, self.objects.places
            )
        return self._known[mode]

    def box(self, row: int) -> Floats:
        """Box ``xyxy`` of an object in [0, 1]."""
        height, width = self.size
        return np.asarray(self.objects.boxes[row] / [width, height, width, height])

    def axes(self, row: int) -> tuple[float, float, float, float, float]:
        """Centre ``xy`` in [0, 1], angle of the longer axis, its ratio to the other, root area.

        Angles and the root of the area are measured in halves of the image's longer side.
        """
        if row not in self._axes:
            mask = self.masks[row].double()
            height, width = mask.shape
            weight = mask.sum().clamp_min(1e-9)
            y = (torch.arange(height) + 0.5) / height
            x = (torch.arange(width) + 0.5) / width
            cx, cy = (
                float((mask.sum(0) @ x.double()) / weight),
                float((mask.sum(1) @ y.double()) / weight),
            )
            half = self.half
            dx, dy = 2 * half[0] * (x - cx).double(), 2 * half[1] * (y - cy).double()
            xx = float((mask.sum(0) @ dx.square()) / weight)
            yy = float((mask.sum(1) @ dy.square()) / weight)
            xy = float((dy @ mask @ dx) / weight)
            grain = (2 * max(half) / max(height, width)) ** 2 / 12  # of one cell
            spread = math.hypot((xx - yy) / 2, xy)
            mean = (xx + yy) / 2 + grain
            ratio = math.sqrt((mean + spread) / max(mean - spread, grain))
            angle = 0.5 * math.atan2(2 * xy, xx - yy)
            area = 4 * half[0] * half[1] * float(weight) / (height * width)
            self._axes[row] = (cx, cy, angle, ratio, math.sqrt(area))
        return self._axes[row]

    @property
    def half(self) -> tuple[float, float]:
        """Half width and half height, the longer one being 1."""
        longer = max(self.size)
        return self.size[1] / longer, self.size[0] / longer

    def tensors(self) -> dict[str, Tensor]:
        """Everything, on the CPU, to be saved."""
        named = {"level": self.level.cpu().contiguous(), "masks": self.masks.cpu().contiguous()}
        named["vector"] = torch.from_numpy(self.vector)
        for name, tensor in self.objects.tensors().items():
            named[name] = tensor[:, None] if tensor.ndim == 1 else tensor
        return {name: tensor.contiguous() for name, tensor in named.items()}

    @classmethod
    def restore(
        cls, reader: TensorReader, name: str, size: tuple[int, int], level: Tensor | None = None
    ) -> ObjectMaps:
        """Inverse of :meth:`tensors`.

        Args:
            reader: Of the saved tensors.
            name: What theirs begin with.
            size: Height and width of the image.
            level: The feature map, where it was saved elsewhere.

        Raises:
            CorruptDetectorError: A tensor is missing or of another shape.
            ValueError: The size is impossible.
        """
        if min(size) < 1:
            raise ValueError(f"the size of an image is {size}")
        level = reader.level(f"{name}.level", None) if level is None else level
        masks = reader.take(f"{name}.masks", (None, level.shape[-2], level.shape[-1])).cpu()
        arrays = {
            column: reader.take(f"{name}.{column}", (len(masks), width)).cpu().double().numpy()
            for column, width in COLUMNS.items()
        }
        arrays["objectness"] = arrays["objectness"][:, 0]
        vector = reader.take(f"{name}.vector", (None,)).cpu().numpy()
        return cls(level, Objects(**arrays), masks, size, vector)

    def centres(self, rows: slice, columns: slice) -> Tensor:
        """Centres ``(P, 2)``, ``xy`` in [0, 1], of a block of cells, row by row; on the CPU."""
        height, width = self.masks.shape[1:]
        y = (torch.arange(height)[rows] + 0.5) / height
        x = (torch.arange(width)[columns] + 0.5) / width
        grid = torch.stack([x.expand(len(y), -1), y[:, None].expand(-1, len(x))], dim=-1)
        return grid.reshape(-1, 2)


def soft_masks(
    masks: npt.NDArray[np.bool_], size: tuple[int, int], published: bool = False
) -> Tensor:
    """Masks ``(n, H, W)`` as shares of the cells of a coarser grid, float32 ``(n, h, w)``.

    Args:
        masks: Of the objects.
        size: Of the grid.
        published: Whether masks are interpolated bilinearly, as published, instead of averaged and
            divided by the fullest cell of each.
    """
    shares = torch.zeros(len(masks), *size)
    for start in range(0, len(masks), BLOCK):  # as floats, 256 masks of a photograph take 0.9 GB
        part = torch.from_numpy(masks[start : start + BLOCK].astype(np.float32))
        mode = "bilinear" if published else "area"
        shares[start : start + BLOCK] = F.interpolate(part[:, None], size, mode=mode)[:, 0]
    if published:
        return shares
    return shares / shares.amax(dim=(1, 2), keepdim=True).clamp_min(1e-6)


@dataclass(frozen=True)
class Measured:
    """One query object before its references.

    Attributes:
        block: Rows and columns of the query's grid that were compared.
        distances: Mahalanobis distances there, ``(rows, columns)``; 0 where nothing counts.
        weight: How much of each cell counts, in [0, 1].
        baseline: Mean distance over the object of some references from the others; NaN with
            one.
        peaks: The same, of the largest distance instead of the mean.
    """

    block: tuple[slice, slice]
    distances: Tensor
    weight: Tensor
    baseline: Floats
    peaks: Floats

    @property
    def mean(self) -> float:
        """Mean distance over the object."""
        total = self.weight.sum().clamp_min(1e-9)
        return float((self.distances * self.weight).sum() / total)


def compare(
    query: ObjectMaps,
    row: int,
    references: Sequence[tuple[ObjectMaps, int]],
    align: Align,
    epsilon: float,
) -> Measured:
    """Measures one query object by the Gaussian of its references (AMM).

    Places and masks are handled on the CPU, features where they lie; the distances come back in one
    transfer.

    Args:
        query: The query's objects.
        row: Which of them.
        references: Images and the object of each that it is compared with, at least one.
        align: How places are brought together: by the boxes (shift and zoom), by the masks (turn
            as well), or not at all. Without alignment maps are cut off at the masks, as published;
            with it what is around an object is compared too, as far as it belongs to one of them.
        epsilon: Ridge of the covariance.
    """
    block = _block(query, row)
    points = query.centres(*block)
    shape = (block[0].stop - block[0].start, block[1].stop - block[1].start)
    here = query.level[0][:, block[0], block[1]].flatten(1).T
    mine = query.masks[row][block].flatten()
    known, theirs = [], []
    for image, other in references:
        features, mask = _brought(query, row, image, other, points, align, here)
        known.append(features * mask[:, None].to(features) if align == "none" else features)
        theirs.append(mask)
    if align == "none":
        here, weight = here * mine[:, None].to(here), mine
    else:
        weight = torch.maximum(mine, torch.stack(theirs).mean(0))
    weight = torch.where(weight >= EDGE, weight, torch.zeros_like(weight))
    distances, *several = torch.cat(
        [one.reshape(-1, len(here)) for one in measure(here, torch.stack(known), epsilon)]
    ).cpu()
    others = torch.stack(several)
    total = weight.sum().clamp_min(1e-9)
    baseline = ((others * weight).sum(1) / total).double().numpy()
    peaks = (others * weight).amax(1).double().numpy()
    distances = (distances * (weight > 0)).reshape(shape)
    return Measured(block, distances, weight.reshape(shape), baseline, peaks)


def _block(image: ObjectMaps, row: int) -> tuple[slice, slice]:
    """Cells that an object's box touches, and one around."""
    height, width = image.masks.shape[1:]
    left, top, right, bottom = image.box(row)
    rows = slice(
        max(0, min(math.floor(top * height) - 1, height - 1)),
        min(height, math.ceil(bottom * height) + 1),
    )
    columns = slice(
        max(0, min(math.floor(left * width) - 1, width - 1)),
        min(width, math.ceil(right * width) + 1),
    )
    return rows, columns


def _brought(
    query: ObjectMaps,
    row: int,
    image: ObjectMaps,
    other: int,
    points: Tensor,
    align: Align,
    here: Tensor,
) -> tuple[Tensor, Tensor]:
    """Features ``(P, C)`` and mask ``(P,)`` of a reference object at the query's places."""
    if align == "none":
        spots = [points]
    elif align == "orientation" and min(query.axes(row)[3], image.axes(other)[3]) >= ROUND:
        spots = [_turned(query, row, image, other, points, flip) for flip in (False, True)]
    else:
        spots = [_boxed(query, row, image, other, points)]
    found = [_sampled(image.level, spot) for spot in spots]
    best = 0
    if len(spots) > 1:  # an axis has no direction: of the two ways to lie along it, the more alike
        best = int(torch.stack([(one - here).square().sum() for one in found]).argmin())
    mask = _sampled(image.masks[other][None, None], spots[best], "zeros")[:, 0]
    return found[best], mask


def _sampled(level: Tensor, points: Tensor, padding: str = "border") -> Tensor:
    """Values ``(P, C)`` of a map ``(1, C, h, w)`` at points ``(P, 2)``, ``xy`` in [0, 1]."""
    grid = (2 * points - 1)[None, None].to(level)
    found = F.grid_sample(level, grid, padding_mode=padding, align_corners=False)
    return found[0, :, 0].T


def _boxed(query: ObjectMaps, row: int, image: ObjectMaps, other: int, points: Tensor) -> Tensor:
    """From box to box, centre upon centre and longer side upon longer side: shapes are kept."""
    centres, sides = [], []
    for maps, number in ((query, row), (image, other)):
        low, high = points.new_tensor(maps.box(number)).view(2, 2)
        centres.append((low + high) / 2)
        sides.append(float(((high - low) * points.new_tensor(maps.half)).max()))
    zoom = sides[1] / max(sides[0], LEAST_SIDE)
    there = (points - centres[0]) * points.new_tensor(query.half) * zoom
    brought: Tensor = centres[1] + there / points.new_tensor(image.half)
    return brought


def _turned(
    query: ObjectMaps, row: int, image: ObjectMaps, other: int, points: Tensor, flip: bool
) -> Tensor:
    x, y, angle, _, side = query.axes(row)
    to_x, to_y, to_angle, _, to_side = image.axes(other)
    turn = to_angle - angle + (math.pi if flip else 0.0)
    zoom = to_side / max(side, LEAST_SIDE)
    cos, sin = zoom * math.cos(turn), zoom * math.sin(turn)
    here = (points - points.new_tensor([x, y])) * points.new_tensor(query.half)
    there = here @ points.new_tensor([[cos, sin], [-sin, cos]])
    return points.new_tensor([to_x, to_y]) + there / points.new_tensor(image.half)
