"""Rows of CSAD's tables, and the trainings that they take; see ``benchmarks/csad.py``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

from fmlad.methods.csad.patch_histogram import Joined

BANDWIDTHS = (0.3, 0.5, 0.7)  # in median distances of components, as the preset "cpu" counts
# Cells -> what is unlike the default, and whether the true part maps are the labels.
PARTS: dict[str, tuple[dict[str, Any], bool]] = {
    "pseudo-labels": ({}, False),
    "true labels": ({}, True),
    "cutpaste": ({"segmenter": {"paste": "cutpaste"}}, False),
    "no augmentation": ({"segmenter": {"paste": "none"}}, False),
    **{f"bandwidth {b:g}": ({"pseudo_labels": {"bandwidth": b}}, False) for b in BANDWIDTHS},
}
STUDENTS: dict[str, dict[str, Any]] = {
    "heads": {}, "double": {"ends": "double"}, "same": {"ends": "same"},
    # Ours: a local student that is told by the cells around, of finer levels.
    "around": {"source": "around", "taught": "fine", "averaged": 1, "hard": 0.0, "width": 64},
}  # fmt: skip
DEFAULT = ("pseudo-labels", "heads")
GRIDS = ((1,), (1, 2), (1, 2, 3), (1, 2, 4), (1, 2, 3, 4))
SPREAD = "spread"  # each class in the cells that it keeps to
# Grids and how they are joined -> what the cells of the histograms hold scores of.
SETTINGS: tuple[tuple[tuple[int, ...] | str, Joined], ...] = tuple(
    (grids, joined) for grids in (*GRIDS, SPREAD) for joined in get_args(Joined)
)
DEFAULT_SETTING: tuple[str, Joined] = (SPREAD, "norm")


def setting_name(grids: tuple[int, ...] | str, joined: str) -> str:
    """Of one of :data:`SETTINGS`."""
    cells = grids if isinstance(grids, str) else "+".join(map(str, grids))
    return f"{cells} {joined}"


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Attributes:
        parts: Cell of the histograms, or None without them.
        students: Cell of the students, or None without them.
        setting: One of :data:`SETTINGS`, of the histograms.
    """

    parts: str | None
    students: str | None
    setting: str = setting_name(*DEFAULT_SETTING)


ROWS: dict[str, Row] = {
    "table 7, histograms": Row(DEFAULT[0], None),
    "table 7, students": Row(None, DEFAULT[1]),
    "table 7, both": Row(*DEFAULT),
    "true labels, histograms": Row("true labels", None),
    "true labels, both": Row("true labels", DEFAULT[1]),
    "table 3, LSA": Row(DEFAULT[0], None),
    "table 3, CutPaste": Row("cutpaste", None),
    "table 3, none": Row("no augmentation", None),
    **{
        f"table 4, {setting_name(*one)}": Row(DEFAULT[0], None, setting_name(*one))
        for one in SETTINGS
    },
    **{f"table 5, {ends}": Row(None, ends) for ends in STUDENTS},
    "table 5, heads + 1": Row(*DEFAULT, "1 sum"),
    "table 5, heads + 1, no LSA": Row("no augmentation", DEFAULT[1], "1 sum"),
    "table 5, heads + 1 + 2": Row(*DEFAULT, "1+2 sum"),
    **{
        f"figure 10, {name}": Row(name, None)
        for name in (DEFAULT[0], *PARTS)
        if name == DEFAULT[0] or name.startswith("bandwidth")
    },
}
SPRO_ROWS = {"table 6, students": "table 7, students", "table 6, both": "table 7, both"}
