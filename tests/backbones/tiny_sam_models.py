"""Tiny SAMs with random weights, in the formats in which real ones lie on disk."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

SIDE, PATCH, WIDTH, HIDDEN = 256, 16, 32, 32


# So that masks are large and stable, and follow their prompts.
STRENGTHS = {
    "hypernetworks": 7.0,
    "hf_mlp": 7.0,
    "hq_mask_mlp": 7.0,
    "iou_prediction_head": 1.0,
    "q_proj.weight": 4.0,
    "k_proj.weight": 4.0,
    "point_embed": 6.0,
}


def shaken(model: nn.Module, seed: int) -> Any:
    """Random numbers in every parameter, the many that start at zero included."""
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            noise = torch.randn(parameter.shape, generator=rng)
            if "norm" in name and name.endswith("weight"):
                parameter.copy_(1 + 0.2 * noise)
            else:
                fan = parameter[0].numel() if parameter.ndim > 1 else 100
                strong = next((s for part, s in STRENGTHS.items() if part in name), 1.0)
                parameter.copy_(strong * noise * fan**-0.5)
    return model.eval()


def original(seed: int = 4) -> Any:
    """A model of segment-anything's own code: one windowed and one global block."""
    from segment_anything.modeling import (
        ImageEncoderViT,
        MaskDecoder,
        PromptEncoder,
        Sam,
        TwoWayTransformer,
    )

    grid = SIDE // PATCH
    model = Sam(
        image_encoder=ImageEncoderViT(
            img_size=SIDE,
            patch_size=PATCH,
            embed_dim=WIDTH,
            depth=2,
            num_heads=2,
            out_chans=HIDDEN,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
            use_rel_pos=True,
            window_size=7,
            global_attn_indexes=(1,),
        ),
        prompt_encoder=PromptEncoder(
            embed_dim=HIDDEN,
            image_embedding_size=(grid, grid),
            input_image_size=(SIDE, SIDE),
            mask_in_chans=8,
        ),
        mask_decoder=MaskDecoder(
            num_multimask_outputs=3,
            transformer=TwoWayTransformer(depth=2, embedding_dim=HIDDEN, mlp_dim=48, num_heads=8),
            transformer_dim=HIDDEN,
            iou_head_depth=3,
            iou_head_hidden_dim=24,
        ),
    )
    torch.manual_seed(seed)
    matrix = model.prompt_encoder.pe_layer.positional_encoding_gaussian_matrix
    matrix.copy_(torch.randn(matrix.shape))
    return shaken(model, seed)


def save_original(path: Path, seed: int = 4) -> Path:
    torch.save(original(seed).state_dict(), path)
    return path


def transformers_model(kind: str, seed: int = 0) -> Any:
    """``sam`` or ``sam_hq`` or ``sam2`` of transformers."""
    import transformers as t

    torch.manual_seed(seed)
    if kind == "sam2":
        hiera = t.Sam2HieraDetConfig(
            hidden_size=16,
            image_size=[SIDE, SIDE],
            blocks_per_stage=[1, 1, 2, 1],
            embed_dim_per_stage=[16, 32, 64, 128],
            num_attention_heads_per_stage=[1, 1, 2, 2],
            num_attention_heads=1,
            window_size_per_stage=[8, 4, 7, 7],
            global_attention_blocks=[3],
        )
        grid = SIDE // 16
        config = t.Sam2Config(
            vision_config=t.Sam2VisionConfig(
                backbone_config=hiera,
                backbone_channel_list=[128, 64, 32, 16],
                backbone_feature_sizes=[[4 * grid] * 2, [2 * grid] * 2, [grid] * 2],
                fpn_hidden_size=HIDDEN,
            ),
            prompt_encoder_config=t.Sam2PromptEncoderConfig(
                hidden_size=HIDDEN, image_size=SIDE, patch_size=16, mask_input_channels=8
            ),
            mask_decoder_config=t.Sam2MaskDecoderConfig(
                hidden_size=HIDDEN, mlp_dim=48, iou_head_hidden_dim=24
            ),
        )
        return shaken(t.Sam2Model(config), seed)
    vision = {
        "hidden_size": WIDTH,
        "output_channels": HIDDEN,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": SIDE,
        "patch_size": PATCH,
        "window_size": 7,
        "global_attn_indexes": [1],
        "num_pos_feats": HIDDEN // 2,
        "mlp_dim": 4 * WIDTH,
    }
    prompt = {
        "hidden_size": HIDDEN,
        "image_size": SIDE,
        "patch_size": PATCH,
        "mask_input_channels": 8,
    }
    decoder = {"hidden_size": HIDDEN, "mlp_dim": 48, "iou_head_hidden_dim": 24}
    if kind == "sam_hq":
        decoder["vit_dim"] = WIDTH
    config_class, model_class = {
        "sam": (t.SamConfig, t.SamModel),
        "sam_hq": (t.SamHQConfig, t.SamHQModel),
    }[kind]
    config = config_class(
        vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder
    )
    return shaken(model_class(config), seed)


def save_transformers(folder: Path, kind: str, seed: int = 0) -> Path:
    transformers_model(kind, seed).save_pretrained(folder)
    return folder
