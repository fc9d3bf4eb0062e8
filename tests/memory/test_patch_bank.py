"""The patch bank against all distances, one by one."""

from __future__ import annotations

import pytest
import torch

from fmlad.errors import OptionError
from fmlad.memory import patch_bank
from fmlad.memory.patch_bank import PatchBank, spread_out


def maps(count: int, seed: int = 0) -> list[torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return [torch.randn(3, 4 + number, 5, generator=rng) + 50 for number in range(count)]


@pytest.mark.parametrize("exclude", [frozenset(), frozenset({1}), frozenset({0, 3})])
@pytest.mark.parametrize("block", [7, 8192])
def test_distances_are_the_least_of_all(
    monkeypatch: pytest.MonkeyPatch, exclude: frozenset[int], block: int
) -> None:
    monkeypatch.setattr(patch_bank, "BLOCK", block)
    known, query = maps(4), maps(1, seed=1)[0]
    kept = torch.cat([one.reshape(-1, 5) for n, one in enumerate(known) if n not in exclude])
    wanted = (query.reshape(-1, 1, 5) - kept).norm(dim=2).amin(1).view(3, 4)
    bank = PatchBank(known)
    assert torch.allclose(bank.distances(query, exclude), wanted, atol=1e-3)
    assert torch.equal(torch.cat(bank.left(exclude)), kept)


def test_a_duplicate_among_the_images_is_at_distance_0() -> None:
    known = maps(3)
    bank = PatchBank([*known, known[0].clone()])
    assert bank.distances(bank.maps[0], frozenset({0})).max() == 0
    assert bank.distances(bank.maps[1], frozenset({1})).min() > 0


def test_the_order_of_the_images_does_not_matter() -> None:
    known, query = maps(4), maps(1, seed=2)[0]
    first, second = PatchBank(known), PatchBank(known[::-1])
    assert torch.allclose(first.distances(query), second.distances(query))


def test_all_left_out_is_an_error() -> None:
    bank = PatchBank(maps(2))
    with pytest.raises(OptionError, match="at least one"):
        bank.distances(bank.maps[0], frozenset({0, 1}))


def test_some_of_the_patches_of_each_image_stand_for_all_and_any_image_may_be_left_out() -> None:
    known, query = maps(4), maps(1, seed=1)[0]
    some = PatchBank(known, share=0.25)
    kept = [spread_out(one.reshape(-1, 5), round(one.shape[0] * one.shape[1] / 4)) for one in known]
    assert [len(one) for one in some.left(frozenset())] == [3, 4, 4, 5]
    wanted = (query.reshape(-1, 1, 5) - torch.cat(kept[1:])).norm(dim=2).amin(1).view(3, 4)
    assert torch.allclose(some.distances(query, frozenset({0})), wanted, atol=1e-3)
    assert all(torch.equal(one, whole) for one, whole in zip(some.maps, known, strict=True))


def test_spread_out_patches_are_the_farthest_of_those_left() -> None:
    line = torch.tensor([[0.0], [1.0], [2.0], [10.0]])
    assert spread_out(line, 3).ravel().tolist() == [10, 0, 2]
    assert len(spread_out(line, 0)) == 1
    assert sorted(spread_out(line, 9).ravel().tolist()) == [0, 1, 2, 10]
