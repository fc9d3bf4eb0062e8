"""PatchCore on real pretrained networks beside the embedded profile, in one run.

    python -m benchmarks.peers

The suite `peers` of `fmlad bench`: the patch bank of the embedded profile, and anomalib's PatchCore
on SqueezeNet and on EfficientNet-Lite0, on scenes, dice and circuit boards. Needs `fmlad[bench]`
and, for dice and boards, the shared photographs. Shots are the same for all. Where results go:
`benchmarks/suite_runs.py`.
"""

from __future__ import annotations

import sys

from benchmarks.suite_runs import run_suite

if __name__ == "__main__":
    sys.exit(run_suite("peers", __doc__ or ""))
