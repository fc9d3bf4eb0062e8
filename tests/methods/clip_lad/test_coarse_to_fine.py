"""Clusters, coarse-to-fine segmentation, exemplars."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fmlad.backbones.embedded.builtin import HandmadeFeatures
from fmlad.backbones.embedded.lexicon import LexiconAligner
from fmlad.backbones.embedded.objects import ObjectProposer
from fmlad.backbones.pooling import holders
from fmlad.backbones.roles import Pyramid
from fmlad.errors import PromptError
from fmlad.methods.clip_lad.coarse_to_fine import (
    Wording,
    foreground_share,
    parse,
)
from fmlad.methods.clip_lad.wording import check_words, make_ready
from fmlad.objects import clusters as clustering
from fmlad.objects.clusters import Clusters, early
from fmlad.objects.instances import GRID
from fmlad.prompts import PromptSet
from fmlad.views import BackboneSet, ImageView

COLOURS = {"red": (200, 30, 30), "blue": (40, 60, 200), "green": (40, 150, 50)}
BY_PLACE = PromptSet.from_text(
    "coarse: {background: [background]}\nfine:\n  red disc: [red disc]\n  blue disc: [blue disc]\n"
)
BY_REGION = PromptSet.from_text(
    "coarse: {background: [background]}\ndecide: region\n"
    "fine:\n  red disc: [red disc]\n  blue disc: [blue disc]\n"
)


def discs(*places: tuple[str, int, int], radius: int = 18, seed: int = 0) -> np.ndarray:
    """Discs on a grey board, 240 x 240."""
    image = np.full((240, 240, 3), 150.0)
    y, x = np.mgrid[:240, :240]
    for colour, cx, cy in places:
        image[(x - cx) ** 2 + (y - cy) ** 2 < radius**2] = COLOURS[colour]
    noise = np.random.default_rng(seed).normal(0, 2, image.shape)
    return (image + noise).clip(0, 255).astype(np.uint8)


PICTURE = discs(("red", 50, 50), ("red", 180, 60), ("blue", 60, 180))


def backbone_set(proposer: bool) -> BackboneSet:
    backbones = {"text_aligner": LexiconAligner(), "feature_extractor": HandmadeFeatures()}
    return BackboneSet(backbones | ({"mask_proposer": ObjectProposer()} if proposer else {}))  # type: ignore[arg-type]


def fitted(view: ImageView, count: int = 6) -> Clusters:
    return Clusters.fit([view.pyramid("text_aligner")], count, np.random.default_rng(0))


@pytest.mark.parametrize("proposer", [True, False])
@pytest.mark.parametrize("prompts", [BY_PLACE, BY_REGION])
def test_parts_are_found_named_and_counted(proposer: bool, prompts: PromptSet) -> None:
    view = backbone_set(proposer).view(PICTURE)
    seen = parse(view, Wording(prompts), None if proposer else fitted(view))
    assert seen.labels.shape == (GRID, GRID)
    assert seen.counts(2).tolist() == [2, 1]
    truth = np.pi * 18**2 / 240**2
    areas = np.bincount(seen.labels.ravel(), minlength=3)[1:] / GRID**2
    np.testing.assert_allclose(areas, [2 * truth, truth], rtol=0.25)
    assert seen.labels[int(50 / 240 * GRID), int(50 / 240 * GRID)] == 1
    assert seen.labels[int(180 / 240 * GRID), int(60 / 240 * GRID)] == 2
    blue = next(one for one in seen.instances if one.part == 2)
    np.testing.assert_allclose(blue.box, [42, 162, 78, 198], atol=5)


def test_stages_alone() -> None:
    view = backbone_set(True).view(PICTURE)
    coarse = parse(view, Wording(BY_PLACE, "coarse"), None)
    assert coarse.counts(1).tolist() == [3]
    assert set(np.unique(coarse.labels)) == {0, 1}
    fine = parse(view, Wording(BY_PLACE, "fine"), None)
    assert fine.counts(2).tolist() == [2, 1]


def test_centroids_of_the_shots_divide_the_query() -> None:
    through = backbone_set(False)
    clusters = fitted(through.view(PICTURE), 3)
    swapped = through.view(discs(("blue", 50, 50), ("red", 180, 180), seed=1))
    numbers = clusters.assign(swapped.pyramid("text_aligner"))
    first = clusters.assign(through.view(PICTURE).pyramid("text_aligner"))
    unit = numbers.shape[0] / 240
    red_then = first[int(50 * unit), int(50 * unit)]
    assert numbers[int(180 * unit), int(180 * unit)] == red_then
    assert numbers[int(50 * unit), int(50 * unit)] != red_then
    assert clusters.regions(swapped.pyramid("text_aligner")).sum(0).min() == 1


def test_stages_one_and_two_are_joined_each_of_unit_length() -> None:
    stages = tuple(torch.randn(1, 5, 4, 4) * 10**i for i in range(4))
    joined = early(Pyramid({14: torch.zeros(1, 3, 4, 4)}, torch.zeros(1, 3), stages))
    assert joined.shape == (1, 10, 4, 4)
    torch.testing.assert_close(joined[:, :5].norm(dim=1), torch.ones(1, 4, 4))
    torch.testing.assert_close(joined[:, 5:].norm(dim=1), torch.ones(1, 4, 4))


def test_fewer_places_than_clusters() -> None:
    level = torch.zeros(1, 3, 2, 2)
    level[..., 0] = 1
    clusters = Clusters.fit(
        [Pyramid({8: level}, level[0, :, 0, 0][None])], 8, np.random.default_rng(0)
    )
    assert len(clusters.centroids) == 2


def test_the_number_of_clusters_is_the_steadiest(monkeypatch: pytest.MonkeyPatch) -> None:
    through = backbone_set(False)
    views = [through.view(PICTURE), through.view(discs(("red", 90, 90), seed=2))]
    pyramids = [view.pyramid("text_aligner") for view in views]
    shares = {4: (0.2, 0.4), 6: (1.0, 1.0), 10: (0.30, 0.31)}

    def foreground(clusters: Clusters, index: int) -> float:
        return shares[len(clusters.centroids)][index]

    rng = np.random.default_rng(0)
    best = clustering.choose(pyramids, foreground, rng, tuple(shares))
    assert len(best.centroids) == 10  # 6 is steady because everything is foreground
    assert len(clustering.choose(pyramids[:1], foreground, rng).centroids) == clustering.DEFAULT


def test_the_foregrounds_share() -> None:
    view = backbone_set(False).view(PICTURE)
    share = foreground_share(view, Wording(BY_PLACE), fitted(view))
    assert share == pytest.approx(3 * np.pi * 18**2 / 240**2, rel=0.3)


def test_exemplars_tell_parts_apart_with_and_without_words(tmp_path: Path) -> None:
    Image.fromarray(PICTURE).save(tmp_path / "shot.png")
    box_red, box_blue = "[36, 36, 64, 64]", "[46, 166, 74, 194]"
    for blue in (f"{{exemplars: [{{image: shot.png, box: {box_blue}}}]}}", "[blue disc]"):
        prompts = PromptSet.from_text(
            "coarse: {background: [background]}\nfine:\n"
            f"  red disc: {{exemplars: [{{image: shot.png, box: {box_red}}}]}}\n"
            f"  blue disc: {blue}\n",
            folder=tmp_path,
        )
        for proposer in (True, False):
            view = backbone_set(proposer).view(
                discs(("blue", 50, 50), ("red", 180, 60), ("blue", 60, 180))
            )
            wording = make_ready(prompts, "both", [view], view.again)
            seen = parse(view, wording, None if proposer else fitted(view))
            assert seen.counts(2).tolist() == [1, 2], (blue, proposer)


def test_beside_regions_a_part_decided_at_each_place_is_one_object() -> None:
    prompts = PromptSet.from_text(
        "coarse: {background: [background]}\nfine:\n"
        "  red disc: {words: [red disc], decide: region}\n  blue: [blue]\n"
    )
    picture = discs(("blue", 50, 50), ("red", 180, 60), ("blue", 60, 180), ("red", 180, 180))
    seen = parse(backbone_set(True).view(picture), make_ready(prompts, "both", [], None), None)
    assert seen.counts(2).tolist() == [2, 1]
    blue = next(one for one in seen.instances if one.part == 2)
    assert blue.area == pytest.approx((seen.labels == 2).mean())
    assert blue.box[3] - blue.box[1] > 100  # around both


def test_the_largest_object_that_holds_others_is_no_heap() -> None:
    """A brown tray of brown grains: the grains are brown stuff, the tray is not."""
    tray = np.zeros((64, 64), bool)
    tray[4:60, 4:60] = True
    heaps = np.zeros((2, 64, 64), bool)
    heaps[0, 10:20, 10:50] = heaps[1, 30:50, 10:50] = True
    assert holders(np.stack([tray, *heaps])).tolist() == [True, False, False]
    assert holders(np.stack([tray, heaps[0]])).tolist() == [False, False]


def test_a_word_that_cannot_be_grounded_is_named() -> None:
    prompts = PromptSet.from_text("coarse: {background: [background]}\nfine: {nut: [nut]}\n")
    with pytest.raises(PromptError, match="'nut'"):
        check_words(prompts, backbone_set(False).view(PICTURE))


def test_an_image_of_nothing() -> None:
    view = backbone_set(True).view(np.full((64, 64, 3), 150, np.uint8))
    seen = parse(view, Wording(BY_REGION), None)
    assert seen.instances == ()
    assert not seen.labels.any()
