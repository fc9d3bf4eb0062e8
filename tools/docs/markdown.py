"""What all tables of the documents share: results files, rows, cells."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"

NOTHING = "–"  # a cell without a figure

Row = str | Sequence[object]  # ready-made, or its cells


def content(name: str) -> dict[str, Any]:
    """All that a benchmark wrote to ``benchmarks/results/NAME.json``."""
    return dict(json.loads((RESULTS / f"{name}.json").read_text()))


def figures(name: str) -> dict[str, Any]:
    """The figures among them."""
    return dict(content(name)["figures"])


def origin(found: Mapping[str, Any]) -> str:
    """Command, commit and protocol of a results file, as they stand under its table."""
    commit = (found["commit"] or "unknown")[:12]
    changed = ", with changes" if found["dirty"] else ""
    return f"`{found['command']}`, commit {commit}{changed}; {found['protocol']}."


def row(cells: Row) -> str:
    """One line of a table."""
    return cells if isinstance(cells, str) else f"| {' | '.join(map(str, cells))} |"


def table(heading: Row, rows: Iterable[Row], sides: str = "") -> list[str]:
    """Lines of a table.

    Args:
        heading: One cell per column.
        rows: Likewise.
        sides: The line below the heading; "" puts all columns on the left.
    """
    first = row(heading)
    return [first, sides or "|" + "---|" * (first.count("|") - 1), *map(row, rows)]


def pair(found: Mapping[str, Any], key: str) -> str:
    """``logical / structural`` of figures under ``KEY, logical`` and ``KEY, structural``."""
    return " / ".join(f"{found[f'{key}, {kind}']:.3f}" for kind in ("logical", "structural"))
