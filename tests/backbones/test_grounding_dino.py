"""Grounding DINO from its on-disk format, against transformers' own processing."""

from __future__ import annotations

import inspect
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from fmlad.backbones import grounding_dino
from fmlad.backbones.roles import Boxes, Grounder
from fmlad.errors import OptionError, PromptError, WeightsUnavailableError
from tests.backbones.tiny_grounding_models import save_grounding_dino, tokenizer
from tests.conftest import picture

PHRASES = ["Screw", "long screws", "zip-lock bag", "washer", "orange juice"]
SMALL = "side=160,longest=256"
MIDDLE = f"{SMALL},box=0.7,text=0.6,nms=1"  # some boxes of the tiny network are above, some below


def photo(seed: int = 0, size: tuple[int, int] = (150, 200)) -> torch.Tensor:
    return torch.from_numpy(picture(seed, size)).permute(2, 0, 1)[None]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_grounding_dino(tmp_path_factory.mktemp("dino") / "m")


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(folder, tmp_path / "copy")


def through_the_library(
    folder: Path, image: torch.Tensor, phrases: list[str], box: float, text: float, words_only: bool
) -> tuple[dict[str, Any], torch.Tensor, list[int]]:
    """Its processor, network and post-processing; with chances of words alone if asked.

    Returns:
        Its result, all chances ``(boxes, tokens)`` of the boxes in it, and the ids of the text.
    """
    import transformers as t

    size = {"shortest_edge": 160, "longest_edge": 256}
    words = t.AutoTokenizer.from_pretrained(folder)
    processor = t.GroundingDinoProcessor(t.GroundingDinoImageProcessorPil(size=size), words)
    model = t.GroundingDinoForObjectDetection.from_pretrained(folder).eval()
    pil = Image.fromarray(image[0].permute(1, 2, 0).numpy())
    inputs = processor(images=pil, text=[phrases], return_tensors="pt")
    with torch.inference_mode():
        output = model(**inputs)
    ids = inputs["input_ids"][0].tolist()
    if words_only:
        ends = [n for n, token in enumerate(ids) if token in (101, 102, 1012, 1029)]
        output.logits = output.logits.clone()
        output.logits[..., ends] = -torch.inf
    process = processor.post_process_grounded_object_detection
    # The first threshold has had two names.
    old = "box_threshold" in inspect.signature(process).parameters
    thresholds = {"box_threshold" if old else "threshold": box, "text_threshold": text}
    sizes = [tuple(image.shape[-2:])]
    (found,) = process(output, inputs["input_ids"], target_sizes=sizes, **thresholds)
    chances = output.logits[0].sigmoid()
    return found, chances[chances.max(dim=1).values > box], ids


def test_boxes_and_scores_are_those_of_transformers(folder: Path) -> None:
    backbone = grounding_dino.load(f"grounding-dino:{folder}#{MIDDLE}")
    assert isinstance(backbone, Grounder)
    found = backbone.find(photo(), PHRASES)
    theirs, _, _ = through_the_library(folder, photo(), PHRASES, 0.7, 0.6, words_only=True)
    scores, order = theirs["scores"].sort(descending=True)
    assert 5 < len(found) == len(scores) < 50
    boxes = theirs["boxes"][order].clamp(min=0)
    boxes = torch.minimum(boxes, torch.tensor([200.0, 150.0, 200.0, 150.0]))
    np.testing.assert_allclose(found.scores, scores.numpy(), atol=1e-5)
    np.testing.assert_allclose(found.boxes, boxes.numpy(), atol=1e-5, rtol=1e-5)
    assert (found.boxes.dtype, found.phrases.dtype, found.scores.dtype) == (
        np.float32, np.int64, np.float32,
    )  # fmt: skip


def test_the_phrase_of_a_box_is_that_of_its_most_likely_word(folder: Path) -> None:
    backbone = grounding_dino.load(f"grounding-dino:{folder}#{MIDDLE}")
    found = backbone.find(photo(), PHRASES)
    _, chances, ids = through_the_library(folder, photo(), PHRASES, 0.7, 0.6, words_only=True)
    # Full stops in front of a token number its phrase.
    phrase_of = np.cumsum([token == 1012 for token in ids])
    expected = phrase_of[chances.argmax(dim=1)[chances.max(dim=1).values.argsort(descending=True)]]
    np.testing.assert_array_equal(found.phrases, expected)
    assert len(set(found.phrases.tolist())) > 2


