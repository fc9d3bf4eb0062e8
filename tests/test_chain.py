"""Tags, boxes, masks, parts, verdict: every step once an image, cached, resumable, saved."""

from __future__ import annotations

import numpy as np
import pytest

import fmlad
from fmlad import Detector
from fmlad.backbones.roles import Boxes, Masks
from fmlad.errors import FmladError, OptionError, PromptError
from fmlad.objects.proposals import ProposalSource
from fmlad.views import BackboneSet
from tests.chain_models import COLOURS, Counted, Grounder, Segmenter, asked, blobs, chain

SHOTS = [blobs(seed) for seed in range(4)]
METHODS = {"banks": {"banks": ("histogram",)}, "sam-lad": {"background": False}}


def fitted(
    backbones: dict[str, Counted], how: str = "grounded", method: str = "banks", **options: object
) -> Detector:
    used = {r: b for r, b in backbones.items() if r != "tagger" or "phrases" not in options}
    return Detector.from_shots(
        SHOTS, method=method, backbones=used, proposals=how, **METHODS[method], **options
    )


@pytest.mark.parametrize("method", METHODS)
def test_every_network_runs_once_an_image(method: str) -> None:
    backbones = chain()
    detector = fitted(backbones, "both", method)
    assert asked(backbones) == sorted(["tags", "find", "prompt", "propose"] * len(SHOTS))
    for prediction in detector.predict_many([blobs(9), blobs(10, red=2)]):
        assert not isinstance(prediction, fmlad.prediction.Failure)
    # The phrases are those of the shots: a query is not tagged.
    assert asked(backbones) == sorted(["find", "prompt", "propose"] * 2)


def test_grounded_alone_makes_no_automatic_masks() -> None:
    backbones = chain()
    fitted(backbones, phrases=["red disc", "blue square"]).predict(blobs(9))
    assert asked(backbones) == sorted(["find", "prompt"] * (len(SHOTS) + 1))


def test_what_was_done_before_an_interruption_is_not_done_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = chain()
    original = Segmenter.prompt
    left = iter(range(2))

    def two_only(self: Segmenter, image, boxes=None, points=None, labels=None) -> Masks:  # type: ignore[no-untyped-def]
        if next(left, None) is None:
            raise KeyboardInterrupt
        return original(self, image, boxes, points, labels)

    monkeypatch.setattr(Segmenter, "prompt", two_only)
    with pytest.raises(KeyboardInterrupt):
        fitted(first)
    monkeypatch.setattr(Segmenter, "prompt", original)
    second = chain()
    steps: list[str] = []
    detector = Detector.from_shots(
        SHOTS, backbones=second, proposals="grounded", banks=("histogram",),
        progress=lambda done, total, what: steps.append(f"{what} {done}/{total}"),
    )  # fmt: skip
    assert asked(second) == ["find", "prompt", "prompt"]
    assert "naming what the shots show 4/4" in steps
    assert "finding objects in the shots 4/4" in steps
    whole = fitted(chain())
    assert detector.predict(blobs(9)).score == whole.predict(blobs(9)).score


def test_the_verdict_names_the_phrase() -> None:
    detector = fitted(chain())
    assert {part.name for part in detector.parts} == {"red disc", "blue square"}
    query = blobs(9, red=2)
    missing = detector.predict(query)
    assert missing.is_anomalous
    assert missing.findings[0].part == "red disc"
    assert (missing.findings[0].expected, missing.findings[0].observed) == (3, 2)
    assert detector.predict(blobs(10)).score < missing.score


def test_a_user_may_call_a_grounded_part_otherwise() -> None:
    detector = fitted(chain())
    detector.name_parts({"red disc": "washer"})
    assert {part.name for part in detector.parts} == {"washer", "blue square"}
    detector.add_shots([blobs(20)])
    assert {part.name for part in detector.parts} == {"washer", "blue square"}


def test_tags_of_half_of_the_shots_are_grounded_and_the_table_is_no_object() -> None:
    backbones = chain()
    views = [BackboneSet(backbones).view(blobs(s, blue=0 if s else 2)) for s in range(4)]  # type: ignore[arg-type]
    source = ProposalSource("grounded").learned(views)
    assert source.phrases == ("table", "red disc")
    masks = source.masks(views[0])
    assert masks.phrases is not None
    assert {source.phrases[number] for number in masks.phrases} == {"red disc"}
    assert len(masks) == 3


def test_both_keeps_grounded_masks_and_what_they_leave() -> None:
    backbones = chain()
    view = BackboneSet(backbones).view(SHOTS[0])  # type: ignore[arg-type]
    masks = ProposalSource("both", ("red disc",)).masks(view)
    assert masks.phrases is not None
    assert sorted(masks.phrases.tolist()) == [-1, -1, 0, 0, 0]
    automatic = ProposalSource().masks(view)
    covered = masks.masks.any(0)
    assert (covered == automatic.masks.any(0)).mean() > 0.98
    assert (np.diff(masks.scores) <= 0).all()


