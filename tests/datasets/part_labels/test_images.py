"""Label images: numbers, palettes and colours, and files that name the classes."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from fmlad.datasets.part_labels import examine, read_part_labels
from fmlad.errors import OptionError
from tests.datasets.part_labels.support import SIZE, label, numbers, shot, write_json

TWO = numbers((1, 2, 3, 10, 12), (2, 12, 3, 20, 12))


def as_palette(values: np.ndarray) -> Image.Image:
    image = Image.frombytes("P", values.shape[::-1], values.tobytes())
    image.putpalette([0, 0, 0, 200, 0, 0, 0, 200, 0])
    return image


def colours(values: np.ndarray) -> np.ndarray:
    return np.array([[0, 0, 0], [255, 0, 0], [0, 128, 0]], np.uint8)[values]


@pytest.mark.parametrize("ending", ["", "_mask", "_label"])
@pytest.mark.parametrize("kind", ["palette", "8 bits", "16 bits", "grey as RGB", "grey and alpha"])
def test_numbers_are_read_however_they_are_stored(kind: str, ending: str, tmp_path: Path) -> None:
    shots = [shot(tmp_path / "shots" / f"{i}.jpg") for i in (1, 2)]
    stored: Any = {
        "palette": as_palette(TWO),
        "8 bits": TWO,
        "16 bits": TWO.astype(np.uint16),
        "grey as RGB": np.repeat(TWO[..., None], 3, axis=2),
        "grey and alpha": np.stack([TWO, np.full_like(TWO, 255)], axis=2),
    }[kind]
    for i in (1, 2):
        label(tmp_path / "labels" / f"{i}{ending}.png", stored)
    found = read_part_labels(tmp_path / "labels", shots)
    assert found.names == ("background", "class 1", "class 2")
    for one in found.maps:
        assert one is not None
        assert one.dtype == np.uint8
        assert np.array_equal(one, TWO)
    assert found.pixels(0) == {"background": 600 - 72 - 72, "class 1": 72, "class 2": 72}


def test_a_grey_png_of_two_bits_keeps_its_numbers(tmp_path: Path) -> None:
    """Pillow spreads such levels over 0 to 255, and cannot write them; so it is written here."""
    one = shot(tmp_path / "shots" / "a.png", (8, 8))

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    rows = b"".join(b"\0" + bytes([0b00011011, 0b11100100]) for _ in range(8))
    header = struct.pack(">IIBBBBB", 8, 8, 2, 0, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows))
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "a.png").write_bytes(data + chunk(b"IEND", b""))
    (found,) = read_part_labels(tmp_path / "labels", [one]).maps
    assert found is not None
    assert found[0].tolist() == [0, 1, 2, 3, 3, 2, 1, 0]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("classes.txt", "pin\ntray\n"),
        ("labels.txt", "__ignore__\n_background_\npin\ntray\n\n"),
        ("class_names.txt", "background\npin\ntray"),
        ("classes.json", '["pin", "tray"]'),
        ("classes.json", '{"1": "pin", "2": "tray"}'),
        ("classes.json", '{"background": 0, "tray": 2, "pin": 1}'),
    ],
)
def test_classes_have_the_names_of_the_file_beside_them(
    name: str, text: str, tmp_path: Path
) -> None:
    one = shot(tmp_path / "shots" / "a.png")
    label(tmp_path / "labels" / "a.png", TWO)
    (tmp_path / "labels" / name).write_text(text)
    assert read_part_labels(tmp_path / "labels", [one]).names == ("background", "pin", "tray")


def test_numbers_with_gaps_become_consecutive_classes(tmp_path: Path) -> None:
    one = shot(tmp_path / "shots" / "a.png")
    label(tmp_path / "labels" / "a.png", np.array([0, 40, 7], np.uint8)[TWO])
    write_json(tmp_path / "labels" / "classes.json", {"pin": 40, "tray": 7})
    found = read_part_labels(tmp_path / "labels", [one])
    assert found.names == ("background", "tray", "pin")
    assert np.array_equal(found.maps[0], np.array([0, 2, 1])[TWO])


@pytest.mark.parametrize("stored", ["colours", "palette"])
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("classes.json", '{"pin": "#ff0000", "tray": [0, 128, 0]}'),
        ("labelmap.txt", "# label:color_rgb:parts:actions\nbackground:0,0,0::\npin:255,0,0::\n"
                         "tray:0,128,0::\n"),
    ],
)  # fmt: skip
def test_colours_are_classes_where_a_file_says_so(
    name: str, text: str, stored: str, tmp_path: Path
) -> None:
    """As CVAT packs a segmentation mask: SegmentationClass/ with labelmap.txt above it."""
    one = shot(tmp_path / "shots" / "a.png")
    image = Image.fromarray(colours(TWO))
    if stored == "palette":
        image = image.quantize(3)
    label(tmp_path / "export" / "SegmentationClass" / "a.png", image)
    (tmp_path / "export" / name).write_text(text)
    found = read_part_labels(tmp_path / "export", [one])
    assert found.names == ("background", "pin", "tray")
    assert np.array_equal(found.maps[0], TWO)


def test_a_mask_that_is_black_and_white_has_one_class(tmp_path: Path) -> None:
    one = shot(tmp_path / "shots" / "a.png")
    label(tmp_path / "labels" / "a_mask.png", np.where(TWO > 0, 255, 0).astype(np.uint8))
    found = read_part_labels(tmp_path / "labels", [one])
    assert found.names == ("background", "class 1")
    assert np.array_equal(found.maps[0], TWO > 0)
    (tmp_path / "labels" / "classes.txt").write_text("pin\n")
    assert read_part_labels(tmp_path / "labels", [one]).names == ("background", "pin")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_label_as_the_image_is_stored_is_turned_with_it(orientation: int, tmp_path: Path) -> None:
    one = shot(tmp_path / "shots" / "a.jpg", orientation=orientation)
    stored = TWO if orientation > 4 else numbers((1, 2, 3, 10, 12), size=one.size)
    exif = Image.Exif()
    exif[0x0112] = orientation
    label(tmp_path / "labels" / "a.png", stored)
    (found,) = read_part_labels(tmp_path / "labels", [one]).maps
    image = Image.fromarray(stored)
    image.getexif()[0x0112] = orientation
    expected = np.asarray(ImageOps.exif_transpose(image)) if orientation > 4 else stored
    assert found is not None
    assert found.shape == one.size
    assert np.array_equal(found, expected)
    # A label with an orientation of its own.
    label(tmp_path / "labels" / "a.png", TWO, exif=exif)
    assert np.array_equal(
        read_part_labels(tmp_path / "labels", [one]).maps[0],
        ImageOps.exif_transpose(Image.open(tmp_path / "labels" / "a.png")),
    )


@pytest.mark.parametrize(
    ("values", "classes", "words"),
    [
        (numbers((1, 0, 0, 5, 5), size=(20, 31)), None, "is 31 x 20 pixels .* 30 x 20; expected"),
        (numbers((1, 0, 0, 5, 5), size=(30, 20)), None, "is 20 x 30 pixels"),
        (TWO, "pin\n", r"without a name in .*classes.txt: 2; named are 0 background, 1 pin"),
        (numbers((255, 0, 0, 4, 4)), "pin\ntray", "255 often means"),
        (numbers((255, 0, 0, 4, 4), (1, 4, 4, 8, 8)), None, "class 255 beside others"),
        (TWO.astype(np.uint16) * 300, None, "has the class 600; expected at most 255"),
        (TWO.astype(np.int32) - 1, None, "has the class -1"),
        (TWO.astype(np.float32), None, "kind 'F'"),
        (colours(TWO), None, "painted in colours.*classes.json"),
        (colours(TWO), '{"pin": "#ff0000"}', "colours .* does not know: #008000"),
        (np.zeros(SIZE, np.uint8), None, "label of .*a.png is empty"),
        (np.dstack([colours(TWO), TWO * 100]), None, "see-through"),
    ],
)
def test_labels_that_do_not_fit_are_named_with_the_way_out(
    values: np.ndarray, classes: str | None, words: str, tmp_path: Path
) -> None:
    one = shot(tmp_path / "shots" / "a.png")
    ending = "tif" if values.dtype in (np.float32, np.int32) else "png"
    label(tmp_path / "labels" / f"a.{ending}", values)
    if classes is not None:
        name = "classes.json" if classes.startswith("{") else "classes.txt"
        (tmp_path / "labels" / name).write_text(classes)
    with pytest.raises(OptionError, match=words) as caught:
        read_part_labels(tmp_path / "labels", [one])
    assert "a." in str(caught.value) or "labels" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_jpeg_labels_and_torn_files_are_refused(tmp_path: Path) -> None:
    one = shot(tmp_path / "shots" / "a.png")
    label(tmp_path / "labels" / "a.jpg", TWO)
    with pytest.raises(OptionError, match=r"a\.jpg is no lossless image"):
        read_part_labels(tmp_path / "labels", [one])
    label(tmp_path / "labels" / "a.png", TWO)  # counts instead
    assert read_part_labels(tmp_path / "labels", [one]).maps[0] is not None
    (tmp_path / "labels" / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n torn")
    with pytest.raises(OptionError, match=r"a\.png cannot be read as an image"):
        read_part_labels(tmp_path / "labels", [one])


def test_two_labels_of_one_image_are_refused(tmp_path: Path) -> None:
    one = shot(tmp_path / "shots" / "a.png")
    for ending in ("png", "bmp"):
        label(tmp_path / "labels" / f"a.{ending}", TWO)
    with pytest.raises(OptionError, match=r"has 2 labels, .*a.bmp, .*a.png; keep one"):
        read_part_labels(tmp_path / "labels", [one])


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("classes.txt", "pin\n\ntray\n", "line 2 is empty"),
        ("classes.txt", "pin\npin\n", "names 'pin' twice"),
        ("classes.txt", "pin\nbackground\n", "put it first"),
        ("classes.txt", "background\n", "names no class"),
        ("classes.txt", "\n".join(f"c{i}" for i in range(256)), "256 classes"),
        ("classes.json", "{", "cannot be read"),
        ("classes.json", "3", "no list of classes"),
        ("classes.json", '{"pin": 1, "tray": 1}', "numbers of their own"),
        ("classes.json", '{"pin": 0, "tray": 1}', "'pin' has the number 0; 0 is the background"),
        ("classes.json", '{"pin": "red"}', "'pin' is 'red'"),
        ("classes.json", '{"pin": "#ff0000", "tray": "#FF0000"}', "one colour, #ff0000"),
        ("classes.json", '{"pin": "#000000"}', "black is 'pin'"),
        ("labelmap.txt", "pin 255 0 0", "line 1"),
    ],
)
def test_files_of_classes_that_cannot_be_used(
    name: str, text: str, words: str, tmp_path: Path
) -> None:
    one = shot(tmp_path / "shots" / "a.png")
    label(tmp_path / "labels" / "a.png", TWO)
    (tmp_path / "labels" / name).write_text(text)
    with pytest.raises(OptionError, match=words) as caught:
        read_part_labels(tmp_path / "labels", [one])
    assert name in str(caught.value)


def test_classes_that_no_label_has_are_a_warning(tmp_path: Path) -> None:
    one = shot(tmp_path / "shots" / "a.png")
    label(tmp_path / "labels" / "a.png", TWO)
    (tmp_path / "labels" / "classes.txt").write_text("pin\ntray\nlid\nscrew")
    found = examine(tmp_path / "labels", [one])
    assert found.labels is not None
    assert found.labels.names[3:] == ("lid", "screw")
    assert found.warnings[0].startswith("Classes that no label has: lid, screw")