def test_all_phrases_of_a_box_are_those_with_a_word_above_the_threshold(folder: Path) -> None:
    backbone = grounding_dino.load(f"grounding-dino:{folder}#{MIDDLE},phrases=all")
    found = backbone.find(photo(), PHRASES)
    theirs, chances, ids = through_the_library(folder, photo(), PHRASES, 0.7, 0.6, words_only=True)
    phrase_of = np.cumsum([token == 1012 for token in ids])
    expected = [set(phrase_of[(row > 0.6).nonzero()[:, 0]].tolist()) for row in chances]
    assert len(found) == sum(map(len, expected)) > len(chances)
    # Their label runs the words of all of them together.
    assert [len(label) > 0 for label in theirs["text_labels"]] == [bool(one) for one in expected]
    for box, phrases in zip(theirs["boxes"].numpy(), expected, strict=True):
        box = np.clip(box, 0, [200, 150, 200, 150])
        same = np.abs(found.boxes - box).max(axis=1) < 1e-4
        assert phrases <= set(found.phrases[same].tolist())


def test_ends_of_phrases_are_no_evidence(folder: Path) -> None:
    """transformers counts [CLS], [SEP] and full stops into a box's score."""
    backbone = grounding_dino.load(f"grounding-dino:{folder}#{MIDDLE},box=0,text=0")
    found = backbone.find(photo(), PHRASES)
    theirs, chances, ids = through_the_library(folder, photo(), PHRASES, 0, 0, words_only=False)
    ends = torch.tensor([token in (101, 102, 1012) for token in ids])
    words = chances[:, : len(ids)][:, ~ends].max(dim=1).values
    np.testing.assert_allclose(found.scores, words.sort(descending=True).values, atol=1e-5)
    assert not np.allclose(np.sort(theirs["scores"]), np.sort(found.scores), atol=1e-3)


@pytest.mark.parametrize(
    "size", [(150, 200), (200, 150), (160, 160), (160, 200), (90, 300), (301, 77), (700, 401)]
)
def test_pixels_are_those_of_the_image_processor(folder: Path, size: tuple[int, int]) -> None:
    from transformers import GroundingDinoImageProcessorPil

    processor = GroundingDinoImageProcessorPil(size={"shortest_edge": 160, "longest_edge": 256})
    image = photo(1, size)
    expected = processor(Image.fromarray(picture(1, size)), return_tensors="pt")
    backbone = grounding_dino.load(f"grounding-dino:{folder}#{SMALL}")
    assert bool(expected["pixel_mask"].all())  # of one image nothing is padding
    torch.testing.assert_close(backbone.pixels(image), expected["pixel_values"], atol=1e-5, rtol=0)


def test_sizes_are_those_of_the_image_processor(folder: Path) -> None:
    from transformers.image_transforms import get_size_with_aspect_ratio

    backbone = grounding_dino.load(f"grounding-dino:{folder}")
    rng = np.random.default_rng(0)
    sizes = [
        *rng.integers(40, 4000, (500, 2)).tolist(),
        [800, 1333],
        [1, 1],
        [800, 900],
        [480, 640],
    ]
    for height, width in sizes:
        theirs = get_size_with_aspect_ratio((height, width), 800, 1333)
        assert backbone.input_size(height, width) == (max(1, theirs[0]), max(1, theirs[1]))
    assert backbone.input_size(480, 640) == (800, 1066)


def test_a_folder_says_how_its_pixels_are_normalised(copy: Path) -> None:
    path = copy / "preprocessor_config.json"
    config = json.loads(path.read_text()) | {"image_mean": [0.5] * 3, "image_std": [0.25] * 3}
    before = grounding_dino.load(f"grounding-dino:{copy}#{SMALL}")
    path.write_text(json.dumps(config))
    backbone = grounding_dino.load(f"grounding-dino:{copy}#{SMALL}")
    grey = torch.full((1, 3, 100, 140), 255, dtype=torch.uint8)
    assert backbone.pixels(grey).unique().tolist() == [2.0]
    assert backbone.fingerprint != before.fingerprint


