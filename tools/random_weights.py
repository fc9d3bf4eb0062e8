"""Random weights in the formats in which published ones lie on disk.

    python -m tools.random_weights FOLDER --profile foundation [--size tiny] [--only NAME]

fills a folder for ``$FMLAD_WEIGHTS`` with what a profile names, of the published sizes or tiny.
What such networks say means nothing: they show that everything loads, runs, fits into memory and
gives the same result again. Masks and boxes follow their prompts, so that each step has something
to hand to the next.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from fmlad.backbones.catalogue import Weights, catalogue
from fmlad.backbones.hub import place_of
from fmlad.profiles import PROFILES

Size = Literal["true", "tiny"]

# What makes masks large and stable, and lets them follow their prompts.
STRENGTHS = {
    "hypernetworks": 7.0,
    "iou_prediction_head": 1.0,
    "q_proj.weight": 4.0,
    "k_proj.weight": 4.0,
    "point_embed": 6.0,
    "query_position_embeddings": 3.0,
}
WORDS = (
    "screw", "nut", "washer", "bolt", "pin", "box", "bag", "bottle", "label", "cable", "juice",
    "red", "blue", "yellow", "long", "short", "metal", "disc", "square", "table",
)  # fmt: skip
ENDS = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102, "[MASK]": 103, ".": 1012, "?": 1029}
STACKS = {"dinov2": (384, 32), "clip": (512, 24)}  # channels of FeatUp's features, true and tiny


def fill(root: Path, names: Iterable[str], size: Size = "true") -> list[Path]:
    """Writes the weights of catalogued names below ``root``; those that are there stay.

    Raises:
        KeyError: This tool makes none of that family.
    """
    known = {weights.name: weights for weights in catalogue()}
    places = []
    for name in names:
        weights = known[name.partition("#")[0]]
        place = root / place_of(weights.source)
        if not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            MAKERS[weights.family](place, weights, size)
        places.append(place)
    return places


def overrides(root: Path, profile: str) -> dict[str, str]:
    """Role -> name for tiny weights whose own name says how large they are: CLIP's."""
    known = {weights.name: weights for weights in catalogue()}
    found = {}
    for role, name in PROFILES[profile].items():
        family, _, model = name.partition(":")
        if family in ("clip", "clip-tags"):
            place = root / place_of(known[f"clip:{model}"].source)
            found[role] = f"{family}:local-dir:{place}"
    return found


def profile_names(profile: str) -> list[str]:
    """Backbones of a profile that have weights in the catalogue, each once."""
    known = {weights.name for weights in catalogue() if not weights.name.startswith("builtin:")}
    named = (name.partition("#")[0] for name in PROFILES[profile].values())
    named = (name.replace("clip-tags:", "clip:") for name in named)
    return [name for name in dict.fromkeys(named) if name in known]


def shaken(model: nn.Module, seed: int = 0) -> Any:
    """Random numbers in every parameter, those that start at zero included."""
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=rng)
            if "norm" in name.lower() and name.endswith("weight"):
                parameter.copy_(1 + 0.2 * noise)
                continue
            fan = parameter[0].numel() if parameter.ndim > 1 else 100
            strong = next((s for part, s in STRENGTHS.items() if part in name), 1.0)
            parameter.copy_(strong * noise * fan**-0.5)
    return model.eval()


def _clip(place: Path, weights: Weights, size: Size) -> None:
    import open_clip
    from safetensors.torch import save_file

    place.mkdir(parents=True)
    model = weights.name.partition(":")[2].partition("@")[0]
    config: dict[str, Any] = open_clip.get_model_config(model)
    if size == "tiny":
        config["embed_dim"] = 24
        config["vision_cfg"] = {
            "image_size": 32, "layers": 4, "width": 48, "head_width": 16, "patch_size": 8,
        }  # fmt: skip
        config["text_cfg"] = {**config["text_cfg"], "width": 16, "heads": 2, "layers": 1}
    described = {"model_cfg": config, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.3] * 3}}
    (place / "open_clip_config.json").write_text(json.dumps(described))
    torch.manual_seed(0)
    network = open_clip.create_model(f"local-dir:{place}", load_weights=False)
    state = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    save_file(state, place / "open_clip_model.safetensors")


