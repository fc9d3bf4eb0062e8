"""Checkpoints of the original SAM and SAM-HQ repositories: sizes, and models of transformers.

Such a ``.pth`` holds tensors and no configuration. All sizes follow from the tensors' shapes, but
for the decoder's eight attention heads, which every published SAM has.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fmlad.backbones.hub import loading, read_tensors, unavailable

ENCODER, DECODER = "image_encoder.", "mask_decoder."
HQ_TOKEN = DECODER + "hf_token.weight"
FREQUENCIES = "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"
HEADS = 8  # of the mask decoder

# Of a module that numbers its layers: its name, transformers' name, transformers' layers by number.
SEQUENCES = (
    ("neck", "neck.", "conv1 layer_norm1 conv2 layer_norm2"),
    ("mask_downscaling", "mask_embed.", "conv1 layer_norm1 - conv2 layer_norm2 - conv3"),
    ("output_upscaling", "", "upscale_conv1 upscale_layer_norm - upscale_conv2"),
    # SAM-HQ's additions.
    ("compress_vit_feat", "", "compress_vit_conv1 compress_vit_norm - compress_vit_conv2"),
    ("embedding_encoder", "", "encoder_conv1 encoder_norm - encoder_conv2"),
    ("embedding_maskfeature", "", "mask_conv1 mask_norm - mask_conv2"),
)
# Pattern -> replacement, applied one after the other to each name.
NAMES = (
    (r"^image_encoder\.blocks\.", "vision_encoder.layers."),
    (r"^image_encoder\.", "vision_encoder."),
    (r"patch_embed\.proj\.", "patch_embed.projection."),
    (r"\.norm([1-4]|_final_attn)\.", r".layer_norm\1."),
    (r"\.point_embeddings\.", ".point_embed."),
    (r"\.hf_token\.", ".hq_token."),
    (r"\.hf_mlp\.", ".hq_mask_mlp."),
    *(
        (rf"\.{module}\.{number}\.", f".{prefix}{layer}.")
        for module, prefix, layers in SEQUENCES
        for number, layer in enumerate(layers.split())
    ),
)
PERCEPTRON = re.compile(
    r"^(mask_decoder\.(?:output_hypernetworks_mlps\.\d+|iou_prediction_head|hf_mlp))\.layers\.(\d+)\."
)


@dataclass(frozen=True)
class Sizes:
    """Of a SAM: numbers of channels unless said otherwise.

    Attributes:
        width, depth, heads, mlp: Of the image encoder; depth and heads are counts.
        side, patch: Pixels of the square input, and of a patch of it.
        window: Side of the windows that most blocks attend within, in patches.
        global_blocks: Numbers of the blocks that see the whole input.
        hidden: Of prompts and masks.
        mask_in: Of the encoder of mask prompts.
        inner: Of the decoder's cross attention.
        decoder_depth, decoder_mlp: Of the decoder's transformer.
        iou_depth, iou_width: Of the network that predicts a mask's quality.
        masks: Masks for an ambiguous prompt.
    """

    width: int
    depth: int
    heads: int
    mlp: int
    side: int
    patch: int
    window: int
    global_blocks: tuple[int, ...]
    hidden: int
    mask_in: int
    inner: int
    decoder_depth: int
    decoder_mlp: int
    iou_depth: int
    iou_width: int
    masks: int


def read_original(file: Path, source: str, family: str, kind: str) -> dict[str, Tensor]:
    """The tensors of an original checkpoint of ``kind``, ``"sam"`` or ``"sam-hq"``.

    Raises:
        WeightsUnavailableError: It is damaged, something else, or of the other kind.
    """
    state = read_tensors(file, source, family)
    found = "sam-hq" if HQ_TOKEN in state else "sam"
    if ENCODER + "pos_embed" not in state or FREQUENCIES not in state:
        why = f"{file} is no checkpoint of the original SAM or SAM-HQ"
        raise unavailable(source, why, family)
    if found != kind:
        why = f"{file} is a checkpoint of {found}; write {found}:{file}"
        raise unavailable(source, why, family)
    return state


def from_checkpoint(file: Path, source: str, family: str) -> Any:
    """A ``SamModel`` or ``SamHQModel`` of transformers with the file's weights.

    Raises:
        WeightsUnavailableError: It is damaged, something else, or of another family.
    """
    state = read_original(file, source, family, family)
    with loading(source, file, family):
        model = _empty(family, state)
        # assign: what was built on the meta device has no memory to copy into.
        model.load_state_dict(renamed(state), strict=True, assign=True)
    return model.float()


def renamed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under the names that transformers has for them."""
    last: dict[str, int] = {}  # of each perceptron, the number of its last layer
    for name in state:
        if layer := PERCEPTRON.match(name):
            last[layer[1]] = max(last.get(layer[1], 0), int(layer[2]))
    result = {}
    for name, tensor in state.items():
        if name == FREQUENCIES:
            result["shared_image_embedding.positional_embedding"] = tensor
            result["prompt_encoder.shared_embedding.positional_embedding"] = tensor
            continue
        if layer := PERCEPTRON.match(name):
            number = int(layer[2])
            place = "proj_in" if number == 0 else f"layers.{number - 1}"
            place = "proj_out" if number == last[layer[1]] else place
            name = f"{layer[1]}.{place}.{name[layer.end() :]}"
        for pattern, replacement in NAMES:
            name = re.sub(pattern, replacement, name)
        result[name] = tensor
    return result


