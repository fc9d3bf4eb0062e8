"""Which kind of labels lies in a folder, and whether they fit the shots as a whole."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fmlad
from fmlad.datasets.part_labels import PartLabels, examine, read_part_labels
from fmlad.errors import OptionError
from tests.datasets.part_labels.support import SIZE, label, numbers, shot, write_json
from tests.datasets.part_labels.test_coco import FLAT_PIN, annotation, coco
from tests.datasets.part_labels.test_labelme import box, content, drawn

ONE = numbers((1, 2, 2, 6, 6))


def test_labels_and_images_without_the_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shots = [shot(tmp_path / "shots" / f"{name}.png") for name in "abc"]
    for name in ("b", "x", "y"):
        label(tmp_path / "labels" / f"{name}.png", ONE)
    with caplog.at_level(logging.WARNING):
        found = read_part_labels(tmp_path / "labels", shots)
    assert [one is None for one in found.maps] == [True, False, True]
    assert found.pixels(0) == {}
    assert "Labels of no image among the shots" in caplog.text
    assert "x.png, y.png" in caplog.text


def test_no_label_at_all_is_an_error_that_says_what_is_there(tmp_path: Path) -> None:
    one = shot(tmp_path / "shots" / "a.png")
    label(tmp_path / "labels" / "x.png", ONE)
    with pytest.raises(OptionError, match=r"None of the 1 shots .* found labels of x.png.*'a'"):
        read_part_labels(tmp_path / "labels", [one])
    with pytest.raises(OptionError, match="The shots are no files"):
        read_part_labels(tmp_path / "labels", [("array (20, 30, 3)", None, SIZE)])


def test_all_problems_are_told_at_once_and_an_error_counts_them(tmp_path: Path) -> None:
    shots = [shot(tmp_path / "shots" / f"{name}.png") for name in "abcd"]
    label(tmp_path / "labels" / "a.png", numbers((1, 0, 0, 4, 4), size=(9, 9)))
    label(tmp_path / "labels" / "b.png", ONE * 7)
    label(tmp_path / "labels" / "c.png", ONE * 0)
    (tmp_path / "labels" / "classes.txt").write_text("pin")
    found = examine(tmp_path / "labels", shots)
    assert found.labels is None
    assert [
        any(word in problem for word in ("a.png is 9 x 9", "b.png has classes", "c.png is empty"))
        for problem in found.problems
    ] == [True] * 3
    with pytest.raises(OptionError, match=r"2 more; `fmlad labels check` lists them"):
        read_part_labels(tmp_path / "labels", shots)


def test_shots_of_one_name_may_not_share_a_label(tmp_path: Path) -> None:
    shots = [shot(tmp_path / side / "a.png") for side in ("left", "right")]
    label(tmp_path / "labels" / "a.png", ONE)
    with pytest.raises(OptionError, match="have one name, so that they would share a label"):
        read_part_labels(tmp_path / "labels", shots)


def test_labels_among_the_shots_are_noticed(tmp_path: Path) -> None:
    shots = [shot(tmp_path / "a.png"), shot(tmp_path / "a_mask.png")]
    label(tmp_path / "labels" / "a.png", ONE)
    with pytest.raises(OptionError, match=r"a_mask.png looks like a label"):
        read_part_labels(tmp_path / "labels", shots)


def test_label_images_may_lie_beside_the_shots(tmp_path: Path) -> None:
    one = shot(tmp_path / "a.jpg")
    label(tmp_path / "a_label.png", ONE)
    assert np.array_equal(read_part_labels(tmp_path, [one]).maps[0], ONE)


def _labelme(folder: Path) -> None:
    write_json(folder / "a.json", content(drawn("pin", box(1, 1, 5, 5))))


def _coco(folder: Path, name: str = "instances.json") -> None:
    write_json(folder / name, coco([annotation([FLAT_PIN])]))


def test_labels_of_several_kinds_are_ambiguous(tmp_path: Path) -> None:
    one = shot(tmp_path / "shots" / "a.png")
    _labelme(tmp_path / "both")
    _coco(tmp_path / "both")
    with pytest.raises(OptionError, match=r"2 kinds \(labelme files: a.json; COCO files: inst"):
        read_part_labels(tmp_path / "both", [one])
    assert read_part_labels(tmp_path / "both" / "a.json", [one]).pixels(0)["pin"] == 16
    _labelme(tmp_path / "masks")
    label(tmp_path / "masks" / "a_mask.png", ONE)
    with pytest.raises(OptionError, match=r"label images: a_mask\.png"):
        read_part_labels(tmp_path / "masks", [one])
    for name in ("train.json", "val.json"):
        _coco(tmp_path / "two", name)
    with pytest.raises(OptionError, match=r"2 COCO files: train.json, val.json. Give one"):
        read_part_labels(tmp_path / "two", [one])


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "holds no labels; found: nothing"),
        ({"readme.md": "x"}, r"holds no labels; found: readme.md. Expected label images"),
        ({"annotations.xml": "<x/>"}, "XML is not read; export COCO 1.0"),
        ({"a.txt": "0 .5 .5 .1 .1"}, "YOLO"),
        ({"export.zip": "x"}, "Unpack the archive"),
        ({"tasks.json": '[{"annotations": [], "data": {}}]'}, "Label Studio's own form"),
        ({"via.json": '{"a.png": {"regions": []}}'}, "VIA's own form"),
        ({"a.json": "{"}, r"a.json cannot be read as JSON"),
        ({"a.json": "[" * 100_000}, r"a.json cannot be read as JSON"),
    ],
)
def test_a_folder_without_labels_says_what_it_holds(
    files: dict[str, str], words: str, tmp_path: Path
) -> None:
    one = shot(tmp_path / "shots" / "a.png")
    (tmp_path / "labels").mkdir()
    for name, text in files.items():
        (tmp_path / "labels" / name).write_text(text)
    with pytest.raises(OptionError, match=words):
        read_part_labels(tmp_path / "labels", [one])


def test_places_that_are_none(tmp_path: Path) -> None:
    one = shot(tmp_path / "shots" / "a.png")
    with pytest.raises(OptionError, match=r"nowhere' does not exist"):
        read_part_labels(tmp_path / "nowhere", [one])
    with pytest.raises(OptionError, match=r"a.png' is no JSON file and no folder"):
        read_part_labels(tmp_path / "shots" / "a.png", [one])
    file = write_json(tmp_path / "x.json", {"some": "thing"})
    with pytest.raises(OptionError, match="neither COCO's nor labelme's"):
        read_part_labels(file, [one])


def test_part_labels_have_a_name_for_each_class() -> None:
    found = fmlad.datasets.PartLabels(("background", "pin"), (ONE, None), "by hand")
    assert found.pixels(0) == {"background": 584, "pin": 16}
    for names, maps, words in (
        (("pin",), (ONE,), "'background' as the first"),
        (("background",), (None, ONE), "Label 1 has classes beside 0 to 0"),
    ):
        with pytest.raises(OptionError, match=words):
            PartLabels(names, maps, "by hand")


def scenes(folder: Path) -> Any:
    return fmlad.datasets.make_scenes(
        folder, "pushpins",
        counts={"train": 2, "validation": 1, "test_good": 0, "test_logical": 0,
                "test_structural": 0},
    )  # fmt: skip


def test_the_slots_of_scenes_name_part_and_place(tmp_path: Path) -> None:
    root = scenes(tmp_path / "pushpins")
    size = (301, 512)
    shots = [(f"{i}", root / "train" / "good" / f"00{i}.png", size) for i in (0, 1)]
    shots.append(("v", root / "validation" / "good" / "000.png", size))
    stored = [
        np.asarray(fmlad_image(root / "slots" / split / "good" / name))
        for split, name in (("train", "000.png"), ("train", "001.png"), ("validation", "000.png"))
    ]
    for place in (root, root / "slots", root / "slots" / "train"):
        found = read_part_labels(place, shots)
        assert found.names[:2] == ("background", "tray")
        assert "red pushpin r1c1" in found.names
        for one, values in zip(found.maps, stored, strict=True):
            assert one is not None
            assert np.array_equal(one > 0, values > 0)
            # The same regions, numbered anew: classes that no shot shows are left out.
            pairs = set(zip(one.ravel().tolist(), values.ravel().tolist(), strict=True))
            assert len(pairs) == len(np.unique(values))
    parts = read_part_labels(root / "parts", shots)
    assert "red pushpin" in parts.names
    # Copies of the shots elsewhere are found by name.
    copy = tmp_path / "mine" / "001.png"
    copy.parent.mkdir()
    copy.write_bytes((root / "train" / "good" / "001.png").read_bytes())
    found = read_part_labels(root / "slots" / "train" / "good", [("c", copy, size)])
    assert found.maps[0] is not None
    (root / "scenes.json").write_text("{}")
    with pytest.raises(OptionError, match=r"scenes.json cannot be used .*Make the scenes again"):
        read_part_labels(root / "slots", shots)


def fmlad_image(path: Path) -> Any:
    from PIL import Image

    return Image.open(path)