def _dino(place: Path, weights: Weights, size: Size) -> None:
    from transformers import Dinov2Config, Dinov2Model

    if weights.source.startswith("timm/"):
        _timm(place, weights, size)
        return
    sizes: dict[str, Any] = {"hidden_size": 384, "num_attention_heads": 6, "image_size": 518}
    if size == "tiny":
        sizes = {
            "hidden_size": 32, "num_attention_heads": 2, "image_size": 56, "num_hidden_layers": 2,
        }  # fmt: skip
    torch.manual_seed(0)
    Dinov2Model(Dinov2Config(**sizes)).save_pretrained(place)


def _sam(place: Path, weights: Weights, size: Size) -> None:
    from transformers import SamConfig, SamHQConfig, SamHQModel, SamModel

    vision: dict[str, Any] = {
        "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "mlp_dim": 3072,
        "global_attn_indexes": [2, 5, 8, 11],
    }  # fmt: skip
    if "huge" in weights.name:
        vision = {
            "hidden_size": 1280, "num_hidden_layers": 32, "num_attention_heads": 16,
            "mlp_dim": 5120, "global_attn_indexes": [7, 15, 23, 31],
        }  # fmt: skip
    settings: dict[str, Any] = {"vision_config": vision}
    if size == "tiny":
        vision |= {
            "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "mlp_dim": 64,
            "global_attn_indexes": [1], "window_size": 7, "image_size": 256,
            "output_channels": 32, "num_pos_feats": 16,
        }  # fmt: skip
        settings["prompt_encoder_config"] = {
            "hidden_size": 32, "image_size": 256, "mask_input_channels": 8,
        }  # fmt: skip
        settings["mask_decoder_config"] = {
            "hidden_size": 32, "mlp_dim": 48, "iou_head_hidden_dim": 24,
        }  # fmt: skip
    hq = weights.family == "sam-hq"
    if hq:
        settings["mask_decoder_config"] = {
            **settings.get("mask_decoder_config", {}), "vit_dim": vision["hidden_size"],
        }  # fmt: skip
    model = SamHQModel(SamHQConfig(**settings)) if hq else SamModel(SamConfig(**settings))
    shaken(model).save_pretrained(place)
    (place / "preprocessor_config.json").write_text("{}")


def _featup(place: Path, weights: Weights, size: Size) -> None:
    from fmlad.backbones.featup import PREFIX, STAGES, Stage

    kind = weights.name.partition(":")[2].partition("_")[0]
    channels = STACKS[kind][size == "tiny"]
    torch.manual_seed(0)
    state: dict[str, Tensor] = {}
    for number in range(1, STAGES + 1):
        stage = {f"{PREFIX}up{number}.{n}": t for n, t in Stage().state_dict().items()}
        state |= stage
    state[f"{PREFIX}fixup_proj.1.weight"] = 0.05 * torch.randn(channels, channels, 1, 1)
    state[f"{PREFIX}fixup_proj.1.bias"] = torch.zeros(channels)
    if kind == "dinov2":
        state["model.1.norm.weight"] = torch.ones(channels)
        state["model.1.norm.bias"] = torch.zeros(channels)
    torch.save({"epoch": 0, "state_dict": state}, place)


