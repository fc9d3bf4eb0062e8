"""MVTec LOCO: several masks an image, saturation areas, sub-types; and scenes in its layout."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from fmlad.datasets import categories, load, make_digits, make_scenes, scenes, subtypes
from fmlad.datasets.loco import loco_kinds, loco_type, loco_types, name_types, nearest_types
from fmlad.errors import DatasetError, OptionError, UnknownNameError
from fmlad.prompts import list_prompt_groups, list_prompt_sets
from tests.datasets import trees

FEW = {"train": 6, "validation": 2, "test_good": 3, "test_logical": 2, "test_structural": 2}


def test_kinds_and_splits(tmp_path: Path) -> None:
    trees.loco(tmp_path / "pushpins")
    found = load("mvtec_loco", tmp_path, "pushpins")
    assert [s.kind for s in found.test] == [
        "good", "good", "logical", "logical", "structural",
    ]  # fmt: skip
    assert (len(found.train), len(found.validation)) == (3, 2)
    assert found.prompts == "mvtec_loco/pushpins"
    assert "pushpins has 2 logical anomalies here, the official dataset 91." in found.notes


def test_each_mask_is_a_region_with_its_saturation(tmp_path: Path) -> None:
    """20 pixels of which 6 suffice; 8 pixels of which half suffices; two spots in one file."""
    trees.loco(tmp_path / "pushpins")
    truths = [s.annotation() for s in load("mvtec_loco", tmp_path, "pushpins").test]
    assert all(truth is not None for truth in truths)
    assert [truth.saturations for truth in truths if truth] == [
        (), (), (6.0, 4.0), (6.0,), (14.0,),
    ]  # fmt: skip
    assert [truth.regions.sum() for truth in truths if truth] == [0, 0, 28, 20, 28]


def test_an_absolute_saturation_is_never_above_the_region(tmp_path: Path) -> None:
    home = trees.loco(tmp_path / "pushpins")
    config = [dict(entry) for entry in trees.CONFIG]
    config[0]["saturation_threshold"] = 5000
    (home / "defects_config.json").write_text(json.dumps(config))
    truth = load("mvtec_loco", tmp_path, "pushpins").test[3].annotation()
    assert truth is not None
    assert truth.saturations == (20.0,)


def test_without_the_config_regions_saturate_whole(tmp_path: Path) -> None:
    home = trees.loco(tmp_path / "pushpins")
    (home / "defects_config.json").unlink()
    found = load("mvtec_loco", tmp_path, "pushpins")
    assert any("defects_config.json is missing" in note for note in found.notes)
    truth = found.test[2].annotation()
    assert truth is not None
    assert truth.saturations == (20.0, 8.0)


def test_a_value_that_the_config_does_not_know(tmp_path: Path) -> None:
    home = trees.loco(tmp_path / "pushpins")
    trees.mask(home / "ground_truth" / "structural_anomalies" / "000" / "000.png", value=7)
    with pytest.raises(DatasetError, match=r"holds the value 7, .* one of 254, 255"):
        load("mvtec_loco", tmp_path, "pushpins").test[4].annotation()


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[{}]",
        "3",
        '[{"pixel_value": 255, "saturation_threshold": 2, "relative_saturation": true}]',
        '[{"pixel_value": 255, "saturation_threshold": 0, "relative_saturation": false}]',
    ],
)
def test_a_broken_config(tmp_path: Path, text: str) -> None:
    home = trees.loco(tmp_path / "pushpins")
    (home / "defects_config.json").write_text(text)
    with pytest.raises(DatasetError, match=r"defects_config.json cannot be used"):
        load("mvtec_loco", tmp_path, "pushpins")


def test_a_missing_folder_of_masks_is_named(tmp_path: Path) -> None:
    home = trees.loco(tmp_path / "pushpins")
    shutil.rmtree(home / "ground_truth" / "logical_anomalies" / "001")
    with pytest.raises(DatasetError, match=r"1 of 3 .* expected .*logical_anomalies/001/000.png"):
        load("mvtec_loco", tmp_path, "pushpins")


def test_another_dataset_is_seen_by_its_folders(tmp_path: Path) -> None:
    trees.mvtec(tmp_path / "bottle")
    with pytest.raises(DatasetError, match="has no folder validation or val"):
        load("mvtec_loco", tmp_path, "bottle")


# --- sub-types ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("category", "counts"), [("juice_bottle", [112, 112, 111]), ("splicing_connectors", [120] * 3)]
)
def test_the_known_types_are_those_of_the_lists(category: str, counts: list[int]) -> None:
    types = [loco_type(category, Path(f"{number:03d}.png")) for number in range(sum(counts))]
    assert [types.count(type_) for type_ in ("0", "1", "2")] == counts
    assert loco_type(category, Path(f"{sum(counts):03d}.png")) is None
    assert loco_type(category, Path("good.png")) is None


def test_first_and_last_of_each_type() -> None:
    def of(category: str, type_: str) -> list[int]:
        numbers = [i for i in range(360) if loco_type(category, Path(f"{i}.png")) == type_]
        return numbers[:3] + numbers[-3:]

    assert of("juice_bottle", "0") == [0, 1, 5, 324, 325, 333]
    assert of("juice_bottle", "1") == [2, 3, 6, 329, 330, 331]
    assert of("juice_bottle", "2") == [4, 8, 10, 328, 332, 334]
    assert of("splicing_connectors", "0") == [0, 2, 5, 348, 355, 357]
    assert of("splicing_connectors", "1") == [1, 4, 9, 350, 358, 359]
    assert of("splicing_connectors", "2") == [3, 7, 11, 353, 354, 356]


COLOURS = {"0": (230, 220, 40), "1": (200, 30, 40), "2": (240, 140, 30)}


def _juice(root: Path) -> Path:
    """Images whose colour is their type, 9 for training and 6 of each other sort."""
    home = trees.loco(root / "juice_bottle", train=9)
    for path in (home / "train" / "good").glob("*.png"):
        trees.image(path, COLOURS[loco_type("juice_bottle", path) or ""])
    for number in range(6):
        for place in ("validation/good", "test/good", "test/logical_anomalies"):
            trees.image(home / place / f"{number:03d}.png", COLOURS[str(number % 3)])
        truth = home / "ground_truth" / "logical_anomalies"
        trees.mask(truth / f"{number:03d}" / "000.png")
    return home


def test_the_split_by_sub_type(tmp_path: Path) -> None:
    _juice(tmp_path)
    assert subtypes("mvtec_loco", tmp_path, "juice_bottle") == ["banana", "cherry", "orange"]
    assert subtypes("mvtec_loco", tmp_path, "pushpins") == []
    parts = [load("mvtec_loco", tmp_path, "juice_bottle", type_) for type_ in ("0", "1", "2")]
    whole = load("mvtec_loco", tmp_path, "juice_bottle")
    for split in ("train", "validation", "test"):
        together = [sample for part in parts for sample in getattr(part, split)]
        assert sorted(s.name for s in together) == sorted(s.name for s in getattr(whole, split))
    assert [s.name for s in parts[1].train] == ["good/002", "good/003", "good/006", "good/007"]
    assert [s.name for s in parts[1].validation] == ["good/001", "good/004"]
    assert parts[1].subtype == "1"
    assert [sample.subtype for sample in whole.train] == list("001120112")
    assert {part.prompts for part in (whole, *parts)} == {"mvtec_loco/juice_bottle"}
    assert whole.prompts in list_prompt_groups()


def test_sub_types_are_named_by_the_colours_of_their_images(tmp_path: Path) -> None:
    """Yellow, red and orange pictures in the tree above."""
    _juice(tmp_path)
    for number, name in enumerate(("banana", "cherry", "orange")):
        named = load("mvtec_loco", tmp_path, "juice_bottle", name)
        numbered = load("mvtec_loco", tmp_path, "juice_bottle", str(number))
        assert (named.train, named.validation, named.test) == (
            numbered.train, numbered.validation, numbered.test,
        )  # fmt: skip
        assert (named.subtype, named.prompts) == (name, f"mvtec_loco/juice_bottle_{name}")
        assert named.prompts in list_prompt_sets()
        assert f"Type {number} of the known assignment is {name}" in named.notes[-1]


def test_colours_that_tell_nothing_name_no_type(tmp_path: Path) -> None:
    home = _juice(tmp_path)
    for path in (home / "train" / "good").glob("*.png"):
        trees.image(path, COLOURS["2"])
    with pytest.raises(DatasetError, match="do not tell which type is which of banana, cherry"):
        load("mvtec_loco", tmp_path, "juice_bottle", "banana")
    assert load("mvtec_loco", tmp_path, "juice_bottle", "2").train
    for path in (home / "train" / "good").glob("*.png"):
        if loco_type("juice_bottle", path) == "1":
            path.unlink()
    with pytest.raises(DatasetError, match="no training image of type 1 here"):
        load("mvtec_loco", tmp_path, "juice_bottle", "banana")


@pytest.mark.parametrize("category", ["juice_bottle", "splicing_connectors"])
def test_the_products_of_scenes_are_named_right(tmp_path: Path, category: str) -> None:
    """Their types are known: whatever numbers they bear, the colours give them their names."""
    counts = dict.fromkeys(FEW, 0) | {"train": 18}
    make_scenes(tmp_path / category, category, seed=4, counts=counts)
    train = load("scenes", tmp_path, category).train
    names = loco_kinds(category)
    for order in ((0, 1, 2), (2, 0, 1), (1, 0, 2)):
        numbers = {name: str(number) for name, number in zip(names, order, strict=True)}
        types = {one.path: numbers[one.subtype or ""] for one in train}
        assert name_types(category, types) == numbers


def test_a_sub_type_that_is_none(tmp_path: Path) -> None:
    _juice(tmp_path)
    with pytest.raises(UnknownNameError, match=r"sub-type of juice_bottle .* banana, cherry"):
        load("mvtec_loco", tmp_path, "juice_bottle", "grape")
    with pytest.raises(UnknownNameError, match="sub-type"):
        load("mvtec_ad", tmp_path, "juice_bottle", "0")


def test_renamed_training_images_have_no_known_type(tmp_path: Path) -> None:
    home = _juice(tmp_path)
    for path in (home / "train" / "good").glob("*.png"):
        path.rename(path.with_name(f"x{path.name}"))
    with pytest.raises(DatasetError, match="so no sub-type is known"):
        load("mvtec_loco", tmp_path, "juice_bottle", "0")


def test_nearest_types_ignores_where_a_colour_is(tmp_path: Path) -> None:
    red = trees.image(tmp_path / "red.png", (220, 30, 30))
    blue = trees.image(tmp_path / "blue.png", (30, 40, 220))
    grey = trees.image(tmp_path / "grey.png", (99, 99, 99))
    darker = trees.image(tmp_path / "darker.png", (120, 15, 15))
    assert nearest_types({red: "r", blue: "b"}, [darker, blue, grey])[:2] == ["r", "b"]
    assert nearest_types({red: "r"}, []) == []


def test_only_two_categories_have_types() -> None:
    assert {c for c in ("juice_bottle", "pushpins", "splicing_connectors") if loco_types(c)} == {
        "juice_bottle",
        "splicing_connectors",
    }


# --- scenes and digits ----------------------------------------------------------------------------


def test_scenes_know_their_defects(tmp_path: Path) -> None:
    make_scenes(tmp_path / "pushpins", "pushpins", counts=FEW)
    found = load("scenes", tmp_path, "pushpins")
    spec = scenes.scene_spec("pushpins")
    names = [s.defect for s in found.test]
    assert names[:3] == [None] * 3
    assert names[3:5] == [kind.name for kind in spec.logical[:2]]
    assert found.notes == ("Scenes scenes-v1, seed 0.",)
    for sample in found.test[3:]:
        truth = sample.annotation()
        assert truth is not None
        assert truth.regions.shape[0] == 1
        assert 0 < truth.saturations[0] <= truth.regions.sum()
    assert load("scenes", tmp_path / "pushpins", "pushpins") == found
    assert categories("scenes", tmp_path / "pushpins") == ["pushpins"]
    assert categories("scenes", tmp_path) == list(scenes.SCENE_CATEGORIES)


def test_scenes_are_rendered_where_they_are_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def few(root: Path, category: str, progress: Any = None) -> Path:
        calls.append(category)
        return make_scenes(root, category, counts=FEW)

    monkeypatch.setattr(scenes, "make_scenes", few)
    found = load("scenes", tmp_path / "new", "pushpins")
    assert "Rendered just now, with the default seed and counts." in found.notes
    again = load("scenes", tmp_path / "new", "pushpins")
    assert calls == ["pushpins"]
    assert again.test == found.test


def test_scenes_without_some_images(tmp_path: Path) -> None:
    make_scenes(tmp_path / "pushpins", "pushpins", counts=FEW | {"validation": 0, "test_good": 0})
    found = load("scenes", tmp_path, "pushpins")
    assert (len(found.train), len(found.validation), len(found.test)) == (6, 0, 4)
    (tmp_path / "pushpins" / "train" / "good" / "003.png").unlink()
    assert any(
        "holds 9 images, 10 were made" in n for n in load("scenes", tmp_path, "pushpins").notes
    )


def test_other_scenes_and_other_folders_are_refused(tmp_path: Path) -> None:
    make_scenes(tmp_path / "pushpins", "pushpins", counts=dict.fromkeys(FEW, 0))
    with pytest.raises(DatasetError, match="holds scenes of pushpins; expected screw_bag"):
        load("scenes", tmp_path / "pushpins", "screw_bag")
    with pytest.raises(UnknownNameError, match="scene category"):
        load("scenes", tmp_path, "bottle")
    trees.image(tmp_path / "screw_bag" / "mine.png")
    with pytest.raises(DatasetError, match="holds no scenes of ours"):
        load("scenes", tmp_path, "screw_bag")


@pytest.mark.parametrize("category", ["juice_bottle", "splicing_connectors"])
def test_sub_types_of_scenes_are_right(tmp_path: Path, category: str) -> None:
    """What the rule assigns, against what the sidecars say; 9 of 10 at least."""
    counts = {"train": 12, "validation": 10, "test_good": 0, "test_logical": 0}
    home = make_scenes(tmp_path / category, category, counts=counts | {"test_structural": 0})
    names = subtypes("scenes", tmp_path, category)
    right = total = 0
    for name in names:
        part = load("scenes", tmp_path, category, name)
        assert len(part.train) == 4
        assert part.prompts in list_prompt_sets()
        for sample in part.validation:
            sidecar = (home / "objects" / "validation" / f"{sample.name}.json").read_text()
            total += 1
            right += f'"{name} juice"' in sidecar or f'"{name} cable"' in sidecar
    assert total == 10
    assert right >= 9


def test_bundled_prompt_sets_exist(tmp_path: Path) -> None:
    for category in ("breakfast_box", "pushpins", "screw_bag"):
        trees.loco(tmp_path / category)
        assert load("mvtec_loco", tmp_path, category).prompts in list_prompt_sets()
        make_scenes(tmp_path / "s" / category, category, counts=dict.fromkeys(FEW, 0))
        assert load("scenes", tmp_path / "s", category).prompts in list_prompt_sets()


def test_digits(tmp_path: Path) -> None:
    root = make_digits(
        tmp_path / "digits", counts={"train": 4, "test_good": 3, "test_anomalies": 2}
    )
    found = load("digits", root)
    assert (found.category, len(found.train)) == ("", 4)
    assert [s.kind for s in found.test] == ["good"] * 3 + ["logical"] * 8
    assert {s.defect for s in found.test} == {None, "flipped", "missing", "swapped", "zero"}
    swapped = next(s for s in found.test if s.defect == "swapped").annotation()
    assert swapped is not None
    assert swapped.saturations == (2 * 32 * 32,)
    assert categories("digits", root) == [""]


def test_digits_are_made_in_an_empty_folder_only(tmp_path: Path) -> None:
    found = load("digits", tmp_path / "new")
    assert (len(found.train), len(found.test)) == (64, 200)
    assert any("Rendered just now" in note for note in found.notes)
    trees.image(tmp_path / "mine" / "a.png")
    with pytest.raises(DatasetError, match=r"holds no digits.json; found: a.png"):
        load("digits", tmp_path / "mine")
    with pytest.raises(OptionError, match="category of digits"):
        load("digits", tmp_path / "new", "nine")
