"""Region-level metrics over anomaly maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fmlad.errors import OptionError

FloatMap = npt.NDArray[np.floating]
Mask = npt.NDArray[Any]


def aupro(maps: Sequence[FloatMap], masks: Sequence[Mask], fpr_limit: float = 0.3) -> float:
    """Area under the per-region-overlap curve up to a false positive rate, normalised to [0, 1].

    Every region weighs the same however large it is. The curve is exact: each distinct map value
    is a threshold.

    Source: Bergmann et al., "The MVTec Anomaly Detection Dataset", IJCV 2021, section 5.1.

    Args:
        maps: ``n`` maps ``(H, W)``, finite, higher = more anomalous; sizes may differ.
        masks: ``n`` masks ``(H, W)``. Boolean: 8-connected components are the regions.
            Integer: each positive label is one region.
        fpr_limit: Upper end of the integral, in (0, 1].

    Raises:
        OptionError: Shapes do not fit, a map is not finite, or no region or no normal pixel exists.
    """
    if not 0 < fpr_limit <= 1:
        raise OptionError(f"fpr_limit must lie in (0, 1], got {fpr_limit}.")
    if len(maps) != len(masks):
        raise OptionError(f"got {len(maps)} maps and {len(masks)} masks; expected one mask a map.")
    scores, overlap_gain, normal = _pixels(maps, masks)
    regions = overlap_gain.sum()
    normals = int(normal.sum())
    if regions == 0 or normals == 0:
        raise OptionError("AUPRO needs at least one anomalous region and one normal pixel.")

    order = np.argsort(-scores, kind="stable")
    scores = scores[order]
    last_of_tie = np.append(scores[1:] != scores[:-1], True)
    pro = np.append(0.0, np.cumsum(overlap_gain[order])[last_of_tie] / regions)
    fpr = np.append(0.0, np.cumsum(normal[order])[last_of_tie] / normals)
    return _area_up_to(fpr, pro, fpr_limit) / fpr_limit


def _pixels(
    maps: Sequence[FloatMap], masks: Sequence[Mask]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """All pixels in a row: map value, share of its region that it is, whether it is normal."""
    from scipy import ndimage

    scores, gains, normals = [], [], []
    for index, (map_, mask) in enumerate(zip(maps, masks, strict=True)):
        mask = np.asarray(mask)
        if np.ndim(map_) != 2 or np.shape(map_) != mask.shape:
            raise OptionError(
                f"map {index} has shape {np.shape(map_)}, its mask {mask.shape}; expected (H, W)."
            )
        if not np.isfinite(map_).all():
            raise OptionError(f"map {index} holds NaN or infinity.")
        boolean = mask.dtype == bool
        labels = ndimage.label(mask, structure=np.ones((3, 3)))[0] if boolean else mask
        _, inverse, areas = np.unique(labels.ravel(), return_inverse=True, return_counts=True)
        inside = labels.ravel() > 0
        scores.append(np.asarray(map_, dtype=np.float64).ravel())
        gains.append(np.where(inside, 1.0 / areas[inverse], 0.0))
        normals.append(~inside)
    if not scores:
        raise OptionError("AUPRO needs at least one map.")
    return np.concatenate(scores), np.concatenate(gains), np.concatenate(normals)


def _area_up_to(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], limit: float) -> float:
    """Trapezoidal area under a monotone curve from 0 to ``limit``, the end point interpolated."""
    inside = x <= limit
    end = np.interp(limit, x, y)
    return float(np.trapezoid(np.append(y[inside], end), np.append(x[inside], limit)))
