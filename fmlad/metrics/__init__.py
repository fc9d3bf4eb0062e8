"""Figures of merit. All return a plain ``float``; higher scores mean more anomalous."""

from __future__ import annotations

from fmlad.metrics.image import auroc, average_precision, f1_max
from fmlad.metrics.region import aupro

__all__ = ["aupro", "auroc", "average_precision", "f1_max"]
