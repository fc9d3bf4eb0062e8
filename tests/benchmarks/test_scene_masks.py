"""True masks of scenes, what SAM's generator would make of them, and how proposals are judged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.scene_masks import SceneMasks, as_masks, ious, sam_like, true_masks, true_objects
from benchmarks.scene_objects import enlarged, object_figures
from benchmarks.scenes import category, open_all, together
from fmlad.backbones.roles import MaskProposer, Masks
from fmlad.datasets import SCENE_CATEGORIES, render_scene
from fmlad.datasets.scenes import Scene
from fmlad.errors import DatasetError


@pytest.fixture(scope="module")
def scene() -> Scene:
    return render_scene("splicing_connectors", 1, "test", "good", 0)


def tensor(scene: Scene) -> torch.Tensor:
    return torch.from_numpy(scene.image.transpose(2, 0, 1).copy())[None]


@pytest.mark.parametrize("name", SCENE_CATEGORIES)
def test_each_visible_object_is_one_preferred_mask_without_holes(name: str) -> None:
    scene = render_scene(name, 1, "train", "good", 0)
    found = true_masks(scene)
    assert len(found) == len(scene.objects)
    assert found.preferred is not None
    assert found.preferred.all()
    for mask, box, item in zip(found.masks, found.boxes, scene.objects, strict=True):
        assert mask[scene.instances == item.id].all()
        assert tuple(box) == item.box


def test_what_lies_on_an_object_belongs_to_its_outline() -> None:
    scene = render_scene("juice_bottle", 1, "train", "good", 0)
    bottle, *rest = true_objects(scene)
    assert all(mask[bottle].sum() == mask.sum() for mask in rest)


@pytest.mark.parametrize("name", SCENE_CATEGORIES)
def test_generated_proposals_prefer_nothing_and_hold_wholes_and_parts(name: str) -> None:
    scene = render_scene(name, 1, "train", "good", 0)
    found, again = sam_like(scene), sam_like(scene)
    assert found.preferred is None
    assert len(found) > 2 * len(scene.objects)
    assert (np.diff(found.scores) <= 0).all()
    assert found.scores.min() >= 0.88  # the generator's own limit
    assert np.array_equal(found.masks, again.masks)
    truth = true_objects(scene)
    best = ious(truth, found.masks).max(1)
    assert (best > 0.6).mean() >= 0.8  # nearly all, each with an outline of its own
    assert best.mean() < 1
    areas = found.masks.sum(axis=(1, 2))
    within = (found.masks & truth.any(0)).sum(axis=(1, 2)) > 0.9 * areas
    assert within.sum() > len(scene.objects)  # parts
    assert (~within).any()  # regions of the background


def test_generated_proposals_hang_on_the_image_alone() -> None:
    first = sam_like(render_scene("screw_bag", 1, "train", "good", 0))
    other = sam_like(render_scene("screw_bag", 1, "train", "good", 1))
    assert first.masks.shape != other.masks.shape or not np.array_equal(first.masks, other.masks)


def test_only_scenes_that_were_shown_have_proposals(scene: Scene) -> None:
    proposer = SceneMasks("truth")
    assert isinstance(proposer, MaskProposer)
    with pytest.raises(DatasetError, match="no scene whose truth is known"):
        proposer.propose(tensor(scene))
    proposer.show(scene)
    assert len(proposer.propose(tensor(scene))) == len(scene.objects)
    with pytest.raises(DatasetError):
        proposer.prompt(tensor(scene))


def test_the_truth_finds_all_objects_and_duplicates_cost_precision(scene: Scene) -> None:
    truth = true_masks(scene)
    figures = object_figures([(scene, truth)])
    for which in ("preferred", "offered"):
        assert figures[f"{which}: mean best IoU"] == 1
        assert figures[f"{which}: recall"] == 1
        assert figures[f"{which}: precision"] == 1
    twice = as_masks([(mask, 0.9) for mask in (*truth.masks, *truth.masks)])
    assert object_figures([(scene, twice)])["offered: precision"] == 0.5
    none = Masks(truth.masks, truth.boxes, truth.scores, np.zeros(len(truth), bool))
    figures = object_figures([(scene, none)])
    assert figures["preferred: recall"] == figures["preferred: precision"] == 0
    assert figures["offered: recall"] == 1


def test_masks_are_compared_at_the_size_of_the_image() -> None:
    small = np.zeros((1, 4, 4), bool)
    small[0, 1:3, 2] = True
    large = enlarged(small, (8, 16))
    assert large.sum() == 2 * 2 * 4
    assert ious(large, large)[0, 0] == 1


def test_worlds_are_averaged_and_the_worst_draw_is_the_worst() -> None:
    one, other = {"fused": 0.8, "worst draw": 0.6}, {"fused": 0.6, "worst draw": 0.5}
    assert together([one, other]) == pytest.approx({"fused": 0.7, "worst draw": 0.5})


def test_a_category_is_measured_through_the_true_masks(tmp_path: Path) -> None:
    counts = {
        "train": 4, "validation": 0, "test_good": 2, "test_logical": 2, "test_structural": 1,
    }  # fmt: skip
    opened = open_all("splicing_connectors", tmp_path, counts, 1, "truth")
    row = category(opened, 1, {"banks": ["histogram"]})
    assert row["worst draw, logical"] == row["fused, logical"]
