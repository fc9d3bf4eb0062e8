"""COCO files: as they are, and as CVAT and Label Studio write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fmlad.datasets.part_labels import examine, read_part_labels
from fmlad.errors import OptionError
from tests.datasets.part_labels.support import SIZE, numbers, shot, write_json
from tests.datasets.part_labels.test_rle import compressed, runs

PIN, TRAY = numbers((1, 3, 3, 8, 8)), numbers((1, 10, 2, 25, 18))
FLAT_PIN = [3, 3, 8, 3, 8, 8, 3, 8]
FLAT_TRAY = [10, 2, 25, 2, 25, 18, 10, 18]


def coco(
    annotations: list[dict[str, Any]],
    names: tuple[str, ...] = ("pin", "tray"),
    files: tuple[str, ...] = ("a.png",),
    first: int = 1,
) -> dict[str, Any]:
    return {
        "info": {},
        "licenses": [],
        "images": [
            {"id": n, "file_name": file, "width": SIZE[1], "height": SIZE[0]}
            for n, file in enumerate(files, start=1)
        ],
        "categories": [{"id": n, "name": name} for n, name in enumerate(names, start=first)],
        "annotations": annotations,
    }


def annotation(segmentation: Any, category: int = 1, image: int = 1, **more: Any) -> dict[str, Any]:
    return {
        "id": 1, "image_id": image, "category_id": category, "segmentation": segmentation,
        "area": 1.0, "iscrowd": 0, **more,
    }  # fmt: skip


@pytest.mark.parametrize("first", [0, 1, 90])
def test_polygons_and_categories_that_begin_anywhere(first: int, tmp_path: Path) -> None:
    one = shot(tmp_path / "shots" / "a.png")
    data = coco([annotation([FLAT_PIN], first), annotation([FLAT_TRAY], first + 1)], first=first)
    found = read_part_labels(write_json(tmp_path / "instances.json", data), [one])
    assert found.names == ("background", "pin", "tray")
    assert np.array_equal(found.maps[0], PIN + 2 * TRAY)


def test_what_cvat_packs(tmp_path: Path) -> None:
    """annotations/instances_default.json: masks are runs with iscrowd, polygons are not."""
    shots = [shot(tmp_path / "shots" / name) for name in ("a.png", "b.png")]
    mask = {"counts": runs(PIN > 0), "size": list(SIZE)}
    attributes = {"occluded": False, "rotation": 0.0}
    data = coco(
        [
            annotation([FLAT_TRAY], 2, attributes=attributes, bbox=[10, 2, 15, 16]),
            annotation(mask, 1, iscrowd=1, attributes=attributes, bbox=[3, 3, 5, 5]),
            annotation(mask, 1, image=2, iscrowd=1),
        ],
        files=("a.png", "b.png"),
    )
    write_json(tmp_path / "export" / "annotations" / "instances_default.json", data)
    shot(tmp_path / "export" / "images" / "default" / "a.png")
    found = read_part_labels(tmp_path / "export", shots)
    assert np.array_equal(found.maps[0], PIN + 2 * TRAY)
    assert np.array_equal(found.maps[1], PIN)


@pytest.mark.parametrize(
    "name", ["images/1a2b3c4d-a.png", "images\\0f9e8d7c-a.png", "0123abcd-a%2Epng", "a.png"]
)
def test_what_label_studio_packs(name: str, tmp_path: Path) -> None:
    """result.json with images/, categories from 0, a prefix before each uploaded image."""
    one = shot(tmp_path / "shots" / "a.png")
    data = coco([annotation([FLAT_PIN], 0, ignore=0, bbox=[3, 3, 5, 5])], files=(name,), first=0)
    write_json(tmp_path / "export" / "result.json", data)
    (tmp_path / "export" / "images").mkdir()
    assert np.array_equal(read_part_labels(tmp_path / "export", [one]).maps[0], PIN)


def test_a_prefix_of_the_users_own_is_part_of_the_name(tmp_path: Path) -> None:
    one = shot(tmp_path / "shots" / "1a2b3c4d-a.png")
    other = shot(tmp_path / "shots" / "a.png")
    files = ("a.png", "1a2b3c4d-a.png")
    data = coco([annotation([FLAT_PIN]), annotation([FLAT_TRAY], 2, image=2)], files=files)
    found = read_part_labels(write_json(tmp_path / "x.json", data), [one, other])
    assert np.array_equal(found.maps[0], 2 * TRAY)
    assert np.array_equal(found.maps[1], PIN)


def test_compressed_runs_and_several_polygons(tmp_path: Path) -> None:
    one = shot(tmp_path / "shots" / "a.png")
    mask = {"counts": compressed(runs(TRAY > 0)), "size": list(SIZE)}
    data = coco([annotation(mask, 2), annotation([FLAT_PIN, [0, 0, 2, 0, 2, 2, 0, 2]], 1)])
    found = read_part_labels(write_json(tmp_path / "x.json", data), [one])
    assert np.array_equal(found.maps[0], PIN + 2 * TRAY + numbers((1, 0, 0, 2, 2)))


def test_folders_tell_images_of_one_name_apart(tmp_path: Path) -> None:
    shots = [shot(tmp_path / "shots" / side / "a.png") for side in ("left", "right")]
    files = ("right/a.png", "left/a.png", "left/b.png")
    data = coco([annotation([FLAT_PIN]), annotation([FLAT_TRAY], 2, image=2)], files=files)
    found = read_part_labels(write_json(tmp_path / "x.json", data), shots)
    assert np.array_equal(found.maps[0], 2 * TRAY)
    assert np.array_equal(found.maps[1], PIN)
    files = ("up/a.png", "down/a.png")
    data = coco([annotation([FLAT_PIN])], files=files)
    with pytest.raises(OptionError, match=r"2 images for .*a.png: up/a.png, down/a.png"):
        read_part_labels(write_json(tmp_path / "x.json", data), shots[:1])


def test_images_without_annotations_have_no_label_and_boxes_are_painted(tmp_path: Path) -> None:
    shots = [shot(tmp_path / "shots" / name) for name in ("a.png", "b.png")]
    data = coco([annotation([], 1, bbox=[3, 3, 5, 5])], files=("a.png", "b.png"))
    found = examine(write_json(tmp_path / "x.json", data), shots)
    assert found.labels is not None
    assert np.array_equal(found.labels.maps[0], PIN)
    assert found.unlabelled == (1,)
    assert "1 annotations have a box and no outline" in found.warnings[0]
    assert "Classes that no label has: tray" in found.warnings[1]


def test_annotations_of_no_shot_are_a_warning(tmp_path: Path) -> None:
    one = shot(tmp_path / "shots" / "a.png")
    data = coco([annotation([FLAT_PIN]), annotation([FLAT_PIN], 2, image=2)], files=("a.png", "z"))
    found = examine(write_json(tmp_path / "x.json", data), [one])
    assert found.labels is not None
    assert "Labels of no image among the shots" in found.warnings[0]
    assert "z" in found.warnings[0]


RUNS = {"counts": [600], "size": list(SIZE)}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (coco([annotation([FLAT_PIN], 7)]), "category 7, which the file does not name"),
        (coco([annotation([FLAT_PIN[:-1]])]), "odd number of coordinates"),
        (coco([annotation([FLAT_PIN[:4]])]), "has 2 corners"),
        (coco([annotation([])]), "neither a shape nor a box"),
        (coco([annotation({**RUNS, "counts": [9]})]), r"cannot be decoded \(its runs are 9"),
        (coco([annotation({**RUNS, "size": [30, 20]})]), "is 20 x 30 pixels"),
        (coco([annotation({"counts": "%%", "size": list(SIZE)})]), "cannot be decoded"),
        (coco([annotation(RUNS)]), "is empty: all of it is background"),
        (coco([annotation([FLAT_PIN])], files=("b.png",)), "None of the 1 shots has a label"),
        (coco([annotation([FLAT_PIN])], names=("pin", "pin")), "names 'pin' twice"),
        (coco([{"image_id": 1, "segments_info": []}]), "panoptic"),
        (coco([annotation("x")]), r"annotations\.0\.segmentation"),
        ({**coco([]), "categories": [{"id": 1, "name": "a"}] * 2}, "category 1 twice"),
    ],
)
def test_what_cannot_be_a_label_is_named_with_the_way_out(
    data: dict[str, Any], words: str, tmp_path: Path
) -> None:
    one = shot(tmp_path / "shots" / "a.png")
    file = write_json(tmp_path / "x.json", data)
    with pytest.raises(OptionError, match=words) as caught:
        read_part_labels(file, [one])
    assert "\n" not in str(caught.value)


def test_another_size_than_the_image(tmp_path: Path) -> None:
    one = shot(tmp_path / "shots" / "a.png", (40, 60))
    file = write_json(tmp_path / "x.json", coco([annotation([FLAT_PIN])]))
    with pytest.raises(OptionError, match=r"30 x 20 pixels .* 60 x 40; expected the same size"):
        read_part_labels(file, [one])
