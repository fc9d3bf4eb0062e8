"""The generator on a network that answers with known blobs: geometry, filters, crops."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fmlad.backbones.sam.mask_generator import (
    GeneratorSettings,
    generate,
    remove_specks,
)
from fmlad.backbones.sam.sam import SAM
from fmlad.backbones.sam.sam_models import EncodedImage, SamNetwork
from tests.backbones.test_sam import fake_cv2

SHAPES = [  # colour, centre x, centre y, half width, half height, in the unit square
    ((200, 40, 40), 0.2, 0.25, 0.08, 0.1),
    ((40, 200, 40), 0.55, 0.3, 0.12, 0.2),
    ((40, 40, 200), 0.8, 0.7, 0.15, 0.2),
    ((200, 200, 40), 0.3, 0.75, 0.2, 0.1),
]
GROUND = (10, 10, 10)


def board(height: int, width: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """Coloured ellipses on a dark ground, uint8 ``(H, W, 3)``, and their masks."""
    y, x = np.mgrid[:height, :width] + 0.5
    image = np.full((height, width, 3), GROUND, np.uint8)
    masks = []
    for colour, cx, cy, rx, ry in SHAPES:
        inside = ((x / width - cx) / rx) ** 2 + ((y / height - cy) / ry) ** 2 < 1
        image[inside] = colour
        masks.append(inside)
    return image, masks


class Blobs(SamNetwork):
    """Answers a point with all that has its colour; scaling and padding are the real ones.

    Three masks a point: the blob, the blob with blurred logits (unstable), and the blob again with
    a predicted quality that is too low.
    """

    def __init__(self, side: int = 256, grid: int = 128, kind: str = "sam") -> None:
        super().__init__(kind, side, "cpu", torch.float32)
        self._grid = grid
        self.encoded_sizes: list[tuple[int, int]] = []

    def encode(self, pixels: np.ndarray) -> EncodedImage:
        size = (pixels.shape[0], pixels.shape[1])
        self.encoded_sizes.append(size)
        inner = self._inner(size)
        canvas = torch.full((1, 3, self.side, self.side), -1.0)
        image = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float()
        canvas[..., : inner[0], : inner[1]] = torch.nn.functional.interpolate(image, inner)
        return EncodedImage(size, inner, (canvas,))

    def decode(
        self,
        encoded: EncodedImage,
        *,
        points: np.ndarray | None = None,
        labels: np.ndarray | None = None,
        boxes: np.ndarray | None = None,
        several: bool = True,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        canvas = encoded.maps[0][0]
        middles = points[:, 0] if boxes is None else (boxes[:, :2] + boxes[:, 2:]) / 2
        places = self._to_input(middles, encoded)
        logits, quality = [], []
        for x, y in places.floor().long().tolist():
            colour = canvas[:, y, x]
            same = (canvas - colour[:, None, None]).abs().amax(0) < 30
            if (colour - torch.tensor(GROUND)).abs().max() < 30:
                same = same & False
            small = torch.nn.functional.adaptive_avg_pool2d(same.float()[None], self._grid)[0]
            sharp = 40 * (small - 0.5)
            logits.append(torch.stack([sharp, sharp / 30, sharp]))
            quality.append(torch.tensor([0.9 + float(y) / 1e4, 0.95, 0.5]))
        kept = slice(None) if several else slice(1)
        return torch.stack(logits)[:, kept], torch.stack(quality)[:, kept]

    def _embed(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        raise NotImplementedError

    def _answer(self, *prompts: object) -> tuple[torch.Tensor, torch.Tensor]:
        raise NotImplementedError


def masks_of(image: np.ndarray, settings: GeneratorSettings) -> tuple[np.ndarray, np.ndarray]:
    model = Blobs()
    return generate(model, image, settings, model.encode(image))


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


@pytest.mark.parametrize("kind", ["sam", "sam2"])
@pytest.mark.parametrize("size", [(256, 256), (150, 240), (300, 180), (700, 900)])
def test_blobs_are_found_where_they_are(size: tuple[int, int], kind: str) -> None:
    image, truth = board(*size)
    model = Blobs(kind=kind)
    backbone = SAM("test:blobs@1", model, "none", GeneratorSettings(points=12, specks=20))
    found = backbone.propose(torch.from_numpy(image).permute(2, 0, 1)[None])
    assert len(found) == len(truth)
    longest = max(size)
    assert found.masks.shape[1:] == (
        size if longest <= 256 else tuple(round(s * 256 / longest) for s in size)
    )
    assert model.encoded_sizes == [found.masks.shape[1:]]
    y, x = np.mgrid[: size[0], : size[1]]
    for mask in truth:
        rows, columns = (
            np.arange(s) * m // s for s, m in zip(size, found.masks.shape[1:], strict=True)
        )
        full = found.masks[:, rows][:, :, columns]
        best = int(np.argmax([overlap(one, mask) for one in full]))
        assert overlap(full[best], mask) > 0.9
        box = [x[mask].min(), y[mask].min(), x[mask].max() + 1, y[mask].max() + 1]
        np.testing.assert_allclose(found.boxes[best], box, atol=longest / 64)
    assert (np.diff(found.scores) <= 0).all()


@pytest.mark.parametrize("size", [(700, 900), (120, 170)])
def test_prompts_are_in_input_pixels(size: tuple[int, int]) -> None:
    image, truth = board(*size)
    backbone = SAM("test:blobs@1", Blobs(), "none", GeneratorSettings())
    centres = np.array([[s[1] * size[1], s[2] * size[0]] for s in SHAPES], np.float32)
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None]
    around = np.concatenate([centres - 20, centres + 20], axis=1)
    found = backbone.prompt(pixels, boxes=around[:2], points=centres)
    assert len(found) == 6
    for index, mask in zip((0, 1, 0, 1, 2, 3), (*found.masks,), strict=True):
        rows, columns = (np.arange(s) * m // s for s, m in zip(size, mask.shape, strict=True))
        assert overlap(mask[rows][:, columns], truth[index]) > 0.9
    ground = backbone.prompt(pixels, points=np.array([[2, 2]], np.float32))
    assert not ground.masks.any()
    assert ground.boxes.tolist() == [[0, 0, 0, 0]]


@pytest.mark.slow
def test_crops_find_what_the_whole_is_too_coarse_for() -> None:
    image = np.full((256, 256, 3), GROUND, np.uint8)
    dots = [(33, 40), (97, 200), (180, 60), (200, 221)]
    for row, column in dots:
        image[row - 4 : row + 5, column - 4 : column + 5] = (220, 220, 220)
    # One colour for all: the network would return the four together, or a crop's one.
    wide = GeneratorSettings(points=12, specks=0)
    whole, _ = masks_of(image, wide)
    assert len(whole) == 1
    assert whole[0].sum() > 3 * 81
    masks, _ = masks_of(image, GeneratorSettings(points=12, crops=2, specks=0))
    for row, column in dots:
        truth = np.zeros((256, 256), bool)
        truth[row - 4 : row + 5, column - 4 : column + 5] = True
        assert max(overlap(mask, truth) for mask in masks) > 0.9


class Predictor:
    """What segment-anything's generator asks of its predictor, answered by a :class:`Blobs`."""

    def __init__(self, blobs: Blobs) -> None:
        from types import SimpleNamespace

        self.blobs, self.device = blobs, "cpu"
        self.model = SimpleNamespace(mask_threshold=0.0)
        self.transform = SimpleNamespace(apply_coords=lambda points, size: points)

    def set_image(self, image: np.ndarray) -> None:
        self.encoded = self.blobs.encode(image)

    def predict_torch(
        self, points: torch.Tensor, labels: torch.Tensor, **_: bool
    ) -> tuple[torch.Tensor, torch.Tensor, None]:
        logits, quality = self.blobs.decode(self.encoded, points=points.numpy())
        full = self.blobs.enlarge(logits.flatten(0, 1), self.encoded)
        return full.view(*logits.shape[:2], *full.shape[1:]), quality, None

    def reset_image(self) -> None:
        pass


