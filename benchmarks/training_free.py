"""All methods that need no training, on scenes, digits, dice and circuit boards.

    python -m benchmarks.training_free

The suite `training-free` of `fmlad bench` on the embedded profile: banks, their patch bank alone,
SAM-LAD, and CLIP-LAD where there is a prompt set. Shots are drawn at random, the same for all, and
nothing is chosen on test labels. Cells, report and pictures go to `out/bench/training-free`, in a
folder of the commit that made them; a run that was stopped goes on where it was. Means over seeds,
with their spread and intervals, go to `benchmarks/results/bench-training-free.json`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks.common import ROOT, code_name, keep
from fmlad import bench
from fmlad.bench.groups import condensed, groups
from fmlad.bench.report import write_report

SUITE = "training-free"
OUT = ROOT / "out" / "bench" / SUITE


def say(done: int, total: int, what: str) -> None:
    """One line a step."""
    print(f"[{done}/{total}] {what}", flush=True)


def main() -> int:
    """Exit code: 0 if every cell could be done, else 1."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, default=OUT, help="results folder")
    parser.add_argument("--no-report", action="store_true", help="figures alone")
    arguments = parser.parse_args()
    results = bench.run(SUITE, arguments.out / code_name(), progress=say)
    for failed in results.failed:
        print(f"{failed.cell.key}: {failed.message}", file=sys.stderr)
    plan = results.plan
    protocol = (
        f"suite {SUITE}: {len(plan.tasks)} tasks, k {', '.join(map(str, plan.shots))}, "
        f"seeds {', '.join(map(str, plan.seeds))}, {plan.threads} threads"
    )
    if not results.failed:  # a table with holes is not kept
        keep(f"bench-{SUITE}", protocol, {"groups": condensed(groups(results))}, seeds=plan.seeds)
    if not arguments.no_report:
        command = f"python -m benchmarks.{Path(__file__).stem}"
        page, _ = write_report(results.folder, command=command, progress=say)
        print(page)
    return 1 if results.failed else 0


if __name__ == "__main__":
    sys.exit(main())
