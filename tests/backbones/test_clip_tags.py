"""CLIP over a vocabulary: against its definition, with tiny models in the real formats."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fmlad.backbones.clip import clip, clip_tags
from fmlad.backbones.clip.clip_text import imagenet_templates
from fmlad.backbones.clip.clip_towers import Towers
from fmlad.backbones.roles import Tagger
from fmlad.errors import OptionError, PromptError, WeightsUnavailableError
from fmlad.profiles import PROFILES, load_backbones, resolve
from tests.backbones.test_tiny_clip import ASSET, CONTAINERS, crop, scenes
from tests.backbones.tiny_clip_models import native_pixels, save_open_clip, save_transformers

open_clip = pytest.importorskip("open_clip")

WORDS = ("red", "screw", "bottle", "orange")


@pytest.fixture(autouse=True)
def cache_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FMLAD_CACHE_DIR", str(tmp_path / "cache"))


def picture(size: tuple[int, int] = (32, 32), seed: int = 0) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (1, 3, *size), generator=rng, dtype=torch.uint8)


def words_file(folder: Path, words: tuple[str, ...] = WORDS) -> Path:
    path = folder / "words.txt"
    path.write_text("\n".join(words))
    return path


# --- the vocabulary -------------------------------------------------------------------------------


def test_the_bundled_vocabulary_is_a_list_of_nouns() -> None:
    words = clip_tags.vocabulary()
    lines = clip_tags.VOCABULARY.read_text(encoding="utf-8").splitlines()
    assert list(words) == lines  # nothing was dropped: no blank line, no repetition
    assert lines == sorted(set(lines))
    assert 1200 <= len(words) <= 2000
    for word in words:
        assert re.fullmatch(r"[a-z0-9]+([ -][a-z0-9]+)*", word), word
    # What the products of MVTec LOCO and of VisA are made of.
    assert {"screw", "nut", "washer", "bolt", "cable", "connector", "bottle", "label", "tray",
            "pushpin", "banana", "tangerine", "almond", "granola", "capsule", "candle", "cashew",
            "chewing gum", "macaroni", "circuit board"} <= set(words)  # fmt: skip


def test_a_file_of_words_may_have_blank_lines_and_repetitions(tmp_path: Path) -> None:
    path = words_file(tmp_path, ("screw", "", "  a long bottle ", "screw"))
    assert clip_tags.read_words(path) == ("screw", "a long bottle")


@pytest.mark.parametrize("text", [b"", b"\n \n", b"\xff\xfe"])
def test_a_file_without_words_is_refused(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "words.txt").write_bytes(text)
    with pytest.raises(OptionError, match=r"words\.txt"):
        clip_tags.read_words(tmp_path / "words.txt")
    with pytest.raises(OptionError, match=r"none\.txt cannot be read"):
        clip_tags.read_words(tmp_path / "none.txt")


# --- scores ---------------------------------------------------------------------------------------


def test_scores_are_open_clips_own_zero_shot_probabilities(tmp_path: Path) -> None:
    folder = save_open_clip(tmp_path / "model")
    name = f"clip-tags:local-dir:{folder}#words={words_file(tmp_path)},side=32,least=0"
    tagger = clip_tags.load(name)
    model = open_clip.create_model(f"local-dir:{folder}").eval()
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    with torch.inference_mode():
        texts = tokenizer([f"a photo of a {word}." for word in WORDS])
        image, text, scale = model(native_pixels(picture()), texts)
        wanted = (scale * image @ text.T).softmax(-1)[0]
    assert wanted.std() > 0.01  # or all words would be alike
    found = tagger.tags(picture())
    assert [tag.word for tag in found] == [WORDS[i] for i in wanted.argsort(descending=True)]
    scores = dict(found)
    torch.testing.assert_close(torch.tensor([scores[w] for w in WORDS]), wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_scores_of_transformers_models_are_at_their_own_scale(tmp_path: Path, kind: str) -> None:
    import transformers

    folder = save_transformers(tmp_path / kind, kind)
    name = f"clip-tags:{folder}#words={words_file(tmp_path)},least=0,side=32"
    tagger = clip_tags.load(name)
    loader = transformers.CLIPModel if kind == "clip" else transformers.SiglipModel
    model = loader.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    texts = [f"a photo of a {word}." for word in WORDS]
    tokens = tokenizer(texts, padding="max_length", max_length=20, return_tensors="pt")
    fed = {"input_ids": tokens["input_ids"], "pixel_values": native_pixels(picture())}
    if kind == "clip":
        fed["attention_mask"] = tokens["attention_mask"]
    with torch.inference_mode():
        wanted = model(**fed).logits_per_image.softmax(-1)[0]  # SigLIP's shift does not matter
    assert wanted.std() > 1e-3
    chances = tagger.probabilities(tagger.aligner.encode(picture()).pooled)[0]
    torch.testing.assert_close(chances, wanted, atol=1e-5, rtol=1e-4)


def test_a_template_is_a_template(tmp_path: Path) -> None:
    folder, words = save_open_clip(tmp_path / "model"), words_file(tmp_path)
    one, many = (
        clip_tags.load(f"clip-tags:local-dir:{folder}#words={words},templates={which}")
        for which in ("one", "imagenet")
    )
    assert "a photo of a {}." in imagenet_templates()
    aligner = many.aligner
    pooled = aligner.encode(picture()).pooled
    for tagger, templates in ((one, ("a photo of a {}.",)), (many, imagenet_templates())):
        wanted = (aligner.scale * pooled @ aligner.text(WORDS, templates).T).softmax(1)
        torch.testing.assert_close(tagger.probabilities(pooled), wanted)
    assert one.fingerprint != many.fingerprint


class Planes:
    """A vision tower that is never asked, of a model whose embeddings are given."""

    patch, native, prefix = 8, 32, 1


class Axes:
    """Of each word its own axis, so that an image's embedding says what its cosines are."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def embed(self, texts: list[str]) -> Tensor:
        self.asked += texts
        return torch.eye(8)[[int(text.split()[-1][1:-1]) for text in texts]]

    def knows(self, text: str) -> bool:
        return text != "unheard-of"


