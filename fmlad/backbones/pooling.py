"""Means of dense maps over regions whose grid is another one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

AT_ONCE = 16  # regions; masks of many objects as floats would fill the memory


def region_means(maps: Tensor, regions: npt.NDArray[np.bool_]) -> Tensor:
    """Mean of each map over each region.

    Args:
        maps: float32 ``(C, h, w)`` over the whole image.
        regions: bool ``(R, h', w')`` over the same image; a cell counts by the share of it that a
            region covers, so that a region smaller than a cell still has a mean.

    Returns:
        float32 ``(R, C)``; zeros for an empty region.
    """
    means = [maps.new_zeros((0, len(maps)))]
    for start in range(0, len(regions), AT_ONCE):
        some = torch.from_numpy(np.ascontiguousarray(regions[start : start + AT_ONCE]))
        shares = F.interpolate(some[:, None].to(maps), maps.shape[-2:], mode="area")[:, 0]
        total = shares.sum(dim=(1, 2)).clamp_min(1e-6)
        means.append(torch.einsum("chw,rhw->rc", maps, shares) / total[:, None])
    return torch.cat(means)
