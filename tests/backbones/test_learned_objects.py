"""The learned mask proposer: on drawn pictures, with its own weights and with tiny random ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from fmlad.backbones.embedded.learned_objects import (
    WEIGHTS_FILE,
    LearnedProposer,
    chosen,
    filled,
)
from fmlad.backbones.embedded.region_rating import QUANTITIES, RegionRating, quantities
from fmlad.backbones.embedded.region_tree import AREA, region_tree
from fmlad.backbones.roles import MaskProposer, Masks
from fmlad.errors import WeightsUnavailableError
from fmlad.networks.object_decoder import ObjectDecoder
from tests.backbones.test_objects import disc, ground, tensor
from tests.backbones.test_region_tree import random_maps


@pytest.fixture(scope="module")
def proposer() -> LearnedProposer:
    return LearnedProposer()


def best_ious(found: Masks, truths: list[np.ndarray]) -> list[float]:
    """Of each true mask ``(H, W)`` with the preferred proposals."""
    size = truths[0].shape
    rows, columns = (
        np.arange(n) * s // n for n, s in zip(size, found.masks.shape[1:], strict=True)
    )
    masks = found.best().masks[:, rows][:, :, columns]
    return [max(((m & t).sum() / (m | t).sum() for m in masks), default=0.0) for t in truths]


def circle(x: float, y: float, radius: float, size: tuple[int, int] = (240, 320)) -> np.ndarray:
    rows, columns = np.mgrid[: size[0], : size[1]]
    return np.asarray((columns - x) ** 2 + (rows - y) ** 2 < radius**2)


def test_it_fills_the_role(proposer: LearnedProposer) -> None:
    assert isinstance(proposer, MaskProposer)
    assert WEIGHTS_FILE.stat().st_size < 4 * 2**20


@pytest.mark.parametrize("kind", ["plain", "gradient", "texture", "frame"])
def test_discs_on_any_ground(proposer: LearnedProposer, kind: str) -> None:
    image = ground(kind)
    places = [(80, 80, 20), (240, 160, 14), (160, 120, 26)]
    for (x, y, radius), colour in zip(
        places, [(40, 60, 150), (190, 30, 30), (30, 90, 40)], strict=True
    ):
        disc(image, x, y, radius, colour)
    found = proposer.propose(tensor(image))
    assert min(best_ious(found, [circle(*place) for place in places])) > 0.75


def test_discs_of_one_colour_that_touch_are_two(proposer: LearnedProposer) -> None:
    image = ground("plain")
    for x in (130, 178):
        disc(image, x, 120, 24, (60, 90, 60))
    found = proposer.propose(tensor(image))
    assert min(best_ious(found, [circle(130, 120, 24), circle(178, 120, 24)])) > 0.7


def test_what_lies_on_a_board_is_an_object_beside_the_board(proposer: LearnedProposer) -> None:
    image = ground("plain")
    image[40:200, 60:260] = (90, 60, 45)
    disc(image, 120, 120, 18, (220, 210, 60))
    disc(image, 200, 120, 18, (220, 210, 60))
    board = np.zeros((240, 320), bool)
    board[40:200, 60:260] = True
    found = proposer.propose(tensor(image))
    assert min(best_ious(found, [board, circle(120, 120, 18), circle(200, 120, 18)])) > 0.7


def test_an_empty_ground_has_no_preferred_object(proposer: LearnedProposer) -> None:
    for kind in ("plain", "gradient", "texture"):
        assert len(proposer.propose(tensor(ground(kind))).best()) == 0


@pytest.mark.parametrize("size", [(32, 32), (700, 90), (64, 1000), (333, 517)])
def test_any_size(proposer: LearnedProposer, size: tuple[int, int]) -> None:
    found = proposer.propose(tensor(ground("plain", *size)))
    assert found.masks.shape[0] == len(found.boxes) == len(found.scores)
    assert found.masks.dtype == bool
    if len(found):
        assert (found.boxes[:, 2:] <= np.array([size[1], size[0]]) + 1e-3).all()
        assert found.masks.any(axis=(1, 2)).all()


def test_proposals_are_the_same_every_time_and_best_first(proposer: LearnedProposer) -> None:
    image = ground("texture")
    disc(image, 100, 100, 25, (30, 40, 160))
    once, again = (proposer.propose(tensor(image)) for _ in range(2))
    assert np.array_equal(once.masks, again.masks)
    assert (np.diff(once.scores) <= 0).all()
    assert (once.scores >= 0).all()
    assert (once.scores <= 1).all()


def test_prompts_are_answered_from_the_proposals(proposer: LearnedProposer) -> None:
    image = ground("plain")
    disc(image, 100, 100, 25, (30, 40, 160))
    found = proposer.prompt(
        tensor(image),
        np.array([[75, 75, 125, 125]], np.float32),
        np.array([[100, 100], [5, 5]], np.float32),
    )
    assert len(found) == 3
    assert found.scores[0] > 0.5
    assert found.scores[1] > 0.5
    pair = np.array([[[100, 100], [300, 220]]], np.float32)  # on the disc, and on the ground
    beside = proposer.prompt(tensor(image), points=pair, labels=np.array([[1, 0]]))
    np.testing.assert_array_equal(beside.masks[0], found.masks[1])
    both = proposer.prompt(tensor(image), points=pair)
    assert not both.masks[0].any() or both.masks[0].sum() > found.masks[1].sum()


def weights(file: Path, seed: int) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        parts = {"decoder.": ObjectDecoder(), "rating.": RegionRating()}
    state = {p + n: t for p, network in parts.items() for n, t in network.state_dict().items()}
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, file)
    return file


def test_other_weights_are_another_fingerprint(tmp_path: Path) -> None:
    one, other = (
        LearnedProposer(weights=weights(tmp_path / f"{seed}.safetensors", seed)) for seed in (0, 1)
    )
    assert one.fingerprint != other.fingerprint
    assert one.fingerprint.startswith("builtin:objects@3 ")


@pytest.mark.parametrize("damage", ["absent", "cut", "another network"])
def test_weights_that_do_not_fit_are_refused(tmp_path: Path, damage: str) -> None:
    file = tmp_path / "objects.safetensors"
    if damage == "cut":
        weights(file, 0)
        file.write_bytes(file.read_bytes()[:1000])
    if damage == "another network":
        save_file({"decoder.weight": torch.zeros(3)}, file)
    with pytest.raises(WeightsUnavailableError, match=r"objects\.safetensors"):
        LearnedProposer(weights=file)


def test_chosen_regions_are_disjoint_unless_one_holds_the_other() -> None:
    tree = region_tree(*random_maps(5))
    rating = np.random.default_rng(1).random(len(tree))
    kept = chosen(tree, rating)
    assert kept
    for one in kept:
        for other in kept:
            apart = tree.last[one] <= tree.first[other] or tree.last[other] <= tree.first[one]
            inside = tree.first[one] >= tree.first[other] and tree.last[one] <= tree.last[other]
            holds = tree.first[one] <= tree.first[other] and tree.last[one] >= tree.last[other]
            assert apart or inside or holds


def test_every_region_has_finite_quantities() -> None:
    tree = region_tree(*random_maps(7))
    table = quantities(tree)
    assert table.shape == (len(tree), len(QUANTITIES))
    assert np.isfinite(table).all()
    assert table[:, 0] == pytest.approx(np.log(tree.sums[:, AREA]))


def test_holes_are_filled() -> None:
    ring = circle(20, 20, 15, (40, 40)) & ~circle(20, 20, 8, (40, 40))
    assert np.array_equal(filled(ring), circle(20, 20, 15, (40, 40)))
