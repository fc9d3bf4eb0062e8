"""Checking weights: what is damaged, missing or would silently be replaced is named."""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fmlad.backbones.weights_catalogue import WeightFile, Weights, describe
from fmlad.backbones.weights_check import Report, check, files_of
from safetensors.numpy import save_file

from tests.backbones.weights_models import into_hub_cache, tiny_dinov2


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("FMLAD_WEIGHTS", str(tmp_path / "own"))


def problems(folder: Path, family: str = "dinov2") -> str:
    return "; ".join(check(describe(f"{family}:{folder}")).problems)


def a_model(folder: Path, config: dict[str, Any], *others: str) -> Path:
    """A folder with this config, weights, and the other files named, empty but for braces."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    save_file({"weight": np.zeros(3, np.float32)}, folder / "model.safetensors")
    for name in others:
        (folder / name).write_text("{}")
    return folder


# --- what is right -------------------------------------------------------------------------------


def test_a_sound_folder_has_no_problems(tmp_path: Path) -> None:
    folder = tiny_dinov2(tmp_path / "m")
    told: list[tuple[int, int, str]] = []
    report = check(describe(f"dinov2:{folder}"), lambda *step: told.append(step))
    assert report.ok
    assert report.where == folder
    assert [file.name for file in report.files] == ["config.json", "model.safetensors"]
    file = report.files[1]
    data = (folder / "model.safetensors").read_bytes()
    assert (file.size, file.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert file.pinned is None
    assert told[0] == (0, 2, "reading config.json")
    assert json.loads(json.dumps(report.to_dict()))["ok"] is True


def test_weights_in_the_cache_are_checked_through_its_links(tmp_path: Path) -> None:
    snapshot = into_hub_cache(tmp_path / "hub", "some/model", tiny_dinov2(tmp_path / "m"))
    report = check(describe("dinov2:some/model"))
    assert (report.ok, report.where) == (True, snapshot)


def test_a_checkpoint_file_is_opened(tmp_path: Path) -> None:
    torch.save({"state_dict": {"a": torch.zeros(3)}, "epoch": 1}, tmp_path / "a.ckpt")
    assert problems(tmp_path / "a.ckpt") == ""


@pytest.mark.shared
@pytest.mark.parametrize(
    "name", ["featup_clip_jbu_stack_cocostuff.ckpt", "squeezenet1_0_imagenet.pth"]
)
def test_real_checkpoints_are_sound(shared: Callable[..., Path], name: str) -> None:
    assert problems(shared("weights", name)) == ""


def test_models_as_transformers_saves_them_are_sound(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.CLIPTokenizer(
        vocab={"a</w>": 0, "b": 1, "<|startoftext|>": 2, "<|endoftext|>": 3}, merges=[]
    )
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1,
             "num_attention_heads": 1}  # fmt: skip
    config = transformers.CLIPConfig(
        text_config={**sizes, "vocab_size": 4, "bos_token_id": 2, "eos_token_id": 3},
        vision_config={**sizes, "image_size": 8, "patch_size": 4},
    )
    folder = tmp_path / "clip"
    transformers.CLIPModel(config).save_pretrained(folder)
    assert "needs a tokenizer" in problems(folder, "clip")
    tokenizer.save_pretrained(folder)
    assert "needs preprocessor_config.json" in problems(folder, "clip")
    transformers.CLIPImageProcessorPil().save_pretrained(folder)
    assert problems(folder, "clip") == ""


# --- what is absent ------------------------------------------------------------------------------


def test_what_is_not_here_is_said_so() -> None:
    report = check(describe("dinov2:nobody/nothing"))
    assert (report.where, report.problems) == (None, ("not on this machine",))


def test_what_is_here_in_part_says_which(tmp_path: Path) -> None:
    folder = tiny_dinov2(tmp_path / "own" / "facebook" / "sam-vit-base")
    (folder / "model.safetensors").unlink()
    report = check(describe("sam:facebook/sam-vit-base"))
    assert report.problems == (
        f"incomplete: {folder} has no preprocessor_config.json, no model.safetensors",
    )


def test_a_local_folder_of_something_else_is_named(tmp_path: Path) -> None:
    assert "no config.json" in problems(tmp_path)


# --- what is damaged -----------------------------------------------------------------------------


class Harmful:
    """What a hostile pickle does."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path("harm").write_text, ("done",))


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated": (
        lambda f: _cut(f / "model.safetensors", 10),
        "model.safetensors cannot be read as safetensors",
    ),
    "header cut": (
        lambda f: (f / "model.safetensors").write_bytes(b"\xff" * 5),
        "model.safetensors cannot be read as safetensors",
    ),
    "no tensors": (lambda f: save_file({}, f / "model.safetensors"), "holds no tensors"),
    "empty": (lambda f: (f / "model.safetensors").write_bytes(b""), "model.safetensors is empty"),
    "pointer": (
        lambda f: (f / "model.safetensors").write_text(
            "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
        ),
        "is a Git LFS pointer",
    ),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "there is no file with weights"),
    "config": (lambda f: (f / "config.json").write_text("{"), "config.json cannot be read as JSON"),
    "list": (lambda f: (f / "config.json").write_text("[]"), "expected an object in braces"),
    "bytes": (lambda f: (f / "config.json").write_bytes(b"\xff{}"), "config.json cannot be read"),
    "pickle": (
        lambda f: _pickled(f, pickle.dumps(Harmful(), protocol=2)),
        "pytorch_model.bin cannot be read as a checkpoint of tensors alone",
    ),
    "pickled text": (
        lambda f: _pickled(f, b"this is not a checkpoint at all"),
        "pytorch_model.bin cannot be read as a checkpoint of tensors alone",
    ),
    "shards": (
        lambda f: (f / "model.safetensors.index.json").write_text(
            json.dumps({"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}})
        ),
        "model-2.safetensors is missing, which model.safetensors.index.json names",
    ),
    "index": (
        lambda f: (f / "model.safetensors.index.json").write_text('{"weight_map": []}'),
        "is no index of a model in parts",
    ),
}


def _cut(path: Path, count: int) -> None:
    path.write_bytes(path.read_bytes()[:-count])


def _pickled(folder: Path, data: bytes) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(data)


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_named(damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tiny_dinov2(tmp_path / "m")
    apply, words = DAMAGES[damage]
    apply(folder)
    assert words in problems(folder)
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": ["clip"]},
        {"model_type": "clip", "text_config": [1]},
        {"model_type": {"a": 1}},
        {"model_type": None},
        {},
    ],
)
def test_an_odd_config_is_no_traceback(config: dict[str, Any], tmp_path: Path) -> None:
    folder = a_model(tmp_path / "m", config, "preprocessor_config.json", "spiece.model")
    assert problems(folder) in ("", "its config is JSON of another shape than a model's")
    (folder / "open_clip_config.json").write_text('{"model_cfg": [1]}')
    (folder / "config.json").unlink()
    assert "another shape" in problems(folder)


