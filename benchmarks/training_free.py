"""All methods that need no training, on scenes, digits, dice and circuit boards.

    python -m benchmarks.training_free

The suite `training-free` of `fmlad bench` on the embedded profile: banks, their patch bank alone,
SAM-LAD, and CLIP-LAD where there is a prompt set. Shots are drawn at random, the same for all, and
nothing is chosen on test labels. Where results go: `benchmarks/suite_runs.py`.
"""

from __future__ import annotations

import sys

from benchmarks.suite_runs import run_suite

if __name__ == "__main__":
    sys.exit(run_suite("training-free", __doc__ or ""))
