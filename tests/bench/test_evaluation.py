"""A saved detector on a dataset."""

from __future__ import annotations

from pathlib import Path

import pytest

import fmlad
from fmlad.bench.evaluation import evaluate
from fmlad.bench.model import Task
from fmlad.errors import CorruptDetectorError, DatasetError, OptionError
from tests.bench.support import KINDS


def saved(shots: list[Path], folder: Path) -> Path:
    options = {"banks": ("patch",), "registration": False}
    detector = fmlad.Detector.from_shots(shots, method="banks", profile="builtin", **options)
    return detector.save(folder)


def test_figures_are_those_of_its_verdicts(pictures: Path, tmp_path: Path) -> None:
    home = saved(sorted((pictures / "train").glob("*.png"))[:3], tmp_path / "d")
    told: list[int] = []
    found = evaluate(
        home, Task("board", str(pictures), ""), progress=lambda done, total, what: told.append(done)
    )
    assert told == list(range(1, sum(KINDS.values()) + 1))
    detector = fmlad.Detector.load(home)
    for row, kind in ((found.rows[0], "good"), (found.rows[-1], "structural")):
        path = pictures / kind / f"{row.name.partition('/')[2]}.png"
        assert row.score == detector.predict(path).score
    decided = [row for row in found.rows if row.kind == "good"]
    share = sum(row.score > (row.threshold or 0) for row in decided) / len(decided)
    assert found.alarms["good"] == share
    assert {"auroc_micro", "aupro"} <= found.figures.keys()


def test_shots_are_not_tested(pictures: Path, tmp_path: Path) -> None:
    home = saved(sorted((pictures / "train").glob("*.png"))[:3], tmp_path / "d")
    found = evaluate(home, Task("pool", str(pictures), "", localise=False))
    names = {row.name for row in found.rows}
    assert len(names) == 9 - 3 + 8
    assert not names & {"train/00", "train/01", "train/02"}
    assert any("3 test images are shots" in note for note in found.notes)


def test_what_it_cannot_do(pictures: Path, tmp_path: Path) -> None:
    home = saved(sorted((pictures / "train").glob("*.png")), tmp_path / "d")
    with pytest.raises(OptionError, match="reference of its own"):
        evaluate(home, Task("pairs", str(pictures), ""))
    with pytest.raises(DatasetError, match="has not seen"):
        evaluate(home, Task("pool", str(pictures), ""))
    with pytest.raises(CorruptDetectorError):
        evaluate(tmp_path / "gone", Task("board", str(pictures), ""))
