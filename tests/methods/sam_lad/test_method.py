"""Method sam-lad end to end on small pictures of discs and bars; edge cases; saving."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from scipy import ndimage
from torch import Tensor
from typer.testing import CliRunner

import fmlad
import fmlad.draw
from fmlad import profiles
from fmlad.backbones.roles import Masks
from fmlad.commands.main import cli
from fmlad.draw import UNMATCHED, part_colour
from fmlad.errors import CorruptDetectorError, OptionError
from fmlad.memory.templates import image_vector
from fmlad.methods.protocol import FitContext
from fmlad.methods.registry import create_method
from fmlad.methods.sam_lad.config import SamLadConfig
from fmlad.methods.sam_lad.method import SamLad
from fmlad.prediction import Prediction
from fmlad.views import BackboneSet

Pixels = npt.NDArray[np.uint8]
RED, BLUE, GREEN = (200, 40, 40), (40, 60, 190), (40, 160, 60)
# A tray of six compartments, one pin each: colour, centre x and y, radius.
Disc = tuple[tuple[int, int, int], float, float, float]
TRAY: tuple[Disc, ...] = tuple(
    (RED if row == 0 else BLUE, 40 + 60 * column, 40 + 60 * row, 10.0)
    for row in range(2)
    for column in range(3)
)


class Blobs:
    """A mask proposer for pictures of separate blobs on grey: connected components."""

    name = fingerprint = "test:blobs@1"
    expensive = False

    def propose(self, image: Tensor) -> Masks:
        pixels = image[0].numpy().astype(int)
        labels, count = ndimage.label(np.abs(pixels - 128).max(0) > 40)
        found = [labels == i for i in range(1, count + 1) if (labels == i).sum() > 12]
        boxes = []
        for mask in found:
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            boxes.append((columns[0], rows[0], columns[-1] + 1, rows[-1] + 1))
        masks = np.array(found, bool).reshape(-1, *labels.shape)
        return Masks(
            masks, np.array(boxes, np.float32).reshape(-1, 4), np.ones(len(masks), np.float32)
        )

    def prompt(self, image: Tensor, boxes: Any = None, points: Any = None) -> Masks:
        raise NotImplementedError


def draw(discs: Sequence[Disc], seed: int = 0, size: tuple[int, int] = (140, 200)) -> Pixels:
    rng = np.random.default_rng(seed)
    picture = np.full((*size, 3), 128.0)
    y, x = np.mgrid[: size[0], : size[1]]
    for colour, cx, cy, radius in discs:
        jx, jy = rng.normal(0, 1.0, 2)
        picture[np.hypot(x - cx - jx, y - cy - jy) < radius] = colour
    return (picture + rng.normal(0, 3, picture.shape)).clip(0, 255).astype(np.uint8)


def fit(shots: Sequence[Pixels], **options: Any) -> fmlad.Detector:
    backbones = {"mask_proposer": Blobs()}
    return fmlad.Detector.from_shots(
        shots, method="sam-lad", profile="builtin", backbones=backbones, device="cpu", **options
    )


@pytest.fixture(scope="module")
def tray() -> fmlad.Detector:
    return fit([draw(TRAY, seed) for seed in range(4)])


def without(*rows: int) -> list[Disc]:
    return [disc for row, disc in enumerate(TRAY) if row not in rows]


def kinds(verdict: Prediction) -> list[str]:
    return [finding.kind for finding in verdict.findings]


def holds(box: tuple[float, float, float, float] | None, x: float, y: float) -> bool:
    return box is not None and box[0] <= x <= box[2] and box[1] <= y <= box[3]


def test_normal_pictures_match_completely(tray: fmlad.Detector) -> None:
    for seed in (10, 11, 12):
        verdict = tray.predict(draw(TRAY, seed))
        assert verdict.branch_scores["matching"] == 0
        assert verdict.segmentation is not None
        assert UNMATCHED not in verdict.segmentation.counts()
        assert sum(verdict.segmentation.counts().values()) == 6


def test_a_missing_pin_is_found_where_it_should_be(tray: fmlad.Detector) -> None:
    verdict = tray.predict(draw(without(4), 20))
    assert verdict.is_anomalous
    first = verdict.findings[0]
    assert first.kind == "missing"
    assert holds(first.box, 100, 100)
    assert verdict.anomaly_map[100, 100] > tray.threshold
    assert verdict.anomaly_map[40, 40] < verdict.anomaly_map[100, 100]


def test_two_equal_pins_in_one_compartment(tray: fmlad.Detector) -> None:
    # The published method's own failure (its figure 14): pins are so alike that the one too many
    # is matched with that of another compartment.
    doubled = [*TRAY, (BLUE, 64.0, 112.0, 10.0)]
    verdict = tray.predict(draw(doubled, 21))
    assert verdict.is_anomalous
    extra = [finding for finding in verdict.findings if finding.kind == "extra"]
    assert len(extra) == 1
    assert holds(extra[0].box, 64, 112) or holds(extra[0].box, 40, 100)


def test_a_pin_in_the_wrong_compartment_although_the_count_is_right(tray: fmlad.Detector) -> None:
    moved = [*without(5), (BLUE, 64.0, 112.0, 10.0)]
    verdict = tray.predict(draw(moved, 22))
    assert verdict.is_anomalous
    assert {"misplaced", "extra", "missing"} & set(kinds(verdict))
    blind = fit([draw(TRAY, seed) for seed in range(4)], place=False, background=False)
    assert blind.predict(draw(moved, 22)).branch_scores["matching"] == 0


def test_with_three_shots_there_is_a_pooled_gaussian(tray: fmlad.Detector) -> None:
    assert tray._fitted.state.learned.gaussian is not None
    assert fit([draw(TRAY, seed) for seed in range(2)])._fitted.state.learned.gaussian is None
    for options in ({"pooled": False}, {"align": "none"}):
        plain = fit([draw(TRAY, seed) for seed in range(3)], background=False, **options)
        assert plain._fitted.state.learned.gaussian is None


def test_an_empty_place_is_not_taken_for_an_object_that_was_not_cut_out() -> None:
    # Handwriting varies so much that nothing at all lies near its mean.
    pages = [fmlad.datasets.render_digits(100, "train", index).image for index in range(4)]
    detector = fmlad.Detector.from_shots(
        pages, method="sam-lad", profile="builtin", background=False
    )
    for index in (0, 1, 4):
        page = fmlad.datasets.render_digits(100, "test", index, "missing")
        verdict = detector.predict(page.image)
        row, column = divmod(page.places[0], 3)
        assert verdict.is_anomalous
        assert verdict.findings[0].kind == "missing"
        assert holds(verdict.findings[0].box, 32 * column + 16, 32 * row + 16)


def test_swapped_colours(tray: fmlad.Detector) -> None:
    swapped = [*without(0, 3), (BLUE, 40.0, 40.0, 10.0), (RED, 40.0, 100.0, 10.0)]
    verdict = tray.predict(draw(swapped, 23))
    assert verdict.is_anomalous
    assert any(holds(f.box, 40, 40) for f in verdict.findings)


def test_a_scratch_in_an_object_and_one_outside_all(tray: fmlad.Detector) -> None:
    inside = draw(TRAY, 24)
    inside[96:104, 92:108] = (230, 230, 60)
    verdict = tray.predict(inside)
    assert verdict.is_anomalous
    assert any(holds(f.box, 100, 100) for f in verdict.findings)
    outside = draw(TRAY, 25)
    outside[64:76, 56:84] = (162, 100, 96)  # too faint for the proposer
    verdict = tray.predict(outside)
    assert verdict.branch_scores["background"] > 1
    assert tray.threshold is not None
    assert verdict.anomaly_map[62:78, 56:84].max() > tray.threshold
    assert any(f.kind == "defect" and holds(f.box, 70, 70) for f in verdict.findings)


def test_free_placement_counts_but_does_not_place() -> None:
    def heap(seed: int, reds: int, blues: int) -> Pixels:
        rng = np.random.default_rng(seed)
        cells = rng.permutation(12)
        discs = [
            (RED if i < reds else BLUE, 30.0 + 40 * (c % 4), 25.0 + 42 * (c // 4), 9.0)
            for i, c in enumerate(cells[: reds + blues])
        ]
        return draw(discs, seed)

    detector = fit([heap(seed, 3, 2) for seed in range(6)], background=False)
    normal = [detector.predict(heap(seed, 3, 2)).branch_scores["matching"] for seed in (30, 31)]
    assert max(normal) < 0.5
    lacking = detector.predict(heap(32, 2, 2))
    assert lacking.branch_scores["matching"] > 1

    def seen(picture: Pixels) -> set[str]:  # before the threshold, which a heap of six sets high
        view = detector._backbones.view(picture)
        evidence = detector._fitted.method.evidence(view, detector._fitted.state)
        return {difference.kind for difference in evidence.differences}

    assert "missing" in seen(heap(32, 2, 2))
    assert "extra" in seen(heap(33, 3, 3))


@pytest.mark.parametrize(
    "query",
    [
        np.zeros((90, 120, 3), np.uint8),
        np.full((140, 200, 3), 128, np.uint8),
        draw([(RED, 100.0, 70.0, 60.0)]),
    ],
    ids=["all black", "no object", "one object"],
)
def test_queries_unlike_the_shots(tray: fmlad.Detector, query: Pixels) -> None:
    verdict = tray.predict(query)
    assert verdict.is_anomalous
    assert verdict.findings
    assert "missing" in kinds(verdict)
    assert np.isfinite(verdict.anomaly_map).all()


def test_two_hundred_objects(tray: fmlad.Detector) -> None:
    many = [(RED, 8.0 + 9.6 * (i % 20), 8.0 + 13.0 * (i // 20), 3.4) for i in range(200)]
    query = draw(many)
    verdict = tray.predict(query)
    assert verdict.is_anomalous
    assert "extra" in kinds(verdict)


def test_shots_without_objects_and_a_single_object() -> None:
    empty = fit([draw([], seed) for seed in range(3)])
    assert empty.predict(draw([], 5)).branch_scores["matching"] == 0
    found = empty.predict(draw([(RED, 60.0, 60.0, 12.0)], 6))
    assert found.is_anomalous
    assert "extra" in kinds(found)
    single = fit([draw([(RED, 100.0, 70.0, 30.0)], seed) for seed in range(3)])
    assert single.predict(draw([(RED, 100.0, 70.0, 30.0)], 7)).branch_scores["matching"] == 0
    assert single.predict(draw([], 8)).is_anomalous


def test_one_shot_and_a_shot_with_another_count() -> None:
    one = fit([draw(TRAY)])
    assert one.predict(draw(TRAY, 8)).branch_scores["object"] < 8  # its copies set the unit
    assert one.predict(draw(without(2), 9)).branch_scores["matching"] > 0
    mixed = fit([*(draw(TRAY, seed) for seed in range(4)), draw(without(1), 4)])
    gone = mixed.predict(draw(without(4), 20))
    assert gone.branch_scores["matching"] > mixed.predict(draw(TRAY, 21)).branch_scores["matching"]


@pytest.mark.parametrize(
    "options",
    [
        {"descriptor": "residual"},
        {"preset": "paper"},
        {"align": "orientation", "descriptor": "gmp", "fusion": "sum"},
        {"light": True},
        {"templates": 2, "neighbours": 1},
    ],
    ids=["residual", "as published", "orientation", "light", "coreset"],
)
def test_options_run_and_are_saved(options: dict[str, Any], tmp_path: Path) -> None:
    detector = fit([draw(TRAY, seed) for seed in range(3)], **options)
    query = draw(without(4), 20)
    verdict = detector.predict(query)
    assert set(verdict.branch_scores) == set(SamLad(SamLadConfig(**options)).branches)
    state = detector._fitted.state
    method = SamLad(SamLadConfig(**options))
    again = method.restore(state.tensors(), state.meta(), "cpu")
    view = detector._backbones.view(query)
    first, second = method.evidence(view, state), method.evidence(view, again)
    assert first.scores == second.scores
    assert first.differences == second.differences
    for branch in first.maps:
        np.testing.assert_array_equal(first.maps[branch], second.maps[branch])


def test_every_broken_state_is_refused(tray: fmlad.Detector) -> None:
    state = tray._fitted.state
    method = SamLad()
    tensors, meta = state.tensors(), state.meta()
    for name in tensors:
        with pytest.raises(CorruptDetectorError):
            method.restore({n: t for n, t in tensors.items() if n != name}, meta, "cpu")
    with pytest.raises(CorruptDetectorError):
        method.restore({**tensors, "template.9.level": torch.zeros(1)}, meta, "cpu")
    for key, value in (
        ("numbers", [0, 1, 2, 2]),
        ("numbers", [0, 1, 2]),
        ("learned", None),
        ("learned", {**meta["learned"], "baseline": -1.0}),
        ("learned", {**meta["learned"], "baseline": "many"}),
        ("sizes", [[0, 1]] * 4),
        ("selection", {"grain": "crumbs", "least": 0.1, "most": 0.2}),
        ("learned", {**meta["learned"], "affinity": {}}),
        ("selection", {"grain": "own", "least": 0.1}),
        ("bank", None),
    ):
        with pytest.raises(CorruptDetectorError):
            method.restore(tensors, {**meta, key: value}, "cpu")


def test_excluded_shots_do_not_count(tray: fmlad.Detector) -> None:
    state, view = tray._fitted.state, tray._backbones.view(draw(TRAY, 40))
    method = tray._fitted.method
    maps = method._object_maps(view, state.selection)  # type: ignore[attr-defined]
    for out in (frozenset[int](), frozenset({0}), frozenset({1, 2, 3})):
        numbers = {c.number for c in method.matched(maps, state, out)}  # type: ignore[attr-defined]
        assert numbers == set(range(4)) - out
    with pytest.raises(OptionError, match="excluded"):
        method.evidence(view, state, frozenset(range(4)))


@pytest.mark.parametrize(
    "options",
    [
        {"neighbours": 0},
        {"neighbours": 2.5},
        {"templates": 1},
        {"descriptor": "mean"},
        {"align": "corners"},
        {"preset": "published"},
        {"upsample": 3},
        {"upsample": True},
        {"light": "yes"},
        {"epsilon": 0.0},
        {"temperature": float("nan")},
        {"fusion": "mean"},
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        create_method("sam-lad", options)


def test_matched_pairs_have_one_label(tray: fmlad.Detector) -> None:
    from fmlad.methods.sam_lad.report import matched_objects, reference_objects

    method, state = tray._fitted.method, tray._fitted.state
    query = draw([*without(4), (GREEN, 160.0, 70.0, 8.0)], 50)
    maps = method._object_maps(tray._backbones.view(query), state.selection)  # type: ignore[attr-defined]
    best = method.matched(maps, state)[0]  # type: ignore[attr-defined]
    here, there = matched_objects(maps, best), reference_objects(best)
    assert here.names == there.names
    for x, y in ((40, 40), (100, 40), (160, 40), (40, 100), (160, 100)):
        assert here.labels[y, x] == there.labels[y, x] > 0
    assert here.names[here.labels[70, 160]] == UNMATCHED
    assert there.names[there.labels[100, 100]] == UNMATCHED
    shot = draw(TRAY, best.number)
    sides = (
        fmlad.draw.outlines(Image.fromarray(pixels), parts.labels, parts.names)
        for pixels, parts in ((query, here), (shot, there))
    )
    picture = np.asarray(fmlad.draw.pairs(*sides))
    offset = picture.shape[1] - shot.shape[1]
    colour = part_colour(int(here.labels[40, 160]))
    for shift in (0, offset):
        around = picture[28:53, 146 + shift : 175 + shift].reshape(-1, 3)
        assert (around == colour).all(1).sum() > 10
    assert (picture[60:80, 148:172].reshape(-1, 3) == 255).all(1).sum() > 10


class Nearest:
    """An upsampler that repeats cells and changes their scale, as a network's norm would."""

    name = fingerprint = "test:nearest@1"
    expensive = False

    def __init__(self) -> None:
        self.calls: list[int] = []

    def __call__(self, features: Tensor, guidance: Tensor, factor: int) -> Tensor:
        self.calls.append(factor)
        wide = torch.repeat_interleave(torch.repeat_interleave(features, factor, -1), factor, -2)
        return torch.nn.functional.layer_norm(wide.movedim(1, -1), (wide.shape[1],)).movedim(-1, 1)


