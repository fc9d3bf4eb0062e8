"""Dense maps and regions on different grids over the same image."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from fmlad.errors import OptionError

HELD, SEVERAL = 0.8, 2  # share of a region inside another that holds it; how many a holder holds
AT_ONCE = 16  # regions as floats: all of them at full size would fill the memory


def region_means(maps: Tensor, regions: npt.NDArray[np.bool_]) -> Tensor:
    """Mean of each map over each region, float32 ``(R, C)``; zeros for an empty region.

    Args:
        maps: float32 ``(C, h, w)`` over the whole image.
        regions: bool ``(R, h', w')`` over the same image; a cell counts by the share of it that a
            region covers, so that a region smaller than a cell still has a mean.
    """
    means = [maps.new_zeros((0, len(maps)))]
    for start in range(0, len(regions), AT_ONCE):
        some = torch.from_numpy(np.ascontiguousarray(regions[start : start + AT_ONCE]))
        shares = F.interpolate(some[:, None].to(maps), maps.shape[-2:], mode="area")[:, 0]
        total = shares.sum(dim=(1, 2)).clamp_min(1e-6)
        means.append(torch.einsum("chw,rhw->rc", maps, shares) / total[:, None])
    return torch.cat(means)


def area_shares(regions: npt.NDArray[np.bool_], rows: int, columns: int) -> Tensor:
    """Share of every cell of a grid that lies within each region: exact, whichever is finer.

    bool ``(R, h, w)`` on any grid over the image -> float32 ``(R, rows, columns)`` in [0, 1].

    Raises:
        OptionError: ``regions`` is not three-dimensional.
    """
    masks = np.asarray(regions)
    if masks.ndim != 3:
        raise OptionError(f"regions must be bool (R, h, w), got the shape {masks.shape}.")
    down, across = _overlap(rows, masks.shape[1]), _overlap(columns, masks.shape[2]).T
    shares = torch.zeros(len(masks), rows, columns)
    for start in range(0, len(masks), AT_ONCE):
        some = slice(start, start + AT_ONCE)
        shares[some] = down @ torch.from_numpy(masks[some].astype(np.float32)) @ across
    return shares.clamp(0, 1)


def _overlap(cells: int, pixels: int) -> Tensor:
    """float32 ``(cells, pixels)``: share of each cell of a line that each pixel covers."""
    # In whole units, of which a cell has `pixels` and a pixel has `cells`: no rounding.
    cell = torch.arange(cells)[:, None] * pixels
    pixel = torch.arange(pixels)[None] * cells
    ends = torch.minimum(cell + pixels, pixel + cells)
    return (ends - torch.maximum(cell, pixel)).clamp_min(0) / pixels


def holders(regions: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Which regions ``(R,)`` of ``(R, h, w)`` hold several of the others, as a tray does (ours)."""
    flat = regions.reshape(len(regions), math.prod(regions.shape[1:])).astype(np.float32)
    areas = flat.sum(axis=1)
    inside = (flat @ flat.T >= HELD * areas) & (areas < HELD * areas[:, None]) & (areas > 0)
    return np.asarray(inside.sum(axis=1) >= SEVERAL)
