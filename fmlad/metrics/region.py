"""Metrics over anomaly maps: sPRO, AUPRO, pixel AUROC.

Maps, masks and regions may be lists, memory-mapped arrays or any sequence that loads an item when
it is asked for; no more than one image at a time is held (see :mod:`fmlad.metrics.sweep`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fmlad.errors import OptionError
from fmlad.metrics import reading
from fmlad.metrics.curve import SproCurve, check_limit
from fmlad.metrics.reading import FloatMap, Mask, Regions
from fmlad.metrics.sweep import sweep


def saturation_area(area: int, threshold: float, relative: bool) -> float:
    """Pixels in (0, area] of a region that suffice to count it as found whole.

    Reads ``saturation_threshold`` and ``relative_saturation`` of one entry of MVTec LOCO's
    ``defects_config.json`` as its official evaluator does: a share in (0, 1] of the ``area``,
    rounded down, but not to nothing; or so many pixels.

    Raises:
        OptionError: The region is empty or the threshold out of range.
    """
    if area < 1:
        raise OptionError(f"a region of {area} pixels cannot saturate; expected one or more.")
    if not 0 < threshold < np.inf or (relative and threshold > 1):
        wanted = "a share in (0, 1]" if relative else "a positive number of pixels"
        raise OptionError(f"saturation_threshold is {threshold}; expected {wanted}.")
    return max(1, int(threshold * area)) if relative else min(threshold, area)


def spro(
    maps: Sequence[FloatMap],
    regions: Sequence[Regions],
    saturations: Sequence[Sequence[float]],
    fpr_limit: float = 0.05,
) -> float:
    """Normalised area in [0, 1] under the curve of :func:`spro_curve` up to ``fpr_limit``.

    Raises:
        OptionError: As :func:`spro_curve`, or ``fpr_limit`` is not in (0, 1].
    """
    check_limit(fpr_limit)
    return spro_curve(maps, regions, saturations).area(fpr_limit)


def spro_curve(
    maps: Sequence[FloatMap], regions: Sequence[Regions], saturations: Sequence[Sequence[float]]
) -> SproCurve:
    """Saturated per-region overlap against false positive rate, every distinct value a threshold.

    At a threshold, a region scores ``min(predicted pixels in it / its saturation area, 1)``, and
    the curve is the mean over all regions of all images. A false positive is a predicted pixel in
    no region of its image; the rate is taken over all such pixels, of good and of anomalous images.
    Regions of one image may overlap, a pixel then counts in each.

    Source: Bergmann et al., "Beyond Dents and Scratches", IJCV 2022, section 4, and the evaluator
    published with MVTec LOCO AD, which places thresholds until its curve is dense and so agrees
    within the density of its points.

    Args:
        maps: ``n`` maps ``(H, W)``, finite, higher = more anomalous; sizes and precisions may
            differ, but one threshold is meant to serve them all.
        regions: ``n`` bool arrays ``(r, H, W)``; ``r`` is 0 for a good image.
        saturations: ``n`` lists of ``r`` areas in pixels, in (0, area of the region]; see
            :func:`saturation_area`.

    Raises:
        OptionError: Lengths or shapes do not fit, a map is not finite, a region is empty, a
            saturation out of range, or no region or no normal pixel exists.
    """
    return sweep(reading.region_images(maps, regions, saturations), "sPRO").curve()


def aupro(maps: Sequence[FloatMap], masks: Sequence[Mask], fpr_limit: float = 0.3) -> float:
    """Area under the per-region-overlap curve up to a false positive rate, normalised to [0, 1].

    Every region weighs the same however large it is. It is sPRO where every region saturates with
    its own area; each distinct map value is a threshold.

    Source: Bergmann et al., "The MVTec Anomaly Detection Dataset", IJCV 2021, section 5.1.

    Args:
        maps: As for :func:`spro_curve`.
        masks: ``n`` masks ``(H, W)``. Boolean: 8-connected components are the regions.
            Integer: each positive label is one region.
        fpr_limit: Upper end of the integral, in (0, 1].

    Raises:
        OptionError: Shapes do not fit, a map is not finite, or no region or no normal pixel exists.
    """
    check_limit(fpr_limit)
    images = reading.mask_images(maps, masks, reading.parts)
    return sweep(images, "AUPRO").curve().area(fpr_limit)


def pixel_auroc(maps: Sequence[FloatMap], masks: Sequence[Mask]) -> float:
    """Area under the ROC curve of all pixels of all images together, ties counting one half.

    Large regions outweigh small ones, and normal pixels are so many that it is close to 1 for most
    methods: reported for comparison with older papers. Masks are positive where anomalous.

    Raises:
        OptionError: As :func:`aupro`.
    """
    images = reading.mask_images(maps, masks, reading.all_in_one)
    return sweep(images, "pixel AUROC").curve().area(1.0)
