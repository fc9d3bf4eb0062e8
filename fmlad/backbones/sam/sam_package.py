"""The package segment-anything itself: its registry, its modules, its original checkpoints.

Its builders would open a checkpoint with ``torch.load`` as torch's version sees fit. They are only
asked for empty modules here; tensors are read by fmlad, without code, and loaded strictly.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fmlad.backbones.catalogue import Weights, lookup
from fmlad.backbones.hub import find, loading, locate, unavailable
from fmlad.backbones.sam.sam_models import SamNetwork
from fmlad.backbones.sam.sam_original import HEADS, Sizes, read_original, sizes
from fmlad.errors import OptionError

FAMILY = "segment-anything"
WIDTHS = {"vit_b": 768, "vit_l": 1024, "vit_h": 1280}  # channels of the image encoder


class PackageSam(SamNetwork):
    """A ``segment_anything.modeling.Sam`` behind the interface of the other networks."""

    def __init__(self, model: Any, device: str, dtype: torch.dtype = torch.float32) -> None:
        super().__init__("sam", int(model.image_encoder.img_size), device, dtype)
        # Its masks differ from those of transformers' in the last digits of their logits.
        self.details = f" segment-anything{self.details}"
        parts = (model.image_encoder, model.prompt_encoder, model.mask_decoder)
        self._encoder, self._prompts, self._decoder = (
            part.eval().requires_grad_(False).to(device) for part in parts
        )

    def _embed(self, image: Tensor) -> tuple[Tensor, ...]:
        return (self._encoder(image),)

    def _answer(
        self,
        maps: tuple[Tensor, ...],
        points: Tensor | None,
        labels: Tensor | None,
        boxes: Tensor | None,
        several: bool,
    ) -> tuple[Tensor, Tensor]:
        sparse, dense = self._prompts(
            points=None if points is None else (points, labels), boxes=boxes, masks=None
        )
        logits, quality = self._decoder(
            image_embeddings=maps[0],
            image_pe=self._prompts.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=several,
        )
        return logits, quality


def checkpoint_of(name: str, source: str, checkpoint: str) -> Path:
    """The file that a name asks for, fetched first if it is the published one and not here.

    Args:
        name: The backbone's whole name.
        source: ``"vit_b"``, ``"vit_l"``, ``"vit_h"``, or a file where there is no ``checkpoint``.
        checkpoint: The option, ``""`` without it.

    Raises:
        OptionError: No such size.
        WeightsUnavailableError: No such file, or the published one cannot be had.
    """
    if source in WIDTHS and not checkpoint:
        return locate(source, family=FAMILY)
    # Among local files and in fmlad's own folder of weights; nothing is fetched.
    file = find(Weights(name, checkpoint or source))
    if source not in WIDTHS and (checkpoint or file is None or not file.is_file()):
        raise OptionError(
            f"The backbone {name!r} names {source!r}, which is neither a size of segment-anything "
            f"({', '.join(WIDTHS)}) nor a file here. Write {FAMILY}:vit_h#checkpoint=FILE, or "
            f"{FAMILY}:FILE."
        )
    if file is None or not file.is_file():
        published = lookup(source, FAMILY)
        address = f"; the published one is {published.source}" if published else ""
        raise unavailable(source, f"there is no checkpoint {checkpoint!r}{address}", FAMILY)
    return file


def package_model(file: Path, source: str) -> Any:
    """A ``Sam`` of the package with a checkpoint's weights, float32 on the CPU.

    Args:
        file: An original checkpoint.
        source: As in :func:`checkpoint_of`.

    Raises:
        WeightsUnavailableError: It is damaged, something else, or of another size than the
            source says.
    """
    state = read_original(file, source, FAMILY, "sam")
    with loading(source, file, FAMILY):
        found = sizes(state)
        if source in WIDTHS and found.width != WIDTHS[source]:
            held = next((size for size, width in WIDTHS.items() if width == found.width), None)
            is_a = f"of the size {held}" if held else f"{found.width} channels wide"
            why = f"{file} is {is_a}, and {source} is {WIDTHS[source]} channels wide"
            raise unavailable(source, why, FAMILY)
        with torch.device("meta"):
            model = _registered(source) if source in WIDTHS else _assembled(found)
        # assign: what was built on the meta device has no memory to copy into.
        model.load_state_dict(state, strict=True, assign=True)
    return model.float()


def _registered(size: str) -> Any:
    """The registry's own, without weights."""
    from segment_anything import sam_model_registry

    return sam_model_registry[size](checkpoint=None)


def _assembled(of: Sizes) -> Any:
    """Of the package's modules, in sizes that its registry does not have."""
    from segment_anything import modeling

    grid = of.side // of.patch
    return modeling.Sam(
        image_encoder=modeling.ImageEncoderViT(
            img_size=of.side,
            patch_size=of.patch,
            embed_dim=of.width,
            depth=of.depth,
            num_heads=of.heads,
            mlp_ratio=of.mlp / of.width,
            out_chans=of.hidden,
            norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),  # as its builders have it
            use_rel_pos=True,
            window_size=of.window,
            global_attn_indexes=of.global_blocks,
        ),
        prompt_encoder=modeling.PromptEncoder(
            embed_dim=of.hidden,
            image_embedding_size=(grid, grid),
            input_image_size=(of.side, of.side),
            mask_in_chans=of.mask_in,
        ),
        mask_decoder=modeling.MaskDecoder(
            num_multimask_outputs=of.masks,
            transformer=modeling.TwoWayTransformer(
                depth=of.decoder_depth,
                embedding_dim=of.hidden,
                mlp_dim=of.decoder_mlp,
                num_heads=HEADS,
                attention_downsample_rate=of.hidden // of.inner,
            ),
            transformer_dim=of.hidden,
            iou_head_depth=of.iou_depth,
            iou_head_hidden_dim=of.iou_width,
        ),
    )
