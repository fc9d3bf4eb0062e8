"""RAM++ by its public name: checkpoints in the published format, lists, and what is refused."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from fmlad.backbones import ram
from fmlad.backbones.roles import Tag, Tagger
from fmlad.errors import OptionError, WeightsUnavailableError
from fmlad.profiles import load_backbones, resolve
from tests.backbones.tiny_ram import WORDS, save, unused, used
from tests.networks.test_ram_plus import TINY, Oracle


def picture(size: tuple[int, int] = (50, 80), seed: int = 3) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (1, 3, *size), generator=rng, dtype=torch.uint8)


def fed(image: Tensor) -> Tensor:
    """What the repository's transform makes of a picture, by torchvision on a PIL image."""
    from torchvision.transforms import v2
    from torchvision.transforms.v2.functional import to_pil_image

    steps = [
        v2.Resize((TINY.side, TINY.side)),
        v2.ToImage(),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    ]
    found: Tensor = v2.Compose(steps)(to_pil_image(image[0]))
    return found


def test_the_public_name_loads_a_checkpoint_in_the_published_format(tmp_path: Path) -> None:
    name = f"ram:{save(tmp_path / 'ram_plus.pth')}"
    tagger = load_backbones(resolve(["tagger"], "light", None, {"tagger": name}), "cpu")["tagger"]
    assert isinstance(tagger, ram.RamTagger)
    assert isinstance(tagger, Tagger)
    assert tagger.name == name
    assert tagger.expensive
    assert tagger.words == WORDS
    assert tagger.side == TINY.side


