"""Rows of CSAD's tables, and the trainings that they take; see ``benchmarks/csad.py``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

BANDWIDTHS = (0.5, 1.0, 2.0)  # in median distances of components, as the preset "cpu" counts
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
}  # fmt: skip
DEFAULT = ("pseudo-labels", "heads")
GRIDS = ((1,), (1, 2), (1, 2, 3), (1, 2, 4), (1, 2, 3, 4))


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Attributes:
        parts: Cell of the histograms, or None without them.
        students: Cell of the students, or None without them.
        grids: Of the histograms; "spread": those that the training images choose; None: the
            method's default.
    """

    parts: str | None
    students: str | None
    grids: tuple[int, ...] | str | None = None


ROWS: dict[str, Row] = {
    "table 7, histograms": Row(DEFAULT[0], None),
    "table 7, students": Row(None, DEFAULT[1]),
    "table 7, both": Row(*DEFAULT),
    "true labels, histograms": Row("true labels", None),
    "true labels, both": Row("true labels", DEFAULT[1]),
    "table 3, LSA": Row(DEFAULT[0], None, (1,)),
    "table 3, CutPaste": Row("cutpaste", None, (1,)),
    "table 3, none": Row("no augmentation", None, (1,)),
    **{f"table 4, {'+'.join(map(str, g))}": Row(DEFAULT[0], None, g) for g in GRIDS},
    "table 4, spread": Row(DEFAULT[0], None, "spread"),
    **{f"table 5, {ends}": Row(None, ends) for ends in STUDENTS},
    "table 5, heads + 1": Row(*DEFAULT, (1,)),
    "table 5, heads + 1, no LSA": Row("no augmentation", DEFAULT[1], (1,)),
    "table 5, heads + 1 + 2": Row(*DEFAULT, (1, 2)),
    **{
        f"figure 10, {name}": Row(name, None)
        for name in (DEFAULT[0], *PARTS)
        if name == DEFAULT[0] or name.startswith("bandwidth")
    },
}
SPRO_ROWS = {"table 6, students": "table 7, students", "table 6, both": "table 7, both"}
