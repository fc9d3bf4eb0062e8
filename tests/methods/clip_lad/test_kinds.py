"""Groups of prompt sets: which shot is of which kind, and images judged by their own kind."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fmlad import Detector, datasets
from fmlad.datasets import make_scenes
from fmlad.datasets.model import Dataset
from fmlad.errors import CorruptDetectorError, PromptError
from fmlad.methods.registry import create_method
from fmlad.metrics import auroc
from fmlad.prompts import PromptGroup, PromptSet
from tests.methods.clip_lad.test_coarse_to_fine import discs

BACKGROUND = "coarse: {background: [background]}\nfine:\n"
# One product in two kinds, told by the colour of the large disc.
SETS = {
    "red kind": PromptSet.from_text(BACKGROUND + "  disc: [red disc]\n  dot: [green dot]\n"),
    "blue kind": PromptSet.from_text(BACKGROUND + "  disc: [blue disc]\n  dot: [green dot]\n"),
}
GROUP = PromptGroup("discs", SETS)


def product(colour: str, seed: int, dots: int = 2) -> np.ndarray:
    places = [(180, 60), (180, 180), (60, 180)][:dots]
    return discs((colour, 60 + seed, 60), *(("green", x - seed, y) for x, y in places), seed=seed)


MIXED = [product(colour, seed) for seed in range(3) for colour in ("red", "blue")]


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector.from_shots(MIXED, prompts=GROUP, profile="builtin")


def told(detector: Detector, image: np.ndarray) -> str:
    """What kind an image was judged as."""
    return next(n for n in detector.predict(image).notes if n.startswith("judged as"))


@pytest.mark.parametrize("route", ["words", "nearest"])
def test_each_image_is_judged_by_its_own_kind(route: str) -> None:
    fitted = Detector.from_shots(MIXED, prompts=GROUP, profile="builtin", route=route)
    for colour in ("red", "blue"):
        assert told(fitted, product(colour, 7)) == f"judged as '{colour} kind'"
        good, bad = (fitted.predict(product(colour, 7, dots)) for dots in (2, 1))
        assert bad.score > 2 * good.score
        first = bad.findings[0]
        assert (first.kind, first.part) == ("missing", "dot")


def test_a_kind_is_judged_as_by_its_own_shots_alone(detector: Detector) -> None:
    """Parts and counts are those of a detector that never saw the other kind."""
    own = Detector.from_shots(MIXED[::2], prompts=SETS["red kind"], profile="builtin")
    for dots in (2, 1, 3):
        image = product("red", 5, dots)
        both, one = detector.predict(image), own.predict(image)
        assert both.segmentation is not None
        assert one.segmentation is not None
        assert both.segmentation.counts() == one.segmentation.counts()
        for branch in ("count", "declared"):  # others are scaled by the shots of both kinds
            assert both.branch_scores[branch] == pytest.approx(one.branch_scores[branch], abs=1e-5)


def test_named_shots_go_as_they_are_named(tmp_path: Path) -> None:
    paths = []
    for index, image in enumerate(MIXED):
        paths.append(tmp_path / f"{index}.png")
        Image.fromarray(image).save(paths[-1])
    # Against the words: whoever names knows better.
    names = {path.name: "blue kind" for path in paths[:5]}
    group = PromptGroup("discs", SETS, {**names, "5.png": "red kind"})
    fitted = Detector.from_shots(paths, prompts=group, profile="builtin")
    assert any("1 as 'red kind', 5 as 'blue kind'" in note for note in fitted.notes)


def test_saved_and_loaded_it_scores_the_same(detector: Detector, tmp_path: Path) -> None:
    saved = detector.save(tmp_path / "saved", originals=True)
    loaded = Detector.load(saved, device="cpu")
    images = [product(colour, 7, dots) for colour in ("red", "blue") for dots in (1, 2)]
    for image in images:
        before, after = detector.predict(image), loaded.predict(image)
        assert after.score == pytest.approx(before.score, abs=1e-6)
        assert after.explain() == before.explain()
    loaded.add_shots([product("red", 4)])
    assert len(loaded.shots) == len(MIXED) + 1
    assert told(loaded, images[0]) == "judged as 'red kind'"


def test_a_damaged_description_is_refused(detector: Detector) -> None:
    method = create_method("clip-lad", {})
    state = detector._fitted.state
    tensors, meta = state.tensors(), state.meta()
    assert method.restore(tensors, json.loads(json.dumps(meta)), "cpu").shots == len(MIXED)
    for change in (
        lambda m: m["kinds"][0].update(own=[0, 1]),
        lambda m: m["kinds"][0].update(own=[]),
        lambda m: m["kinds"][0].update(kind="green kind"),
        lambda m: m["kinds"].pop(),
        lambda m: m["prompts"].pop("sets"),
        lambda m: m.update(kinds=[]),
        lambda m: m["kinds"].append("x"),
    ):
        bad = json.loads(json.dumps(meta))
        change(bad)
        with pytest.raises(CorruptDetectorError):
            method.restore(tensors, bad, "cpu")
    with pytest.raises(CorruptDetectorError):
        method.restore({**tensors, "stray": tensors["pooled"]}, meta, "cpu")


def test_one_shot_of_each_kind_is_not_judged_by_the_other() -> None:
    """Left out in turn they would be judged by another product, and the threshold be far off."""
    pair = [product("red", 0), product("blue", 0)]
    fitted = Detector.from_shots(pair, prompts=GROUP, profile="builtin")
    assert fitted.calibration.source == "augmentations"
    assert [report.score for report in fitted.shots] == [None, None]
    single = Detector.from_shots(pair[:1], prompts=SETS["red kind"], profile="builtin")
    assert fitted.threshold == pytest.approx(single.threshold, rel=0.5)
    for colour in ("red", "blue"):
        good, bad = (fitted.predict(product(colour, 3, dots)) for dots in (2, 1))
        assert bad.score > good.score
    three = Detector.from_shots([*pair, product("red", 1)], prompts=GROUP, profile="builtin")
    assert [report.score is None for report in three.shots] == [False, True, False]


def test_parts_of_all_kinds(detector: Detector) -> None:
    assert {part.name: part.counts for part in detector.parts} == {
        "disc": (1,) * 6,
        "dot": (2,) * 6,
    }


def test_without_shots_a_group_is_refused() -> None:
    with pytest.raises(PromptError, match="group of prompt sets, and shots say"):
        Detector.from_prompts(GROUP, profile="builtin")


def _scores(detector: Detector, found: Dataset) -> tuple[list[bool], list[float]]:
    scores = [detector.predict(sample.path).score for sample in found.test]
    return [sample.kind != "good" for sample in found.test], scores


@pytest.mark.soak
@pytest.mark.parametrize(
    ("category", "kinds"),
    [("juice_bottle", ("cherry", "orange")), ("splicing_connectors", ("blue", "red"))],
)
def test_mixed_shots_with_a_group_do_as_well_as_each_kind_alone(
    tmp_path: Path, category: str, kinds: Sequence[str]
) -> None:
    """Shots of two kinds under the bundled group, a detector for each, and one set for both.

    A mean over the kinds of 18 anomalies against 12 normal images each is uncertain by about 0.06.
    """
    counts = {"train": 24, "validation": 1, "test_good": 36}
    counts |= {"test_logical": 36, "test_structural": 18}
    make_scenes(tmp_path / category, category, seed=21, counts=counts)
    parts = {kind: datasets.load("scenes", tmp_path, category, kind) for kind in kinds}
    shots = {kind: [sample.path for sample in part.train[:4]] for kind, part in parts.items()}
    mixed = [path for pair in zip(*shots.values(), strict=True) for path in pair]
    group = Detector.from_shots(mixed, prompts=f"scenes/{category}", profile="builtin")
    split = f"4 as {kinds[0]!r}, 4 as {kinds[1]!r}"
    assert any(split in note for note in group.notes), group.notes
    either = Detector.from_shots(mixed, prompts=f"scenes/{category}_{kinds[0]}", profile="builtin")
    figures: dict[str, list[float]] = {"group": [], "alone": [], "either": []}
    for kind, part in parts.items():
        own = Detector.from_shots(
            shots[kind], prompts=f"scenes/{category}_{kind}", profile="builtin"
        )
        for name, detector in (("group", group), ("alone", own), ("either", either)):
            figures[name].append(auroc(*_scores(detector, part)))
    means = {name: float(np.mean(values)) for name, values in figures.items()}
    assert means["group"] >= means["alone"] - 0.03, figures
    assert means["group"] > means["either"], figures
