"""Runs a suite of `fmlad bench` and condenses what came of it into a results file.

Cells, report and pictures go to `out/bench/SUITE`, in a folder of the commit that made them; a run
that was stopped goes on where it was. Means over seeds, with their spread and intervals, go to
`benchmarks/results/bench-SUITE.json`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.common import ROOT, code_name, keep
from fmlad import bench
from fmlad.bench.groups import Group, groups
from fmlad.bench.report import write_report
from fmlad.bench.summary import Line


def say(done: int, total: int, what: str) -> None:
    """One line a step."""
    print(f"[{done}/{total}] {what}", flush=True)


def run_suite(suite: str, description: str) -> int:
    """The command line of one suite; exit code: 0 if every cell could be done, else 1."""
    parser = argparse.ArgumentParser(description=description.split("\n")[0])
    out = ROOT / "out" / "bench" / suite
    parser.add_argument("--out", type=Path, default=out, help="results folder")
    parser.add_argument("--no-report", action="store_true", help="figures alone")
    arguments = parser.parse_args()
    results = bench.run(suite, arguments.out / code_name(), progress=say)
    for failed in results.failed:
        print(f"{failed.cell.key}: {failed.message}", file=sys.stderr)
    plan = results.plan
    protocol = (
        f"suite {suite}: {len(plan.tasks)} tasks, k {', '.join(map(str, plan.shots))}, "
        f"seeds {', '.join(map(str, plan.seeds))}, threads: {plan.threads}"
    )
    if not results.failed:  # a table with holes is not kept
        keep(f"bench-{suite}", protocol, {"groups": condensed(groups(results))}, seeds=plan.seeds)
    if not arguments.no_report:
        command = f"python -m benchmarks.{suite.replace('-', '_')}"
        page, _ = write_report(results.folder, command=command, progress=say)
        print(page)
    return 1 if results.failed else 0


def condensed(found: Iterable[Group]) -> list[dict[str, Any]]:
    """JSON-ready: what tables need of groups, and nothing of single images."""
    return [
        {
            "dataset": group.dataset,
            "title": group.title,
            "tasks": list(group.tasks),
            "lines": [_condensed(line) for line in group.lines],
        }
        for group in found
    ]


def _condensed(line: Line) -> dict[str, Any]:
    """Absolute paths among options are cut down to their names: elsewhere they say nothing."""
    options = {
        name: Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value
        for name, value in line.entry.options.items()
    }
    figures = {
        name: {key: round(value, 4) for key, value in vars(figure).items() if value is not None}
        for name, figure in line.figures.items()
    }
    return {
        "entry": line.entry.label,
        "method": line.entry.method,
        "profile": line.entry.profile,
        "options": options,
        "shots": line.shots,
        "seeds": list(line.seeds),
        "images": line.images,
        "category_prompts": line.category_prompts,
        "normals_beyond_k": line.normals_beyond_k,
        "figures": figures,
        "cost": {name: round(value, 4) for name, value in line.cost.items()},
    }