def test_what_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny_dinov2(tmp_path / "m")

    def refuse(path: Path) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("fmlad.backbones.weights_check.file_hash", refuse)
    assert "cannot be read" in problems(folder)
    assert "Permission denied" in problems(folder)


def test_a_cut_checkpoint_is_named(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(100)}, tmp_path / "a.pth")
    _cut(tmp_path / "a.pth", 30)
    assert "cannot be read as a checkpoint" in problems(tmp_path / "a.pth")


def test_a_pinned_hash_is_compared(tmp_path: Path) -> None:
    folder = tiny_dinov2(tmp_path / "own" / "some" / "model")
    right = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()

    def checked(pinned: str) -> Report:
        files = (WeightFile("config.json"), WeightFile("model.safetensors", sha256=pinned))
        return check(Weights("dinov2:some/model", "some/model", files))

    assert checked(right).ok
    assert checked(right).files[1].pinned == right
    assert f"expected {'0' * 64}: it is damaged" in checked("0" * 64).problems[0]


def test_what_stands_in_for_another_file_is_not_held_to_its_hash(tmp_path: Path) -> None:
    folder = tmp_path / "own" / "some" / "model"
    folder.mkdir(parents=True)
    torch.save({}, folder / "b.bin")
    entry = Weights("clip:x", "some/model", (WeightFile("a.safetensors", "b.bin", 1, None),))
    assert [path.name for path in files_of(folder, entry)] == ["b.bin"]
    assert not any("SHA-256" in problem for problem in check(entry).problems)


# --- what a library would quietly replace --------------------------------------------------------


