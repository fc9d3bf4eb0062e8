"""Object descriptors, and what is wrong with the published attention."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fmlad.methods.sam_lad.matching import (
    Mode,
    adjacency,
    attend,
    literal_adjacency,
    pool,
)


def objects(count: int = 4, channels: int = 6, seed: int = 0) -> Tensor:
    return torch.rand(count, channels, generator=torch.Generator().manual_seed(seed))


def scene() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    level = torch.randn(1, 5, 8, 9, generator=generator)
    masks = torch.zeros(3, 8, 9)
    masks[0, 1:4, 2:5] = 1
    masks[1, 5:8, 0:3] = 0.5
    masks[2] = 1
    return level, masks


def test_pooling_equals_the_definition() -> None:
    level, masks = scene()
    products = level[0][None] * masks[:, None]
    torch.testing.assert_close(pool(level, masks, "gmp"), products.amax((2, 3)))
    mean = products.sum((2, 3)) / masks.sum((1, 2))[:, None]
    torch.testing.assert_close(pool(level, masks, "gap"), mean)


@pytest.mark.parametrize("mode", ["residual", "literal", "gmp", "gap"])
def test_no_objects_empty_masks_and_unit_norms(mode: Mode) -> None:
    level, masks = scene()
    how: Literal["gap", "gmp"] = "gap" if mode == "gap" else "gmp"
    assert attend(pool(level, masks[:0], how), mode).shape == (0, 5)
    found = attend(pool(level, masks, how), mode)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(3))
    empty = attend(pool(level, torch.zeros(2, 8, 9), how), mode)
    assert torch.isfinite(empty).all()


def test_literal_descriptors_forget_their_own_object() -> None:
    pooled = objects()
    changed = pooled.clone()
    changed[0] = changed[0].flip(0)
    # All that object 0 says about itself is how much each of the others weighs in its descriptor.
    weights = literal_adjacency(pooled)
    assert (weights.diagonal() == 0).all()
    without = attend(pooled, "literal")[0]
    others = torch.sigmoid(pooled * pooled * torch.softmax(pooled, 1))[1:]
    torch.testing.assert_close(without, F.normalize(weights[0, 1:] @ others, dim=0))
    # So two quite different objects get nearly the same descriptor, which the residual mode does
    # not do.
    alike = {}
    modes: tuple[Mode, ...] = ("literal", "residual")
    for mode in modes:
        a, b = attend(pooled, mode)[0], attend(changed, mode)[0]
        alike[mode] = float(a @ b)
    assert float(F.normalize(pooled[0], dim=0) @ F.normalize(changed[0], dim=0)) < 0.9
    assert alike["literal"] > 0.999
    assert alike["residual"] < alike["literal"] - 1e-3


def test_a_single_object_has_no_literal_descriptor() -> None:
    single = objects(1)
    assert attend(single, "literal").norm() == 0
    assert attend(single, "residual").norm() == pytest.approx(1)
    assert float(attend(single, "residual") @ F.normalize(single, dim=1).T) > 0.9


def test_literal_weights_explode_where_similarities_cancel() -> None:
    pooled = torch.tensor([[1.0, 0.0], [0.6, 0.8], [-0.6001, 0.8]])
    assert literal_adjacency(pooled)[0].abs().max() > 1000
    safe = adjacency(pooled)
    assert (safe >= 0).all()
    torch.testing.assert_close(safe.sum(1), torch.ones(3), atol=1e-4, rtol=0)


@pytest.mark.parametrize("mode", ["residual", "literal", "gmp", "gap"])
def test_order_of_objects_does_not_matter(mode: Mode) -> None:
    pooled, order = objects(5), torch.tensor([3, 0, 4, 1, 2])
    torch.testing.assert_close(attend(pooled, mode)[order], attend(pooled[order], mode))


def test_the_gate_is_nearly_even_for_small_features() -> None:
    # A softmax over many channels is nearly uniform: attention is close to plain pooling.
    wide = objects(1, 384)
    assert float(attend(wide, "residual") @ F.normalize(wide, dim=1).T) > 0.999
