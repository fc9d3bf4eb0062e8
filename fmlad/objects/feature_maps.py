"""Objects of an image on the grid of its feature map, and the same place in two objects.

An object feature map (SAM-LAD, section 3.4.3) is the image's feature map times the object's mask.
A place in one object is brought to the same place in another by the poses of both: shift, zoom
and, where both have a longer axis, a turn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from fmlad.io.tensors import TensorReader
from fmlad.objects.appearance import Objects
from fmlad.objects.arrays import Floats

BLOCK = 8  # masks that are converted at once
LEAST_SIDE = 1e-3  # of a box, as a share of the image
ROUND = 1.3  # ratio of axes below which an object has no direction


class Pose(NamedTuple):
    """Where an object lies: centre ``xy`` in [0, 1], angle and side.

    The angle (radians) and the side are measured where the image's longer side is 2.
    """

    centre: Tensor
    angle: float
    side: float
    elongated: bool = False


@dataclass(frozen=True)
class ObjectMaps:
    """The objects of one image and its feature map.

    Attributes:
        level: Features ``(1, C, h, w)``.
        objects: Descriptions of the objects.
        masks: Share of each cell that is the object's, float32 ``(n, h, w)`` on the CPU.
        size: Height and width of the image in pixels.
        vector: The extractor's own features of the whole image, float32 ``(D,)``.
        memo: What was derived from them, by name.
    """

    level: Tensor
    objects: Objects
    masks: Tensor
    size: tuple[int, int]
    vector: npt.NDArray[np.float32]
    memo: dict[Any, Any] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.objects)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the feature map."""
        return self.level.shape[-2], self.level.shape[-1]

    @property
    def half(self) -> tuple[float, float]:
        """Half width and half height, the longer one being 1."""
        longer = max(self.size)
        return self.size[1] / longer, self.size[0] / longer

    def boxes(self) -> Floats:
        """Boxes ``xyxy`` of all objects in [0, 1], ``(n, 4)``."""
        height, width = self.size
        return np.asarray(self.objects.boxes / [width, height, width, height])

    def block(self, row: int) -> tuple[slice, slice]:
        """Rows and columns of the cells that an object's box touches, and one around."""
        left, top, right, bottom = self.boxes()[row]
        found = []
        for low, high, count in zip((top, left), (bottom, right), self.grid, strict=True):
            first = max(0, min(math.floor(low * count) - 1, count - 1))
            found.append(slice(first, min(count, math.ceil(high * count) + 1)))
        return found[0], found[1]

    def centres(self, rows: slice, columns: slice) -> Tensor:
        """Centres ``(P, 2)``, ``xy`` in [0, 1], of a block of cells, row by row; on the CPU."""
        height, width = self.grid
        y = (torch.arange(height)[rows] + 0.5) / height
        x = (torch.arange(width)[columns] + 0.5) / width
        grid = torch.stack([x.expand(len(y), -1), y[:, None].expand(-1, len(x))], dim=-1)
        return grid.reshape(-1, 2)

    def pose_of_box(self, row: int) -> Pose:
        """Centre and longer side of an object's box; it has no angle."""
        low, high = torch.tensor(self.boxes()[row], dtype=torch.float32).view(2, 2)
        return Pose((low + high) / 2, 0.0, float(((high - low) * torch.tensor(self.half)).max()))

    def pose_of_mask(self, row: int) -> Pose:
        """Centroid, angle of the longer axis and root of the area of an object's mask."""
        if ("pose", row) not in self.memo:
            mask, half = self.masks[row].double(), self.half
            height, width = mask.shape
            weight = mask.sum().clamp_min(1e-9)
            y = (torch.arange(height) + 0.5) / height
            x = (torch.arange(width) + 0.5) / width
            cx = float((mask.sum(0) @ x.double()) / weight)
            cy = float((mask.sum(1) @ y.double()) / weight)
            dx, dy = 2 * half[0] * (x - cx).double(), 2 * half[1] * (y - cy).double()
            xx = float((mask.sum(0) @ dx.square()) / weight)
            yy = float((mask.sum(1) @ dy.square()) / weight)
            xy = float((dy @ mask @ dx) / weight)
            grain = (2 * max(half) / max(height, width)) ** 2 / 12  # of one cell
            spread, mean = math.hypot((xx - yy) / 2, xy), (xx + yy) / 2 + grain
            ratio = math.sqrt((mean + spread) / max(mean - spread, grain))
            area = 4 * half[0] * half[1] * float(weight) / (height * width)
            self.memo["pose", row] = Pose(
                torch.tensor([cx, cy]),
                0.5 * math.atan2(2 * xy, xx - yy),
                math.sqrt(area),
                ratio >= ROUND,
            )
        pose: Pose = self.memo["pose", row]
        return pose

    def tensors(self) -> dict[str, Tensor]:
        """Everything, on the CPU, to be saved."""
        named = {"level": self.level, "masks": self.masks, "vector": torch.from_numpy(self.vector)}
        named |= self.objects.tensors()
        return {name: tensor.cpu().contiguous() for name, tensor in named.items()}

    @classmethod
    def restore(
        cls, reader: TensorReader, name: str, size: tuple[int, int], level: Tensor | None = None
    ) -> ObjectMaps:
        """Inverse of :meth:`tensors`.

        Tensor names begin with ``name``; ``level`` is given where it was saved elsewhere.

        Raises:
            CorruptDetectorError: A tensor is missing or of another shape.
            ValueError: The size is impossible.
        """
        if min(size) < 1:
            raise ValueError(f"the size of an image is {size}")
        level = reader.level(f"{name}.level", None) if level is None else level
        masks = reader.take(f"{name}.masks", (None, level.shape[-2], level.shape[-1])).cpu()
        objects = Objects.restore(reader, f"{name}.", len(masks))
        vector = reader.take(f"{name}.vector", (None,)).cpu().numpy()
        return cls(level, objects, masks, size, vector)


