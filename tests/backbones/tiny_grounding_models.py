"""A tiny Grounding DINO with random weights, and BERT's tokenizer over a small vocabulary."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

WORDS = [
    "screw", "bolt", "nut", "washer", "long", "short", "red", "blue", "zip", "lock", "bag", "push",
    "pin", "metal", "hex", "the", "of", "in", "with", "almonds", "orange", "juice", "label", "text",
    "schraube", "cafe", "box",
]  # fmt: skip
PIECES = [f"##{piece}" for piece in ("s", "es", "er", "pin", "driver", "ed", *"abcdefgh0123456789")]
OTHERS = [*"abcdefgh0123456789", *"-,'/()&:", "ß", "é", "中", "##ß"]
SIZE = 1200  # rows of the vocabulary
STRENGTHS = {"query_position_embeddings": 3.0, "decoder.layer_norm.weight": 0.4}


def vocabulary() -> dict[str, int]:
    """Word -> id, with the ends of phrases where BERT's English vocabulary has them."""
    fixed = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102, "[MASK]": 103}
    fixed |= {".": 1012, "?": 1029}
    known = dict.fromkeys([*WORDS, *PIECES, *OTHERS])
    fixed |= {word: 1030 + number for number, word in enumerate(known)}
    taken = set(fixed.values())
    return fixed | {f"[unused{i}]": i for i in range(SIZE) if i not in taken}


def tokenizer() -> Any:
    from transformers import BertTokenizer

    return BertTokenizer(vocab=vocabulary(), do_lower_case=True)


def tiny_model(seed: int = 0, **changed: Any) -> Any:
    """Strides 8 to 64, 50 boxes, 64 tokens; chances of tokens are spread over (0, 1)."""
    from transformers import (
        BertConfig,
        GroundingDinoConfig,
        GroundingDinoForObjectDetection,
        SwinConfig,
    )

    torch.manual_seed(seed)
    swin = SwinConfig(
        embed_dim=8,
        depths=[1, 1, 1, 1],
        num_heads=[1, 1, 2, 2],
        window_size=4,
        out_indices=[2, 3, 4],
    )
    bert = BertConfig(
        vocab_size=SIZE,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=96,
    )
    numbers = {"num_queries": 50, "max_text_len": 64, "d_model": 64} | changed
    config = GroundingDinoConfig(
        backbone_config=swin,
        text_config=bert,
        encoder_layers=1,
        decoder_layers=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        disable_custom_kernels=True,
        **numbers,
    )
    model = GroundingDinoForObjectDetection(config)
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            noise = torch.randn(parameter.shape, generator=rng)
            fan = parameter[0].numel() if parameter.ndim > 1 else 100
            norm = "norm" in name.lower() and name.endswith("weight")
            strong = next((s for part, s in STRENGTHS.items() if part in name), 1.0)
            parameter.copy_(strong * (1 + 0.2 * noise if norm else noise * fan**-0.5))
        # What all boxes have in common goes, or one phrase would win everywhere.
        picture = torch.randn(1, 3, 160, 224, generator=rng)
        output = model.eval()(
            pixel_values=picture, input_ids=torch.tensor([[101, 1030, 1012, 102]])
        )
        common = output.intermediate_hidden_states[0, -1].mean(dim=0)
        model.model.decoder.layer_norm.bias -= common
    return model


def save_grounding_dino(folder: Path, seed: int = 0, **changed: Any) -> Path:
    """As transformers saves model, tokenizer and preprocessor."""
    from transformers import GroundingDinoImageProcessorPil

    tiny_model(seed, **changed).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    GroundingDinoImageProcessorPil().save_pretrained(folder)
    return folder
