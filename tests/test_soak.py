"""Endurance: a detector that judges for hours needs no more memory, files or time than at first.

    pytest -m soak tests/test_soak.py

Its figures are written to ``benchmarks/results/soak.json``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import fmlad
from benchmarks.common import keep
from tests.conftest import picture

ROUNDS, QUERIES = 5, 100
FEW = 32  # MiB that later rounds may need beyond the first


def resident() -> float:
    """Memory of this process in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def queries(round_: int) -> Iterator[np.ndarray]:
    for number in range(QUERIES):
        yield picture(1000 * round_ + number, (240, 320), defect=number % 2 == 0)


@pytest.mark.soak
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
def test_hundreds_of_verdicts_leave_nothing_behind() -> None:
    shots = [picture(seed, (240, 320)) for seed in range(4)]
    detector = fmlad.Detector.from_shots(shots, profile="builtin")
    memory, files = [], []
    for round_ in range(ROUNDS):
        verdicts = list(map(type, detector.predict_many(queries(round_))))
        assert set(verdicts) == {fmlad.Prediction}
        memory.append(round(resident(), 1))
        files.append(len(list(Path("/proc/self/fd").iterdir())))
    figures = {"queries a round": QUERIES, "resident, MiB": memory, "open files": files}
    keep("soak", f"method banks, builtin profile, {ROUNDS} rounds", figures)
    assert max(memory[1:]) - memory[0] < FEW
    assert max(files) == files[0]
