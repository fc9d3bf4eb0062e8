"""Object proposals without a network."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch

from fmlad.backbones.embedded.objects import ObjectProposer
from fmlad.backbones.roles import MaskProposer, Masks

SURE = 0.5
Picture = npt.NDArray[np.float64]


def ground(kind: str, height: int = 240, width: int = 320) -> Picture:
    """Float RGB ``(height, width, 3)`` in [0, 255]: what things lie on."""
    y, x = np.mgrid[:height, :width]
    rng = np.random.default_rng(0)
    image = np.full((height, width, 3), (200.0, 195.0, 185.0))
    if kind == "gradient":
        image += ((x + y) / (width + height) * 80 - 60)[..., None]
    if kind == "texture":
        streaks = np.sin(y / 3 + 0.5 * np.sin(x / 40)) * 8
        image = np.array([170.0, 120.0, 80.0]) + streaks[..., None] + rng.normal(0, 4, image.shape)
    if kind == "frame":
        image[:] = (60, 60, 70)
        image[20:-20, 20:-20] = (200, 195, 185)
    return image + rng.normal(0, 1.5, image.shape)


def disc(image: Picture, x: float, y: float, radius: float, colour: tuple[int, int, int]) -> None:
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]]
    image[(columns - x) ** 2 + (rows - y) ** 2 < radius**2] = colour


def tensor(image: Picture) -> torch.Tensor:
    return torch.from_numpy(image.clip(0, 255).astype(np.uint8)).permute(2, 0, 1)[None].contiguous()


def sure(image: Picture) -> Masks:
    found = ObjectProposer().propose(tensor(image)).best()
    keep = found.scores >= SURE
    return Masks(found.masks[keep], found.boxes[keep], found.scores[keep])


def iou(box: npt.ArrayLike, others: npt.NDArray[np.float32]) -> float:
    """Of the best of the others."""
    one = np.asarray(box, np.float32)
    sides = np.minimum(others[:, 2:], one[2:]) - np.maximum(others[:, :2], one[:2])
    shared = sides.clip(0).prod(axis=1)
    union = (others[:, 2:] - others[:, :2]).prod(axis=1) + (one[2:] - one[:2]).prod() - shared
    return float((shared / union).max()) if len(others) else 0.0


@pytest.mark.parametrize("kind", ["plain", "gradient", "texture", "frame"])
def test_discs_and_a_bar_on_any_ground(kind: str) -> None:
    image = ground(kind)
    disc(image, 80, 80, 20, (40, 60, 150))
    disc(image, 240, 160, 12, (190, 30, 30))
    image[190:198, 60:160] = (30, 90, 40)
    masks = sure(image)
    for box in ([60, 60, 100, 100], [228, 148, 252, 172], [60, 190, 160, 198]):
        assert iou(box, masks.boxes) > 0.7
    assert len(masks) == (4 if kind == "frame" else 3)  # the bright field in the frame is one too


def test_a_soft_shadow_is_not_part_of_the_object() -> None:
    image = ground("plain")
    y, x = np.mgrid[:240, :320]
    image *= 1 - 0.25 * np.exp(-(((x - 175) / 25) ** 2) - ((y - 130) / 20) ** 2)[..., None]
    disc(image, 150, 120, 22, (160, 30, 40))
    masks = sure(image)
    assert len(masks) == 1
    assert iou([128, 98, 172, 142], masks.boxes) > 0.8


def test_a_bright_object_on_a_pale_ground() -> None:
    image = ground("plain")
    disc(image, 150, 120, 22, (225, 222, 215))
    assert iou([128, 98, 172, 142], sure(image).boxes) > 0.8


@pytest.mark.parametrize("colours", [((40, 60, 150),) * 2, ((40, 60, 150), (40, 120, 60))])
def test_touching_objects_are_two(colours: tuple[tuple[int, int, int], ...]) -> None:
    image = ground("gradient")
    disc(image, 120, 120, 20, colours[0])
    disc(image, 158, 120, 20, colours[1])
    for x in (40, 160, 280):  # what tells the usual size
        disc(image, x, 50, 20, (40, 60, 150))
    assert len(sure(image)) == 5


def test_two_colours_and_marks_and_a_highlight_stay_one_object() -> None:
    image = ground("plain")
    disc(image, 150, 120, 26, (40, 60, 150))
    image[94:146, 150:177] = np.where(
        (image[94:146, 150:177, :1] < 100) & (image[94:146, 150:177, 2:] > 100),
        (210, 170, 30),
        image[94:146, 150:177],
    )
    for x, y in [(140, 110), (140, 130), (160, 120)]:
        disc(image, x, y, 4, (250, 250, 250))
    masks = sure(image)
    assert len(masks) == 1
    assert iou([124, 94, 176, 146], masks.boxes) > 0.8


def test_contents_of_a_box_are_found_beside_the_box() -> None:
    image = ground("texture")
    image[40:200, 50:270] = (150, 150, 155)
    for x in (90, 160, 230):
        disc(image, x, 120, 15, (200, 40, 40))
    masks = sure(image)
    assert iou([50, 40, 270, 200], masks.boxes) > 0.9
    for x in (90, 160, 230):
        assert iou([x - 15, 105, x + 15, 135], masks.boxes) > 0.7


def test_two_hundred_objects() -> None:
    image = ground("plain", 480, 640)
    for i in range(200):
        disc(image, 20 + 31 * (i % 20), 24 + 46 * (i // 20), 9, (40, 60, 150))
    assert len(sure(image)) == 200


@pytest.mark.parametrize("value", [0, 128, 255])
def test_nothing_is_found_where_nothing_is(value: int) -> None:
    masks = ObjectProposer().propose(torch.full((1, 3, 100, 140), value, dtype=torch.uint8))
    assert len(masks) == 0
    assert masks.boxes.shape == (0, 4)
    assert masks.masks.shape[0] == 0
    assert masks.masks.ndim == 3


def test_noise_alone_is_no_object() -> None:
    image = np.random.default_rng(1).normal(128, 25, (240, 320, 3))
    assert len(sure(image)) == 0


def test_one_that_fills_the_image() -> None:
    image = ground("plain")
    disc(image, 160, 120, 118, (40, 60, 150))
    assert iou([42, 2, 278, 238], sure(image).boxes) > 0.9


@pytest.mark.parametrize(("height", "width"), [(96, 96), (96, 640), (3000, 2000)])
def test_sizes(height: int, width: int) -> None:
    image = ground("plain", height, width)
    radius = min(height, width) / 8
    disc(image, width / 2, height / 2, radius, (40, 60, 150))
    masks = sure(image)
    assert len(masks) == 1
    x, y = width / 2, height / 2
    assert iou([x - radius, y - radius, x + radius, y + radius], masks.boxes) > 0.8


def test_the_contract() -> None:
    image = ground("texture")
    for i in range(12):
        disc(image, 30 + 24 * i, 40 + 14 * (i % 9), 6 + i / 2, (20 * i, 200 - 15 * i, 90))
    proposer = ObjectProposer()
    assert isinstance(proposer, MaskProposer)
    first, second = (proposer.propose(tensor(image)) for _ in range(2))
    for name in ("masks", "boxes", "scores"):
        assert np.array_equal(getattr(first, name), getattr(second, name))
    assert (np.diff(first.scores) <= 0).all()
    assert ((first.scores > 0) & (first.scores <= 1)).all()
    assert first.masks.dtype == np.bool_
    assert first.boxes.dtype == first.scores.dtype == np.float32
    scale = np.array([320 / first.masks.shape[2], 240 / first.masks.shape[1]] * 2)
    for mask, box in zip(first.masks, first.boxes, strict=True):
        rows, columns = np.nonzero(mask)
        tight = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        np.testing.assert_allclose(box, tight * scale, atol=1e-3)


def test_prompts_pick_a_proposal_or_nothing() -> None:
    image = ground("plain")
    disc(image, 60, 60, 20, (40, 60, 150))
    disc(image, 250, 180, 20, (40, 120, 60))
    proposer = ObjectProposer()
    points = np.array([[60, 60], [160, 20]], np.float32)
    masks = proposer.prompt(tensor(image), points=points)
    assert masks.scores[0] > SURE
    assert masks.scores[1] == 0
    assert not masks.masks[1].any()
    boxes = np.array([[232, 162, 268, 198]], np.float32)
    height, width = masks.masks.shape[1:]
    both = proposer.prompt(tensor(image), boxes=boxes, points=points)
    assert len(both) == 3
    assert both.masks[0][int(180 / 240 * height), int(250 / 320 * width)]
    assert len(proposer.prompt(tensor(image))) == 0
    pair = np.array([[[60, 60], [250, 180]]], np.float32)
    assert not proposer.prompt(tensor(image), points=pair).masks.any()  # nothing holds both discs
    apart = proposer.prompt(tensor(image), points=pair, labels=np.array([[1, 0]]))
    np.testing.assert_array_equal(apart.masks[0], masks.masks[0])