def test_upsampled_maps_are_used() -> None:
    nearest = Nearest()
    shots = [draw(TRAY, seed) for seed in range(2)]
    detector = fmlad.Detector.from_shots(
        shots, method="sam-lad", profile="builtin", device="cpu", upsample=2, background=False,
        backbones={"mask_proposer": Blobs(), "upsampler": nearest},
    )  # fmt: skip
    detector.predict(draw(without(4), 20))
    assert nearest.calls == [2, 2, 2]  # once an image
    for shot, template in zip(shots, detector._fitted.state.templates, strict=True):
        own = detector._backbones.view(shot).upsampled(1)  # equation 2: the extractor's own
        np.testing.assert_array_equal(template.vector, image_vector(own))


@pytest.mark.slow
def test_the_memory_of_fit_does_not_grow_beyond_the_coreset() -> None:
    nearest = Nearest()
    chosen = profiles.resolve(("feature_extractor",), "builtin")
    backbones = profiles.load_backbones(chosen, "cpu")
    through = BackboneSet({**backbones, "mask_proposer": Blobs(), "upsampler": nearest})
    pictures = [draw(TRAY, seed) for seed in range(16)]
    views = [through.view(picture, str(n)) for n, picture in enumerate(pictures)]
    method = SamLad(SamLadConfig(upsample=2, templates=4, background=False))
    state = method.fit(views, FitContext())
    assert nearest.calls == [2] * 4
    others = [view for number, view in enumerate(views) if number not in state.numbers]
    assert len(others) == 12
    assert all(view.nbytes == view.pixels.nbytes and not view.memo for view in others)
    kept = {id(template) for template in state.templates}
    maps = (held() for view in views for key, held in view.memo.items() if key.startswith("object"))
    assert {id(held) for held in maps} == kept
    level = weakref.ref(state.templates[0].level)
    del state, kept
    gc.collect()
    assert level() is None  # no view holds upsampled features


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.parametrize("which", ["dice", "pcb"])  # scenes and digits: tests/frozen_scores.py
def test_the_command_line_end_to_end(
    which: str, shared: Callable[..., Path], tmp_path: Path
) -> None:
    if which == "dice":
        images = sorted(shared("data", "dice", "images").glob("*.jpg"))[:4]
    else:
        images = sorted(shared("data", "deeppcb").rglob("*_temp.jpg"))[:4]
    run = CliRunner().invoke(
        cli,
        ["fit", *map(str, images[:3]), "--method", "sam-lad", "--profile", "builtin",
         "--no-check", "--out", str(tmp_path / "detector")],
    )  # fmt: skip
    assert run.exit_code == 0, run.output
    detector = fmlad.Detector.load(tmp_path / "detector")
    verdict = detector.predict(images[3])
    assert np.isfinite(verdict.score)
    assert verdict.anomaly_map.shape == verdict.pixels.shape[:2]
    assert verdict.parts_overlay().size == verdict.overlay().size
