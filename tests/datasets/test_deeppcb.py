"""DeepPCB: pairs, and boxes as regions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fmlad.datasets import categories, load
from fmlad.errors import DatasetError
from tests.datasets import trees


def test_pairs(tmp_path: Path) -> None:
    found = load("deeppcb", trees.pcb(tmp_path), "group77000")
    assert found.train == ()
    assert found.paired
    assert [s.name for s in found.test] == ["77000000", "77000001", "77000002"]
    assert {s.kind for s in found.test} == {"structural"}
    for sample in found.test:
        assert sample.reference == sample.path.with_name(f"{sample.name}_temp.jpg")
        assert sample.reference.is_file()
    truth = found.test[0].annotation()
    assert truth is not None
    assert truth.saturations == (36.0, 25.0)
    assert truth.regions[0][3:9, 2:8].all()
    assert truth.regions[1][1:6, 5:10].all()
    assert categories("deeppcb", tmp_path) == ["group77000"]


@pytest.mark.parametrize("what", ["_temp.jpg", ".txt"])
def test_half_a_pair(tmp_path: Path, what: str) -> None:
    trees.pcb(tmp_path)
    next(tmp_path.rglob(f"77000001{what}")).unlink()
    with pytest.raises(DatasetError, match=rf"77000001_test.jpg has no .*/77000001{what}"):
        load("deeppcb", tmp_path, "group77000")


@pytest.mark.parametrize("line", ["1 2 3", "5 5 5 9 1", "0 0 25 9 1", "a b c d 1", "-1 0 5 5 1"])
def test_a_line_that_is_no_box(tmp_path: Path, line: str) -> None:
    trees.pcb(tmp_path)
    (tmp_path / "group77000" / "77000_not" / "77000000.txt").write_text(f"1,2,3,4,1\n{line}\n")
    sample = load("deeppcb", tmp_path, "group77000").test[0]
    with pytest.raises(DatasetError, match=r"line 2: .* is no box in an image of 24 x 16"):
        sample.annotation()


def test_the_group_instead_of_its_folder(tmp_path: Path) -> None:
    trees.pcb(tmp_path)
    with pytest.raises(DatasetError, match="is itself one category"):
        load("deeppcb", tmp_path / "group77000", "group77000")
    (tmp_path / "group00041" / "00041").mkdir(parents=True)
    with pytest.raises(DatasetError, match="holds no pairs; found: 00041/"):
        load("deeppcb", tmp_path, "group00041")


@pytest.mark.shared
def test_the_real_pairs_are_those_of_the_benchmark(shared: Callable[..., Path]) -> None:
    root = shared("data", "deeppcb")
    from benchmarks.pcb import PAIRS, pairs

    found = load("deeppcb", root, "group77000")
    assert len(found.test) == 107
    for sample, (template, scan, labels) in zip(found.test[PAIRS], pairs(PAIRS), strict=True):
        assert (sample.reference, sample.path) == (template, scan)
        truth = sample.annotation()
        assert truth is not None
        assert len(truth.regions) == labels.max()
        assert (truth.regions.any(0) == (labels > 0)).all()
