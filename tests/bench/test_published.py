"""Published figures: every line says what, of whom, how well known, and from where."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from pydantic import ValidationError

from fmlad.bench import published as module
from fmlad.bench.model import ALL
from fmlad.bench.published import (
    GRADES,
    METRICS,
    SHARES,
    PublishedFigure,
    published_figures,
    published_for,
)
from fmlad.datasets import list_datasets
from fmlad.errors import OptionError


def value(dataset: str, method: str, metric: str, shots: int | None, category: str = "") -> float:
    found = [
        one
        for one in published_for(dataset, category)
        if (one.method, one.metric, one.shots) == (method, metric, shots)
    ]
    assert len(found) == 1, found
    return found[0].value


def test_every_line_is_whole() -> None:
    lines = json.loads(module.FILE.read_text())["figures"]
    assert len(published_figures()) == len(lines) > 200
    names = {*list_datasets(), ""}
    for one in published_figures():
        assert one.dataset in names, one
        assert one.grade in GRADES
        assert one.metric in METRICS
        assert one.shots is None or one.shots == ALL or one.shots > 0
        if one.metric in SHARES:
            assert 0.1 < one.value <= 1, one
        assert not re.search(r"(^|\s)[~/]\w+/", one.source), "no paths of some machine"


def test_nothing_is_there_twice() -> None:
    keys = [
        (a.dataset, a.category, a.shots, a.metric, a.method, a.source, a.note)
        for a in published_figures()
    ]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    ("dataset", "method", "metric", "shots", "expected"),
    [
        ("mvtec_loco", "ObjectCore", "auroc", 4, 0.808),
        ("mvtec_loco", "LogSAD, re-run", "auroc_micro", 1, 0.785),
        ("mvtec_loco", "LogSAD, re-run", "auroc_micro", 2, 0.821),
        ("mvtec_loco", "LogSAD, re-run", "auroc_micro", 4, 0.862),
        ("mvtec_loco", "UniVAD", "auroc", 1, 0.710),
        ("mvtec_loco", "SALAD", "auroc", ALL, 0.961),
        ("mvtec_loco", "CLIP-LAD", "auroc_micro", 1, 0.740),
        ("mvtec_loco", "CLIP-LAD", "auroc_micro", 4, 0.812),
        ("mvtec_loco", "SAM-LAD", "auroc_mean", ALL, 0.907),
        ("mvtec_loco", "SAM-LAD", "spro_mean@0.05", ALL, 0.832),
        ("mvtec_loco", "MuSc", "auroc_logical", None, 0.701),
        ("mvtec_ad", "AnomalyDINO", "auroc", 4, 0.977),
        ("visa", "SubspaceAD", "auroc", 2, 0.938),
    ],
)
def test_the_figures_that_are_argued_with(
    dataset: str, method: str, metric: str, shots: int | None, expected: float
) -> None:
    assert value(dataset, method, metric, shots) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("shots", [1, 4, ALL])
def test_means_are_those_of_their_categories(shots: int) -> None:
    of_categories = [
        one.value
        for one in published_for("mvtec_loco")
        if one.category and (one.method, one.metric) == ("LogSAD, re-run", "auroc_micro")
        and one.shots == shots
    ]  # fmt: skip
    assert len(of_categories) == 5
    mean = value("mvtec_loco", "LogSAD, re-run", "auroc_micro", shots)
    assert sum(of_categories) / 5 == pytest.approx(mean, abs=6e-4)  # rounded to 0.1 points


@pytest.mark.parametrize(
    ("method", "metric", "shots", "count"),
    [
        *(("CLIP-LAD", "auroc_micro", k, 9) for k in (1, 2, 4)),
        ("SAM-LAD", "auroc_logical", ALL, 5),
        ("SAM-LAD", "auroc_structural", ALL, 5),
        ("SAM-LAD", "spro_mean@0.05", ALL, 5),
    ],
)
def test_tables_add_up(method: str, metric: str, shots: int, count: int) -> None:
    """The printed means are those of the printed categories."""
    of_categories = [
        one.value
        for one in published_for("mvtec_loco")
        if one.category and (one.method, one.metric, one.shots) == (method, metric, shots)
    ]
    assert len(of_categories) == count
    mean = value("mvtec_loco", method, metric, shots)
    assert sum(of_categories) / count == pytest.approx(mean, abs=6e-4)


def test_nobody_has_published_few_shot_spro() -> None:
    assert {one.shots for one in published_figures() if one.metric == "spro_mean@0.05"} == {ALL}


@pytest.mark.parametrize(
    "changes",
    [{"metric": "aurok"}, {"grade": "Z"}, {"value": 86.2}, {"value": 0.0}, {"source": ""}],
)
def test_a_bad_line_is_refused(changes: dict[str, object]) -> None:
    good = PublishedFigure("visa", "", 1, "auroc_micro", 0.9, "M", "", "P", "a paper")
    with pytest.raises(ValidationError):
        replace(good, **changes)  # type: ignore[arg-type]


def test_a_line_that_lacks_something_is_an_error_of_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    from pathlib import Path

    file = Path(str(tmp_path)) / "published.json"
    file.write_text('{"figures": [{"dataset": "visa"}]}')
    monkeypatch.setattr(module, "FILE", file)
    published_figures.cache_clear()
    try:
        with pytest.raises(OptionError, match="is damaged"):
            published_figures()
    finally:
        published_figures.cache_clear()