@pytest.mark.parametrize(
    ("crops", "specks", "nms"),
    [
        (0, 0, 0.7),
        (0, 80, 0.7),
        (1, 0, 0.3),
        (1, 80, 0.7),
        pytest.param(2, 80, 0.7, marks=pytest.mark.slow),
    ],
)
def test_segment_anythings_generator_finds_the_same_blobs(
    monkeypatch: pytest.MonkeyPatch, crops: int, specks: int, nms: float
) -> None:
    segment_anything = pytest.importorskip("segment_anything")
    monkeypatch.setitem(sys.modules, "cv2", fake_cv2())
    image, _ = board(200, 250)
    rng = np.random.default_rng(0)
    for row, column in rng.integers(5, 190, (25, 2)):  # islands and holes
        image[row : row + 5, column : column + 6] = SHAPES[row % 4][0]
    generator = segment_anything.SamAutomaticMaskGenerator.__new__(
        segment_anything.SamAutomaticMaskGenerator
    )
    shapeless = torch.nn.Module()
    shapeless.image_encoder = torch.nn.Module()
    shapeless.image_encoder.img_size = 256
    generator.__init__(
        shapeless,
        points_per_side=8,
        points_per_batch=20,
        box_nms_thresh=nms,
        crop_nms_thresh=nms,
        crop_n_layers=crops,
        min_mask_region_area=specks,
    )
    generator.predictor = Predictor(Blobs())
    expected = sorted(generator.generate(image), key=lambda one: -one["predicted_iou"])
    chosen = GeneratorSettings(points=8, batch=20, nms=nms, crops=crops, specks=specks)
    masks, quality = masks_of(image, chosen)
    assert len(masks) == len(expected) >= 3
    np.testing.assert_array_equal(quality, np.float32([one["predicted_iou"] for one in expected]))
    theirs = {one["segmentation"].tobytes() for one in expected}
    assert {np.ascontiguousarray(mask).tobytes() for mask in masks} == theirs


