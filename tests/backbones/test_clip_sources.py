"""Where open_clip models may come from, and what is caught on the way."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import fmlad
from fmlad.backbones.clip import clip
from fmlad.errors import PromptError, UnknownNameError, WeightsUnavailableError
from fmlad.profiles import PROFILES
from tests.backbones import tiny_clip_models as tiny
from tests.conftest import picture

open_clip = pytest.importorskip("open_clip")

NAME = "fmlad-tiny"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model in open_clip's layout; its architecture is known to open_clip by name as well."""
    home = tmp_path_factory.mktemp("sources")
    (home / f"{NAME}.json").write_text(json.dumps(tiny.open_clip_config()["model_cfg"]))
    open_clip.add_model_config(home / f"{NAME}.json")
    return tiny.save_open_clip(home / "m")


@pytest.fixture
def copy(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "copy"))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], Path]:
    """Makes a repository in a Hugging Face cache of the test's own; its snapshot folder."""

    def make(repository: str) -> Path:
        home = tmp_path / "hub" / f"models--{repository.replace('/', '--')}"
        commit = "0" * 40
        (home / "refs").mkdir(parents=True)
        (home / "refs" / "main").write_text(commit)
        (home / "snapshots" / commit).mkdir(parents=True)
        return home / "snapshots" / commit

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return make


