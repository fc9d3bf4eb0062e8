"""MVTec LOCO AD: the shared layout, with saturation areas, prompt sets and sub-types."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fmlad.datasets.counts import official_names
from fmlad.datasets.files import entries, find_category, spelled
from fmlad.datasets.model import Dataset
from fmlad.datasets.product_types import check_subtype, keep_type, loco_type, loco_types
from fmlad.datasets.tree import CONFIG, is_tree, read_tree


def load_loco(root: Path, category: str, subtype: str | None) -> Dataset:
    """Reads a category of MVTec LOCO, or one sub-type of it."""
    official = official_names("mvtec_loco")
    home = find_category("mvtec_loco", root, category, official, is_tree)
    category = spelled(home, official)
    check_subtype("mvtec_loco", category, subtype, loco_types(category))
    found = read_tree("mvtec_loco", home, category)
    if found.localised and not any(path.name.lower() == CONFIG for path in entries(home)):
        note = f"{CONFIG} is missing: each region saturates at its whole area."
        found = replace(found, notes=(*found.notes, note))
    # The bundled sets are for one sub-type each where there are some, and those have no names yet.
    if category in official and not loco_types(category):
        found = replace(found, prompts=f"mvtec_loco/{category}")
    if subtype is None:
        return found
    return keep_type(found, subtype, {s.path: loco_type(category, s.path) for s in found.train})