def sizes(state: dict[str, Tensor]) -> Sizes:
    """What the tensors of an original checkpoint say; KeyError where one is missing."""
    _, grid, _, width = state[ENCODER + "pos_embed"].shape
    patch = state[ENCODER + "patch_embed.proj.weight"].shape[-1]
    relative = [
        state[f"{ENCODER}blocks.{number}.attn.rel_pos_h"]
        for number in range(_count(state, ENCODER + "blocks."))
    ]
    spans = [len(table) for table in relative]
    layers = DECODER + "transformer.layers."
    return Sizes(
        width=width,
        depth=len(relative),
        heads=width // relative[0].shape[1],
        mlp=state[ENCODER + "blocks.0.mlp.lin1.weight"].shape[0],
        side=grid * patch,
        patch=patch,
        # A block attends within windows if its table is shorter than the grid needs.
        window=(min(spans) + 1) // 2,
        global_blocks=tuple(n for n, span in enumerate(spans) if span == 2 * grid - 1),
        hidden=state[ENCODER + "neck.0.weight"].shape[0],
        mask_in=state["prompt_encoder.mask_downscaling.3.weight"].shape[0],
        inner=state[layers + "0.cross_attn_token_to_image.q_proj.weight"].shape[0],
        decoder_depth=_count(state, layers),
        decoder_mlp=state[layers + "0.mlp.lin1.weight"].shape[0],
        iou_depth=_count(state, DECODER + "iou_prediction_head.layers."),
        iou_width=state[DECODER + "iou_prediction_head.layers.0.weight"].shape[0],
        masks=len(state[DECODER + "mask_tokens.weight"]) - 1,
    )


def _empty(family: str, state: dict[str, Tensor]) -> Any:
    """The model of transformers without memory."""
    from transformers import SamConfig, SamHQConfig, SamHQModel, SamModel

    of = sizes(state)
    vision = {
        "hidden_size": of.width,
        "output_channels": of.hidden,
        "num_hidden_layers": of.depth,
        "num_attention_heads": of.heads,
        "image_size": of.side,
        "patch_size": of.patch,
        "window_size": of.window,
        "global_attn_indexes": list(of.global_blocks),
        "num_pos_feats": state[FREQUENCIES].shape[1],
        "mlp_dim": of.mlp,
    }
    prompt = {
        "hidden_size": of.hidden,
        "image_size": of.side,
        "patch_size": of.patch,
        "mask_input_channels": of.mask_in,
    }
    decoder = {
        "hidden_size": of.hidden,
        "mlp_dim": of.decoder_mlp,
        "num_hidden_layers": of.decoder_depth,
        "num_attention_heads": HEADS,
        "attention_downsample_rate": of.hidden // of.inner,
        "num_multimask_outputs": of.masks,
        "iou_head_depth": of.iou_depth,
        "iou_head_hidden_dim": of.iou_width,
        "layer_norm_eps": 1e-5,  # the original's; transformers' default is 1e-6
    }
    kinds: tuple[Any, Any] = (SamConfig, SamModel)
    if family == "sam-hq":
        kinds = (SamHQConfig, SamHQModel)
        decoder["vit_dim"] = of.width
    config = kinds[0](
        vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder
    )
    with torch.device("meta"):
        return kinds[1](config)


def _count(state: dict[str, Tensor], prefix: str) -> int:
    """How many numbered modules follow a prefix."""
    return len({name[len(prefix) :].partition(".")[0] for name in state if name.startswith(prefix)})