def axes_tagger(**options: float) -> tuple[clip_tags.VocabularyTagger, Axes]:
    text = Axes()
    towers = Towers(Planes(), text, (0, 0, 0), (1, 1, 1), 10.0, "hash")  # type: ignore[arg-type]
    aligner = clip.CLIP("clip:axes", towers)
    words = [f"w{number}" for number in range(8)]
    return clip_tags.VocabularyTagger("clip-tags:axes", aligner, words, **options), text  # type: ignore[arg-type]


def test_cosines_times_the_scale_go_through_a_softmax_over_all_words() -> None:
    tagger, _ = axes_tagger(least=0)
    pooled = F.normalize(torch.tensor([[3.0, 1, 0, 2, 0, 0, 0, -1]]), dim=-1)
    powers = torch.exp(10 * pooled[0])
    torch.testing.assert_close(tagger.probabilities(pooled)[0], powers / powers.sum())
    found = tagger.tags_of(pooled)
    assert [tag.word for tag in found[:3]] == ["w0", "w3", "w1"]
    assert found[-1].word == "w7"
    assert sum(tag.score for tag in found) == pytest.approx(1)


def test_the_doubtful_and_the_many_are_left_out() -> None:
    pooled = F.normalize(torch.tensor([[3.0, 1, 0, 2, 0, 0, 0, -1]]), dim=-1)
    every = axes_tagger(least=0)[0].tags_of(pooled)
    assert len(every) == 8
    assert axes_tagger(least=0, most=2)[0].tags_of(pooled) == every[:2]
    assert axes_tagger(least=every[1].score)[0].tags_of(pooled) == every[:2]
    assert axes_tagger(least=1.0)[0].tags_of(pooled) == []


@pytest.mark.parametrize(("patience", "said"), [(-1.0, 1), (1e9, 0)])
def test_words_are_embedded_once_and_when_asked_for_and_a_wait_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, patience: float, said: int
) -> None:
    monkeypatch.setattr(clip_tags, "CHUNK", 3)
    monkeypatch.setattr(clip_tags, "PATIENCE", patience)
    tagger, text = axes_tagger()
    assert not text.asked
    for _ in range(2):
        tagger.tags_of(F.normalize(torch.ones(1, 8), dim=-1))
    assert text.asked == [f"a photo of a w{number}." for number in range(8)]
    assert caplog.text.count("embedding the 8 words of clip-tags:axes") == said


def test_a_word_that_the_model_cannot_read_is_named(tmp_path: Path) -> None:
    folder = save_transformers(tmp_path / "model")
    words = words_file(tmp_path, ("screw", "giraffe"))
    with pytest.raises(PromptError, match="does not know 'giraffe'"):
        clip_tags.load(f"clip-tags:{folder}#words={words}").tags(picture())