def _grounding_dino(place: Path, weights: Weights, size: Size) -> None:
    from transformers import (
        BertConfig,
        BertTokenizer,
        GroundingDinoConfig,
        GroundingDinoForObjectDetection,
        GroundingDinoImageProcessorPil,
        SwinConfig,
    )

    sizes: dict[str, Any] = {}
    stages: dict[str, Any] = {"out_indices": [2, 3, 4]}
    swin = SwinConfig(**stages)  # Swin-T and BERT base are defaults
    bert = BertConfig(vocab_size=30522)
    if size == "tiny":
        swin = SwinConfig(
            embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], window_size=4, **stages
        )  # fmt: skip
        bert = BertConfig(
            vocab_size=1200, hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
            intermediate_size=32,
        )  # fmt: skip
        sizes = {
            "num_queries": 50, "d_model": 64, "encoder_layers": 1, "decoder_layers": 2,
            "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "encoder_attention_heads": 4,
            "decoder_attention_heads": 4,
        }  # fmt: skip
    config = GroundingDinoConfig(
        backbone_config=swin, text_config=bert, disable_custom_kernels=True, **sizes
    )
    shaken(GroundingDinoForObjectDetection(config)).save_pretrained(place)
    words = ENDS | {word: 1030 + number for number, word in enumerate(WORDS)}
    letters = [*"abcdefghijklmnopqrstuvwxyz", *(f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz")]
    words |= {letter: 1060 + number for number, letter in enumerate(letters)}
    taken = set(words.values())
    words |= {f"[unused{i}]": i for i in range(int(bert.vocab_size)) if i not in taken}
    BertTokenizer(vocab=words, do_lower_case=True).save_pretrained(place)
    GroundingDinoImageProcessorPil().save_pretrained(place)


def _ram(place: Path, weights: Weights, size: Size) -> None:
    from fmlad.backbones.ram import TAGS, THRESHOLDS
    from fmlad.backbones.ram_checkpoint import published
    from fmlad.networks.ram_plus import RamPlus, RamSizes

    sizes = RamSizes(4, 192, (2, 2, 18, 2), (6, 12, 24, 48), 12, 512, 4585, 768, 3072, 2)
    if size == "tiny":
        sizes = RamSizes(4, 8, (2, 2, 2, 2), (1, 2, 2, 4), 2, 12, len(WORDS), 16, 24, 2)
    place.mkdir(parents=True)
    state = {
        published(name): tensor for name, tensor in shaken(RamPlus(sizes)).state_dict().items()
    }
    torch.save({"model": state}, place / weights.files[0].name)
    words = [*WORDS, *(f"thing {number}" for number in range(len(WORDS), sizes.tags))]
    (place / TAGS).write_text("\n".join(words))
    (place / THRESHOLDS).write_text("\n".join(["0.5"] * len(words)))


def _timm(place: Path, weights: Weights, size: Size) -> None:
    import timm

    name, _, tag = weights.name.partition(":")[2].removeprefix("timm/").partition(".")
    tiny: dict[str, Any] = {"embed_dim": 32, "depth": 2, "num_heads": 2}
    if weights.family == "timm":  # residual networks
        tiny = {"channels": (8, 8, 16, 16), "stem_width": 4}
    arguments = tiny if size == "tiny" else {}
    if weights.family != "timm":
        arguments |= {"num_classes": 0}
    torch.manual_seed(0)
    model: Any = timm.create_model(name, **arguments)
    model.pretrained_cfg["tag"] = tag
    place.mkdir(parents=True)
    timm.models.save_for_hf(model, str(place), safe_serialization=True, model_args=arguments)


def _dinov3(place: Path, weights: Weights, size: Size) -> None:
    from transformers import (
        DINOv3ConvNextConfig,
        DINOv3ConvNextModel,
        DINOv3ViTConfig,
        DINOv3ViTModel,
    )

    if weights.source.startswith("timm/"):
        _timm(place, weights, size)
        return
    torch.manual_seed(0)
    if "convnext" in weights.name:  # ConvNeXt-T is the default
        stages: dict[str, Any] = {"hidden_sizes": [8, 12, 16, 20], "depths": [1, 1, 1, 1]}
        of_stages = DINOv3ConvNextConfig(**(stages if size == "tiny" else {}))
        DINOv3ConvNextModel(of_stages).save_pretrained(place)
        return
    width: dict[str, Any] = {  # ViT-S is the default
        "hidden_size": 32, "intermediate_size": 128, "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }  # fmt: skip
    config = DINOv3ViTConfig(num_register_tokens=4, **(width if size == "tiny" else {}))
    DINOv3ViTModel(config).save_pretrained(place)


def _sam2(place: Path, weights: Weights, size: Size) -> None:
    import transformers as t

    if size == "true":  # the smallest is the default
        shaken(t.Sam2VideoModel(t.Sam2VideoConfig())).save_pretrained(place)
        return
    grid, hidden = 16, 32
    encoder = t.Sam2HieraDetConfig(
        hidden_size=16, image_size=[16 * grid] * 2, blocks_per_stage=[1, 1, 2, 1],
        embed_dim_per_stage=[16, 32, 64, 128], num_attention_heads_per_stage=[1, 1, 2, 2],
        num_attention_heads=1, window_size_per_stage=[8, 4, 7, 7], global_attention_blocks=[3],
    )  # fmt: skip
    config = t.Sam2VideoConfig(
        vision_config=t.Sam2VisionConfig(
            backbone_config=encoder, backbone_channel_list=[128, 64, 32, 16],
            backbone_feature_sizes=[[4 * grid] * 2, [2 * grid] * 2, [grid] * 2],
            fpn_hidden_size=hidden,
        ),
        prompt_encoder_config=t.Sam2PromptEncoderConfig(
            hidden_size=hidden, image_size=16 * grid, patch_size=16, mask_input_channels=8
        ),
        mask_decoder_config=t.Sam2MaskDecoderConfig(
            hidden_size=hidden, mlp_dim=48, iou_head_hidden_dim=24
        ),
        image_size=16 * grid, memory_attention_hidden_size=hidden,
        memory_attention_num_layers=1, memory_attention_feed_forward_hidden_size=64,
        memory_encoder_hidden_size=hidden, mask_downsampler_embed_dim=hidden,
        memory_fuser_embed_dim=hidden, memory_fuser_intermediate_dim=64,
    )  # fmt: skip
    shaken(t.Sam2VideoModel(config)).save_pretrained(place)


def _segment_anything(place: Path, weights: Weights, size: Size) -> None:
    from segment_anything import sam_model_registry

    build = sam_model_registry[weights.name.partition(":")[2]]
    if size == "true":
        torch.save(shaken(build()).state_dict(), place)
        return
    with torch.device("meta"):
        state = build().state_dict()
    torch.save(repeated(state), place)


def _torchvision(place: Path, weights: Weights, size: Size) -> None:
    from torchvision import models

    torch.manual_seed(0)
    with torch.device("meta" if size == "tiny" else "cpu"):
        state = models.get_model(weights.name.partition(":")[2], weights=None).state_dict()
    torch.save(state if size == "true" else repeated(state), place)


def repeated(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of the same shapes that take no room on disk: each is one number, repeated.

    For names that say themselves how large the network is.
    """
    return {
        name: torch.full((), 0.01 if one.is_floating_point() else 0, dtype=one.dtype).expand(
            one.shape
        )
        for name, one in state.items()
    }


MAKERS: dict[str, Callable[[Path, Weights, Size], None]] = {
    "clip": _clip,
    "dinov2": _dino,
    "dinov3": _dinov3,
    "featup": _featup,
    "grounding-dino": _grounding_dino,
    "ram": _ram,
    "sam": _sam,
    "sam-hq": _sam,
    "sam2": _sam2,
    "segment-anything": _segment_anything,
    "timm": _timm,
    "torchvision": _torchvision,
}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--profile", default="foundation", choices=sorted(PROFILES))
    parser.add_argument("--size", default="true", choices=("true", "tiny"))
    parser.add_argument("--only", action="append", help="a name of the catalogue; repeatable")
    given = parser.parse_args()
    for place in fill(given.folder, given.only or profile_names(given.profile), given.size):
        print(place)


if __name__ == "__main__":
    main()
