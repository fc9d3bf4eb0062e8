"""A folder of one's own, in the shapes people have."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fmlad.datasets import categories, load
from fmlad.datasets.files import Lister
from fmlad.errors import DatasetError, UnknownNameError
from tests.datasets import trees


def fill(root: Path, **folders: int) -> Path:
    """Makes folders (``a__b`` means ``a/b``) with so many images."""
    for name, count in folders.items():
        for index in range(count):
            trees.image(root.joinpath(*name.split("__")) / f"{index}.png")
    return root


def test_good_and_bad(tmp_path: Path) -> None:
    found = load("folder", fill(tmp_path, good=3, bad=2))
    assert [s.name for s in found.train] == ["good/0", "good/1", "good/2"]
    assert [(s.name, s.kind, s.defect) for s in found.test] == [
        ("good/0", "good", None),
        ("good/1", "good", None),
        ("good/2", "good", None),
        ("bad/0", "anomalous", "bad"),
        ("bad/1", "anomalous", "bad"),
    ]
    assert any(note.startswith("One pool") for note in found.notes)
    assert not found.localised


@pytest.mark.parametrize("train", ["train", "train__good", "Training__OK", "TRAIN__Normal"])
def test_train_and_test(tmp_path: Path, train: str) -> None:
    fill(tmp_path, test__good=2, test__logical_swap=1, test__structural_dent=1, test__odd=1, val=2)
    found = load("folder", fill(tmp_path, **{train: 3}))
    assert (len(found.train), len(found.validation)) == (3, 2)
    kinds = {s.defect: s.kind for s in found.test}
    assert kinds == {
        None: "good",
        "logical_swap": "logical",
        "odd": "anomalous",
        "structural_dent": "structural",
    }
    assert not {s.path for s in found.train} & {s.path for s in found.test}


def test_masks_straight_or_by_kind(tmp_path: Path) -> None:
    fill(tmp_path, good=2, bad=1)
    trees.mask(tmp_path / "masks" / "0.png")
    flat = load("folder", tmp_path)
    assert [truth and truth.saturations for truth in (s.annotation() for s in flat.test)] == [
        (), (), (20.0,),
    ]  # fmt: skip
    (tmp_path / "masks" / "bad").mkdir()
    (tmp_path / "masks" / "0.png").rename(tmp_path / "masks" / "bad" / "0_mask.png")
    assert load("folder", tmp_path).localised


def test_jpeg_masks_are_cut_in_the_middle(tmp_path: Path) -> None:
    fill(tmp_path, good=1, bad=1)
    spot = (slice(0, 8), slice(0, 16))
    trees.mask(tmp_path / "masks" / "0.jpg", [spot])
    truth = load("folder", tmp_path).test[1].annotation()
    assert truth is not None
    assert truth.saturations == (128.0,)


def test_sub_folders_are_categories(tmp_path: Path) -> None:
    fill(tmp_path / "one", good=1, bad=1)
    fill(tmp_path / "two", train=1, test__bad=1)
    assert categories("folder", tmp_path) == ["one", "two"]
    assert categories("folder", tmp_path / "one") == [""]
    assert load("folder", tmp_path, "One").category == "one"
    notes = load("folder", tmp_path, "two").notes
    assert any("no normal test images" in note for note in notes)
    with pytest.raises(DatasetError, match=r"several datasets. Choose one .* one, two"):
        load("folder", tmp_path)
    with pytest.raises(UnknownNameError, match="Known ones: one, two"):
        load("folder", tmp_path, "three")


@pytest.mark.parametrize(
    ("folders", "said"),
    [
        ({}, "holds no normal images; found: nothing"),
        ({"bad": 1}, "holds no normal images; found: bad/"),
        ({"good": 1}, "no folder with anomalous images; found: good/"),
        ({"train": 1}, "has train/ but no test/"),
        ({"train": 1, "test__good": 1}, "test has no folder with anomalous images"),
        ({"train__bad": 1, "test__bad": 1}, "train holds no images; found: bad/"),
        ({"a__b__good": 1, "a__b__bad": 1}, "Pass .*/a"),
    ],
)
def test_what_is_missing_is_said(tmp_path: Path, folders: dict[str, int], said: str) -> None:
    with pytest.raises(DatasetError, match=said):
        load("folder", fill(tmp_path, **folders))


def test_a_file_name_that_is_no_text_is_refused_at_once(tmp_path: Path) -> None:
    good = tmp_path / "good"
    good.mkdir()
    try:
        (good / os.fsdecode(b"\xff.png")).touch()
    except OSError:
        pytest.skip("this file system takes text alone")
    with pytest.raises(DatasetError, match="name is no text"):
        Lister().images(good)
