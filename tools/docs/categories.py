"""Figures by category of the scenes, as the benchmarks of trained methods keep them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tools.docs.markdown import NOTHING

CATEGORIES = ("breakfast_box", "juice_bottle", "pushpins", "screw_bag", "splicing_connectors")
COLUMNS = (*CATEGORIES, "mean", "worst")


def pairs(figures: Mapping[str, Any], row: str, columns: Sequence[str] = COLUMNS) -> list[str]:
    """Logical / structural of each column that was measured."""
    keys = ((f"{row}: {one}: logical", f"{row}: {one}: structural") for one in columns)
    return [
        f"{figures[one]:.2f} / {figures[other]:.2f}" if one in figures else NOTHING
        for one, other in keys
    ]


def values(
    figures: Mapping[str, Any], row: str, what: str, columns: Sequence[str] = COLUMNS
) -> list[str]:
    """One figure of each column."""
    return [f"{figures[f'{row}: {one}: {what}']:.2f}" for one in columns]


def measured(figures: Mapping[str, Any], row: str) -> list[str]:
    """Categories for which a row was measured."""
    return [one for one in CATEGORIES if f"{row}: {one}: logical" in figures]
