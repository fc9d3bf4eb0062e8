"""MVTec AD and the datasets that took over its layout: MPDD, and BTAD under other names."""

from __future__ import annotations

from pathlib import Path

from fmlad.datasets.counts import OFFICIAL, differences
from fmlad.datasets.files import categories_in, check_root, find_category, spelled
from fmlad.datasets.model import Dataset
from fmlad.datasets.tree import TreeRules, is_tree, read_tree

_RULES = {
    "mvtec_ad": TreeRules(),
    "mpdd": TreeRules(),
    "btad": TreeRules(good=("ok",), defect=lambda name: None),
    "visa": TreeRules(defect=lambda name: None),
}


def categories(dataset: str, root: Path) -> list[str]:
    """The categories on disk."""
    check_root(root)
    return [spelled(path, tuple(OFFICIAL[dataset])) for path in categories_in(root, is_tree)]


def load_like(dataset: str, root: Path, category: str) -> Dataset:
    """Reads a category of ``"mvtec_ad"``, ``"mpdd"`` or ``"btad"``."""
    home = find_category(dataset, root, category, tuple(OFFICIAL[dataset]), is_tree)
    return read_home(dataset, home)


def read_home(dataset: str, home: Path) -> Dataset:
    """Reads the folder of a category."""
    found = read_tree(home, _RULES[dataset])
    category = spelled(home, tuple(OFFICIAL[dataset]))
    found.notes = [
        *differences(dataset, category, found.train, found.validation, found.test),
        *found.notes,
    ]
    return found.dataset(dataset, home, category)