def test_low_quality_instability_and_duplicates_go() -> None:
    image, truth = board(200, 250)
    strict, _ = masks_of(image, GeneratorSettings(points=8))
    assert len(strict) == len(truth)
    loose, _ = masks_of(image, GeneratorSettings(points=8, stability=0.0, iou=0, nms=1))
    assert len(loose) > 3 * len(truth)
    none, quality = masks_of(image, GeneratorSettings(points=8, iou=0.99))
    assert none.shape == (0, 200, 250)
    assert quality.shape == (0,)


def test_an_image_without_anything() -> None:
    black = np.zeros((90, 130, 3), np.uint8)
    backbone = SAM("test:blobs@1", Blobs(), "none", GeneratorSettings(points=4))
    found = backbone.propose(torch.from_numpy(black).permute(2, 0, 1)[None])
    assert len(found) == 0
    assert found.masks.shape == (0, 90, 130)
    assert found.boxes.shape == (0, 4)


def test_the_whole_picture_is_encoded_once_with_crops() -> None:
    model = Blobs()
    backbone = SAM("test:blobs@1", model, "none", GeneratorSettings(points=4, crops=1))
    pixels = torch.from_numpy(board(200, 250)[0]).permute(2, 0, 1)[None]
    backbone.propose(pixels)
    backbone.prompt(pixels, points=np.array([[5, 5]], np.float32))
    assert len(model.encoded_sizes) == 5


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 20), st.integers(0, 999))
def test_specks_and_holes_by_flooding(height: int, width: int, least: int, seed: int) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < 0.5
    found, some = remove_specks(mask, least)
    expected = mask.copy()
    for region in regions(~mask):
        if len(region) < least:
            for place in region:
                expected[place] = True
    islands = regions(expected)
    large = [region for region in islands if len(region) >= least]
    assert some == any(len(region) < least for region in (*regions(~mask), *islands))
    if large or len(islands) < 2:
        result = np.zeros_like(mask)
        for place in (place for region in large or islands for place in region):
            result[place] = True
        np.testing.assert_array_equal(found, result)
    else:  # a largest one stays
        assert sorted(map(len, regions(found))) == [max(map(len, islands))]
        assert not (found & ~expected).any()


def regions(mask: np.ndarray) -> list[list[tuple[int, int]]]:
    """Connected regions, corners included, by flooding."""
    left = {(int(r), int(c)) for r, c in np.argwhere(mask)}
    found = []
    while left:
        region, edge = [], [left.pop()]
        while edge:
            row, column = edge.pop()
            region.append((row, column))
            near = {(row + i, column + j) for i in (-1, 0, 1) for j in (-1, 0, 1)} & left
            left -= near
            edge += near
        found.append(region)
    return found
