"""The embedded text aligner: what each word sees, how phrases are read, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

import fmlad
from fmlad.backbones.embedded import lexicon as module
from fmlad.backbones.embedded.lexicon import (
    LOCAL,
    STRIDES,
    LexiconAligner,
    attributes,
    lexicon,
    membership,
)
from fmlad.backbones.embedded.region_shapes import QUANTITIES
from fmlad.backbones.roles import TextAligner
from fmlad.errors import PromptError
from fmlad.prompts import PromptSet, list_prompt_sets

ALIGNER = LexiconAligner()
Bools = npt.NDArray[np.bool_]

# sRGB of things that people agree about.
COLOURS = {
    "red": [(200, 30, 35), (150, 20, 25), (230, 60, 50)],
    "orange": [(235, 130, 30), (225, 110, 25)],
    "yellow": [(240, 210, 50), (220, 190, 40), (255, 230, 90)],
    "green": [(50, 140, 60), (120, 190, 90), (20, 90, 40)],
    "turquoise": [(40, 170, 170), (80, 190, 190)],
    "blue": [(30, 70, 170), (60, 120, 200), (25, 40, 90)],
    "purple": [(110, 40, 140), (140, 90, 180)],
    "pink": [(240, 130, 170), (250, 180, 200)],
    "brown": [(120, 75, 40), (90, 55, 30), (140, 95, 60)],
    "beige": [(215, 195, 160), (225, 210, 180)],
    "white": [(245, 245, 245), (228, 225, 218)],
    "grey": [(128, 128, 128), (100, 102, 105), (150, 148, 145)],
    "black": [(15, 15, 15), (35, 33, 36)],
}


def flat(rgb: tuple[int, int, int], size: int = 64) -> Tensor:
    return torch.tensor(rgb, dtype=torch.uint8)[None, :, None, None].expand(1, 3, size, size)


def scene(shapes: list[Bools], colours: list[tuple[int, int, int]]) -> Tensor:
    image = np.full((*shapes[0].shape, 3), 150, np.uint8)
    for shape, colour in zip(shapes, colours, strict=True):
        image[shape] = colour
    return torch.from_numpy(image.transpose(2, 0, 1).copy())[None]


def grid(size: int = 320) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    y, x = np.mgrid[:size, :size]
    return y, x


def rectangle(x: int, y: int, width: int, height: int, size: int = 320) -> Bools:
    mask = np.zeros((size, size), bool)
    mask[y : y + height, x : x + width] = True
    return mask


def disc(cx: float, cy: float, radius: float, hole: float = 0, size: int = 320) -> Bools:
    y, x = grid(size)
    distance = np.hypot(x + 0.5 - cx, y + 0.5 - cy)
    return np.asarray((distance < radius) & (distance >= hole))


# --- the role ------------------------------------------------------------------------------------


def test_it_fills_its_role_and_is_the_default_of_builtin() -> None:
    assert isinstance(ALIGNER, TextAligner)
    assert "builtin:lexicon@1" in fmlad.list_backbones("text_aligner")
    chosen = fmlad.profiles.resolve(["text_aligner"], "builtin")
    assert chosen == {"text_aligner": "builtin:lexicon@1"}
    built = fmlad.profiles.load_backbones(chosen, "cpu")["text_aligner"]
    assert isinstance(built, LexiconAligner)
    assert built.fingerprint == ALIGNER.fingerprint


def test_the_fingerprint_changes_with_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    before = ALIGNER.fingerprint
    other = module.Lexicon(lexicon().words, lexicon().spellings, "0" * 64)
    monkeypatch.setattr(module, "lexicon", lambda: other)
    assert ALIGNER.fingerprint != before
    assert before.startswith("builtin:lexicon@1 ")


@pytest.mark.parametrize("size", [(300, 400), (64, 64), (33, 700), (1000, 900)])
def test_shapes(size: tuple[int, int]) -> None:
    images = torch.randint(0, 256, (2, 3, *size), dtype=torch.uint8)
    pyramid = ALIGNER.encode(images)
    assert tuple(pyramid.levels) == STRIDES
    assert pyramid.pooled.shape == (2, 5)
    for level in pyramid.levels.values():
        assert level.shape[:2] == (2, 5)
        assert level.dtype == torch.float32
    one = pyramid[1]
    dense = ALIGNER.ground(one, ["red", "small", "background"])
    assert dense.shape == (3, *one.levels[STRIDES[0]].shape[-2:])
    regions = np.zeros((4, *size), bool)
    regions[1:, 5:20, 5:20] = True
    scores = ALIGNER.ground(one, ["red", "small", "background"], regions)
    assert scores.shape == (3, 4)
    assert torch.equal(scores, ALIGNER.ground(one, ["red", "small", "background"], regions))
    for result in (dense, scores):
        assert torch.isfinite(result).all()
        assert result.min() >= 0
        assert result.max() <= 1
    assert (scores[:2, 0] == 0).all()  # an empty region is like nothing ...
    assert scores[2, 0] == 1  # ... and so it is background


def test_no_words_and_no_regions() -> None:
    pyramid = ALIGNER.encode(flat((9, 9, 9)))
    assert ALIGNER.ground(pyramid, []).shape[0] == 0
    assert ALIGNER.ground(pyramid, ["round"], np.zeros((0, 64, 64), bool)).shape == (1, 0)


# --- the table -----------------------------------------------------------------------------------


def test_the_table_is_sound() -> None:
    table = lexicon()
    for word, rule in table.words.items():
        assert rule, word
        for quantity, numbers in rule.items():
            assert quantity in (*LOCAL, *QUANTITIES), (word, quantity)
            assert len(numbers) in (2, 4), (word, quantity)
            if len(numbers) == 4:
                assert list(numbers) == sorted(numbers), (word, quantity)
    # No spelling leads to two attributes.
    text = (Path(module.__file__).parent / "lexicon.yaml").read_text()
    listed = [w.strip() for line in re.findall(r"^  [\w-]+: \[([^\]]*)\]$", text, flags=re.M)
              for w in line.split(",")]  # fmt: skip
    assert len(listed) == len(set(listed))
    assert not set(listed) & set(table.words)
    assert set(table.spellings.values()) == set(table.words)


def test_the_table_names_no_thing() -> None:
    things = set()
    for name in list_prompt_sets():
        words, _ = PromptSet.load(name).phrases()
        for word in words:
            things.add(word.split()[-1].lower())  # the head of the phrase
    things -= {"orange"}  # the fruit, which shares its name with the colour
    assert {"screw", "nut", "washer", "pushpin", "cable", "die", "label", "juice"} <= things
    assert not things & set(lexicon().spellings)


# --- phrases -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("phrase", "found"),
    [
        ("red cable", ("red",)),
        ("Long DARK screw", ("long", "dark")),
        ("small round washer, in grey", ("small", "round", "grey")),
        ("dark-red nut", ("dark", "red")),
        ("ring-shaped washer", ("ring-shaped",)),
        ("a big brass-coloured nut", ("large", "golden", "colourful")),
        ("gray screw", ("grey",)),
        ("red red wine", ("red",)),
        ("scarlet", ("red",)),
        ("grey background", ("grey",)),
        ("background", None),
        ("the background of the picture", None),
    ],
)
def test_attributes(phrase: str, found: tuple[str, ...] | None) -> None:
    assert attributes(phrase) == found


@pytest.mark.parametrize(
    "phrase", ["pushpin", "", "almonds", "reduced screw", "a 3 mm bolt", "红色"]
)
def test_a_phrase_without_an_attribute_is_refused(phrase: str) -> None:
    with pytest.raises(PromptError) as caught:
        ALIGNER.ground(ALIGNER.encode(flat((1, 2, 3))), ["red thing", phrase])
    message = str(caught.value)
    assert repr(phrase) in message
    assert all(word in message for word in lexicon().words)
    assert "exemplars" in message
    assert "a profile that reads" in message


def test_negations_are_refused() -> None:
    for phrase in ("not red", "a screw without red", "non-metallic red bolt"):
        with pytest.raises(PromptError, match="cannot negate"):
            attributes(phrase)


def test_every_phrase_of_the_offline_sets_can_be_grounded() -> None:
    for name in list_prompt_sets():
        if not name.startswith("mvtec_loco"):
            prompts = PromptSet.load(name)
            for word in (*prompts.background, *prompts.foreground, *prompts.phrases()[0]):
                attributes(word)


# --- what the words see --------------------------------------------------------------------------


@pytest.mark.parametrize("name", COLOURS)
def test_colours_have_their_names(name: str) -> None:
    names = list(COLOURS)
    for rgb in COLOURS[name]:
        scores = ALIGNER.ground(ALIGNER.encode(flat(rgb)), names).mean(dim=(1, 2))
        assert names[int(scores.argmax())] == name, (rgb, dict(zip(names, scores, strict=True)))
        assert scores.max() > 0.6, rgb


def test_colours_hold_under_other_light() -> None:
    names = ["red", "yellow", "blue", "green"]
    for name in names:
        for rgb in COLOURS[name][:2]:
            for light in ((0.8, 0.8, 0.8), (1.08, 1, 0.92), (0.92, 1, 1.08)):
                lit = tuple(int(min(255, c * f)) for c, f in zip(rgb, light, strict=True))
                scores = ALIGNER.ground(ALIGNER.encode(flat(lit)), names).mean(dim=(1, 2))  # type: ignore[arg-type]
                assert names[int(scores.argmax())] == name


def test_brightness_and_texture() -> None:
    dark, bright = (ALIGNER.encode(flat((v, v, v))) for v in (40, 200))
    words = ["dark", "bright", "smooth", "textured"]
    assert ALIGNER.ground(dark, words).mean(dim=(1, 2)).tolist() == pytest.approx(
        [1, 0, 1, 0], abs=0.011
    )
    assert ALIGNER.ground(bright, words).mean(dim=(1, 2)).tolist() == pytest.approx(
        [0, 1, 1, 0], abs=0.011
    )
    rng = np.random.default_rng(0)
    noise = torch.from_numpy(rng.integers(60, 190, (1, 1, 320, 320), np.uint8)).expand(1, 3, -1, -1)
    stripes = torch.zeros(1, 3, 320, 320, dtype=torch.uint8) + 90
    stripes[..., ::8] = stripes[..., 1::8] = stripes[..., 2::8] = stripes[..., 3::8] = 170
    words = ["textured", "grainy", "striped"]
    for image, best in ((noise, "grainy"), (stripes, "striped")):
        scores = ALIGNER.ground(ALIGNER.encode(image), words).mean(dim=(1, 2))
        assert scores[0] > 0.8
        assert words[1 + int(scores[1:].argmax())] == best


def test_sizes_are_judged_against_the_other_regions() -> None:
    shapes = [rectangle(10 + 60 * i, 10, 20, 20) for i in range(4)]
    large, long, tiny = (
        rectangle(10, 60, 80, 70),
        rectangle(10, 200, 130, 8),
        rectangle(250, 60, 5, 5),
    )
    regions = np.stack([*shapes, large, long, tiny])
    words = ["large thing", "small thing", "long thin thing", "short thing", "tiny thing"]
    image = scene(list(regions), [(90, 90, 90)] * 7)
    scores = ALIGNER.ground(ALIGNER.encode(image), words, regions)
    assert scores[0].argmax() == 4
    assert scores[1].argmax() == 6
    assert scores[2].argmax() == 5
    assert scores[3, :4].min() > 0.9
    assert scores[4].argmax() == 6
    # The same square is large where all others are small.
    among_small = np.stack([rectangle(10 + 20 * i, 10, 6, 6) for i in range(6)] + [shapes[3]])
    again = ALIGNER.ground(ALIGNER.encode(image), ["large thing"], among_small)
    assert again[0, 6] > 0.8 > 0.5 > scores[0, 3]


def test_a_single_region_is_judged_by_its_share_of_the_image() -> None:
    pyramid = ALIGNER.encode(flat((90, 90, 90), 320))
    for side, word in ((12, "small"), (200, "large")):
        region = rectangle(40, 40, side, side)[None]
        scores = ALIGNER.ground(pyramid, ["small", "large"], region)[:, 0]
        assert ["small", "large"][int(scores.argmax())] == word


def test_shapes_have_their_names() -> None:
    y, x = grid()
    shapes = {
        "round": disc(40, 40, 25),
        "ring-shaped": disc(120, 40, 25, 12),
        "square": rectangle(170, 20, 44, 44),
        "elongated": np.abs(y - 0.6 * x - 120) < 6,
        "irregular": rectangle(20, 230, 80, 10) | rectangle(55, 200, 10, 70),
        "scattered": disc(220, 260, 12) | disc(260, 230, 12) | disc(270, 280, 12),
    }
    regions = np.stack(list(shapes.values()))
    pyramid = ALIGNER.encode(flat((90, 90, 90), 320))
    scores = ALIGNER.ground(pyramid, list(shapes), regions)
    for row, name in enumerate(shapes):
        assert scores[row, row] > 0.8, name
    assert scores[0].tolist() == pytest.approx([1, 1, 0, 0, 0, 0], abs=0.15)  # a ring is round too
    assert scores[1].argmax() == 1
    assert scores[2].argmax() == 2
    hexagonal = ALIGNER.ground(pyramid, ["hexagonal", "rectangular", "compact"], regions)
    assert hexagonal[0, 0] < 0.3
    assert hexagonal[1, 2] == hexagonal[1].max() == 1
    assert hexagonal[2, :3].min() > 0.9
    assert hexagonal[2, 3:].max() < 0.7


def test_shapes_do_not_depend_on_the_grid_of_the_regions() -> None:
    pyramid = ALIGNER.encode(flat((90, 90, 90), 320))
    words = ["large round", "square", "small long", "ring-shaped"]
    fine = np.stack(
        [disc(160, 160, 100, 50), rectangle(40, 40, 120, 120), rectangle(0, 300, 200, 12)]
    )
    coarse = fine.reshape(3, 160, 2, 160, 2).mean(axis=(2, 4)) >= 0.5
    a, b = (ALIGNER.ground(pyramid, words, regions) for regions in (fine, coarse))
    assert torch.allclose(a, b, atol=0.08)


# --- rules of the phrase -------------------------------------------------------------------------


def test_a_phrase_is_the_geometric_mean_of_its_attributes() -> None:
    shapes = [disc(80, 80, 30), rectangle(160, 40, 100, 60)]
    pyramid = ALIGNER.encode(scene(shapes, [(170, 60, 40), (150, 140, 60)]))
    scores = ALIGNER.ground(pyramid, ["red", "round", "red round"], np.stack(shapes))
    expected = (scores[0].clamp_min(0.01) * scores[1].clamp_min(0.01)).sqrt()
    assert torch.allclose(scores[2], expected, atol=1e-6)


def test_without_regions_sizes_and_shapes_say_nothing() -> None:
    pyramid = ALIGNER.encode(scene([disc(80, 80, 30)], [(200, 30, 30)]))
    scores = ALIGNER.ground(pyramid, ["red", "long red", "long", "large round"])
    assert torch.equal(scores[0], scores[1])
    assert (scores[2:] == 0.5).all()


def test_background_is_what_is_left() -> None:
    shapes = [disc(80, 80, 40), disc(220, 80, 40)]
    pyramid = ALIGNER.encode(scene(shapes, [(200, 30, 30), (30, 60, 180)]))
    words = ["background", "red thing", "blue thing"]
    dense = ALIGNER.ground(pyramid, words)
    assert torch.equal(dense[0], 1 - dense[1:].amax(dim=0))
    scores = ALIGNER.ground(pyramid, words, np.stack([*shapes, disc(160, 240, 40)]))
    assert scores.argmax(dim=0).tolist() == [1, 2, 0]
    assert (ALIGNER.ground(pyramid, ["background"]) == 1).all()


def test_colours_of_a_region_are_the_mean_over_it() -> None:
    half = rectangle(20, 20, 100, 100)
    pyramid = ALIGNER.encode(scene([rectangle(20, 20, 50, 100)], [(200, 30, 30)]))
    score = ALIGNER.ground(pyramid, ["red"], half[None])
    assert score.item() == pytest.approx(0.5, abs=0.05)


def test_memberships() -> None:
    values = torch.tensor([-1.0, 0, 1, 2, 3, 4, 5, float("nan")])
    assert membership(values, (0, 2)).tolist() == [0, 0, 0.5, 1, 1, 1, 1, 0]
    assert membership(values, (2, 0)).tolist() == [1, 1, 0.5, 0, 0, 0, 0, 0]
    assert membership(values, (0, 2, 3, 5)).tolist() == [0, 0, 0.5, 1, 1, 0.5, 0, 0]
