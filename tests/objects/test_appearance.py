"""Objects in numbers: known shapes give known numbers."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import numpy.typing as npt
import pytest
import torch

from fmlad.backbones.roles import Masks
from fmlad.io.tensors import TensorReader
from fmlad.objects.appearance import (
    COLOUR,
    COLOUR_UNIT,
    ELONGATION,
    ELONGATION_UNIT,
    FULL,
    MOST,
    NONE,
    SIZE,
    SIZE_UNIT,
    SOLIDITY,
    SOLIDITY_UNIT,
    SPREAD,
    SPREAD_UNIT,
    MaskedObjects,
    Objects,
    Proposals,
    describe_proposals,
    described,
)

HEIGHT, WIDTH = 60, 80
Mask = npt.NDArray[np.bool_]
Y, X = np.mgrid[:HEIGHT, :WIDTH]


def disc(x: float, y: float, radius: float) -> Mask:
    return np.asarray((X + 0.5 - x) ** 2 + (Y + 0.5 - y) ** 2 < radius**2)


def bar(top: int, bottom: int, left: int, right: int) -> Mask:
    return np.asarray((top <= Y) & (bottom > Y) & (left <= X) & (right > X))


def plain(colour: tuple[int, int, int], size: tuple[int, int] = (HEIGHT, WIDTH)) -> npt.NDArray:
    return np.full((*size, 3), colour, np.uint8)


def features(height: int = 6, width: int = 8) -> torch.Tensor:
    """Two channels: the row and the column of a cell."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([rows, columns])[None].float()


def seen(*masks: Mask, pixels: npt.NDArray | None = None) -> MaskedObjects:
    """Describes masks, with boxes in pixels of the grid."""
    image = plain((119, 119, 119)) if pixels is None else pixels
    boxes = [
        (m.any(0).argmax(), m.any(1).argmax(), WIDTH - m.any(0)[::-1].argmax(),
         HEIGHT - m.any(1)[::-1].argmax()) for m in masks
    ]  # fmt: skip
    return described(
        image,
        np.array(masks).reshape(-1, HEIGHT, WIDTH),
        np.array(boxes, float).reshape(-1, 4),
        np.ones(len(masks)),
        features(),
    )


def appearance(*masks: Mask, pixels: npt.NDArray | None = None) -> npt.NDArray[np.float64]:
    return seen(*masks, pixels=pixels).objects.appearance


def offered(masks: Masks) -> Proposals:
    return describe_proposals(plain((90, 90, 90)), masks, features())


def masks_of(masks: list[Mask], scores: list[float], preferred: list[bool] | None = None) -> Masks:
    count = len(masks)
    return Masks(
        np.array(masks).reshape(count, HEIGHT, WIDTH),
        np.tile(np.array([0, 0, 4, 4], np.float32), (count, 1)),
        np.array(scores, np.float32),
        None if preferred is None else np.array(preferred, bool),
    )


# Reference values of CIE Lab (D65).
@pytest.mark.parametrize(
    ("colour", "lab"),
    [
        ((255, 0, 0), (53.2, 80.1, 67.2)),
        ((0, 0, 255), (32.3, 79.2, -107.9)),
        ((0, 255, 0), (87.7, -86.2, 83.2)),
        ((0, 0, 0), (0, 0, 0)),
        ((255, 255, 255), (100, 0, 0)),
        ((119, 119, 119), (50.0, 0, 0)),
    ],
)
def test_colour(colour: tuple[int, int, int], lab: tuple[float, float, float]) -> None:
    found = appearance(disc(40, 30, 10), pixels=plain(colour))[0]
    np.testing.assert_allclose(found[list(COLOUR[:3])] * COLOUR_UNIT, lab, atol=1.0)
    assert found[SPREAD] == pytest.approx(0, abs=1e-3)


def test_only_the_colour_inside_counts() -> None:
    pixels = plain((200, 30, 30))
    mask = bar(20, 40, 20, 60)
    pixels[mask] = (119, 119, 119)
    inside, outside = appearance(mask, ~mask, pixels=pixels)
    np.testing.assert_allclose(inside[list(COLOUR[:3])] * COLOUR_UNIT, (50, 0, 0), atol=1)
    assert outside[1] * COLOUR_UNIT > 40


