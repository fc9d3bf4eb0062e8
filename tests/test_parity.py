"""One score, whoever asks: Python, many at once, a loaded detector, the command line, the page."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fmlad
from fmlad.app import service
from tests.commands.test_main import fmlad_cli
from tests.conftest import picture


@pytest.mark.parametrize("registration", [pytest.param(True, marks=pytest.mark.slow), False])
def test_many_at_once_are_one_by_one(
    registration: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FMLAD_CACHE_LIMIT_MB", "0")  # all of them are computed
    sizes = [(120, 160), (120, 160), (90, 200), (8, 8), (16, 800), (120, 160), (8, 8)]
    queries = [picture(i, size, defect=i % 2 == 0) for i, size in enumerate(sizes, start=9)]
    shots = [picture(0), picture(1), picture(2), picture(3, (160, 120))]
    detector = fmlad.Detector.from_shots(
        shots, profile="builtin", banks="patch", registration=registration
    )
    loaded = fmlad.Detector.load(detector.save(tmp_path / "saved"))
    expected = [detector.predict(query) for query in queries]
    # To register takes most of the time, and is done image by image whatever the batch.
    tried = [(detector, 3), (loaded, 8)]
    if not registration:
        tried += [(detector, 1), (detector, 8), (loaded, 1), (loaded, 3)]
    for judge, size in tried:
        for one, other in zip(judge.predict_many(queries, size), expected, strict=True):
            assert isinstance(one, fmlad.Prediction)
            assert one.score == pytest.approx(other.score, rel=1e-4, abs=1e-4)
            np.testing.assert_allclose(one.anomaly_map, other.anomaly_map, atol=1e-3)
    for query, other in list(zip(queries, expected, strict=True))[1:5]:  # of every size
        assert loaded.predict(query).score == other.score


def test_every_way_in_gives_the_same_score(folder: Path, tmp_path: Path) -> None:
    query = tmp_path / "query.png"
    Image.fromarray(picture(9, defect=True)).save(query)

    detector = fmlad.Detector.from_shots(folder, profile="builtin")
    score = detector.predict(query).score
    (many,) = detector.predict_many([query])
    assert isinstance(many, fmlad.Prediction)
    loaded = fmlad.Detector.load(detector.save(tmp_path / "saved")).predict(query)

    out = tmp_path / "by-cli"
    for arguments in (
        ("fit", folder, "--out", out, "--profile", "builtin", "--no-check"),
        ("predict", out, query, "--json"),
    ):
        done = fmlad_cli(*arguments)
        assert done.returncode == 0, done.stderr
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
