"""The tables of the embedded features, from made-up results files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tools.docs import features, markdown

BASE: Mapping[str, Any] = {
    "AUROC": 0.71,
    "AUROC, worst draw": 0.655,
    "AUPRO@0.05": 0.6,
    "AUPRO@0.05, worst draw": 0.5,
}
WORSE: Mapping[str, Any] = BASE | {
    "AUROC, difference": [-0.02, -0.05, 0.01],
    "AUPRO@0.05, difference": [0.1, 0.05, 0.15],
}


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(markdown, "RESULTS", tmp_path)
    return tmp_path


def keep(folder: Path, name: str, figures: Mapping[str, Any]) -> None:
    content = {"protocol": "six draws", "command": f"python -m benchmarks.{name}"}
    state = {"commit": "0123456789abcdef", "dirty": True}
    (folder / f"{name}.json").write_text(json.dumps(content | state | {"figures": figures}))


def rows(lines: list[str]) -> list[list[str]]:
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in lines
        if line.startswith("|") and not line.startswith("|---")
    ]


def test_scenes_have_differences_worst_draws_categories_and_worlds(results: Path) -> None:
    split = {"categories": {"pushpins": [0.9, 0.8]}, "worlds": {"5": [0.7, 0.6]}}
    first = BASE | {"dimensions": "384", "encode, ms": 80.5} | split
    keep(results, "embedded", {"scenes": {"first": first, "second": WORSE}})
    text = features.embedded()
    found = rows(text)
    assert found[1] == ["first", "0.710 (0.655)", "0.600 (0.500)", "–", "–", "384", "80.5"]
    # What falls short stays, and what was not measured is left empty.
    assert found[2][3:] == [
        "-0.020 (-0.050 to +0.010)",
        "+0.100 (+0.050 to +0.150)",
        "–",
        "–",
    ]
    assert found[3] == ["AUROC / AUPRO@0.05", "pushpins", "world 5"]
    assert found[4:] == [["first", "0.900 / 0.800", "0.700 / 0.600"], ["second", "–", "–"]]
    assert text[-1] == (
        "`python -m benchmarks.embedded`, commit 0123456789ab, with changes; six draws."
    )


def test_textures_are_told_by_shots_features_and_place(results: Path) -> None:
    other = "timm:x#levels=2+3,side=224"
    figures = {
        f"{start}, {shots} shots, {name}": row
        for start in ("brick, world 0", "moon, world 0", "mean")
        for name, row in (("builtin:a@1", BASE), (other, WORSE))
        for shots in (4, 16)
    }
    keep(results, "textures", figures)
    found = rows(features.textures())
    assert [row[:2] for row in found[1:5]] == [
        [f"`{name}`", f"{shots} shots"] for shots in (4, 16) for name in ("builtin:a@1", other)
    ]
    assert found[2][4] == "-0.020 (-0.050 to +0.010)"
    assert found[5] == ["AUROC / AUPRO@0.05", "", "brick, world 0", "moon, world 0"]
    assert found[-1] == [f"`{other}`", "16 shots", "0.710 / 0.600", "0.710 / 0.600"]


def test_cost_names_the_features_and_the_network(results: Path) -> None:
    figures = {
        "features": "builtin:a@1",
        "size, px": "640x376",
        "tf_net, s": 0.2,
        "predict, patch bank": {"s": 0.4, "over the network": 2.0},
        "threads": 1,
    }
    keep(results, "feature-cost", figures)
    text = features.cost()
    assert "`builtin:a@1` on 640x376 px" in text[0]
    assert text[1].startswith("tf_net (0.2 s)")
    assert rows(text)[1:] == [["predict, patch bank", "0.4", "2.0"]]
