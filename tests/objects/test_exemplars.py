"""Exemplars: means in boxes, cosines, and that they find parts on the embedded features."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from fmlad.backbones.embedded.builtin import HandmadeFeatures
from fmlad.backbones.pooling import region_means
from fmlad.datasets import render_scene
from fmlad.errors import PromptError
from fmlad.objects.exemplars import exemplar_embedding, similarity


def level(height: int = 6, width: int = 8, channels: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(1, channels, height, width, generator=generator)


def test_a_box_of_whole_cells_is_their_mean() -> None:
    features = level()
    found = exemplar_embedding(features, (20, 10, 50, 30), (60, 80))  # cells of 10 x 10 px
    assert torch.allclose(found, features[0, :, 1:3, 2:5].mean(dim=(1, 2)), atol=1e-6)


def test_cells_count_by_what_the_box_covers() -> None:
    features = level()
    found = exemplar_embedding(features, (15, 0, 20, 5), (60, 80))  # within one cell
    assert torch.allclose(found, features[0, :, 0, 1], atol=1e-6)
    found = exemplar_embedding(features, (15, 0, 35, 10), (60, 80))
    parts = features[0, :, 0, 1:4]
    expected = (0.5 * parts[:, 0] + parts[:, 1] + 0.5 * parts[:, 2]) / 2
    assert torch.allclose(found, expected, atol=1e-6)


def test_what_reaches_out_of_the_image_is_cut_off() -> None:
    features = level()
    inside = exemplar_embedding(features, (0, 0, 80, 60), (60, 80))
    assert torch.allclose(inside, features[0].mean(dim=(1, 2)), atol=1e-6)
    assert torch.allclose(exemplar_embedding(features, (-9, -9, 999, 99), (60, 80)), inside)


@pytest.mark.parametrize(
    "box", [(90, 0, 99, 9), (5, 5, 5, 9), (9, 9, 5, 5), (0, 0, math.nan, 9), (-9, -9, -1, -1)]
)
def test_a_box_without_pixels_is_refused(box: tuple[float, ...]) -> None:
    with pytest.raises(PromptError, match="80 x 60"):
        exemplar_embedding(level(), box, (60, 80))


def test_similarity_is_the_cosine_of_places_and_of_regions() -> None:
    features = level() - 0.5
    vectors = torch.stack([features[0, :, 2, 3], -3 * features[0, :, 0, 0], torch.zeros(3)])
    dense = similarity(features, vectors)
    assert dense.shape == (3, 6, 8)
    assert dense[0, 2, 3] == pytest.approx(1)
    assert dense[1, 0, 0] == pytest.approx(-1)
    assert (dense[2] == 0).all()
    assert dense.abs().max() <= 1 + 1e-6
    cells = np.zeros((2, 6, 8), bool)
    cells[0, 2, 3] = cells[1, 0, 0] = True
    regions = similarity(region_means(features[0], cells), vectors)
    assert regions.shape == (3, 2)
    assert torch.allclose(regions, dense[:, [2, 0], [3, 0]], atol=1e-6)


def test_region_means_on_another_grid() -> None:
    maps = level()[0]
    fine = np.zeros((20, 60, 80), bool)
    fine[:, 10:30, 20:50] = True
    fine[7] = False
    found = region_means(maps, fine)
    assert found.shape == (20, 3)
    assert torch.allclose(found[0], maps[:, 1:3, 2:5].mean(dim=(1, 2)), atol=1e-6)
    assert (found[7] == 0).all()
    assert region_means(maps, fine[:0]).shape == (0, 3)


def test_one_box_a_part_finds_the_parts_of_another_scene() -> None:
    features = HandmadeFeatures()

    def seen(
        index: int,
    ) -> tuple[torch.Tensor, list[str], list[tuple[int, int, int, int]], np.ndarray]:
        scene = render_scene("pushpins", 2, "train", "good", index)
        pins = [item for item in scene.objects if item.kind != "tray"]
        image = torch.from_numpy(scene.image.transpose(2, 0, 1).copy())[None]
        return (
            features.encode(image).levels[8],
            [item.kind for item in pins],
            [item.box for item in pins],
            np.stack([scene.instances == item.id for item in pins]),
        )

    shown, kinds, boxes, masks = seen(0)
    parts = sorted(set(kinds))
    vectors = torch.stack(
        [exemplar_embedding(shown, boxes[kinds.index(p)], masks.shape[1:]) for p in parts]  # type: ignore[arg-type]
    )
    other, truth, _, masks = seen(1)
    best = similarity(region_means(other[0], masks), vectors).argmax(dim=0)
    assert np.mean([parts[i] == kind for i, kind in zip(best.tolist(), truth, strict=True)]) > 0.8
