"""How many images the official datasets have, and how what is on disk differs.

Counts are facts for a note, never a condition: the folders are what is listed.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import Any

from fmlad.datasets.model import Dataset


@lru_cache(maxsize=1)
def facts() -> dict[str, Any]:
    """``official.toml``: ``counts`` by dataset and category, ``types`` by category."""
    path = Path(__file__).with_name("official.toml")
    return tomllib.loads(path.read_text(encoding="utf-8"))


def official_names(dataset: str) -> tuple[str, ...]:
    """Names of the categories of an official dataset; none of others."""
    return tuple(facts()["counts"].get(dataset, ()))


def differences(found: Dataset) -> list[str]:
    """One sentence for each number of images that is not the official one."""
    official = facts()["counts"].get(found.name, {}).get(found.category, {})
    kinds = Counter(sample.kind for sample in found.test)
    here = {
        "train": ("training images", len(found.train)),
        "validation": ("validation images", len(found.validation)),
        "good": ("good test images", kinds["good"]),
        "anomalous": ("anomalous test images", kinds.total() - kinds["good"]),
        "logical": ("logical anomalies", kinds["logical"]),
        "structural": ("structural anomalies", kinds["structural"]),
    }
    return [
        f"{found.category} has {number} {what} here, the official dataset {official[key]}."
        for key, (what, number) in here.items()
        if official.get(key, number) != number
    ]