def test_a_tokenizer_without_its_vocabulary_is_caught(tmp_path: Path) -> None:
    """As transformers makes one from a folder that has none: two words, every other unknown."""
    transformers = pytest.importorskip("transformers")
    folder = a_model(tmp_path / "m", {"model_type": "clip"}, "preprocessor_config.json")
    tokenizer = transformers.CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    assert len(tokenizer) == 2
    assert "needs a tokenizer" in problems(folder, "clip")
    tokenizer.save_pretrained(folder)  # now there is a file, and the vocabulary is still empty
    assert "the tokenizer knows 2 words and the model 49408" in problems(folder, "clip")


WORDS = {f"word{i}": i for i in range(10)}
TOKENIZERS: dict[str, Callable[[Path], object]] = {
    "tokenizer.json": lambda f: (f / "tokenizer.json").write_text(
        json.dumps({"model": {"vocab": WORDS}, "added_tokens": [{"content": "word3"}]})
    ),
    "unigrams": lambda f: (f / "tokenizer.json").write_text(
        json.dumps({"model": {"vocab": [[word, -1.0] for word in WORDS]}})
    ),
    "vocab.json": lambda f: (
        (f / "vocab.json").write_text(json.dumps(WORDS)),
        (f / "merges.txt").write_text("#version\n"),
    ),
    "vocab.txt": lambda f: (f / "vocab.txt").write_text("\n".join(WORDS)),
}


@pytest.mark.parametrize("kind", TOKENIZERS)
@pytest.mark.parametrize("size", [10, 11])
def test_the_vocabulary_must_be_the_model_s(kind: str, size: int, tmp_path: Path) -> None:
    config = {"model_type": "clip", "text_config": {"vocab_size": size}}
    folder = a_model(tmp_path / "m", config, "preprocessor_config.json")
    TOKENIZERS[kind](folder)
    said = problems(folder, "clip")
    assert said == "" if size == 10 else "knows 10 words and the model 11" in said


@pytest.mark.parametrize(
    ("kind", "default"), [("clip", 49408), ("siglip", 32000), ("grounding-dino", 30522)]
)
def test_the_default_of_the_library_counts_where_the_config_is_silent(
    kind: str, default: int, tmp_path: Path
) -> None:
    config = {"model_type": kind, "text_config": {"model_type": "whatever"}}
    folder = a_model(tmp_path / "m", config, "preprocessor_config.json")
    TOKENIZERS["vocab.txt"](folder)
    assert f"the model {default}" in problems(folder)


def test_a_tokenizer_that_is_none_is_caught(tmp_path: Path) -> None:
    config = {"model_type": "clip"}
    folder = a_model(tmp_path / "m", config, "preprocessor_config.json", "tokenizer.json")
    assert "the tokenizer knows 1 words" in problems(folder, "clip")


def test_a_sentence_piece_model_is_taken_at_its_word(tmp_path: Path) -> None:
    config = {"model_type": "siglip"}
    folder = a_model(tmp_path / "m", config, "processor_config.json", "spiece.model")
    assert problems(folder, "clip") == ""


@pytest.mark.parametrize("kind", ["sam3"])
def test_a_missing_preprocessor_is_caught(kind: str, tmp_path: Path) -> None:
    folder = a_model(tmp_path / "m", {"model_type": kind})
    assert f"a {kind!r} model needs preprocessor_config.json" in problems(folder, "sam")
    (folder / "processor_config.json").write_text("{}")
    assert problems(folder, "sam") == ""


def test_open_clip_brings_its_own_vocabulary_unless_told_otherwise(tmp_path: Path) -> None:
    folder = a_model(tmp_path / "m", {})
    (folder / "config.json").unlink()
    config: dict[str, Any] = {"model_cfg": {"text_cfg": {"width": 8}}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    assert problems(folder, "clip") == ""
    config["model_cfg"]["text_cfg"]["hf_tokenizer_name"] = "timm/ViT-B-16-SigLIP"
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    assert "would look for the tokenizer 'timm/ViT-B-16-SigLIP'" in problems(folder, "clip")


@pytest.mark.parametrize(
    ("family", "name"),
    [
        ("featup", "upsampler.up1.range_temp"),
        ("sam", "image_encoder.pos_embed"),
        ("sam-hq", "mask_decoder.hf_token.weight"),
    ],
)
def test_a_checkpoint_of_something_else_is_noticed(family: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    torch.save({"state_dict": {name: torch.zeros(2)}}, path)
    assert check(describe(f"{family}:{path}")).ok
    torch.save({"weight": torch.zeros(2)}, path)
    (problem,) = check(describe(f"{family}:{path}")).problems
    assert f"no tensor {name!r}" in problem