@pytest.fixture
def tag(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Gives the tiny architecture a pretrained tag."""

    def make(name: str, **settings: Any) -> None:
        from open_clip import pretrained

        whole = {"hf_hub": "some/tiny/", "mean": tiny.MEAN, "std": tiny.STD, **settings}
        monkeypatch.setitem(pretrained._PRETRAINED, NAME, {name: whole})

    return make


def image(seed: int = 0) -> Tensor:
    return torch.from_numpy(picture(seed, size=(64, 64))).permute(2, 0, 1)[None]


def same(one: clip.CLIP, two: clip.CLIP, atol: float = 1e-6) -> None:
    ours, theirs = one.encode(image()), two.encode(image())
    torch.testing.assert_close(ours.levels[8], theirs.levels[8], atol=atol, rtol=0)
    torch.testing.assert_close(ours.pooled, theirs.pooled, atol=atol, rtol=0)
    torch.testing.assert_close(one.text(["red"]), two.text(["red"]), atol=atol, rtol=0)


def refused(source: str, match: str) -> None:
    with pytest.raises(WeightsUnavailableError, match=match):
        clip.load(f"clip:{source}")


# --- all the ways to say one model ---------------------------------------------------------------


def test_a_folder_with_a_bin_of_tensors(saved: Path, copy: Path) -> None:
    state = tiny.read_tensors(copy / "open_clip_model.safetensors")
    (copy / "open_clip_model.safetensors").unlink()
    torch.save(state, copy / "open_clip_pytorch_model.bin")
    same(clip.load(f"clip:local-dir:{copy}"), clip.load(f"clip:local-dir:{saved}"))


def test_a_hub_repository_in_open_clips_layout(saved: Path, hub: Callable[[str], Path]) -> None:
    shutil.copytree(saved, hub("some/tiny"), dirs_exist_ok=True)
    same(clip.load("clip:hf-hub:some/tiny"), clip.load(f"clip:local-dir:{saved}"))


def test_a_name_and_a_tag(
    saved: Path, hub: Callable[[str], Path], tag: Callable[..., None]
) -> None:
    tag("trained")
    shutil.copytree(saved, hub("some/tiny"), dirs_exist_ok=True)
    same(clip.load(f"clip:{NAME}@trained"), clip.load(f"clip:local-dir:{saved}"))


@pytest.mark.parametrize("ending", ["safetensors", "pt", "bin"])
def test_a_name_and_a_checkpoint_file(
    saved: Path, tmp_path: Path, tag: Callable[..., None], ending: str
) -> None:
    from safetensors.torch import save_file

    tag("trained")  # all tags of the architecture agree on the colours, so a file has the same
    state = tiny.read_tensors(saved / "open_clip_model.safetensors")
    path = tmp_path / f"weights.{ending}"
    if ending == "safetensors":
        save_file(state, path)
    elif ending == "bin":
        torch.save(state, path)
    else:  # as a training run leaves it
        training = {"epoch": 3, "state_dict": {f"module.{k}": v for k, v in state.items()}}
        torch.save(training, path)
    same(clip.load(f"clip:{NAME}@{path}"), clip.load(f"clip:local-dir:{saved}"))


def test_half_precision_runs_in_full_precision(saved: Path, tmp_path: Path) -> None:
    half = tiny.save_open_clip(tmp_path / "half", half=True)
    backbone = clip.load(f"clip:local-dir:{half}")
    assert backbone.encode(image()).levels[8].dtype == torch.float32
    same(backbone, clip.load(f"clip:local-dir:{saved}"), atol=5e-3)


def test_the_profiles_default_is_looked_for_by_its_repository(
    hub: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from fmlad.backbones.clip import clip_open

    asked = []

    def locate(source: str) -> Path:
        asked.append(source)
        raise WeightsUnavailableError("not here")

    monkeypatch.setattr(clip_open, "locate", locate)
    for profile in ("foundation", "light"):
        with pytest.raises(WeightsUnavailableError):
            clip.load(PROFILES[profile]["text_aligner"])
    assert asked == [
        "laion/CLIP-ViT-L-14-DataComp.XL-s13B-b90K",
        "laion/CLIP-ViT-B-16-DataComp.XL-s13B-b90K",
    ]


def test_a_whole_detector_runs_saves_and_loads_on_it(saved: Path, tmp_path: Path) -> None:
    backbones = {
        "feature_extractor": f"clip:local-dir:{saved}",
        "mask_proposer": "builtin:regions@2",
    }
    shots = [picture(i) for i in range(3)]
    detector = fmlad.Detector.from_shots(shots, profile="foundation", backbones=backbones)
    expected = detector.predict(picture(9, defect=True)).score
    loaded = fmlad.Detector.load(detector.save(tmp_path / "saved"))
    assert loaded.predict(picture(9, defect=True)).score == pytest.approx(expected, abs=1e-6)


# --- SigLIP through open_clip --------------------------------------------------------------------


@torch.inference_mode()
def test_siglip_through_open_clip_and_timm(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    from timm.models.vision_transformer import VisionTransformer

    def vit_fmlad_siglip(**settings: Any) -> VisionTransformer:
        settings = {k: v for k, v in settings.items() if k in ("num_classes", "global_pool")}
        return VisionTransformer(
            img_size=32,
            patch_size=8,
            embed_dim=48,
            depth=4,
            num_heads=3,
            class_token=False,
            **settings,
        )

    vit_fmlad_siglip.__module__ = __name__
    timm.models.register_model(vit_fmlad_siglip)
    tower = {
        "image_size": 32,
        "timm_model_name": "vit_fmlad_siglip",
        "timm_pool": "map",
        "timm_proj": "none",
    }
    config = tiny.open_clip_config(pool_type="last", no_causal_mask=True)
    config["model_cfg"] |= {"embed_dim": 48, "custom_text": True, "vision_cfg": tower}
    folder = tiny.save_open_clip(tmp_path / "m", config)
    model = open_clip.create_model(f"local-dir:{folder}").eval()
    small = torch.from_numpy(picture(0, size=(32, 32))).permute(2, 0, 1)[None]
    backbone = clip.load(f"clip:local-dir:{folder}#side=32")
    pyramid = backbone.encode(small)
    pixels = tiny.native_pixels(small)
    expected = model.encode_image(pixels, normalize=True)
    torch.testing.assert_close(pyramid.pooled, expected, atol=1e-5, rtol=0)
    deep = model.visual.trunk.forward_intermediates(pixels, intermediates_only=True)
    for ours, theirs in zip(pyramid.stages, deep, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    # One token alone, through the pool itself.
    vision = backbone._vision
    tokens = vision.encode(pixels).stages[-1]
    token = model.visual.trunk.norm(tokens[:, 5:6])
    torch.testing.assert_close(
        vision.project(tokens)[:, 5], model.visual.trunk.forward_head(token), atol=1e-5, rtol=0
    )
    assert pyramid.levels[8].shape == (1, 48, 4, 4)
    assert backbone.ground(pyramid, ["red"]).shape == (1, 8, 8)


def test_a_tower_without_patch_tokens_is_refused(tmp_path: Path) -> None:
    config = tiny.open_clip_config()
    config["model_cfg"]["vision_cfg"] = {
        "image_size": 32,
        "layers": [1, 1, 1, 1],
        "width": 8,
        "head_width": 8,
    }
    folder = tiny.save_open_clip(tmp_path / "m", config)
    refused(f"local-dir:{folder}", r"\(ModifiedResNet\) is not a plain vision transformer")


# --- what is refused -----------------------------------------------------------------------------


def test_names_that_open_clip_does_not_know(saved: Path, tag: Callable[..., None]) -> None:
    tag("trained")
    with pytest.raises(UnknownNameError, match="Did you mean 'ViT-L-14'"):
        clip.load("clip:VIT-L-14@datacomp_xl_s13b_b90k")
    with pytest.raises(UnknownNameError, match="trained"):
        clip.load(f"clip:{NAME}@trainde")
    refused(f"{NAME}@/no/such/file.pt", "there is no file")


def test_weights_that_are_not_here(tag: Callable[..., None], saved: Path) -> None:
    tag("trained")
    refused(f"{NAME}@trained", "HF_HUB_OFFLINE")
    refused("hf-hub:nobody/nothing", "HF_HUB_OFFLINE")
    refused("local-dir:/no/such/folder", "is not a folder")
    tag("trained", hf_hub="")
    refused(f"{NAME}@trained", "no Hugging Face repository")


def test_weights_of_the_other_gelu(saved: Path, tag: Callable[..., None]) -> None:
    tag("openai", quick_gelu=True)
    refused(f"{NAME}@openai", "trained with quick-GELU; choose the architecture with '-quickgelu'")
    refused("ViT-B-16@openai", "'-quickgelu'")  # what open_clip itself lets pass with a warning


def test_a_folder_with_something_missing(copy: Path) -> None:
    weights = copy / "open_clip_model.safetensors"
    # transformers' weights beside open_clip's config are no open_clip weights.
    weights.rename(copy / "model.safetensors")
    refused(f"local-dir:{copy}", "has neither open_clip_model.safetensors nor")
    (copy / "open_clip_config.json").write_text("{}")
    refused(f"local-dir:{copy}", "no 'model_cfg'")
    (copy / "open_clip_config.json").write_text("{")
    refused(f"local-dir:{copy}", "cannot be loaded")
    (copy / "open_clip_config.json").unlink()
    refused(f"local-dir:{copy}", r"open_clip_config\.json cannot be loaded")


def test_a_folder_that_does_not_say_its_colours(copy: Path) -> None:
    config = tiny.open_clip_config()
    config.pop("preprocess_cfg")
    (copy / "open_clip_config.json").write_text(json.dumps(config))
    refused(f"local-dir:{copy}", "does not say the mean and std")


def test_damaged_and_incomplete_checkpoints(copy: Path) -> None:
    from safetensors.torch import save_file

    weights = copy / "open_clip_model.safetensors"
    state = tiny.read_tensors(weights)
    data = weights.read_bytes()
    weights.write_bytes(data[: len(data) // 2])
    refused(f"local-dir:{copy}", "cannot be loaded")
    save_file({k: v for k, v in state.items() if k != "visual.proj"}, weights)
    refused(f"local-dir:{copy}", r"cannot be loaded \(.*visual\.proj")
    weights.unlink()
    (copy / "open_clip_pytorch_model.bin").write_bytes(b"not a checkpoint")
    refused(f"local-dir:{copy}", "tensors alone")
    torch.save({}, copy / "open_clip_pytorch_model.bin")
    refused(f"local-dir:{copy}", "holds no state")


def test_a_pickle_that_would_run_code_is_not_run(copy: Path, tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "ran",)

    (copy / "open_clip_model.safetensors").unlink()
    torch.save({"state_dict": Bomb()}, copy / "open_clip_pytorch_model.bin")
    refused(f"local-dir:{copy}", "tensors alone")
    assert not (tmp_path / "ran").exists()


def test_a_checkpoint_of_another_input_size_is_not_stretched(copy: Path) -> None:
    config = tiny.open_clip_config()
    config["model_cfg"]["vision_cfg"]["image_size"] = 48
    (copy / "open_clip_config.json").write_text(json.dumps(config))
    refused(f"local-dir:{copy}", "belongs to another input size")


# --- tokenizers ----------------------------------------------------------------------------------


def word_level(folder: Path) -> dict[str, Any]:
    vocabulary = tiny.save_tokenizer(folder)
    return tiny.open_clip_config(
        vocab_size=len(vocabulary), context_length=20, hf_tokenizer_name="local"
    )


def test_a_tokenizer_of_its_own_in_the_folder(tmp_path: Path) -> None:
    folder = tiny.save_open_clip(tmp_path / "m", word_level(tmp_path / "m"))
    backbone = clip.load(f"clip:local-dir:{folder}")
    assert not torch.allclose(*backbone.text(["red screw", "bottle"]))
    with pytest.raises(PromptError, match="does not know 'zebra'"):
        backbone.text(["zebra"])


def test_a_tokenizer_that_fell_back_or_belongs_to_another_model(tmp_path: Path) -> None:
    config = word_level(tmp_path / "m")
    folder = tiny.save_open_clip(tmp_path / "m", config)
    tiny.save_tokenizer(folder, words=("nothing", "of", "use"))
    refused(f"local-dir:{folder}", "takes every word for the same")
    tiny.save_tokenizer(folder, words=(*tiny.WORDS, "one", "more"))
    refused(f"local-dir:{folder}", "belongs to another model")
    (folder / "tokenizer.json").unlink()
    refused(f"local-dir:{folder}", "tokenizer")
    del config["model_cfg"]["text_cfg"]["hf_tokenizer_name"]
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    refused(f"local-dir:{folder}", "belongs to another model")  # open_clip's own, 49408 tokens
