"""The embedded feature extractor: its units, its symmetries, its shapes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from skimage.color import lab2rgb, rgb2lab
from torch import Tensor

from fmlad.backbones.embedded.builtin import DIRECTIONS, LEVELS, HandmadeFeatures, lab, working_size
from fmlad.backbones.roles import FeatureExtractor

FEATURES = HandmadeFeatures()
CHANNELS = 25
COLOUR = slice(0, 3)
EDGES = (slice(3, 3 + DIRECTIONS), slice(14, 14 + DIRECTIONS))
TEXTURE = (slice(11, 14), slice(22, 25))


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Small tensors: on a busy machine a second thread costs far more than it brings."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def pixels(height: int, width: int, seed: int = 0) -> Tensor:
    """Blocks of colour with noise, ``uint8 (1, 3, H, W)``."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 256, (3, height // 13 + 1, width // 17 + 1))
    picture = blocks.repeat(13, axis=1).repeat(17, axis=2)[:, :height, :width]
    noisy = picture + rng.normal(0, 8, picture.shape)
    return torch.from_numpy(noisy.clip(0, 255).astype(np.uint8))[None]


def flat(rgb: tuple[int, int, int], size: int = 320) -> Tensor:
    return torch.tensor(rgb, dtype=torch.uint8)[None, :, None, None].expand(1, 3, size, size)


def all_channels() -> list[tuple[str, slice]]:
    names = ["colour", "fine edges", "coarse edges", "fine texture", "coarse texture"]
    return list(zip(names, [COLOUR, *EDGES, *TEXTURE], strict=True))


def test_lab_is_that_of_scikit_image() -> None:
    rng = np.random.default_rng(0)
    corners = np.array([[r, g, b] for r in (0, 255) for g in (0, 255) for b in (0, 255)])
    dark = rng.integers(0, 12, (40, 3))  # the straight part of both curves
    rgb = np.concatenate([corners, dark, rng.integers(0, 256, (400, 3))]) / 255
    ours = lab(torch.from_numpy(rgb).float().T[None, :, :, None])[0, :, :, 0].T.numpy()
    assert np.abs(ours - rgb2lab(rgb) / 100).max() < 5e-4


@pytest.mark.parametrize(
    ("size", "working"),
    [
        ((8, 8), (320, 320)),
        ((1, 1), (320, 320)),
        ((37, 501), (32, 496)),
        ((320, 320), (320, 320)),
        ((640, 640), (640, 640)),
        ((480, 641), (480, 640)),
        ((4000, 80), (640, 32)),
        ((80, 4000), (32, 640)),
        ((3000, 2000), (640, 432)),
    ],
)
def test_any_size_becomes_a_working_size(size: tuple[int, int], working: tuple[int, int]) -> None:
    assert working_size(*size) == working