def test_a_trained_clip_tags_parts_by_their_names(tmp_path: Path) -> None:
    kinds = sorted({kind for scene in scenes() for kind in scene.spec.parts})
    words = words_file(tmp_path, tuple(kinds))
    tagger = clip_tags.load(f"clip-tags:local-dir:{ASSET}#words={words},side=64,most=3,least=0.05")
    first, among, control = [], [], []
    shuffled = np.random.default_rng(0).permutation(len(kinds))
    for scene in scenes()[::8]:
        for item in [o for o in scene.objects if o.kind not in CONTAINERS][:4]:
            found = [tag.word for tag in tagger.tags(crop(scene, item)[0])]
            first.append(found[:1] == [item.kind])
            among.append(item.kind in found)
            control.append(kinds[shuffled[kinds.index(item.kind)]] in found)
    print(f"{len(first)} crops, {len(kinds)} words: first {np.mean(first):.2f}, "
          f"among three {np.mean(among):.2f}, another word {np.mean(control):.2f}")  # fmt: skip
    assert len(first) >= 15
    assert np.mean(first) > 5 / len(kinds)
    assert np.mean(among) > np.mean(control) + 0.3


# --- one network for two roles --------------------------------------------------------------------


def chosen(tagger: str, aligner: str) -> dict[str, object]:
    override = {"tagger": tagger, "text_aligner": aligner}
    return dict(load_backbones(resolve(list(override), "light", None, override), "cpu"))


@pytest.mark.parametrize("option", ["", "side=48", "attention=plain"])
def test_the_aligner_of_the_same_name_is_the_same_network(tmp_path: Path, option: str) -> None:
    source = f"local-dir:{save_open_clip(tmp_path / 'model')}"
    words = f"words={words_file(tmp_path)},least=0"
    aligned = f"clip:{source}#{option}" if option else f"clip:{source}"
    built = chosen(f"clip-tags:{source}#{words},{option}", aligned)
    tagger, aligner = built["tagger"], built["text_aligner"]
    assert isinstance(tagger, clip_tags.VocabularyTagger)
    assert isinstance(tagger, Tagger)
    assert tagger.aligner is aligner
    image = picture((60, 40))
    pyramid = tagger.aligner.encode(image)
    assert tagger.tags_of(pyramid.pooled) == tagger.tags(image)
    assert len(tagger.tags(image)) == len(WORDS)


def test_other_settings_are_another_network(tmp_path: Path) -> None:
    source = f"local-dir:{save_open_clip(tmp_path / 'model')}"
    built = chosen(f"clip-tags:{source}#side=64", f"clip:{source}#side=32")
    assert isinstance(built["tagger"], clip_tags.VocabularyTagger)
    assert built["tagger"].aligner is not built["text_aligner"]
    assert built["tagger"].aligner.side == 64


@pytest.mark.parametrize("profile", ["light", "foundation"])
def test_a_profiles_tagger_works_on_its_own_aligner(profile: str) -> None:
    named = resolve(["tagger"], profile)["tagger"]
    assert isinstance(named, str)
    assert clip_tags.aligner_of(named) == PROFILES[profile]["text_aligner"]


# --- names ----------------------------------------------------------------------------------------


def test_all_that_counts_is_in_the_fingerprint(tmp_path: Path) -> None:
    base = f"clip-tags:local-dir:{save_open_clip(tmp_path / 'a')}"
    other = f"clip-tags:local-dir:{save_open_clip(tmp_path / 'b', seed=1)}"
    words = words_file(tmp_path)
    names = [base, other, f"{base}#least=0.1", f"{base}#most=3", f"{base}#words={words}",
             f"{base}#templates=imagenet", f"{base}#side=48"]  # fmt: skip
    prints = [clip_tags.load(name).fingerprint for name in names]
    assert len(set(prints)) == len(names)
    moved = (tmp_path / "a").rename(tmp_path / "c")
    assert clip_tags.load(f"clip-tags:local-dir:{moved}").fingerprint == prints[0]


@pytest.mark.parametrize("option", ["least=2", "most=0", "templates=some", "side=0", "cut=1"])
def test_options_that_do_not_fit_are_refused(option: str) -> None:
    with pytest.raises(OptionError, match="its options are words, least, most, templates"):
        clip_tags.load(f"clip-tags:local-dir:/nowhere#{option}")


def test_what_is_not_there_is_said_as_of_clip(tmp_path: Path) -> None:
    with pytest.raises(WeightsUnavailableError, match="is not a folder"):
        clip_tags.load(f"clip-tags:local-dir:{tmp_path / 'none'}")
    with pytest.raises(OptionError, match="names no model"):
        clip_tags.load("clip-tags:")