@pytest.mark.parametrize("size", [(TINY.side, TINY.side), (50, 80), (300, 170)])
def test_probabilities_are_those_of_the_formulas_on_the_repositorys_pixels(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    tagger = ram.load(f"ram:{save(tmp_path / 'x.pth')}")
    image = picture(size)
    wanted = Oracle(used(), TINY).logits(fed(image)).sigmoid()
    # PIL rounds between rows and columns, so a grey level may differ by one.
    torch.testing.assert_close(tagger.probabilities(image)[0].double(), wanted, atol=2e-3, rtol=0)


def test_a_folder_with_the_checkpoint_and_its_lists_will_do(tmp_path: Path) -> None:
    save(tmp_path / "x.pth")
    (tmp_path / "ram_tag_list_threshold.txt").write_text("0\n" * 5)
    (tmp_path / "README.md").write_text("not a checkpoint")
    tagger = ram.load(f"ram:{tmp_path}")
    chances = tagger.probabilities(picture())[0].tolist()
    wanted = sorted(map(Tag, WORDS, chances), key=lambda tag: -tag.score)
    assert tagger.tags(picture()) == wanted


def test_each_tag_has_its_own_threshold_and_must_exceed_it(tmp_path: Path) -> None:
    path = save(tmp_path / "x.pth")
    chances = ram.load(f"ram:{path}#least=0").probabilities(picture())[0].double().tolist()
    # Of the third and the fourth one just reaches it, and the other is a hair above it.
    least = [1.0, 0.0, chances[2], chances[3] - 1e-9, 1.0]
    (tmp_path / "mine.txt").write_text("\n".join(map(repr, least)))
    found = ram.load(f"ram:{path}#thresholds={tmp_path / 'mine.txt'}").tags(picture())
    assert {tag.word for tag in found} == {WORDS[1], WORDS[3]}
    assert ram.load(f"ram:{path}#least=1").tags(picture()) == []


def test_without_thresholds_the_repositorys_number_holds_and_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = save(tmp_path / "x.pth")
    with caplog.at_level(logging.WARNING):
        tagger = ram.load(f"ram:{path}")
    assert "no ram_tag_list_threshold.txt" in caplog.text
    assert "0.68" in caplog.text
    assert "least=0.68" in tagger.fingerprint
    caplog.clear()
    same = ram.load(f"ram:{path}#least=0.68")
    assert not caplog.text
    assert same.fingerprint == tagger.fingerprint
    chances = tagger.probabilities(picture())[0]
    assert len(tagger.tags(picture())) == int((chances > 0.68).sum())


def test_a_word_that_stands_twice_is_said_once(tmp_path: Path) -> None:
    path = save(tmp_path / "x.pth", words=("nut", "bolt", "nut", "nut", "die"))
    found = ram.load(f"ram:{path}#least=0").tags(picture())
    assert sorted(tag.word for tag in found) == ["bolt", "die", "nut"]
    chances = ram.load(f"ram:{path}#least=0").probabilities(picture())[0]
    assert dict(found)["nut"] == chances[[0, 2, 3]].max().item()


def test_weights_lists_and_thresholds_make_the_fingerprint(tmp_path: Path) -> None:
    first = ram.load(f"ram:{save(tmp_path / 'a' / 'x.pth')}").fingerprint
    assert "imagenet" in first
    (tmp_path / "a").rename(tmp_path / "moved")
    (tmp_path / "moved" / "x.pth").rename(tmp_path / "moved" / "y.pth")
    assert ram.load(f"ram:{tmp_path / 'moved'}").fingerprint == first
    others = {
        ram.load(f"ram:{save(tmp_path / 'c' / 'x.pth', {**used(seed=1)})}").fingerprint,
        ram.load(f"ram:{save(tmp_path / 'd' / 'x.pth', words=tuple('abcde'))}").fingerprint,
        ram.load(f"ram:{tmp_path / 'moved'}#least=0.5").fingerprint,
    }
    assert len(others | {first}) == 4


def test_a_checkpoint_alone_says_which_file_it_lacks_before_it_is_read(tmp_path: Path) -> None:
    path = save(tmp_path / "x.pth", words=None)
    path.write_bytes(b"not even a checkpoint")
    with pytest.raises(WeightsUnavailableError) as caught:
        ram.load(f"ram:{path}")
    said = str(caught.value)
    assert "\n" not in said
    for part in ("ram_tag_list.txt", "github.com/xinyu1205/recognize-anything", "#tags=FILE"):
        assert part in said


def test_nothing_is_fetched_as_long_as_the_words_are_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("FMLAD_WEIGHTS", str(tmp_path / "own"))
    name = "ram:xinyu1205/recognize-anything-plus-model"
    with pytest.raises(
        WeightsUnavailableError, match=r"no ram_tag_list\.txt beside the checkpoint"
    ):
        ram.load(name)
    words = tmp_path / "words.txt"
    words.write_text("\n".join(WORDS))
    with pytest.raises(WeightsUnavailableError, match="HF_HUB_OFFLINE is set"):
        ram.load(f"{name}#tags={words}")
    # What was unpacked from a bundle, with the list beside it.
    place = tmp_path / "own" / "xinyu1205" / "recognize-anything-plus-model"
    save(place / "ram_plus_swin_large_14m.pth")
    assert ram.load(name).words == WORDS


def test_the_lists_may_lie_anywhere(tmp_path: Path) -> None:
    path = save(tmp_path / "x.pth", words=None)
    (tmp_path / "words.txt").write_text("\r\n".join(WORDS))
    tagger = ram.load(f"ram:{path}#tags={tmp_path / 'words.txt'},least=0")
    assert tagger.words == WORDS
    with pytest.raises(OptionError, match=r"none\.txt cannot be read"):
        ram.load(f"ram:{path}#tags={tmp_path / 'none.txt'}")


@pytest.mark.parametrize(
    ("text", "said"),
    [("0.5\n0.5", "holds 2 numbers"), ("0.5\n" * 4 + "1.5", "to 1.5"), ("x\n" * 5, "'x'"),
     ("nan\n" * 5, "nan"), ("0.5\n\n0.5\n0.5\n0.5", "every line"), ("", "every line")],
)  # fmt: skip
def test_thresholds_that_cannot_be_used_are_refused(tmp_path: Path, text: str, said: str) -> None:
    path = save(tmp_path / "x.pth")
    (tmp_path / "ram_tag_list_threshold.txt").write_text(text)
    with pytest.raises(OptionError, match=said):
        ram.load(f"ram:{path}")


def test_options_that_contradict_or_do_not_exist_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "x.pth")
    with pytest.raises(OptionError, match="both thresholds= and least="):
        ram.load(f"ram:{path}#thresholds=x.txt,least=0.5")
    with pytest.raises(OptionError, match="its options are tags, thresholds, least"):
        ram.load(f"ram:{path}#side=384")
    with pytest.raises(OptionError, match=r"least=1\.5"):
        ram.load(f"ram:{path}#least=1.5")


