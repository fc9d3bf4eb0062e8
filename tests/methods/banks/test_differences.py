"""Differences of rendered anomalies, end to end and without weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pytest

import fmlad
from fmlad.findings import Finding
from fmlad.methods.banks.config import BANKS
from fmlad.prediction import Prediction

Pixels = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]
Disc = tuple[float, float, float, Colour]

PLACES = [(60, 60), (160, 50), (260, 70), (70, 170), (165, 180), (255, 165)]
BLUE, RED, GREEN, YELLOW = (40, 60, 150), (190, 30, 30), (30, 120, 50), (220, 200, 20)
KINDS = {"one kind": [BLUE] * 6, "three kinds": [BLUE, BLUE, RED, RED, GREEN, GREEN]}


def discs(kind: str) -> list[Disc]:
    return [(x, y, 18, colour) for (x, y), colour in zip(PLACES, KINDS[kind], strict=True)]


def render(things: list[Disc], seed: int, size: tuple[int, int] = (240, 320)) -> Pixels:
    """Discs on a plain ground with noise; each lies a few pixels from where it should."""
    rng = np.random.default_rng(seed)
    image = np.full((*size, 3), (200.0, 195.0, 185.0))
    y, x = np.mgrid[: size[0], : size[1]]
    for left, top, radius, colour in things:
        jitter = rng.uniform(-3, 3, 2)
        image[(x - left - jitter[0]) ** 2 + (y - top - jitter[1]) ** 2 < radius**2] = colour
    return (image + rng.normal(0, 1.5, image.shape)).clip(0, 255).astype(np.uint8)


@dataclass
class Judge:
    """Detectors of both kinds of scenes, and their predictions, each computed once."""

    detectors: dict[str, fmlad.Detector]
    known: dict[tuple[str, str, int], Prediction] = field(default_factory=dict)

    def __call__(self, kind: str, what: str, seed: int = 9) -> Prediction:
        key = (kind, what, seed)
        if key not in self.known:
            self.known[key] = self.of(kind, altered(kind, what)[0], seed)
        return self.known[key]

    def of(self, kind: str, things: list[Disc], seed: int) -> Prediction:
        return self.detectors[kind].predict(render(things, seed))


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FMLAD_CACHE_LIMIT_MB", "0")
        yield Judge(
            {
                kind: fmlad.Detector.from_shots(
                    [render(discs(kind), seed) for seed in range(4)], profile="builtin", banks=BANKS
                )
                for kind in KINDS
            }
        )


def altered(kind: str, what: str) -> tuple[list[Disc], tuple[float, float]]:
    """Discs of which something is wrong with the first one or beside it, and where."""
    things = discs(kind)
    colour = things[0][3]
    if what == "nothing":
        return things, PLACES[0]
    if what == "missing":
        return things[1:], PLACES[0]
    if what == "extra":
        return [*things, (120, 115, 18, colour)], (120, 115)
    if what == "new":
        return [*things, (120, 115, 18, YELLOW)], (120, 115)
    if what == "recoloured":
        return [(*PLACES[0], 18, YELLOW), *things[1:]], PLACES[0]
    if what == "misplaced":
        return [(100, 110, 18, colour), *things[1:]], (100, 110)
    assert what == "resized"
    return [(*PLACES[0], 28, colour), *things[1:]], PLACES[0]


def typed(prediction: Prediction) -> list[Finding]:
    return [finding for finding in prediction.findings if finding.kind != "defect"]


def holds(finding: Finding, place: tuple[float, float]) -> bool:
    assert finding.box is not None
    left, top, right, bottom = finding.box
    return left <= place[0] <= right and top <= place[1] <= bottom


def inside(prediction: Prediction, finding: Finding) -> npt.NDArray[np.float32]:
    """The map in the finding's box."""
    assert finding.box is not None
    left, top, right, bottom = (round(v) for v in finding.box)
    return prediction.anomaly_map[top : max(bottom, top + 1), left : max(right, left + 1)]


WRONG = ("missing", "extra", "new", "recoloured", "misplaced", "resized")
FIRST = {"new": "extra"}


CASES = [(kind, what) for kind in KINDS for what in WRONG]


