"""DigitAnatomy: order, anomalies, disjoint handwriting, and the layout on disk."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fmlad.datasets import DIGIT_ANOMALIES, make_digits, render_digits
from fmlad.datasets.digit_anatomy import CELL, LARGE, MIRRORED, SCALES
from fmlad.errors import DatasetError, OptionError

NORMAL = tuple(range(1, 10))


def cells(image: Any) -> list[Any]:
    """The nine cells in reading order."""
    grey = image[..., 0]
    return [
        grey[r * CELL : (r + 1) * CELL, c * CELL : (c + 1) * CELL]
        for r, c in itertools.product(range(3), range(3))
    ]


def test_a_normal_page_has_all_digits_in_order() -> None:
    page = render_digits(3, "train", 5)
    assert page.image.shape == (96, 96, 3)
    assert page.image.dtype == np.uint8
    assert page.digits == NORMAL
    assert page.anomaly is None
    assert not page.mask.any()
    assert all(cell.max() > 100 for cell in cells(page.image))


def test_same_arguments_same_pixels_other_arguments_others() -> None:
    base = render_digits(0, "test", 1).image
    assert np.array_equal(base, render_digits(0, "test", 1).image)
    for other in (
        render_digits(1, "test", 1),
        render_digits(0, "train", 1),
        render_digits(0, "test", 2),
    ):
        assert not np.array_equal(base, other.image)


def test_sizes_span_the_scales() -> None:
    sides = []
    for index in range(25):
        for cell in cells(render_digits(0, "train", index).image):
            rows = np.flatnonzero(cell.max(1) > 20)
            sides.append(rows[-1] + 1 - rows[0])
    low, high = (LARGE * scale for scale in SCALES)
    assert max(sides) <= round(high)
    assert max(sides) > high - 3
    assert low - 3 <= min(sides) < low + 3


def test_no_handwriting_is_in_both_splits() -> None:
    used = {
        split: {s for i in range(70) for s in render_digits(0, split, i).samples}
        for split in ("train", "test")
    }
    assert len(used["train"]) > 300
    assert not used["train"] & used["test"]


@pytest.mark.parametrize("index", range(12))
def test_each_anomaly_is_the_one_thing_wrong(index: int) -> None:
    missing = render_digits(0, "test", index, "missing")
    (place,) = missing.places
    assert missing.digits[place] is None
    assert cells(missing.image)[place].max() == 0
    assert [d for d in missing.digits if d is not None] == [
        d for i, d in enumerate(NORMAL) if i != place
    ]

    swapped = render_digits(0, "test", index, "swapped")
    first, second = swapped.places
    assert sorted(d for d in swapped.digits if d) == list(NORMAL)
    assert (swapped.digits[first], swapped.digits[second]) == (second + 1, first + 1)
    assert sum(d != n for d, n in zip(swapped.digits, NORMAL, strict=True)) == 2

    zero = render_digits(0, "test", index, "zero")
    assert [d for d in zero.digits if d != 0] == [d for d in NORMAL if d != zero.places[0] + 1]

    flipped = render_digits(0, "test", index, "flipped")
    assert flipped.digits == NORMAL
    assert flipped.places[0] + 1 in MIRRORED
    for page in (missing, swapped, zero, flipped):
        marked = [cell.all() for cell in cells(page.mask[..., None])]
        assert [i for i, m in enumerate(marked) if m] == sorted(page.places)
        assert page.mask.sum() == CELL * CELL * len(page.places)


def test_a_flipped_digit_is_the_mirror_image_of_its_sample() -> None:
    from sklearn.datasets import load_digits

    page = render_digits(0, "test", 0, "flipped")
    (place,) = page.places
    sample = load_digits().images[page.samples[place]]
    cell = cells(page.image)[place].astype(float)
    rows, columns = np.flatnonzero(cell.any(1)), np.flatnonzero(cell.any(0))
    side = max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1
    half = (CELL - side) // 2
    inner = Image.fromarray(cell[half : half + side, half : half + side].astype(np.float32))
    small = np.asarray(inner.resize((8, 8), Image.Resampling.BOX))
    as_is, mirrored = (
        np.corrcoef(small.ravel(), ink.ravel())[0, 1] for ink in (sample, sample[:, ::-1])
    )
    assert mirrored > as_is


@pytest.mark.parametrize(
    "arguments",
    [
        (-1, "train", 0, None),
        (0, "train", -1, None),
        (0, "validation", 0, None),
        (0, "train", 0, "zero"),
        (0, "test", 0, "upside down"),
    ],
)
def test_bad_arguments_are_refused(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(OptionError):
        render_digits(*arguments)


def test_layout_on_disk(tmp_path: Path) -> None:
    counts = {"train": 3, "test_good": 2, "test_anomalies": 1}
    root = make_digits(tmp_path / "digits", 4, counts)
    assert len(list((root / "train" / "good").glob("*.png"))) == 3
    assert len(list((root / "test" / "good").glob("*.png"))) == 2
    for anomaly in DIGIT_ANOMALIES:
        page = render_digits(4, "test", 0, anomaly)
        assert np.array_equal(np.asarray(Image.open(root / f"test/{anomaly}/000.png")), page.image)
        truth = np.asarray(Image.open(root / f"ground_truth/{anomaly}/000/000.png"))
        assert np.array_equal(truth > 0, page.mask)
    with pytest.raises(DatasetError, match="empty"):
        make_digits(root, 4, counts)
    with pytest.raises(OptionError, match="count"):
        make_digits(tmp_path / "more", 4, {"valid": 1})
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith(".")) == []