def test_a_long_list_goes_in_several_texts(folder: Path) -> None:
    """The tiny network reads 64 tokens."""
    backbone = grounding_dino.load(f"grounding-dino:{folder}#{MIDDLE},box=0.5,text=0.5")
    many = [f"{colour} {thing} {number}" for number in range(6)
            for colour in ("red", "blue") for thing in ("screw", "bolt", "bag")]  # fmt: skip
    found = backbone.find(photo(), many)
    # 15 phrases of 3 tokens and a full stop, and the two ends, are 62 tokens.
    parts = [many[start : start + 15] for start in (0, 15, 30)]
    alone = [backbone.find(photo(), part) for part in parts]
    expected = np.concatenate([part.scores for part in alone])
    owners = np.concatenate([part.phrases + 15 * number for number, part in enumerate(alone)])
    order = np.argsort(-expected, kind="stable")
    np.testing.assert_allclose(found.scores, expected[order], atol=1e-6)
    np.testing.assert_array_equal(found.phrases, owners[order])
    assert set((found.phrases // 15).tolist()) == {0, 1, 2}


def test_worse_boxes_for_the_same_phrase_go(folder: Path) -> None:
    from torchvision.ops import box_iou

    everything = grounding_dino.load(f"grounding-dino:{folder}#{SMALL},nms=1,box=0.5")
    suppressed = grounding_dino.load(f"grounding-dino:{folder}#{SMALL},nms=0.3,box=0.5")
    before, after = (b.find(photo(), PHRASES) for b in (everything, suppressed))
    overlap = box_iou(torch.from_numpy(before.boxes), torch.from_numpy(before.boxes)).numpy()
    kept: list[int] = []
    for index in range(len(before)):
        rivals = [k for k in kept if before.phrases[k] == before.phrases[index]]
        if not (overlap[index, rivals] > 0.3).any():
            kept.append(index)
    assert 2 < len(kept) < len(before)
    np.testing.assert_array_equal(after.boxes, before.boxes[kept])
    np.testing.assert_array_equal(after.phrases, before.phrases[kept])


def test_the_same_phrase_twice_and_nothing_found(folder: Path) -> None:
    backbone = grounding_dino.load(f"grounding-dino:{folder}#{MIDDLE}")
    once = backbone.find(photo(), PHRASES)
    twice = backbone.find(photo(), [*PHRASES, "SCREW", "zip - lock bag."])
    np.testing.assert_array_equal(once.boxes, twice.boxes)
    np.testing.assert_array_equal(once.phrases, twice.phrases)
    nothing = grounding_dino.load(f"grounding-dino:{folder}#{SMALL},box=1").find(photo(), PHRASES)
    assert isinstance(nothing, Boxes)
    assert (nothing.boxes.shape, nothing.phrases.shape, nothing.scores.shape) == (
        (0, 4),
        (0,),
        (0,),
    )


def test_thresholds_sizes_weights_and_words_make_the_fingerprint(
    copy: Path, tmp_path: Path
) -> None:
    first = grounding_dino.load(f"grounding-dino:{copy}")
    assert first.expensive
    names = {
        grounding_dino.load(f"grounding-dino:{copy}#{more}").fingerprint
        for more in ("", "box=0.3", "text=0.2", "nms=1", "phrases=all", "side=600", "longest=1000")
    }
    assert len(names) == 7
    assert first.fingerprint in names
    assert str(copy) not in first.fingerprint  # a moved folder still matches
    words = copy / "tokenizer.json"
    words.write_text(words.read_text().replace('"washer"', '"washing"'))
    assert grounding_dino.load(f"grounding-dino:{copy}").fingerprint not in names
    other = save_grounding_dino(tmp_path / "other", seed=1)
    assert grounding_dino.load(f"grounding-dino:{other}").fingerprint not in names


@pytest.mark.parametrize("lacking", ["tokenizer_config.json", "preprocessor_config.json"])
def test_what_is_not_needed_may_be_absent(folder: Path, copy: Path, lacking: str) -> None:
    (copy / lacking).unlink()
    found = grounding_dino.load(f"grounding-dino:{copy}#{MIDDLE}").find(photo(), PHRASES)
    expected = grounding_dino.load(f"grounding-dino:{folder}#{MIDDLE}").find(photo(), PHRASES)
    np.testing.assert_array_equal(found.boxes, expected.boxes)


def test_the_catalogued_files_are_enough(folder: Path, tmp_path: Path) -> None:
    from fmlad.backbones.catalogue import lookup

    weights = lookup("grounding-dino:IDEA-Research/grounding-dino-tiny")
    assert weights is not None
    (tmp_path / "few").mkdir()
    for file in weights.files:
        shutil.copy(folder / file.name, tmp_path / "few")
    found = grounding_dino.load(f"grounding-dino:{tmp_path / 'few'}#{MIDDLE}")
    assert len(found.find(photo(), PHRASES)) > 0


def old_vocabulary(copy: Path) -> None:
    words = sorted(tokenizer().get_vocab().items(), key=lambda pair: pair[1])
    (copy / "vocab.txt").write_text("\n".join(word for word, _ in words) + "\n")
    (copy / "tokenizer.json").unlink()


def test_a_vocabulary_in_the_older_format_is_the_same(folder: Path, copy: Path) -> None:
    old_vocabulary(copy)
    backbone = grounding_dino.load(f"grounding-dino:{copy}#{MIDDLE}")
    expected = grounding_dino.load(f"grounding-dino:{folder}#{MIDDLE}")
    assert backbone.fingerprint == expected.fingerprint
    np.testing.assert_array_equal(
        backbone.find(photo(), PHRASES).boxes, expected.find(photo(), PHRASES).boxes
    )


def no_vocabulary(copy: Path) -> None:
    (copy / "tokenizer.json").unlink()


def other_vocabulary(copy: Path) -> None:
    """As many words, but with the full stop elsewhere."""
    old_vocabulary(copy)
    words = (copy / "vocab.txt").read_text().splitlines()
    words[1012], words[7] = words[7], words[1012]
    (copy / "vocab.txt").write_text("\n".join(words) + "\n")


def truncated(copy: Path) -> None:
    data = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(data[: len(data) // 2])


def no_weights(copy: Path) -> None:
    (copy / "model.safetensors").unlink()


def lacks_a_tensor(copy: Path) -> None:
    from safetensors.torch import load_file, save_file

    state = load_file(copy / "model.safetensors")
    del state["model.text_projection.weight"]
    save_file(state, copy / "model.safetensors", metadata={"format": "pt"})


def another_kind(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"model_type": "owlv2"}))


def no_config(copy: Path) -> None:
    (copy / "config.json").unlink()


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (no_vocabulary, "knows 5 words and the model 1200: it lost its vocabulary"),
        (other_vocabulary, "belongs to another model"),
        (truncated, "cannot be loaded"),
        (no_weights, "cannot be loaded"),
        (lacks_a_tensor, r"lacks 'model\.text_projection\.weight'"),
        (another_kind, "holds a 'owlv2' model, and 'grounding-dino' was expected"),
        (no_config, r"has no config\.json"),
    ],
)
def test_what_is_something_else_is_refused(
    copy: Path, spoil: Callable[[Path], None], why: str
) -> None:
    spoil(copy)
    with pytest.raises(WeightsUnavailableError, match=why) as error:
        grounding_dino.load(f"grounding-dino:{copy}")
    assert str(copy) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_alone_and_a_folder_that_is_not_there_are_refused(folder: Path) -> None:
    with pytest.raises(WeightsUnavailableError, match=r"folder with its config\.json"):
        grounding_dino.load(f"grounding-dino:{folder / 'model.safetensors'}")
    with pytest.raises(WeightsUnavailableError, match="no such folder"):
        grounding_dino.load("grounding-dino:/nowhere/at/all")
    with pytest.raises(WeightsUnavailableError, match="weights pull grounding-dino:IDEA-Research"):
        grounding_dino.load("grounding-dino:IDEA-Research/grounding-dino-tiny")