def test_one_thing_has_one_name() -> None:
    class Twice(Counted):
        def find(self, image, phrases):  # type: ignore[no-untyped-def]
            box = np.array([[10, 10, 30, 30]] * 2, np.float32)
            return Boxes(box, np.array([1, 0]), np.array([0.8, 0.4], np.float32))

    backbones = {**chain(), "grounder": Twice()}
    pixels = np.full((96, 128, 3), 150, np.uint8)
    pixels[10:30, 10:30] = 20
    view = BackboneSet(backbones).view(pixels)  # type: ignore[arg-type]
    masks = ProposalSource("grounded", ("washer", "nut")).masks(view)
    assert masks.phrases is not None
    assert masks.phrases.tolist() == [1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"phrases": "screw"}, "would be ignored with automatic masks"),
        ({"proposals": "grounded", "phrases": ["screw", ""]}, "no empty phrase"),
        ({"proposals": "grounded", "phrases": "prompts:nowhere"}, "nowhere"),
        ({"proposals": "grounding"}, "'automatic', 'grounded' or 'both'"),
        ({"proposals": "grounded", "phrases": 3}, "phrases=3"),
    ],
)
def test_what_does_not_fit_is_said(options: dict[str, object], message: str) -> None:
    with pytest.raises(FmladError, match=message):
        Detector.from_shots(SHOTS, **options)  # type: ignore[arg-type]


def test_without_a_common_tag_there_is_nothing_to_ground() -> None:
    class Silent(Counted):
        def tags(self, image):  # type: ignore[no-untyped-def]
            return []

    with pytest.raises(OptionError, match="no word that half of the shots have in common"):
        fitted({**chain(), "tagger": Silent()})


def test_the_words_of_a_prompt_set_are_phrases() -> None:
    backbones = chain()
    fitted(backbones, phrases="prompts:scenes/screw_bag, red disc")
    words = fmlad.PromptSet.load("scenes/screw_bag").words
    assert words
    assert backbones["grounder"].phrases == (*words, "red disc")


@pytest.mark.parametrize("how", ["grounded", "both"])
@pytest.mark.parametrize("method", METHODS)
def test_nothing_that_answers_is_everything_missing(how: str, method: str) -> None:
    backbones = chain()
    detector = fitted(backbones, how, method, phrases="red disc, blue square")
    asked(backbones)
    empty = detector.predict(blobs(9, red=0, blue=0))
    assert "prompt" not in asked(backbones)  # no box: the image is not encoded for any
    assert empty.score > detector.predict(blobs(10)).score
    if method == "banks":
        assert {one.kind for one in empty.findings} == {"missing"}


def test_masks_are_those_of_the_backbones_of_the_view() -> None:
    class Blind(Counted):
        def find(self, image, phrases):  # type: ignore[no-untyped-def]
            none = np.zeros(0, np.float32)
            return Boxes(none.reshape(0, 4), np.zeros(0, np.int64), none)

    view = BackboneSet(chain()).view(SHOTS[0])  # type: ignore[arg-type]
    source = ProposalSource("grounded", ("red disc",))
    assert len(source.masks(view)) == 3
    other = view.through(BackboneSet({**chain(), "grounder": Blind()}))  # type: ignore[dict-item]
    assert len(source.masks(other)) == 0


def test_proposals_without_a_bank_of_parts_are_refused() -> None:
    with pytest.raises(OptionError, match="banks of parts"):
        Detector.from_shots(SHOTS, proposals="grounded", banks=("patch",))


def test_a_phrase_that_no_shot_answers_is_said(caplog: pytest.LogCaptureFixture) -> None:
    class Picky(Grounder):
        def find(self, image, phrases):  # type: ignore[no-untyped-def]
            found = super().find(image, phrases)
            return found.rows(np.array([phrases[n] in COLOURS for n in found.phrases], bool))

    backbones = {**chain(), "grounder": Picky()}
    with pytest.raises(OptionError, match=r"None of the shots shows anything that answers 'gear'"):
        fitted(backbones, phrases="gear")
    fitted(backbones, phrases="gear, red disc")
    assert "no shot shows anything that answers 'gear'" in caplog.text


def test_tags_that_the_grounder_cannot_read_are_the_taggers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(self: Grounder, image: object, phrases: object) -> None:
        raise PromptError("The phrase 'table' has no word for what it looks like.")

    monkeypatch.setattr(Grounder, "find", refuse)
    with pytest.raises(OptionError, match=r"cannot read what the tagger says .*Name the things"):
        fitted(chain())
    with pytest.raises(PromptError):
        fitted(chain(), phrases="red disc")