@pytest.mark.parametrize("size", [(8, 8), (1, 1), (37, 501), (640, 640), (4000, 80)])
def test_shapes(size: tuple[int, int]) -> None:
    pyramid = FEATURES.encode(pixels(*size))
    height, width = working_size(*size)
    assert tuple(pyramid.levels) == LEVELS
    for stride, level in pyramid.levels.items():
        assert level.shape == (1, CHANNELS, height // stride, width // stride)
        assert level.dtype == torch.float32
        assert torch.isfinite(level).all()
    assert pyramid.pooled.shape == (1, CHANNELS)
    assert torch.isfinite(pyramid.pooled).all()


def test_a_batch_is_as_good_as_single_pictures() -> None:
    one, two = pixels(100, 140, 1), pixels(100, 140, 2)
    batch = FEATURES.encode(torch.cat([one, two]))
    for index, image in enumerate((one, two)):
        alone = FEATURES.encode(image)
        picked = batch[index]
        for stride in LEVELS:
            assert torch.allclose(picked.levels[stride], alone.levels[stride], atol=1e-6)
        assert torch.allclose(picked.pooled, alone.pooled, atol=1e-6)


def test_it_is_deterministic_and_leaves_its_input_alone() -> None:
    image = pixels(64, 64)
    kept = image.clone()
    first, second = FEATURES.encode(image), HandmadeFeatures(device="cpu").encode(image)
    assert torch.equal(image, kept)
    for stride in LEVELS:
        assert torch.equal(first.levels[stride], second.levels[stride])
        assert not first.levels[stride].requires_grad


@pytest.mark.parametrize("rgb", [(0, 0, 0), (255, 255, 255), (200, 30, 90)])
def test_a_flat_picture_has_colour_and_nothing_else(rgb: tuple[int, int, int]) -> None:
    for level in FEATURES.encode(flat(rgb, 64)).levels.values():
        for part in (*EDGES, *TEXTURE):
            assert float(level[:, part].abs().max()) < 0.02
        spread = level[:, COLOUR].flatten(2).std(dim=2)
        assert float(spread.max()) < 1e-4


def delta_e(one: tuple[int, int, int], two: tuple[int, int, int]) -> float:
    a, b = (rgb2lab(np.array([rgb]) / 255)[0] for rgb in (one, two))
    return float(np.linalg.norm(a - b))


@pytest.mark.parametrize("shift", [(20, 0, 0), (0, 20, 0), (0, 0, -20), (12, -16, 0)])
def test_a_plain_difference_of_20_delta_e_is_a_distance_of_1(shift: tuple[int, int, int]) -> None:
    base = np.array([50.0, 5.0, 10.0])
    one, two = (
        tuple(int(v) for v in np.rint(255 * lab2rgb(colour[None])[0]))
        for colour in (base, base + np.array(shift))
    )
    wanted = delta_e(one, two) / 20  # type: ignore[arg-type]
    assert wanted == pytest.approx(1, abs=0.03)
    a, b = (FEATURES.encode(flat(rgb)) for rgb in (one, two))  # type: ignore[arg-type]
    for stride in LEVELS:
        distance = (a.levels[stride] - b.levels[stride]).norm(dim=1)
        assert torch.allclose(distance, torch.full_like(distance, wanted), atol=2e-3)
    assert float((a.pooled - b.pooled).norm()) == pytest.approx(wanted, abs=2e-3)


def permuted(level: Tensor, order: list[int]) -> Tensor:
    """The level with the directions of its edges renamed."""
    result = level.clone()
    for part in EDGES:
        result[:, part] = level[:, part][:, order]
    return result


HALF = DIRECTIONS // 2
MIRRORED = [(HALF - k) % DIRECTIONS for k in range(DIRECTIONS)]
UPSIDE_DOWN = [-k % DIRECTIONS for k in range(DIRECTIONS)]
TRANSPOSED = [(DIRECTIONS // 4 - k) % DIRECTIONS for k in range(DIRECTIONS)]


@pytest.mark.parametrize(
    ("dims", "order"), [((3,), MIRRORED), ((2,), UPSIDE_DOWN), (None, TRANSPOSED)]
)
def test_a_mirror_image_has_mirrored_features(dims: tuple[int] | None, order: list[int]) -> None:
    image = pixels(320, 336)
    changed = image.flip(dims) if dims else image.transpose(2, 3)
    plain, mirrored = FEATURES.encode(image), FEATURES.encode(changed)
    for stride in LEVELS:
        level = plain.levels[stride]
        level = level.flip(dims) if dims else level.transpose(2, 3)
        assert torch.allclose(mirrored.levels[stride], permuted(level, order), atol=1e-3)
        # The directions matter: without renaming them the features do not fit.
        assert float((mirrored.levels[stride] - level).abs().max()) > 0.1


def half_and_half(left: int, right: int) -> Tensor:
    image = torch.full((1, 3, 320, 320), left, dtype=torch.uint8)
    image[..., 160:] = right
    return image


def test_an_edge_has_a_direction_and_a_sign() -> None:
    for part in EDGES:
        rising = FEATURES.encode(half_and_half(60, 200)).levels[8][0, part, 20, 20]
        falling = FEATURES.encode(half_and_half(200, 60)).levels[8][0, part, 20, 20]
        assert int(rising.argmax()) == 0
        assert int(falling.argmax()) == HALF
        assert float(rising[HALF]) == pytest.approx(0, abs=1e-3)
        assert torch.allclose(rising, falling.roll(HALF), atol=1e-4)


@pytest.mark.parametrize(("name", "part"), all_channels())
def test_what_changes_in_one_place_stays_there(name: str, part: slice) -> None:
    image = torch.full((1, 3, 320, 320), 128, dtype=torch.uint8)
    changed = image.clone()
    spot = torch.randint(0, 256, (3, 24, 24), generator=torch.Generator().manual_seed(0))
    changed[0, :, 80:104, 160:184] = spot.to(torch.uint8)
    for stride, reach in ((8, 16), (16, 32)):
        a, b = (FEATURES.encode(each).levels[stride] for each in (image, changed))
        difference = (a - b)[0, part].norm(dim=0)
        rows, columns = np.nonzero(difference.numpy() > 0.05)
        assert len(rows), name
        assert (rows + 1).min() * stride >= 80 - reach
        assert rows.max() * stride <= 104 + reach
        assert (columns + 1).min() * stride >= 160 - reach
        assert columns.max() * stride <= 184 + reach


def test_it_is_a_feature_extractor_with_a_stable_name() -> None:
    """Saved detectors and caches know it by these; new output wants a new revision."""
    assert isinstance(FEATURES, FeatureExtractor)
    assert FEATURES.name == FEATURES.fingerprint == "builtin:handmade@1"
    assert FEATURES.expensive is False


def test_the_output_belongs_to_this_revision() -> None:
    """Fails when the numbers change: then raise the revision and measure these again."""
    y, x = torch.meshgrid(torch.arange(320), torch.arange(320), indexing="ij")
    planes = [(x // 2 + y) % 256, (x * y // 97) % 256, (3 * y) % 256]
    image = torch.stack(planes).to(torch.uint8)[None]
    pyramid = FEATURES.encode(image)
    got = {stride: float(level.double().norm()) for stride, level in pyramid.levels.items()}
    assert got == pytest.approx(REVISION_1, rel=1e-4)


REVISION_1 = {8: 329.60802, 16: 212.48513}