@pytest.mark.parametrize(
    "option",
    ["box=1.5", "box=x", "text=-1", "nms=2", "side=3", "longest=0", "phrases=some", "tex=1"],
)
def test_other_options_are_refused(option: str) -> None:
    with pytest.raises(OptionError, match="has an option"):
        grounding_dino.load(f"grounding-dino:nowhere#{option}")


def test_images_and_phrases_that_do_not_fit_are_refused(folder: Path) -> None:
    backbone = grounding_dino.load(f"grounding-dino:{folder}#{SMALL}")
    with pytest.raises(PromptError, match="one phrase at least"):
        backbone.find(photo(), [])
    with pytest.raises(PromptError, match="the network reads 61 at most"):
        backbone.find(photo(), ["long " * 62])
    with pytest.raises(OptionError, match="takes one image"):
        backbone.find(torch.cat([photo(), photo()]), PHRASES)
    small = grounding_dino.load(f"grounding-dino:{folder}#side=32,longest=64")
    with pytest.raises(OptionError, match=r"100 x 200 px becomes 32 x 64 px, .* find 50 places"):
        small.find(torch.zeros(1, 3, 100, 200, dtype=torch.uint8), PHRASES)


def test_it_is_found_by_its_public_name(folder: Path) -> None:
    from fmlad.profiles import PROFILES, load_backbones, resolve

    name = f"grounding-dino:{folder}#{MIDDLE}"
    chosen = resolve(["grounder"], "builtin", None, {"grounder": name})
    backbone = load_backbones(chosen, "cpu")["grounder"]
    assert isinstance(backbone, Grounder)
    assert len(backbone.find(photo(), PHRASES)) > 0
    for profile in ("light", "foundation"):
        assert PROFILES[profile]["grounder"] == "grounding-dino:IDEA-Research/grounding-dino-tiny"
