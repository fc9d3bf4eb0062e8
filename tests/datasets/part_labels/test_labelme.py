"""labelme's files, as it writes them beside the images."""

from __future__ import annotations

import base64
import io
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fmlad.datasets.part_labels import examine, read_part_labels
from fmlad.errors import OptionError
from tests.datasets.part_labels.support import SIZE, numbers, shot, write_json


def drawn(
    name: str, points: list[list[float]], kind: str = "polygon", **more: Any
) -> dict[str, Any]:
    return {
        "label": name, "points": points, "group_id": None, "description": "",
        "shape_type": kind, "flags": {}, **more,
    }  # fmt: skip


def content(*shapes: dict[str, Any], image: str = "a.jpg", **more: Any) -> dict[str, Any]:
    return {
        "version": "5.5.0", "flags": {}, "shapes": list(shapes), "imagePath": image,
        "imageData": "aGVsbG8=", "imageHeight": SIZE[0], "imageWidth": SIZE[1], **more,
    }  # fmt: skip


def box(x1: float, y1: float, x2: float, y2: float) -> list[list[float]]:
    return [[x1, y1], [x2, y1], [x2, y2], [x1, y2]]


def mask_png(mask: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def test_a_folder_as_labelme_leaves_it(tmp_path: Path) -> None:
    """Images with a JSON file beside each that was labelled; the last one was not."""
    shots = [shot(tmp_path / f"{name}.jpg") for name in "abc"]
    write_json(
        tmp_path / "a.json",
        content(
            drawn("tray", box(1, 1, 25, 18)),
            drawn("pin", [[4, 4], [8, 8]], "rectangle"),
            drawn("knob", [[15, 10], [18, 10]], "circle"),
        ),
    )
    write_json(tmp_path / "b.json", content(drawn("pin", box(2, 2, 6, 6)), image="b.jpg"))
    found = read_part_labels(tmp_path, shots)
    assert found.names == ("background", "knob", "pin", "tray")
    first, second, third = found.maps
    assert first is not None
    expected = numbers((3, 1, 1, 25, 18), (2, 4, 4, 8, 8))
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    expected[(x + 0.5 - 15) ** 2 + (y + 0.5 - 10) ** 2 < 9] = 1
    assert np.array_equal(first, expected)
    assert np.array_equal(second, numbers((2, 2, 2, 6, 6)))
    assert third is None


def test_later_shapes_lie_on_top_and_the_background_cuts_holes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one = shot(tmp_path / "a.jpg")
    hole = drawn("_background_", box(4, 4, 6, 6))
    pin, tray = drawn("pin", box(3, 3, 8, 8)), drawn("tray", box(1, 1, 20, 15))
    write_json(tmp_path / "a.json", content(tray, pin, hole))
    expected = numbers((2, 1, 1, 20, 15), (1, 3, 3, 8, 8), (0, 4, 4, 6, 6))
    assert np.array_equal(read_part_labels(tmp_path, [one]).maps[0], expected)
    assert not caplog.records
    write_json(tmp_path / "a.json", content(pin, tray))
    with caplog.at_level(logging.WARNING):
        found = read_part_labels(tmp_path, [one])
    assert "shape 1 ('pin') lies wholly under later shapes" in caplog.text
    assert found.pixels(0)["pin"] == 0


def test_labels_are_found_by_the_image_they_name(tmp_path: Path) -> None:
    one = shot(tmp_path / "shots" / "a.jpg")
    data = content(drawn("pin", box(2, 2, 6, 6)), image="..\\pictures\\A.JPG")
    write_json(tmp_path / "labels" / "first.json", data)
    assert read_part_labels(tmp_path / "labels", [one]).maps[0] is not None
    # The file alone, as well.
    assert read_part_labels(tmp_path / "labels" / "first.json", [one]).maps[0] is not None


def test_images_beside_the_files_are_no_labels(tmp_path: Path) -> None:
    """A copy of the shots with their labels, one image of it not labelled and none of ours."""
    one = shot(tmp_path / "shots" / "a.png")
    for name in ("a", "other"):
        shot(tmp_path / "labelled" / f"{name}.png")
    write_json(tmp_path / "labelled" / "a.json", content(drawn("pin", box(2, 2, 6, 6))))
    assert read_part_labels(tmp_path / "labelled", [one]).pixels(0)["pin"] == 16


def test_masks_are_put_at_their_corner(tmp_path: Path) -> None:
    one = shot(tmp_path / "a.jpg")
    mask = np.array([[True, False, True], [True, True, True]])
    shape = drawn("pin", [[5, 7], [7, 8]], "mask", mask=mask_png(mask))
    write_json(tmp_path / "a.json", content(shape))
    (found,) = read_part_labels(tmp_path, [one]).maps
    assert found is not None
    assert np.array_equal(found[7:9, 5:8], mask)
    assert found.sum() == 5
    # Partly outside.
    shape = drawn("pin", [[-1, 19], [1, 20]], "mask", mask=mask_png(mask))
    write_json(tmp_path / "a.json", content(shape))
    (found,) = read_part_labels(tmp_path, [one]).maps
    assert found is not None
    assert np.array_equal(found[19, :2], [0, 1])
    assert found.sum() == 1


def test_the_order_of_classes_is_that_of_the_list_beside_them(tmp_path: Path) -> None:
    one = shot(tmp_path / "a.jpg")
    write_json(tmp_path / "a.json", content(drawn("pin", box(2, 2, 6, 6))))
    (tmp_path / "labels.txt").write_text("__ignore__\n_background_\ntray\npin\n")
    found = examine(tmp_path, [one])
    assert found.labels is not None
    assert found.labels.names == ("background", "tray", "pin")
    assert "no label has: tray" in found.warnings[0]
    (tmp_path / "labels.txt").write_text("tray\n")
    with pytest.raises(OptionError, match=r"a.json: shape 1 \('pin'\) has a class that .*labels"):
        read_part_labels(tmp_path, [one])


def test_an_image_that_is_stored_sideways(tmp_path: Path) -> None:
    one = shot(tmp_path / "a.jpg", orientation=6)
    assert one.size == SIZE[::-1]
    write_json(tmp_path / "a.json", content(drawn("pin", box(0, 0, 3, 2))))
    (found,) = read_part_labels(tmp_path, [one]).maps
    assert found is not None
    assert found.shape == one.size
    assert found[:3, -2:].all()  # upper left is upper right once it is turned
    assert found.sum() == 6


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (content(drawn("wire", [[1, 1], [5, 5]], "linestrip")), r"shape 1 \('wire'\) is a linestr"),
        (content(drawn("wire", [[1, 1]], "point")), "has no area"),
        (content(drawn("pin", [[1, 1], [5, 5]], "star")), "unknown kind 'star'"),
        (content(drawn("pin", [[1, 1]], "circle")), "circle with 1 points; expected 2"),
        (content(drawn("pin", [[1, 1], [5, 5]])), "has 2 corners"),
        (content(drawn("__ignore__", box(1, 1, 5, 5))), "is to be ignored"),
        (content(drawn("pin", box(1, 1, 5, 5)), imageWidth=40), "40 x 20 .* its image .* 30 x 20"),
        (content(drawn("pin", [[1, 1], [5, 5]], "mask", mask="!")), "mask that cannot be read"),
        (content(drawn("pin", [[1, "x"]])), r"shapes\.0\.points"),
        (content(drawn("pin", [[1, float("nan")], [2, 2], [3, 1]])), "finite number"),
        (content(drawn("", box(1, 1, 5, 5))), "no name of a class"),
        (content(), "is empty: all of it is background"),
        (content(drawn("pin", box(50, 50, 60, 60))), "is empty"),
        ({"shapes": 3}, "no labelme file: shapes"),
    ],
)
def test_what_cannot_be_a_label_is_named_with_the_way_out(
    data: dict[str, Any], words: str, tmp_path: Path
) -> None:
    one = shot(tmp_path / "a.jpg")
    write_json(tmp_path / "a.json", data)
    with pytest.raises(OptionError, match=words) as caught:
        read_part_labels(tmp_path, [one])
    assert "\n" not in str(caught.value)


def test_a_shape_outside_the_image_is_a_warning(tmp_path: Path) -> None:
    one = shot(tmp_path / "a.jpg")
    shapes = drawn("pin", box(1, 1, 5, 5)), drawn("pin", box(50, 50, 60, 60))
    write_json(tmp_path / "a.json", content(*shapes))
    found = examine(tmp_path, [one])
    assert found.labels is not None
    assert "shape 2 ('pin') has no pixel inside the image" in found.warnings[0]


def test_two_files_of_one_image_are_refused(tmp_path: Path) -> None:
    one = shot(tmp_path / "shots" / "a.jpg")
    for name in ("x", "y"):
        write_json(tmp_path / "labels" / f"{name}.json", content(drawn("pin", box(1, 1, 5, 5))))
    with pytest.raises(OptionError, match=r"a.jpg has 2 labels, .*x.json, .*y.json; keep one"):
        read_part_labels(tmp_path / "labels", [one])
