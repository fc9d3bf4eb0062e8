"""Patch distances against brute force, on both search paths."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fmlad.memory.patch_index import (
    CHUNK,
    PatchIndex,
    flatten,
    nearest,
    same_place_distances,
)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def search(bank: Tensor, patches: Tensor, path: str) -> Tensor:
    """Distances; each row found is the patch at that distance."""
    found = PatchIndex(bank).search(patches) if path == "faiss" else nearest(patches, bank)
    distances, rows = found
    assert rows.dtype == torch.int64
    there = (bank[rows].double() - patches.double()).norm(dim=1).float()
    assert torch.allclose(there, distances, atol=2e-3 * float(bank.norm(dim=1).max()))
    return distances


def brute_force(bank: Tensor, patches: Tensor) -> Tensor:
    """One query at a time in float64."""
    bank = bank.double()
    return torch.stack([(bank - patch.double()).norm(dim=1).min() for patch in patches]).float()


both = pytest.mark.parametrize("path", ["faiss", "torch"])


@both
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 30), st.integers(0, 99))
@settings(deadline=None, max_examples=40)
def test_distances_are_those_of_brute_force(path: str, n: int, m: int, c: int, seed: int) -> None:
    bank, patches = random(n, c, seed=seed), random(m, c, seed=seed + 1)
    got = search(bank, patches, path)
    assert got.shape == (m,)
    assert got.dtype == torch.float32
    assert torch.allclose(got, brute_force(bank, patches), atol=2e-3, rtol=1e-4)


@both
def test_a_remembered_patch_is_at_no_distance(path: str) -> None:
    bank = random(300, 25)
    got = search(bank, bank, path)
    # Squares are subtracted in float32: the root leaves about 1e-3 of the norm.
    assert float(got.max()) < 2e-3 * float(bank.norm(dim=1).max())
    assert not got.isnan().any()


@both
def test_more_shots_never_make_a_patch_odder(path: str) -> None:
    one, two, patches = random(30, 6), random(30, 6, seed=1), random(50, 6, seed=2)
    few = search(one, patches, path)
    many = search(torch.cat([one, two]), patches, path)
    assert (many <= few + 1e-4).all()
    assert (many < few - 1e-2).any()


def test_chunks_leave_no_seam() -> None:
    bank, patches = random(7, 3), random(CHUNK + 5, 3, seed=1)
    got = nearest(patches, bank)[0]
    assert got.shape == (CHUNK + 5,)
    assert torch.allclose(got, torch.cdist(patches, bank).min(1).values, atol=1e-3)
    edge = slice(CHUNK - 2, CHUNK + 2)
    assert torch.allclose(got[edge], brute_force(bank, patches[edge]), atol=1e-3)


def test_blocks_of_the_bank_leave_no_seam() -> None:
    bank = torch.zeros(65_536 + 3, 2)
    bank[:, 0] = 50
    bank[65_535], bank[65_537] = torch.tensor([3.0, 4.0]), torch.tensor([-6.0, 8.0])
    got, rows = nearest(torch.tensor([[0.0, 0.0], [-6.0, 8.0], [3.0, 4.0]]), bank)
    assert rows.tolist() == [65_535, 65_537, 65_535]
    assert torch.allclose(got, torch.tensor([5.0, 0.0, 0.0]), atol=1e-3)


def test_both_paths_agree() -> None:
    bank, patches = random(500, 25), random(200, 25, seed=1)
    found = [search(bank, patches, path) for path in ("faiss", "torch")]
    assert torch.allclose(*found, atol=1e-3)


def test_flatten_goes_row_by_row() -> None:
    level = random(1, 4, 3, 5)
    patches = flatten(level)
    assert patches.shape == (15, 4)
    assert torch.equal(patches[1 * 5 + 3], level[0, :, 1, 3])
    assert patches.is_contiguous()


# --- the same place ------------------------------------------------------------------------------


def own_grid(height: int, width: int) -> Tensor:
    """Every cell looks at its own centre."""
    y = (torch.arange(height) + 0.5) * 2 / height - 1
    x = (torch.arange(width) + 0.5) * 2 / width - 1
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)[None]


def test_radius_0_is_the_plain_difference() -> None:
    query, shot = random(1, 6, 5, 9), random(1, 6, 5, 9, seed=1)
    got = same_place_distances(query, shot, own_grid(5, 9), 0)
    assert got.shape == (5, 9)
    assert torch.allclose(got, (query - shot)[0].norm(dim=0), atol=1e-4)


@given(st.integers(-2, 2), st.integers(-2, 2), st.integers(0, 3))
@settings(deadline=None)
def test_a_window_finds_a_shift_up_to_its_radius(dy: int, dx: int, radius: int) -> None:
    shot = random(1, 6, 12, 14)
    query = shot.roll((dy, dx), (2, 3))
    got = same_place_distances(query, shot, own_grid(12, 14), radius)[3:-3, 3:-3]
    if max(abs(dy), abs(dx)) <= radius:
        assert float(got.max()) < 1e-3
    else:
        assert float(got.min()) > 0.1


def test_a_wider_window_never_finds_less() -> None:
    query, shot = random(1, 6, 8, 8), random(1, 6, 8, 8, seed=1)
    found = [same_place_distances(query, shot, own_grid(8, 8), radius) for radius in range(4)]
    for narrow, wide in itertools.pairwise(found):
        assert (wide <= narrow).all()
        assert (wide < narrow - 0.1).any()


def test_the_widest_window_is_the_free_search() -> None:
    query, shot = random(1, 6, 4, 5), random(1, 6, 4, 5, seed=1)
    placed = same_place_distances(query, shot, own_grid(4, 5), 5)
    free = PatchIndex(flatten(shot)).search(flatten(query))[0].view(4, 5)
    assert torch.allclose(placed, free, atol=1e-3)


def test_cells_outside_the_shot_repeat_its_border() -> None:
    shot = random(1, 3, 4, 4)
    got = same_place_distances(shot, shot, own_grid(4, 4) + torch.tensor([2.0, 0.0]), 0)
    last = (shot - shot[..., -1:])[0].norm(dim=0)
    assert torch.allclose(got, last, atol=1e-4)


def test_a_shot_of_another_size_is_brought_onto_the_querys_cells() -> None:
    ramp = (torch.arange(16) + 0.5) / 16
    shot = ramp.expand(1, 1, 12, 16)
    query = ((torch.arange(8) + 0.5) / 8).expand(1, 1, 6, 8)
    got = same_place_distances(query, shot, own_grid(6, 8), 0)
    assert float(got.max()) < 1e-5
