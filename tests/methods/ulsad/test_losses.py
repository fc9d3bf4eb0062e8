"""ULSAD's comparisons of maps against direct computations."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fmlad.methods.ulsad.losses import attention, consistency, difference


def maps(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def drawn(query: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
    """Attention of one image ``(C, h, w)`` and its weights, after Eq. 3 and 4."""
    asked, known = query.flatten(1).double(), memory.flatten(1).double()
    pairs = (known.T @ asked / len(known) ** 0.5).exp()  # rows are places of memory
    weights = pairs / pairs.sum(0)
    return (known @ weights).view(query.shape), weights


def test_size_is_a_mean_over_channels_and_direction_one_minus_the_cosine() -> None:
    one, other = maps(0, 2, 5, 3, 4), maps(1, 2, 5, 3, 4)
    found = difference(one, other, 0.5)
    assert found.shape == (2, 3, 4)
    a, b = one[1, :, 2, 1], other[1, :, 2, 1]
    size = float((a - b).square().mean())
    direction = 1 - float(a @ b / (a.norm() * b.norm()))
    assert float(found[1, 2, 1]) == pytest.approx(size + 0.5 * direction, rel=1e-5)
    assert float(difference(one, other, 0.0)[1, 2, 1]) == pytest.approx(size, rel=1e-5)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), factor=st.floats(0.1, 10), weight=st.floats(0, 2))
def test_maps_of_one_direction_differ_in_size_alone(
    seed: int, factor: float, weight: float
) -> None:
    one = maps(seed, 1, 4, 2, 2)
    assert difference(one, one, weight).abs().max() < 1e-5
    other = factor * one
    assert torch.allclose(
        difference(one, other, weight), difference(one, other, 0.0), atol=1e-5 * (1 + weight)
    )
    assert torch.equal(difference(one, other, weight), difference(other, one, weight))


def test_a_map_of_zeros_has_a_difference_and_a_gradient() -> None:
    dead = torch.zeros(1, 3, 2, 2, requires_grad=True)  # as behind a ReLU
    difference(dead, maps(0, 1, 3, 2, 2), 0.5).mean().backward()
    assert dead.grad is not None
    assert torch.isfinite(dead.grad).all()


def test_attention_is_that_of_equations_3_and_4() -> None:
    query, memory = maps(0, 2, 6, 3, 4), maps(1, 2, 6, 3, 4)
    found = attention(query, memory)
    assert found.shape == query.shape
    for image in range(2):
        wanted, weights = drawn(query[image], memory[image])
        assert weights.shape == (12, 12)
        assert torch.allclose(weights.sum(0), torch.ones(12).double())
        assert torch.allclose(found[image].double(), wanted, atol=1e-5)


def test_attention_at_1024_places_is_exact() -> None:
    memory = maps(2, 1, 16, 32, 32)
    wanted, weights = drawn(memory[0], memory[0])
    assert weights.shape == (1024, 1024)
    assert torch.allclose(attention(memory, memory)[0].double(), wanted, atol=1e-4)


def test_attention_does_not_ask_where_the_memory_lies() -> None:
    query, memory = maps(0, 1, 4, 2, 2), maps(1, 1, 4, 3, 3)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    moved = memory.flatten(2)[..., order].view_as(memory)
    assert torch.allclose(attention(query, memory), attention(query, moved), atol=1e-6)


def test_consistency_compares_cross_attention_with_self_attention() -> None:
    said, wanted = maps(0, 2, 4, 4, 4), maps(1, 2, 4, 4, 4)
    expected = [
        difference(drawn(s, w)[0][None], drawn(w, w)[0][None], 0.5).mean()
        for s, w in zip(said, wanted, strict=True)
    ]
    assert float(consistency(said, wanted, 0.5)) == pytest.approx(
        float(torch.stack(expected).mean()), rel=1e-4
    )
    assert float(consistency(wanted, wanted, 0.5)) == pytest.approx(0.0, abs=1e-6)


def test_consistency_on_fewer_cells_compares_means_of_cells() -> None:
    said, wanted = maps(0, 1, 4, 8, 8), maps(1, 1, 4, 8, 8)
    smaller = [one.unfold(2, 2, 2).unfold(3, 2, 2).mean((-1, -2)) for one in (said, wanted)]
    found = consistency(said, wanted, 0.5, 4)
    assert float(found) == pytest.approx(float(consistency(*smaller, 0.5)), rel=1e-4)
    for cells in (8, 64, None):
        assert torch.equal(consistency(said, wanted, 0.5, cells), consistency(said, wanted, 0.5))


def test_the_gradient_of_attention_is_that_of_the_direct_computation() -> None:
    query, memory = maps(0, 1, 4, 3, 3).requires_grad_(), maps(1, 1, 4, 3, 3)
    attention(query, memory).square().sum().backward()
    again = query.detach().double().requires_grad_()
    drawn(again[0], memory[0])[0].square().sum().backward()
    assert query.grad is not None
    assert again.grad is not None
    assert torch.allclose(query.grad.double(), again.grad, atol=1e-5)