def soft_masks(
    masks: npt.NDArray[np.bool_], size: tuple[int, int], published: bool = False
) -> Tensor:
    """Masks ``(n, H, W)`` as shares of the cells of a coarser grid, float32 ``(n, h, w)``.

    ``published``: interpolated bilinearly, as SAM-LAD does, instead of averaged and divided by the
    fullest cell of each mask, which keeps small objects.
    """
    shares = torch.zeros(len(masks), *size)
    for start in range(0, len(masks), BLOCK):  # as floats, 256 masks of a photograph take 0.9 GB
        part = torch.from_numpy(masks[start : start + BLOCK].astype(np.float32))
        mode = "bilinear" if published else "area"
        shares[start : start + BLOCK] = F.interpolate(part[:, None], size, mode=mode)[:, 0]
    if published:
        return shares
    return shares / shares.amax(dim=(1, 2), keepdim=True).clamp_min(1e-6)


def on_grid(values: npt.NDArray[Any] | Tensor, size: tuple[int, int]) -> npt.NDArray[np.float32]:
    """A map ``(h, w)`` on another grid over the same image, bilinear, float32."""
    small = torch.as_tensor(values, dtype=torch.float32)[None, None]
    return np.asarray(F.interpolate(small, size, mode="bilinear")[0, 0].numpy(), np.float32)


def sampled(level: Tensor, points: Tensor, padding: str = "border") -> Tensor:
    """Values ``(P, C)`` of a map ``(1, C, h, w)`` at points ``(P, 2)``, ``xy`` in [0, 1]."""
    grid = (2 * points - 1)[None, None].to(level)
    found = F.grid_sample(level, grid, padding_mode=padding, align_corners=False)
    return found[0, :, 0].T


def counterpart_places(
    points: Tensor,
    poses: tuple[Pose, Pose],
    halves: tuple[tuple[float, float], tuple[float, float]],
    turn: float = 0.0,
) -> Tensor:
    """Points ``(P, 2)`` in one object brought to the same places in another, ``xy`` in [0, 1].

    Args:
        points: In the first image.
        poses: Of both objects: centre goes upon centre, side upon side, angle upon angle.
        halves: ``ObjectMaps.half`` of both images.
        turn: Radians that are added to the second angle.
    """
    here, there = poses
    zoom, turn = there.side / max(here.side, LEAST_SIDE), there.angle - here.angle + turn
    cos, sin = zoom * math.cos(turn), zoom * math.sin(turn)
    apart = (points - here.centre) * points.new_tensor(halves[0])
    brought: Tensor = apart @ points.new_tensor([[cos, sin], [-sin, cos]])
    return there.centre + brought / points.new_tensor(halves[1])
