"""Masks through the disk cache: eight pixels a byte, and the same again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fmlad.backbones.embedded.objects import ObjectProposer
from fmlad.backbones.roles import Masks
from fmlad.io.cache import DiskCache
from fmlad.role_outputs import MASKS
from fmlad.views import BackboneSet, ImageView
from tests.conftest import picture


def some(count: int, height: int, width: int, preferred: bool, seed: int = 0) -> Masks:
    rng = np.random.default_rng(seed)
    return Masks(
        rng.random((count, height, width)) < 0.5,
        rng.random((count, 4)).astype(np.float32),
        rng.random(count).astype(np.float32),
        rng.random(count) < 0.5 if preferred else None,
    )


def assert_same(one: Masks, other: Masks) -> None:
    for name in ("masks", "boxes", "scores"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        assert getattr(one, name).dtype == getattr(other, name).dtype
    assert (one.preferred is None) == (other.preferred is None)
    if one.preferred is not None and other.preferred is not None:
        np.testing.assert_array_equal(one.preferred, other.preferred)
        assert other.preferred.dtype == np.bool_


class Dear:
    """Proposes what it was given, and counts how often."""

    name = fingerprint = "test:dear@1"
    expensive = True

    def __init__(self, masks: Masks) -> None:
        self.masks = masks
        self.calls = 0

    def propose(self, image: torch.Tensor) -> Masks:
        self.calls += 1
        return self.masks


def view(backbone: object, cache: DiskCache, seed: int = 0) -> ImageView:
    return BackboneSet({"mask_proposer": backbone}, cache).view(picture(seed))  # type: ignore[dict-item]


@given(st.integers(1, 4), st.integers(1, 20), st.integers(1, 20), st.booleans(), st.integers(0, 9))
def test_packed_and_unpacked_is_the_same(
    count: int, height: int, width: int, preferred: bool, seed: int
) -> None:
    masks = some(count, height, width, preferred, seed)
    packed = MASKS.pack(masks)
    assert packed["bits"].shape == (count, -(-height * width // 8))
    assert_same(MASKS.unpack(packed), masks)


@pytest.mark.parametrize("preferred", [True, False])
@pytest.mark.parametrize("count", [1, 7])
def test_from_disk_is_the_same(tmp_path: Path, count: int, preferred: bool) -> None:
    masks = some(count, 31, 45, preferred)  # no multiple of eight
    cache = DiskCache(tmp_path / "masks")
    first, second = Dear(masks), Dear(masks)
    assert_same(view(first, cache).masks(), masks)
    again = view(second, cache).masks()
    assert (first.calls, second.calls) == (1, 0)
    assert_same(again, masks)
    assert_same(again.best(), masks.best())


@pytest.mark.parametrize("preferred", [True, False])
def test_no_masks_from_disk(tmp_path: Path, preferred: bool) -> None:
    masks = some(0, 31, 45, preferred)
    cache = DiskCache(tmp_path / "masks")
    first, second = Dear(masks), Dear(masks)
    view(first, cache).masks()
    assert_same(view(second, cache).masks(), masks)
    assert second.calls == 0


def test_the_proposers_choice_survives_the_disk(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path / "masks")
    fresh = view(ObjectProposer(), cache).masks()
    assert fresh.preferred is not None
    assert fresh.preferred.any()
    assert_same(view(ObjectProposer(), cache).masks(), fresh)


def test_an_entry_that_lacks_something_is_made_again(tmp_path: Path) -> None:
    masks = some(3, 31, 45, True)
    cache = DiskCache(tmp_path / "masks")
    backbone = Dear(masks)
    asked = view(backbone, cache)
    cache.put(f"masks {backbone.fingerprint} {asked.key}", {"boxes": torch.zeros(3, 4)})
    assert_same(asked.masks(), masks)
    assert backbone.calls == 1
    other = Dear(masks)
    assert_same(view(other, cache).masks(), masks)
    assert other.calls == 0


def test_another_picture_has_masks_of_its_own(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path / "masks")
    backbone = Dear(some(2, 31, 45, True))
    view(backbone, cache, 0).masks()
    view(backbone, cache, 1).masks()
    assert backbone.calls == 2


def test_masks_asked_for_twice_are_unpacked_once(tmp_path: Path) -> None:
    backbone = Dear(some(3, 8, 8, True))
    one = view(backbone, DiskCache(tmp_path / "cache"))
    assert one.masks() is one.masks()
    with pytest.raises(ValueError, match="read-only"):
        one.masks().masks[0, 0, 0] = True