def changed(**changes: Tensor | None) -> dict[str, Tensor]:
    state: dict[str, Tensor | None] = {**used(), **unused(), **changes}
    return {name: value for name, value in state.items() if value is not None}


QUERY = "tagging_head.encoder.layer.1.crossattention.self.query.weight"
MERGING = "visual_encoder.layers.2.downsample.reduction.weight"
TABLE = "visual_encoder.layers.1.blocks.1.attn.relative_position_bias_table"


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (changed(**{QUERY: None}), f"lacks '{QUERY}'"),
        (changed(**{MERGING: None}), f"lacks '{MERGING}'"),
        (changed(label_embed=None), "lacks 'label_embed'"),
        ({"fc.weight": torch.zeros(1, 16)}, "lacks 'visual_encoder.patch_embed.proj.weight'"),
        (changed(**{"text_decoder.x": torch.zeros(2)}), "holds 'text_decoder.x', which is no part"),
        (changed(**{TABLE: torch.zeros(25, 2)}), f"'{TABLE}' has the shape"),
        (changed(**{QUERY: torch.zeros(16, 12)}), f"'{QUERY}' has the shape"),
        (changed(label_embed=torch.zeros(5, 12)), "'label_embed' has 5 rows"),
        (changed(label_embed=torch.zeros(6 * 51, 12)), "5 tags need 255"),
    ],
)
def test_what_is_no_checkpoint_of_it_is_refused_by_name(
    tmp_path: Path, state: dict[str, Tensor], said: str
) -> None:
    with pytest.raises(WeightsUnavailableError) as caught:
        ram.load(f"ram:{save(tmp_path / 'x.pth', state)}")
    assert said in str(caught.value)


def test_damaged_files_are_refused_by_name(tmp_path: Path) -> None:
    path = save(tmp_path / "x.pth")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(WeightsUnavailableError, match=r"x\.pth cannot be read"):
        ram.load(f"ram:{path}")
    torch.save([1, 2], path)
    with pytest.raises(WeightsUnavailableError, match="no named tensors"):
        ram.load(f"ram:{path}")
    (tmp_path / "y.pth").write_bytes(b"")
    with pytest.raises(WeightsUnavailableError, match="exactly one checkpoint of RAM"):
        ram.load(f"ram:{tmp_path}")


class Mischief:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.mkdir, ("mischief-done",)


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "x.pth")
    torch.save({"model": used(), "config": Mischief()}, tmp_path / "x.pth")
    with pytest.raises(WeightsUnavailableError, match="tensors alone"):
        ram.load(f"ram:{tmp_path / 'x.pth'}")
    assert not (tmp_path / "mischief-done").exists()


def test_half_precision_and_earlier_names_are_read_too(tmp_path: Path) -> None:
    wanted = ram.load(f"ram:{save(tmp_path / 'a' / 'x.pth')}").probabilities(picture())
    renamed = {k.replace("tagging_head.", "vision_multi."): v for k, v in changed().items()}
    earlier = ram.load(f"ram:{save(tmp_path / 'b' / 'x.pth', renamed)}")
    assert torch.equal(earlier.probabilities(picture()), wanted)
    halves = {name: value.half() for name, value in used().items()}
    half = ram.load(f"ram:{save(tmp_path / 'c' / 'x.pth', halves)}").probabilities(picture())
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, wanted, atol=5e-3, rtol=0)


def test_a_batch_is_its_images(tmp_path: Path) -> None:
    tagger = ram.load(f"ram:{save(tmp_path / 'x.pth')}")
    images = torch.cat([picture(seed=1), picture(seed=2)])
    alone = torch.cat([tagger.probabilities(images[:1]), tagger.probabilities(images[1:])])
    torch.testing.assert_close(tagger.probabilities(images), alone)
    assert (alone[0] - alone[1]).abs().max() > 1e-3