@pytest.mark.parametrize(("kind", "what"), CASES)
def test_the_right_kind_comes_first(judge: Judge, kind: str, what: str) -> None:
    _, place = altered(kind, what)
    prediction = judge(kind, what)
    assert prediction.is_anomalous
    assert typed(prediction)[0].kind == FIRST.get(what, what)
    assert holds(typed(prediction)[0], place)


@pytest.mark.parametrize(
    ("kind", "what"),
    CASES,
)
def test_the_first_box_is_about_one_disc(judge: Judge, kind: str, what: str) -> None:
    _, place = altered(kind, what)
    first = typed(judge(kind, what))[0]
    assert first.box is not None
    assert holds(first, place)
    assert max(first.box[2] - first.box[0], first.box[3] - first.box[1]) < 2.5 * 2 * 18


@pytest.mark.parametrize(("kind", "what"), CASES)
def test_the_place_and_the_findings_are_painted(judge: Judge, kind: str, what: str) -> None:
    _, place = altered(kind, what)
    prediction = judge(kind, what)
    scores = [finding.score for finding in prediction.findings]
    assert scores == sorted(scores, reverse=True)
    # The largest of three branches is at least 1 / sqrt(3) of their norm.
    assert prediction.score / 3**0.5 - 1e-6 <= scores[0] <= prediction.score + 1e-6
    # The map shows the patch bank where it is higher, so this is a floor.
    for finding in typed(prediction):
        assert inside(prediction, finding).max() >= 0.95 * finding.score
        assert finding.text
    assert any(holds(finding, place) for finding in prediction.findings)
    hottest = np.unravel_index(prediction.anomaly_map.argmax(), prediction.anomaly_map.shape)
    at = (float(hottest[1]), float(hottest[0]))
    assert any(holds(finding, at) for finding in prediction.findings)
    assert 0.95 * scores[0] <= prediction.anomaly_map.max() <= prediction.score + 1e-6


@pytest.mark.parametrize(
    ("kind", "what"),
    CASES,
)
def test_the_hottest_place_is_the_wrong_one(judge: Judge, kind: str, what: str) -> None:
    _, place = altered(kind, what)
    prediction = judge(kind, what)
    hot = np.argwhere(prediction.anomaly_map >= 0.999 * prediction.anomaly_map.max())
    gaps = np.hypot(hot[:, 1] - place[0], hot[:, 0] - place[1])
    assert np.median(gaps) < 40


@pytest.mark.parametrize("kind", KINDS)
def test_a_clean_query_has_no_typed_finding(judge: Judge, kind: str) -> None:
    for seed in (20, 21):
        prediction = judge(kind, "nothing", seed)
        assert typed(prediction) == []
        assert prediction.score < 1.5


@pytest.mark.parametrize("kind", KINDS)
def test_counts_are_those_of_the_picture(judge: Judge, kind: str) -> None:
    prediction = judge(kind, "nothing")
    assert prediction.segmentation is not None
    counts = prediction.segmentation.counts()
    assert sorted(counts.values()) == ([6] if kind == "one kind" else [2, 2, 2])
    fewer = judge(kind, "missing").segmentation
    assert fewer is not None
    (less,) = [name for name, count in fewer.counts().items() if count < counts[name]]
    assert fewer.counts()[less] == counts[less] - 1
    # A disc's pixels carry its part's label, the ground none.
    labels, names = prediction.segmentation.labels, prediction.segmentation.names
    assert labels.shape == (240, 320)
    assert names[labels[60, 60]] == less
    assert labels[115, 120] == 0


def test_numbers_and_words_of_a_missing_and_an_extra_one(judge: Judge) -> None:
    for what, count, words in (
        ("missing", 5, "missing, first row, first from the left"),
        ("extra", 7, "too many, centre"),
    ):
        found = typed(judge("one kind", what))[0]
        assert (found.part, found.expected, found.observed) == ("part A", 6, count)
        assert found.text == f"part A (blue compact) {words}: expected 6, found {count}"
        assert len(found.boxes) == 1


def test_two_wrongs_are_two_findings(judge: Judge) -> None:
    things = discs("one kind")
    both = [(100, 110, 18, BLUE), *things[1:5], (255, 165, 18, BLUE), (200, 120, 18, BLUE)]
    found = typed(judge.of("one kind", both, 9))
    assert {finding.kind for finding in found} == {"misplaced", "extra"}
    for finding in found:
        place = (200, 120) if finding.kind == "extra" else (100, 110)
        assert holds(finding, place)
