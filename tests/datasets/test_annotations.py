"""From masks of every sort to regions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fmlad.datasets.annotations import (
    image_size,
    mask_components,
    mask_layers,
    no_regions,
)
from fmlad.errors import DatasetError
from tests.datasets import trees


def test_pixels_that_touch_at_a_corner_are_one_region(tmp_path: Path) -> None:
    picture = trees.image(tmp_path / "a.png")
    corner = [(slice(2, 4), slice(2, 4)), (slice(4, 6), slice(4, 6))]
    truth = mask_components(picture, trees.mask(tmp_path / "m.png", corner))
    assert truth.saturations == (8.0,)


def test_one_file_with_two_values_is_two_regions(tmp_path: Path) -> None:
    picture = trees.image(tmp_path / "a.png")
    pixels = np.zeros((trees.HEIGHT, trees.WIDTH), np.uint8)
    pixels[trees.SPOT], pixels[trees.OTHER] = 255, 254
    Image.fromarray(pixels).save(tmp_path / "m.png")
    config = {255: (3.0, False), 254: (0.25, True)}
    truth = mask_layers(picture, (tmp_path / "m.png",), config)
    assert truth.saturations == (2.0, 3.0)
    assert truth.regions[0][trees.OTHER].all()
    assert truth.regions[1][trees.SPOT].all()


def test_what_a_jpeg_smears_does_not_count(tmp_path: Path) -> None:
    picture = trees.image(tmp_path / "a.png")
    spot = (slice(3, 9), slice(5, 14))  # across the blocks of the compression
    drawn = trees.mask(tmp_path / "m.jpg", [spot])
    with Image.open(drawn) as stored:
        smeared = int((np.asarray(stored) > 0).sum())
    (region,) = mask_components(picture, drawn).regions
    assert smeared > 54 + 20
    assert region.sum() == region[spot].sum() == 54


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "I", "I;16"])
def test_masks_of_every_mode(tmp_path: Path, mode: str) -> None:
    picture = trees.image(tmp_path / "a.png")
    drawn = trees.mask(tmp_path / "l.png")
    with Image.open(drawn) as stored:
        stored.convert(mode).save(tmp_path / "m.tif" if mode != "P" else tmp_path / "m.png")
    truth = mask_components(picture, next(tmp_path.glob("m.*")))
    assert truth.saturations == (20.0,)
    assert truth.regions.dtype == bool


def test_the_smallest_value_counts(tmp_path: Path) -> None:
    picture = trees.image(tmp_path / "a.png")
    assert mask_components(picture, trees.mask(tmp_path / "m.png", value=1)).saturations == (20.0,)


def test_sizes_are_those_of_the_upright_picture(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    Image.new("RGB", (24, 16)).save(tmp_path / "a.jpg", exif=exif)
    assert image_size(tmp_path / "a.jpg") == (24, 16)
    assert no_regions(tmp_path / "a.jpg").regions.shape == (0, 24, 16)
    drawn = trees.mask(tmp_path / "m.png")
    with pytest.raises(DatasetError, match=r"is 24 x 16 pixels \(width x height\), .* 16 x 24"):
        mask_components(tmp_path / "a.jpg", drawn)
