"""Tiny CLIP models with random weights, written in the real on-disk formats."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

SIDE, PATCH, WIDTH, LAYERS, DIMENSIONS = 32, 8, 48, 4, 24
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)
WORDS = ("red", "screw", "bottle", "orange", "background", "a", "photo", "of", "the", "long")


def open_clip_config(**text: Any) -> dict[str, Any]:
    """An ``open_clip_config.json``, with open_clip's own tokenizer unless ``text`` says else."""
    return {
        "model_cfg": {
            "embed_dim": DIMENSIONS,
            "vision_cfg": {
                "image_size": SIDE,
                "layers": LAYERS,
                "width": WIDTH,
                "head_width": 16,
                "patch_size": PATCH,
            },
            "text_cfg": {
                "context_length": 77,
                "vocab_size": 49408,
                "width": 16,
                "heads": 2,
                "layers": 1,
                **text,
            },
        },
        "preprocess_cfg": {"mean": MEAN, "std": STD},
    }


def save_open_clip(
    folder: Path, config: dict[str, Any] | None = None, *, seed: int = 0, half: bool = False
) -> Path:
    """A folder in open_clip's layout: config and safetensors."""
    import open_clip
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    chosen = config or open_clip_config()
    (folder / "open_clip_config.json").write_text(json.dumps(chosen))
    torch.manual_seed(seed)
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    if half:
        state = {name: tensor.half() for name, tensor in state.items()}
    save_file(state, folder / "open_clip_model.safetensors")
    return folder


def save_tokenizer(
    folder: Path, words: tuple[str, ...] = WORDS, ending: bool = True
) -> dict[str, int]:
    """A tokenizer of whole words as transformers saves it; its vocabulary."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: i for i, word in enumerate(("<pad>", "<unk>", "<start>", *words, "<end>"))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    if ending:
        special = [("<start>", vocabulary["<start>"]), ("<end>", vocabulary["<end>"])]
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<start> $A <end>", special_tokens=special
        )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<start>",
        eos_token="<end>",
    ).save_pretrained(folder)
    return vocabulary


def save_transformers(folder: Path, kind: str = "clip", seed: int = 0) -> Path:
    """A CLIP or SigLIP folder as transformers saves it, with tokenizer and preprocessor."""
    import transformers

    vocabulary = save_tokenizer(folder)
    torch.manual_seed(seed)
    text: dict[str, Any] = {
        "hidden_size": 16 if kind == "clip" else WIDTH,  # SigLIP projects neither tower
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "vocab_size": len(vocabulary),
        "max_position_embeddings": 20,
        "pad_token_id": vocabulary["<pad>"],
        "bos_token_id": vocabulary["<start>"],
        "eos_token_id": vocabulary["<end>"],
    }
    if kind == "siglip":
        text["projection_size"] = WIDTH
    vision: dict[str, Any] = {
        "hidden_size": WIDTH,
        "intermediate_size": 96,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 3,
        "image_size": SIDE,
        "patch_size": PATCH,
    }
    if kind == "clip":
        config = transformers.CLIPConfig(
            text_config=text, vision_config=vision, projection_dim=DIMENSIONS
        )
        model = transformers.CLIPModel(config)
    else:
        config = transformers.SiglipConfig(text_config=text, vision_config=vision)
        model = transformers.SiglipModel(config)
    for parameter in model.parameters():  # the initial values are so small that all look alike
        parameter.data += 0.1 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    settings = {"image_mean": MEAN, "image_std": STD}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file, in memory of their own so that it may be overwritten."""
    from safetensors.torch import load

    return dict(load(path.read_bytes()))


def native_pixels(images: torch.Tensor) -> torch.Tensor:
    """What a model of these gets to see of ``uint8 (B, 3, SIDE, SIDE)``."""
    mean, std = torch.tensor(MEAN), torch.tensor(STD)
    return (images.float() / 255 - mean[:, None, None]) / std[:, None, None]
