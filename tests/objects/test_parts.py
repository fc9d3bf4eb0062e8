"""Parts of made-up objects whose groups are known."""

from __future__ import annotations

import numpy as np
import pytest

from fmlad.methods.banks.parts_model import PartsModel
from fmlad.objects.appearance import Objects


def objects(colours: list[float], seed: int = 0, size: float = -14.0) -> Objects:
    """Compact objects of one form; ``colours`` are lightnesses in units of 20 Delta E."""
    n = len(colours)
    rng = np.random.default_rng(seed)
    appearance = np.tile([0.0, 0, 0, 0.5, size, 0.2, 9.7], (n, 1))
    appearance[:, 0] = colours
    appearance += rng.normal(0, 0.02, appearance.shape)
    places = rng.uniform(-0.8, 0.8, (n, 2))
    boxes = np.tile([0.0, 0, 10, 10], (n, 1))
    return Objects(appearance, appearance[:, :3].copy(), boxes, places, np.ones(n))


def test_six_of_changing_colours_is_a_law_although_the_colours_vary() -> None:
    rng = np.random.default_rng(1)
    shots = [objects(list(4.0 * rng.integers(0, 4, 6)), seed) for seed in range(4)]
    model = PartsModel(shots, None, True)
    good = model.deviations(objects([0, 0, 4, 8, 12, 12], 9), None)
    bad = model.deviations(objects([0, 0, 4, 8, 12, 12, 4], 9), None)
    assert bad[0].kind == "extra"
    assert bad[0].score > 2
    assert max((d.score for d in good if d.branch == "histogram"), default=0) < bad[0].score


def test_a_missing_object_is_found_and_names_its_like() -> None:
    shots = [objects([0, 0, 8, 8, 8], seed) for seed in range(4)]
    model = PartsModel(shots, None, True)
    everything = model.deviations(objects([0, 0, 8, 8], 9), None)
    found = [deviation for deviation in everything if deviation.branch == "histogram"]
    assert found[0].kind == "missing"
    assert found[0].absent


@pytest.mark.parametrize("k", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("n", [0, 1, 6])
def test_any_number_of_shots_and_objects(k: int, n: int) -> None:
    model = PartsModel([objects([1.0] * n, seed) for seed in range(k)], None, True)
    for count in (0, 1, 7):
        for deviation in model.deviations(objects([1.0] * count, 99), None):
            assert np.isfinite(deviation.score)
    assert 0 <= model.naming_level() < len(model.parts.levels)


def test_two_hundred_objects() -> None:
    model = PartsModel([objects([1.0] * 200, seed) for seed in range(2)], None, True)
    found = model.deviations(objects([1.0] * 150, 9), None)
    assert found[0].kind == "missing"


def test_shares_are_whole_inside_a_group_and_halved_between_two() -> None:
    parts = PartsModel([objects([0, 0, 8, 8], seed) for seed in range(4)], None, True).parts
    belongs, unknown = parts.shares(objects([0, 4, 8], 9))
    level = next(i for i, level in enumerate(parts.levels) if level.facet == "appearance")
    groups = [i for i, group in enumerate(parts.groups) if group.level == level]
    dark = min(groups, key=lambda i: parts.appearance[parts.groups[i].members, 0].mean())
    light = max(groups, key=lambda i: parts.appearance[parts.groups[i].members, 0].mean())
    assert belongs[0, dark] > 0.95
    assert belongs[2, light] > 0.95
    assert belongs[0, light] < 0.01
    # Whatever is not of a group is rare or unknown.
    assert ((belongs >= 0) & (belongs <= 1)).all()
    for number in range(len(parts.levels)):
        mine = [i for i, group in enumerate(parts.groups) if group.level == number]
        if parts.levels[number].facet != "any":
            assert (belongs[:, mine].sum(1) + unknown[:, number] <= 1 + 1e-9).all()
    assert unknown[1, level] > 0.9  # halfway between two kinds that lie far apart


@pytest.mark.parametrize("n", [0, 3])
def test_shares_without_anything_to_share_with(n: int) -> None:
    parts = PartsModel([objects([], seed) for seed in range(2)], None, True).parts
    belongs, unknown = parts.shares(objects([1.0] * n, 9))
    assert belongs.shape == (n, len(parts.groups))
    assert unknown.shape == (n, len(parts.levels))
    assert np.isfinite(belongs).all()


def test_the_look_of_a_part_is_compared_whatever_its_count() -> None:
    """Else the score of the composition bank would tell right counts from wrong ones."""
    model = PartsModel([objects([2.0] * 4, seed) for seed in range(4)], None, True)
    for count, told in ((4, True), (3, False)):
        query = objects([2.0] * count, 9)
        query.features[:] += 0.15
        (most, *_) = [d for d in model.deviations(query, None) if d.branch == "composition"]
        assert most.score > 2
        assert most.reported is told
