"""Maps and their annotations, read one image at a time and checked on the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Sized
from typing import Any

import numpy as np
import numpy.typing as npt

from fmlad.errors import OptionError
from fmlad.metrics.sweep import Images, Pixels, Region, Values

FloatMap = npt.NDArray[np.floating]
Mask = npt.NDArray[Any]
Regions = npt.NDArray[np.bool_]
Split = Callable[[Values, Mask], tuple[Region, ...]]
"""Makes the regions of one curve of a map ``(H, W)`` and the mask of its anomalous pixels."""


def check_lengths(maps: Sized, **others: Sized) -> None:
    """Raises OptionError unless there is one of everything for each map."""
    for name, other in others.items():
        if len(other) != len(maps):
            raise OptionError(f"got {len(maps)} maps and {len(other)} {name}; expected one a map.")


def read_map(maps: Sequence[FloatMap], index: int) -> Values:
    """Map ``index``, ``(H, W)``, finite, as floats of its own precision; else OptionError."""
    found = np.asarray(maps[index])
    if found.ndim != 2:
        raise OptionError(f"map {index} has shape {found.shape}; expected (H, W).")
    if found.dtype.kind in "biu":
        found = found.astype(np.float64)
    elif found.dtype == np.float16:
        found = found.astype(np.float32)
    elif found.dtype.kind != "f":
        raise OptionError(f"map {index} is of type {found.dtype}; expected floating point.")
    if not np.isfinite(found).all():
        raise OptionError(f"map {index} holds NaN or infinity.")
    return found


def read_regions(regions: Sequence[Regions], index: int, map_: Values, count: int) -> Regions:
    """Regions of image ``index``, bool ``(count, H, W)`` like the map; else OptionError."""
    found = np.asarray(regions[index])
    if count == 0 and len(found) == 0:
        return np.empty((0, *map_.shape), dtype=np.bool_)
    if found.shape != (count, *map_.shape) or found.dtype != np.bool_:
        raise OptionError(
            f"regions {index} are {found.dtype} {found.shape}; expected bool "
            f"{(count, *map_.shape)} for {count} saturations and a map {map_.shape}."
        )
    return found


def outside(regions: Regions) -> npt.NDArray[np.bool_] | None:
    """Pixels ``(H, W)`` in none of the regions ``(r, H, W)``; None where there is no region."""
    return np.logical_not(np.any(regions, axis=0)) if len(regions) else None


def saturating(
    map_: Values, regions: Regions, saturations: Sequence[float], index: int
) -> tuple[Region, ...]:
    """Regions of image ``index``, each with a saturation in (0, its area]; else OptionError."""
    found = []
    for number, (region, saturation) in enumerate(zip(regions, saturations, strict=True)):
        values = map_[region]
        if not 0 < saturation <= len(values):
            raise OptionError(
                f"region {number} of image {index} has {len(values)} pixels and saturates at "
                f"{saturation}; expected more than 0 and at most its area (see saturation_area)."
            )
        found.append(Region(values, float(saturation)))
    return tuple(found)


def region_images(
    maps: Sequence[FloatMap],
    regions: Sequence[Regions],
    saturations: Sequence[Sequence[float]],
    splits: Sequence[Split] = (),
) -> Images:
    """Images with regions, for one curve a split of their union, and one of the regions themselves.

    OptionError without one of everything for each map; single images are checked when read.
    """
    check_lengths(maps, regions=regions, saturations=saturations)

    def read(index: int) -> Pixels:
        map_, enough = read_map(maps, index), saturations[index]
        own = read_regions(regions, index, map_, len(enough))
        normal = outside(own)
        found = [() if normal is None else split(map_, ~normal) for split in splits]
        return Pixels(map_, normal, (*found, saturating(map_, own, enough, index)))

    return Images(len(maps), lambda index: len(saturations[index]) == 0, read)


def mask_images(maps: Sequence[FloatMap], masks: Sequence[Mask], split: Split) -> Images:
    """Images with masks, for one curve (errors: :func:`region_images`)."""
    check_lengths(maps, masks=masks)

    def read(index: int) -> Pixels:
        map_ = read_map(maps, index)
        mask = np.asarray(masks[index])
        if mask.shape != map_.shape:
            raise OptionError(
                f"map {index} has shape {map_.shape}, its mask {mask.shape}; expected (H, W)."
            )
        return Pixels(map_, ~(mask > 0), (split(map_, mask),))

    return Images(len(maps), lambda index: not (np.asarray(masks[index]) > 0).any(), read)


def parts(map_: Values, mask: Mask) -> tuple[Region, ...]:
    """Regions of one mask: 8-connected components if boolean, else its positive labels."""
    if mask.dtype == np.bool_:
        from scipy import ndimage

        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if rows.size == 0:
            return ()
        box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        map_, mask = map_[box], ndimage.label(mask[box], structure=np.ones((3, 3)))[0]
    inside = mask > 0
    labels, values = mask[inside], map_[inside]
    order = np.argsort(labels, kind="stable")
    cuts = np.flatnonzero(np.diff(labels[order])) + 1
    found = np.split(values[order], cuts) if values.size else []
    return tuple(Region(part, len(part)) for part in found)


def all_in_one(map_: Values, mask: Mask) -> tuple[Region, ...]:
    """All pixels of a mask as one region that weighs as much as it has pixels.

    Over many images that makes the curve of the overlap the ROC curve of pixels.
    """
    values = map_[mask > 0]
    return (Region(values, len(values), float(len(values))),) if values.size else ()