def test_spread_is_the_deviation_of_the_colour() -> None:
    pixels = plain((0, 0, 0))
    pixels[:, WIDTH // 2 :] = 255
    found = appearance(bar(20, 40, 20, 60), pixels=pixels)[0]
    assert found[SPREAD] * SPREAD_UNIT == pytest.approx(50, abs=1)  # half 0, half 100
    assert found[0] * COLOUR_UNIT == pytest.approx(50, abs=1)


def test_size_is_the_share_of_the_image() -> None:
    for mask in (bar(10, 20, 10, 40), disc(40, 30, 20), bar(5, 6, 5, 6)):
        found = math.exp(appearance(mask)[0, SIZE] * SIZE_UNIT)
        assert found == pytest.approx(mask.mean(), rel=1e-5)


@pytest.mark.parametrize(
    ("mask", "ratio"),
    [
        (disc(40, 30, 20), 1.0),
        (bar(20, 40, 30, 50), 1.0),
        (bar(28, 32, 20, 60), 10.0),
        (bar(5, 45, 30, 34), 10.0),
        (disc(40, 30, 20) & ~disc(40, 30, 12), 1.0),  # a ring
        (bar(9, 10, 9, 10), 1.0),
        (bar(0, HEIGHT, 0, WIDTH), WIDTH / HEIGHT),
    ],
)
def test_elongation_is_the_ratio_of_the_axes(mask: Mask, ratio: float) -> None:
    found = math.exp(appearance(mask)[0, ELONGATION] * ELONGATION_UNIT)
    assert found == pytest.approx(ratio, rel=0.12)


@pytest.mark.parametrize(
    ("mask", "filled", "tolerance"),
    [
        (disc(40, 30, 20), 1.0, 0.06),
        (bar(20, 40, 30, 50), 1.0, 1e-6),
        (bar(0, HEIGHT, 0, WIDTH), 1.0, 1e-6),
        (disc(40, 30, 20) & ~disc(40, 30, 12), 1 - 0.36, 0.05),
        (bar(10, 20, 10, 50) | bar(20, 50, 10, 20), 700 / 1150, 0.01),  # an L of 40 x 40
        (bar(9, 10, 9, 10), 1.0, 1e-6),
        (bar(9, 10, 9, 30), 1.0, 1e-6),  # a line of one pixel
        (bar(9, 10, 9, 12), 1.0, 1e-6),
    ],
)
def test_solidity_is_the_share_of_the_hull(mask: Mask, filled: float, tolerance: float) -> None:
    assert appearance(mask)[0, SOLIDITY] * SOLIDITY_UNIT == pytest.approx(filled, abs=tolerance)


@pytest.mark.parametrize(
    ("mask", "place"),
    [
        (bar(0, HEIGHT, 0, WIDTH), (0, 0)),
        (disc(40, 30, 10), (0, 0)),
        (disc(60, 30, 10), (0.5, 0)),  # halves of the longer side, in both directions
        (disc(40, 50, 6), (0, 0.5)),
        (bar(0, 1, 0, 1), (1 / WIDTH - 1, 1 / WIDTH - HEIGHT / WIDTH)),
        (bar(0, 10, 70, WIDTH), (0.875, 10 / WIDTH - HEIGHT / WIDTH)),
        (disc(40, 30, 20) & ~disc(40, 30, 12), (0, 0)),
    ],
)
def test_place_is_the_centroid_from_the_centre(mask: Mask, place: tuple[float, float]) -> None:
    np.testing.assert_allclose(seen(mask).objects.places[0], place, atol=1e-6)


def test_the_grid_of_the_masks_need_not_be_that_of_the_pixels() -> None:
    mask, pixels = disc(60, 30, 10), plain((200, 30, 30), (6 * HEIGHT, 6 * WIDTH))
    pixels[:, 3 * WIDTH :] = (30, 30, 200)
    coarse = seen(mask, pixels=pixels).objects
    fine = seen(mask, pixels=pixels[::6, ::6]).objects
    np.testing.assert_allclose(coarse.appearance, fine.appearance, atol=0.01)
    np.testing.assert_allclose(coarse.places, fine.places, atol=1e-6)


def test_features_are_the_mean_inside() -> None:
    found = seen(
        bar(0, HEIGHT, 0, WIDTH),
        bar(20, 30, 40, 50),  # exactly the cell in row 2 and column 4
        bar(22, 24, 42, 44),  # within it
        bar(20, 30, 40, 60),  # two cells
        bar(0, 1, 0, 1),
    ).objects.features
    wanted = [(2.5, 3.5), (2, 4), (2, 4), (2, 4.5), (0, 0)]
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_nothing_has_no_rows_but_all_columns() -> None:
    objects = seen().objects
    assert len(objects) == 0
    shapes = [objects.appearance.shape, objects.features.shape, objects.boxes.shape]
    assert [*shapes, objects.places.shape] == [(0, 7), (0, 2), (0, 4), (0, 2)]


@pytest.mark.parametrize("scores", [[], [0.2, 0.3]])
def test_nothing_good_enough_is_an_empty_offer(scores: list[float]) -> None:
    proposals = offered(masks_of([disc(40, 30, 10)] * len(scores), scores))
    assert len(proposals.objects) == len(proposals.preferred) == len(proposals.quality) == 0
    assert proposals.shared.shape == (0, 0)


def test_what_is_kept_survives_being_saved() -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    masks = [disc(40 + i, 30 - i, 3 + i) for i in range(8)] + [bar(9, 10, 9, 10)]
    proposals = describe_proposals(
        pixels, masks_of(masks, list(np.linspace(0.95, 0.41, 9))), features()
    )
    objects = proposals.objects
    again = Objects.restore(TensorReader(objects.tensors("x."), "cpu"), "x.")
    for name in ("appearance", "features", "boxes", "places", "objectness"):
        np.testing.assert_array_equal(getattr(again, name), getattr(objects, name))
        assert objects.tensors()[name].dtype == torch.float32
        assert np.isfinite(getattr(objects, name)).all()


def test_quality_says_how_surely_it_is_an_object() -> None:
    masks = [disc(20 + 8 * i, 30, 4) for i in range(5)]
    half = (NONE + FULL) / 2
    proposals = offered(masks_of(masks, [1.0, FULL, half, NONE + 1e-5, NONE - 0.01]))
    np.testing.assert_allclose(proposals.objects.objectness, [1, 1, 0.5, 1e-3], atol=1e-5)
    np.testing.assert_allclose(proposals.quality, [1, FULL, half, NONE + 1e-5], atol=1e-6)


def test_an_empty_mask_is_no_object() -> None:
    proposals = offered(masks_of([disc(40, 30, 5), np.zeros((HEIGHT, WIDTH), bool)], [0.9, 0.9]))
    assert len(proposals.objects) == 1


def test_no_more_than_the_best() -> None:
    masks = [bar(i % 50, i % 50 + 4, i % 70, i % 70 + 4) for i in range(MOST + 40)]
    proposals = offered(masks_of(masks, list(np.linspace(0.99, 0.5, MOST + 40))))
    assert len(proposals.objects) == len(proposals.preferred) == MOST
    assert proposals.quality.min() > 0.55


def test_the_proposers_choice_is_kept_or_parts_win() -> None:
    whole, left, right = bar(20, 30, 20, 60), bar(20, 30, 20, 40), bar(20, 30, 40, 60)
    other = disc(20, 50, 5)
    masks, scores = [whole, left, right, other], [0.9, 0.8, 0.8, 0.7]
    chosen = offered(masks_of(masks, scores, [True, False, False, True]))
    np.testing.assert_array_equal(chosen.preferred, [True, False, False, True])
    np.testing.assert_array_equal(
        offered(masks_of(masks, scores)).preferred, [False, True, True, True]
    )


def test_offers_know_areas_and_what_is_shared() -> None:
    whole, left, other = bar(20, 30, 20, 60), bar(20, 30, 20, 40), disc(20, 50, 5)
    masks = masks_of([whole, left, other], [0.9] * 3)
    proposals = offered(masks)
    np.testing.assert_allclose(proposals.areas, [m.mean() for m in (whole, left, other)])
    np.testing.assert_array_equal(proposals.shared, proposals.shared.T)
    assert proposals.shared[0, 1] == proposals.shared[1, 1] == proposals.shared[0, 0] / 2 == 50
    assert proposals.shared[0, 2] == 0
    taken = proposals.taken(np.array([True, False, True]), masks)
    np.testing.assert_array_equal(taken.masks, [whole, other])
    np.testing.assert_array_equal(taken.objects.appearance, proposals.objects.appearance[[0, 2]])


def test_masks_never_become_floats_all_at_once() -> None:
    many = np.zeros((128, 301, 203), bool)  # 8 MB; no whole number of pixels a cell
    for number, mask in enumerate(many):
        mask[number : number + 60, number : number + 40] = True
    pixels = np.full((301, 203, 3), 90, np.uint8)
    masks = Masks(many, np.zeros((128, 4), np.float32), np.full(128, 0.9, np.float32))
    tracemalloc.start()
    describe_proposals(pixels, masks, torch.zeros(1, 4, 10, 10))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3.5 * many.nbytes  # as floats they would take four times as much beside it
