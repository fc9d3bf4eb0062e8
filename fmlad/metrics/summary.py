"""All metrics of one category at once, under the names that result files and tables use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from fmlad.errors import OptionError
from fmlad.metrics import reading
from fmlad.metrics.curve import SproCurve
from fmlad.metrics.image import (
    auroc,
    average_precision,
    f1_floor,
    f1_max,
    finite_scores,
    fpr_at_tpr,
)
from fmlad.metrics.reading import FloatMap, Regions
from fmlad.metrics.region import spro_curve
from fmlad.metrics.sweep import sweep

KINDS = ("good", "logical", "structural", "anomalous")
SPRO_LIMITS = (0.01, 0.05, 0.1, 0.3, 1.0)  # those of MVTec LOCO's evaluator
AUPRO_LIMIT = 0.3
CURVE_POINTS = 512


def image_metrics(kinds: Sequence[str], scores: npt.ArrayLike) -> dict[str, float]:
    """Metrics over one score per image.

    Args:
        kinds: ``(n,)``, each ``"good"``, ``"logical"``, ``"structural"``, or ``"anomalous"`` where
            the sort is not known.
        scores: ``(n,)``, finite, higher = more anomalous.

    Returns:
        ``auroc_logical`` and ``auroc_structural``: good images against those of one sort alone;
        ``auroc_mean``: mean of these two; over all images ``auroc_micro``, ``ap``, ``f1_max``,
        ``f1_floor`` and ``fpr95`` (at 95 % true positives). A key is absent where one of its
        classes is; without a good or without an anomalous image nothing is left.

    Raises:
        OptionError: Lengths differ, a kind is unknown, or a score is not finite.
    """
    unknown = sorted({str(kind) for kind in kinds} - set(KINDS))
    if unknown:
        raise OptionError(f"unknown kind of image {unknown[0]!r}; expected one of {KINDS}.")
    names = np.asarray(list(kinds), dtype=str)
    values = finite_scores(scores)
    if values.shape != names.shape:
        raise OptionError(f"got {len(names)} kinds and scores {values.shape}; expected one each.")
    good = names == "good"
    if good.all() or not good.any():
        return {}
    figures = {}
    for kind in ("logical", "structural"):
        chosen = good | (names == kind)
        if (names == kind).any():
            figures[f"auroc_{kind}"] = auroc(~good[chosen], values[chosen])
    if len(figures) == 2:
        figures["auroc_mean"] = sum(figures.values()) / 2
    return figures | {
        "auroc_micro": auroc(~good, values),
        "ap": average_precision(~good, values),
        "f1_max": f1_max(~good, values),
        "f1_floor": f1_floor(~good),
        "fpr95": fpr_at_tpr(~good, values, 0.95),
    }


@dataclass(frozen=True)
class PixelReport:
    """Figures as of :func:`pixel_metrics`; the thinned sPRO curve, None with nothing to find."""

    figures: dict[str, float]
    curve: SproCurve | None = field(repr=False, default=None)


def pixel_metrics(
    maps: Sequence[FloatMap],
    regions: Sequence[Regions],
    saturations: Sequence[Sequence[float]],
    kinds: Sequence[str] | None = None,
) -> dict[str, float]:
    """Metrics over anomaly maps (arguments: :func:`pixel_report`).

    Returns:
        ``pixel_auroc``, ``aupro`` (up to a false positive rate of 0.3), ``spro@0.01``,
        ``spro@0.05``, ``spro@0.1``, ``spro@0.3``, ``spro@1.0`` of all images at once; with kinds
        ``spro_logical@...``, ``spro_structural@...`` and ``spro_mean@...``, the figure that MVTec
        LOCO's evaluator reports; nothing where there is no region.
    """
    return pixel_report(maps, regions, saturations, kinds=kinds).figures


def pixel_report(
    maps: Sequence[FloatMap],
    regions: Sequence[Regions],
    saturations: Sequence[Sequence[float]],
    points: int = CURVE_POINTS,
    kinds: Sequence[str] | None = None,
) -> PixelReport:
    """Metrics over anomaly maps and the sPRO curve, in one go (arguments: :func:`spro_curve`).

    Pixel AUROC and AUPRO take the union of an image's regions for its mask; AUPRO's regions are the
    8-connected components of that union, as older papers have them. sPRO takes the regions as they
    are. Normal pixels are the same for all: those in no region.

    Where kinds (as :func:`image_metrics` has them) tell both sorts of anomalies apart, sPRO is also
    measured as MVTec LOCO's evaluator does: good images with those of one sort alone, then the
    mean. The curve has at most ``points`` points.

    Raises:
        OptionError: As :func:`fmlad.metrics.spro_curve`, but for a lack of regions.
    """
    if kinds is not None:
        reading.check_lengths(maps, kinds=kinds)
    splits = (reading.all_in_one, reading.parts)
    images = reading.region_images(maps, regions, saturations, splits)
    if not any(len(each) for each in saturations):
        return PixelReport({})
    swept = sweep(images, "the pixels' metrics", curves=3)
    # One curve after the other: each may take hundreds of megabytes.
    figures = {"pixel_auroc": swept.curve(0).area(1.0), "aupro": swept.curve(1).area(AUPRO_LIMIT)}
    curve = swept.curve(2)
    figures |= {f"spro@{limit}": curve.area(limit) for limit in SPRO_LIMITS}
    drawn = curve.thinned(points)
    del curve, swept
    figures |= _by_kind(maps, regions, saturations, kinds or ())
    return PixelReport(figures, drawn)


def _by_kind(
    maps: Sequence[FloatMap],
    regions: Sequence[Regions],
    saturations: Sequence[Sequence[float]],
    kinds: Sequence[str],
) -> dict[str, float]:
    """sPRO of each sort of anomalies with the good images, and their mean; {} without both."""
    figures: dict[str, float] = {}
    for kind in ("logical", "structural"):
        rows = [row for row, one in enumerate(kinds) if one in ("good", kind)]
        if not any(len(saturations[row]) for row in rows):
            return {}
        curve = spro_curve(
            [maps[row] for row in rows],
            [regions[row] for row in rows],
            [saturations[row] for row in rows],
        )
        figures |= {f"spro_{kind}@{limit}": curve.area(limit) for limit in SPRO_LIMITS}
    means = {
        f"spro_mean@{a}": (figures[f"spro_logical@{a}"] + figures[f"spro_structural@{a}"]) / 2
        for a in SPRO_LIMITS
    }
    return figures | means
