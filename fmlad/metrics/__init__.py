"""Figures of merit. Single ones return a plain ``float``; higher scores mean more anomalous."""

from __future__ import annotations

from fmlad.metrics.curve import SproCurve
from fmlad.metrics.image import auroc, average_precision, f1_floor, f1_max, fpr_at_tpr
from fmlad.metrics.region import aupro, pixel_auroc, saturation_area, spro, spro_curve
from fmlad.metrics.summary import PixelReport, image_metrics, pixel_metrics, pixel_report

__all__ = [
    "PixelReport",
    "SproCurve",
    "aupro",
    "auroc",
    "average_precision",
    "f1_floor",
    "f1_max",
    "fpr_at_tpr",
    "image_metrics",
    "pixel_auroc",
    "pixel_metrics",
    "pixel_report",
    "saturation_area",
    "spro",
    "spro_curve",
]
