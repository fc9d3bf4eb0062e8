"""Upsampling against its definition, and what must hold for any picture."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from fmlad.backbones import upsampling
from fmlad.backbones.embedded import bilateral
from fmlad.backbones.embedded.bilateral import JointBilateral
from fmlad.backbones.roles import Upsampler
from fmlad.errors import OptionError
from tests.conftest import picture


def photo(size: tuple[int, int] = (96, 128), seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(picture(seed, size)).permute(2, 0, 1)[None]


def half_and_half(split: int, side: int = 128) -> torch.Tensor:
    """Dark left of a column and light right of it."""
    image = torch.full((1, 3, side, side), 40, dtype=torch.uint8)
    image[..., split:] = 210
    return image


def test_the_sum_over_neighbours_is_unfold_is_the_definition() -> None:
    torch.manual_seed(0)
    source, kernel = torch.randn(2, 3, 4, 5), torch.randn(2, 49, 8, 10)
    found = upsampling.gathered(source, kernel)
    fine = F.interpolate(source, (8, 10), mode="bicubic", align_corners=False)
    wide = F.pad(fine, (3, 3, 3, 3), mode="reflect")

    columns = F.unfold(wide, 7).view(2, 3, 49, 8, 10)
    torch.testing.assert_close(found, (columns * kernel[:, None]).sum(2), atol=2e-5, rtol=1e-5)

    defined = np.zeros((2, 3, 8, 10))
    for b, c, y, x in np.ndindex(2, 3, 8, 10):
        for i, j in np.ndindex(7, 7):  # i: down
            row, column = abs(y + i - 3), abs(x + j - 3)  # mirrored at 0, then at the far side
            row, column = min(row, 14 - row), min(column, 18 - column)
            defined[b, c, y, x] += kernel[b, 7 * i + j, y, x] * fine[b, c, row, column]
    np.testing.assert_allclose(found.numpy(), defined, atol=2e-5)


def test_pieces_of_work_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    source, kernel = torch.randn(1, 7, 6, 6), torch.randn(1, 49, 12, 12)
    whole = upsampling.gathered(source, kernel)
    sharp = JointBilateral()(source, photo(), 2)
    monkeypatch.setattr(upsampling, "CHUNK", 300)  # two channels at a time
    monkeypatch.setattr(bilateral, "CHUNK", 300)
    torch.testing.assert_close(upsampling.gathered(source, kernel), whole)
    torch.testing.assert_close(JointBilateral()(source, photo(), 2), sharp)


def test_the_joint_bilateral_is_its_definition() -> None:
    torch.manual_seed(0)
    features = torch.randn(1, 2, 4, 5)
    image = torch.randint(0, 256, (1, 3, 8, 10), dtype=torch.uint8)
    found = JointBilateral()(features, image, 2)[0]
    colours = image[0].double().numpy() / 255
    means = colours.reshape(3, 4, 2, 5, 2).mean((2, 4))
    values = features[0].double().numpy()
    for y, x in np.ndindex(8, 10):
        total, norm = np.zeros(2), 0.0
        for down, across in np.ndindex(3, 3):
            row, column = y // 2 + down - 1, x // 2 + across - 1
            apart = ((y + 0.5) / 2 - row - 0.5) ** 2 + ((x + 0.5) / 2 - column - 0.5) ** 2
            row, column = min(max(row, 0), 3), min(max(column, 0), 4)
            unlike = ((colours[:, y, x] - means[:, row, column]) ** 2).sum()
            weight = np.exp(-unlike / (2 * 0.1**2) - apart / (2 * 0.5**2))
            total += weight * values[:, row, column]
            norm += weight
        np.testing.assert_allclose(found[:, y, x], total / norm, atol=1e-5)


@pytest.mark.parametrize("factor", upsampling.FACTORS)
def test_shapes_of_every_factor(factor: int) -> None:
    upsampler = JointBilateral()
    assert isinstance(upsampler, Upsampler)
    features = torch.randn(2, 5, 3, 4)
    sharp = upsampler(features, torch.cat([photo(), photo(seed=1)]), factor)
    assert sharp.shape == (2, 5, 3 * factor, 4 * factor)
    assert sharp.dtype == torch.float32
    if factor == 1:
        assert torch.equal(sharp, features)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 6), st.integers(1, 6), st.sampled_from([2, 4]), st.integers(0, 99))
def test_values_stay_within_those_that_came(h: int, w: int, factor: int, seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    features = torch.randn(1, 2, h, w, generator=rng)
    image = torch.randint(0, 256, (1, 3, 20, 33), dtype=torch.uint8, generator=rng)
    sharp = JointBilateral()(features, image, factor)
    assert sharp.min() >= features.min() - 1e-5
    assert sharp.max() <= features.max() + 1e-5
    constant = JointBilateral()(torch.full((1, 1, h, w), 3.5), image, factor)
    torch.testing.assert_close(constant, torch.full_like(constant, 3.5))


def test_a_mirrored_picture_gives_mirrored_features() -> None:
    torch.manual_seed(0)
    features, image = torch.randn(1, 3, 6, 8), photo()
    sharp = JointBilateral()(features, image, 4)
    for axis in (2, 3):
        other = JointBilateral()(features.flip(axis), image.flip(axis), 4)
        torch.testing.assert_close(other.flip(axis), sharp, atol=1e-5, rtol=1e-5)


def step_error(sharp: torch.Tensor, split: int, side: int = 128) -> float:
    """Mean distance to a map that is 0 left of the edge and 1 right of it."""
    truth = (torch.arange(side) >= split).float().expand(1, 1, side, side)
    truth = F.adaptive_avg_pool2d(truth, tuple(sharp.shape[-2:]))
    return float((sharp - truth).abs().mean())


@pytest.mark.parametrize("split", [40, 52, 61])
@pytest.mark.parametrize("factor", [4, 8])
def test_edges_follow_the_picture(split: int, factor: int) -> None:
    # Cells of 16 px: the edge goes through the middle of one, or beside it.
    coarse = F.adaptive_avg_pool2d((torch.arange(128) >= split).float().expand(1, 1, 128, 128), 8)
    sharp = JointBilateral()(coarse, half_and_half(split), factor)
    plain = F.interpolate(coarse, scale_factor=factor, mode="bilinear", align_corners=False)
    assert step_error(sharp, split) < 0.5 * step_error(plain, split)


@pytest.mark.parametrize("factor", [0, 3, 32, -2, 1.5])
def test_other_factors_are_refused(factor: int) -> None:
    with pytest.raises(OptionError, match="1, 2, 4, 8, 16"):
        JointBilateral()(torch.zeros(1, 1, 4, 4), photo(), factor)


@pytest.mark.parametrize(
    ("features", "image"),
    [
        (torch.zeros(1, 4, 4), photo()),
        (torch.zeros(2, 1, 4, 4), photo()),
        (torch.zeros(1, 1, 4, 4), photo().float()),
        (torch.zeros(1, 1, 4, 4), photo()[:, :1]),
    ],
)
def test_other_shapes_are_refused(features: torch.Tensor, image: torch.Tensor) -> None:
    with pytest.raises(OptionError, match=r"features \(B, C, h, w\)"):
        JointBilateral()(features, image, 2)
