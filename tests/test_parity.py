"""One score, whoever asks: Python, many at once, a loaded detector, the command line, the page."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import fmlad
from fmlad.app import service
from tests.conftest import picture


def test_every_way_in_gives_the_same_score(folder: Path, tmp_path: Path) -> None:
    query = tmp_path / "query.png"
    Image.fromarray(picture(9, defect=True)).save(query)

    detector = fmlad.Detector.from_shots(folder, profile="builtin")
    score = detector.predict(query).score
    (many,) = detector.predict_many([query])
    assert isinstance(many, fmlad.Prediction)
    loaded = fmlad.Detector.load(detector.save(tmp_path / "saved")).predict(query)

    cli = [sys.executable, "-m", "fmlad"]
    out = tmp_path / "by-cli"
    for arguments in (
        ["fit", str(folder), "--out", str(out), "--profile", "builtin"],
        ["predict", str(out), str(query), "--json"],
    ):
        done = subprocess.run([*cli, *arguments], capture_output=True, text=True, check=True)
    by_cli = json.loads(done.stdout)["score"]

    page = service.judge(
        sorted(folder.iterdir()),
        [query],
        method="banks",
        profile="builtin",
        detectors=service.DetectorCache(),
    )
    assert page.error is None
    scores = [many.score, loaded.score, by_cli, page.verdicts[0].score]
    assert scores == pytest.approx([score] * 4, abs=1e-6)
