"""NACLIP's bias and last block against definitions written out by hand."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fmlad.backbones.clip.naclip import LastBlock, last_block, neighbourhood_bias


def by_convolution(rows: int, columns: int, sigma: float) -> Tensor:
    """One-hot maps convolved with a Gaussian window of (2 rows - 1) x (2 columns - 1)."""
    y = torch.arange(-(rows - 1), rows)[:, None].double()
    x = torch.arange(-(columns - 1), columns)[None].double()
    window = torch.exp(-(y**2 + x**2) / (2 * sigma**2))
    one_hot = torch.eye(rows * columns, dtype=torch.float64).reshape(-1, 1, rows, columns)
    spread = F.conv2d(one_hot, window[None, None], padding=(rows - 1, columns - 1))
    return spread.reshape(rows * columns, rows * columns)


@pytest.mark.parametrize("grid", [(1, 1), (3, 5), (7, 7), (12, 9)])
@pytest.mark.parametrize("sigma", [0.7, 5.0])
def test_the_closed_form_is_the_convolution(grid: tuple[int, int], sigma: float) -> None:
    ours = neighbourhood_bias(*grid, prefix=0, sigma=sigma)
    torch.testing.assert_close(ours, by_convolution(*grid, sigma).float(), atol=1e-6, rtol=0)


def test_symmetric_one_on_the_diagonal_and_nothing_for_the_class_token() -> None:
    bias = neighbourhood_bias(4, 6)
    assert bias.shape == (25, 25)
    assert bias.dtype == torch.float32
    torch.testing.assert_close(bias, bias.T, atol=0, rtol=0)
    assert (bias.diagonal()[1:] == 1).all()
    assert (bias[0] == 0).all()
    assert (bias[:, 0] == 0).all()
    assert bias[1, 2].item() == pytest.approx(math.exp(-1 / 50))  # one patch apart, sigma 5


def test_made_once_for_a_grid() -> None:
    assert neighbourhood_bias(5, 5) is neighbourhood_bias(5, 5)


def random_block(width: int, heads: int, seed: int = 0) -> LastBlock:
    torch.manual_seed(seed)

    def linear() -> partial[Tensor]:
        return partial(F.linear, weight=torch.randn(width, width), bias=torch.randn(width))

    norm = partial(F.layer_norm, normalized_shape=(width,))
    return LastBlock(norm, linear(), linear(), linear(), heads)


def head_by_head(tokens: Tensor, block: LastBlock, bias: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The formula as it stands, one head after the other; also each head's weights."""
    normed = block.norm(tokens)
    keys, values = block.key(normed), block.value(normed)
    size = tokens.shape[-1] // block.heads
    outputs, weights = [], []
    for head in range(block.heads):
        mine = slice(head * size, (head + 1) * size)
        logits = keys[..., mine] @ keys[..., mine].mT / math.sqrt(size) + bias
        weights.append(logits.softmax(-1))
        outputs.append(weights[-1] @ values[..., mine])
    return block.out(torch.cat(outputs, -1)), weights


@pytest.mark.parametrize("prefix", [0, 1])
def test_the_block_is_the_formula_head_by_head(prefix: int) -> None:
    block = random_block(24, 3)
    tokens = torch.randn(2, prefix + 20, 24)
    bias = neighbourhood_bias(4, 5, prefix=prefix)
    expected, _ = head_by_head(tokens, block, bias)
    torch.testing.assert_close(last_block(tokens, block, bias), expected, atol=1e-4, rtol=1e-5)


def test_an_endless_neighbourhood_is_plain_key_key_attention_between_patches() -> None:
    block = random_block(16, 2)
    tokens = torch.randn(1, 1 + 12, 16) * 0.3
    _, wide = head_by_head(tokens, block, neighbourhood_bias(3, 4, sigma=math.inf))
    _, plain = head_by_head(tokens, block, torch.zeros(13, 13))
    for ours, theirs in zip(wide, plain, strict=True):
        ours, theirs = ours[:, 1:, 1:], theirs[:, 1:, 1:]
        torch.testing.assert_close(
            ours / ours.sum(-1, keepdim=True), theirs / theirs.sum(-1, keepdim=True)
        )
    # What is compared above is not trivially equal: the class token's share differs.
    assert not torch.allclose(wide[0], plain[0], atol=1e-3)
