"""One cell: what is handed to the estimator, what is measured, what is refused."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fmlad.bench import maps as maps_module
from fmlad.bench.maps import ArraySpool
from fmlad.bench.model import Cell, CellResult, Scored, Task
from fmlad.bench.runner import judge_all, recompute, run_cell, threads_fixed
from fmlad.datasets.model import Dataset
from fmlad.errors import OptionError
from tests.bench.support import KINDS, SIZE, Fake, fake, load


def run(root: Path, name: str = "board", **changes: Any) -> tuple[CellResult, Fake]:
    entry = replace(fake(**changes.pop("options", {})), **changes.pop("entry", {}))
    estimator = Fake(entry.options)
    cell = Cell(entry, Task(name, str(root), ""), changes.pop("shots", 2), 0)
    return run_cell(cell, load(name, str(root)), estimator), estimator


def test_a_cell_has_a_row_an_image_and_figures_of_both_sorts(pictures: Path) -> None:
    result, estimator = run(pictures)
    assert len(result.rows) == sum(KINDS.values())
    assert estimator.fits == [tuple(name.removeprefix("train/") for name in result.shots)]
    assert result.figures["auroc_micro"] == 1.0
    assert {"aupro", "auroc_logical", "auroc_structural"} <= result.figures.keys()
    assert len(result.curve["fpr"]) == len(result.curve["spro"]) > 2
    assert result.curve["fpr"][-1] == 1
    assert result.notes == ("made up", "not a method")
    assert {"fmlad", "python", "torch", "threads"} <= result.environment.keys()
    assert result.cost["peak_mb"] > 10
    assert result.cost["weights_mb"] == 1.5


def test_figures_can_be_computed_again_from_the_rows(pictures: Path) -> None:
    result, _ = run(pictures, options={"skill": 0.1})
    again = recompute(result)
    assert 0 < again["auroc_micro"] < 1
    assert again.items() <= dict(result.figures).items()


def test_validation_is_handed_over_where_the_entry_asks_for_it(pictures: Path) -> None:
    for asked, count in ((False, 0), (True, 2)):
        result, estimator = run(pictures, entry={"validation": asked})
        assert estimator.validation == [count]
        assert result.cost["normals_beyond_k"] == count


def test_each_pair_is_judged_by_its_own_reference(pictures: Path) -> None:
    result, estimator = run(pictures, "pairs", shots=1)
    assert result.shots == ()
    assert estimator.fits == [("00",), ("01",)] * 7
    assert "auroc_micro" in result.figures


def test_pairs_without_normal_images_are_measured_by_pixels(pictures: Path) -> None:
    dataset = load("pairs", str(pictures))
    dataset = replace(dataset, test=tuple(s for s in dataset.test if s.kind != "good"))
    cell = Cell(fake(), Task("pairs", str(pictures), ""), 1, 0)
    result = run_cell(cell, dataset, Fake({}))
    assert "auroc_micro" not in result.figures
    assert "aupro" in result.figures
    assert recompute(result) == {}


def test_an_entry_without_maps_is_measured_by_images(pictures: Path) -> None:
    result, _ = run(pictures, options={"mapless": True})
    assert "aupro" not in result.figures
    assert any("got no map" in note for note in result.notes)


def test_anomalies_without_truth_count_by_images_alone(pictures: Path) -> None:
    dataset = load("board", str(pictures))
    test = tuple(
        replace(s, read_annotation=None) if s.kind == "logical" else s for s in dataset.test
    )
    cell = Cell(fake(), Task("board", str(pictures), ""), 1, 0)
    result = run_cell(cell, replace(dataset, test=test), Fake({}))
    assert any("4 anomalous images have no annotation" in note for note in result.notes)
    assert "aupro" in result.figures
    assert "auroc_logical" in result.figures


def test_localise_off_measures_no_map(pictures: Path) -> None:
    cell = Cell(fake(), Task("board", str(pictures), "", localise=False), 1, 0)
    result = run_cell(cell, load("board", str(pictures)), Fake({}))
    assert "aupro" not in result.figures
    assert result.notes == ("made up", "not a method")


@pytest.mark.parametrize(
    ("scored", "words"),
    [
        (Scored(math.nan), "not finite"),
        (Scored(1.0, np.zeros((3, 4), np.float32)), "at the image.s own size"),
    ],
)
def test_nonsense_from_an_estimator_is_refused(pictures: Path, scored: Scored, words: str) -> None:
    dataset: Dataset = load("board", str(pictures))
    with pytest.raises(OptionError, match=words):
        judge_all(dataset.test, lambda sample: scored, localise=True)


def test_maps_on_disk_give_the_same_figures_and_leave_nothing(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, _ = run(pictures)
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    monkeypatch.setattr(
        maps_module.ArraySpool.__init__, "__defaults__", (5 * 4 * SIZE[0] * SIZE[1],)
    )
    stored: list[int] = []
    real = np.save

    def saving(path: Path, array: Any, **options: Any) -> None:
        stored.append(array.nbytes)
        real(path, array, **options)

    monkeypatch.setattr(np, "save", saving)
    result, _ = run(pictures)
    assert len(stored) > 5
    assert dict(result.figures) == dict(expected.figures)
    assert list(folder.iterdir()) == []


def test_a_shelf_keeps_values_and_hands_them_out_read_only() -> None:
    arrays = [np.full((4, 5), i, np.float32) for i in range(4)]
    with ArraySpool(in_memory=2 * arrays[0].nbytes) as shelf:
        kept = [shelf.keep(array) for array in arrays]
        assert [isinstance(array, np.memmap) for array in kept] == [False, False, True, True]
        assert all((a == b).all() for a, b in zip(arrays, kept, strict=True))
        with pytest.raises(ValueError, match="read-only"):
            kept[0][0, 0] = 9


def test_threads_are_put_back() -> None:
    before = torch.get_num_threads()
    with threads_fixed(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
