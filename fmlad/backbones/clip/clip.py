"""CLIP as a text aligner: open_clip or transformers models, dense through NACLIP.

The maps follow CLIP-LAD: one squashed image of 448 px for a model of 224 px, NACLIP's last block,
every token projected, and text by the 80 ImageNet templates.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from fmlad.backbones.clip.clip_text import Ensemble
from fmlad.backbones.clip.clip_towers import Towers
from fmlad.backbones.clip.naclip import SIGMA, last_block, neighbourhood_bias
from fmlad.backbones.common import STRICT, normalised, parse
from fmlad.backbones.hub import locate
from fmlad.backbones.pooling import area_shares
from fmlad.backbones.roles import Pyramid
from fmlad.errors import OptionError
from fmlad.io.cache import DiskCache

SIDE = 448  # px, CLIP-LAD's, twice what its model was trained on
UPSCALE = 2  # feature maps before they are compared with words: 32 x 32 -> 64 x 64 (CLIP-LAD)
Attention = Literal["naclip", "plain"]


@dataclass(frozen=True, config=STRICT)
class _Options:
    side: Annotated[int, Field(ge=1)] | None = None
    attention: Attention = "naclip"


def load(name: str, device: str = "cpu") -> CLIP:
    """Builds the backbone from ``"clip:SOURCE"`` or ``"clip:SOURCE#side=448,attention=plain"``.

    SOURCE is one of

    - ``MODEL@TAG``: an open_clip architecture and pretrained tag, from the Hugging Face cache or
      hub, as in ``ViT-L-14@datacomp_xl_s13b_b90k``;
    - ``MODEL@FILE``: an open_clip architecture with a ``.pt``, ``.bin`` or ``.safetensors`` of
      its state. Nothing in such a file says which GELU it was trained with: choose the
      ``-quickgelu`` architecture for OpenAI's weights and their offspring;
    - ``local-dir:FOLDER`` or ``hf-hub:ORG/NAME``: open_clip's layout, ``open_clip_config.json``
      beside ``open_clip_model.safetensors`` or ``open_clip_pytorch_model.bin``;
    - a folder or hub identifier of a CLIP or SigLIP model as transformers saves it.

    Options behind ``#``: ``side``, pixels of the squashed input (default: twice the model's own,
    but at most 448, and never below its own), and ``attention``, ``naclip`` (default) or
    ``plain``, which leaves the last block as it is and is there for comparison.

    Raises:
        WeightsUnavailableError: The weights cannot be had, or are not what the name says.
        OptionError: An option that does not exist, or a value that does not fit.
    """
    source, options = parse(name, _Options)
    if not source:
        raise OptionError(f"The backbone {name!r} names no model; see {__name__}.load.")
    towers = _load_towers(source, device)
    cache = DiskCache.default()
    return CLIP(name, towers, device, side=options.side, attention=options.attention, cache=cache)


class CLIP:
    """:class:`~fmlad.backbones.roles.TextAligner` over the two towers of a CLIP or SigLIP model.

    Its pyramid has one level, at the patch stride: the projected tokens, unit length
    ``(B, D, g, g)``. ``pooled`` is the model's ordinary image embedding, unit length; ``stages``
    are the raw tokens after each quarter of the blocks, without class token, ``(B, W, g, g)``.
    ``scale`` is what the model multiplies cosines of whole images and texts by before a softmax.
    """

    expensive = True

    def __init__(
        self,
        name: str,
        towers: Towers,
        device: str = "cpu",
        *,
        side: int | None = None,
        attention: Attention = "naclip",
        cache: DiskCache | None = None,
    ) -> None:
        """Wraps towers on the device; for the options see :func:`load`.

        The side is rounded down to whole patches. ``cache`` keeps text embeddings on disk.
        """
        vision = towers.vision
        wanted = max(vision.native, min(2 * vision.native, SIDE)) if side is None else side
        if wanted < vision.patch:
            raise OptionError(f"side={wanted} px is less than a patch of {vision.patch} px.")
        self.name = name
        self.grid = wanted // vision.patch
        self.side = self.grid * vision.patch
        self.attention = attention
        self.scale = towers.scale
        # The name is left out, so that a moved folder still matches.
        self.fingerprint = (
            f"clip side={self.side} attention={attention} sigma={SIGMA:g} "
            f"mean={towers.mean} std={towers.std} sha256={towers.weights}"
        )
        self._vision = vision
        self._towers = towers
        self._device = device
        self._ensemble = Ensemble(towers.text, towers.weights, cache)

    @torch.inference_mode()
    def encode(self, images: Tensor) -> Pyramid:
        """``uint8 (B, 3, H, W)`` -> level ``(B, D, g, g)``, pooled and four stages.

        One forward pass of the vision tower and, with NACLIP, half of another last block.
        """
        vision = self._vision
        colours = self._towers.mean, self._towers.std
        pixels = normalised(images, self._device, (self.side, self.side), colours)
        output = vision.encode(pixels)
        last = output.stages[-1]
        if self.attention == "naclip":
            grid, prefix = self.grid, vision.prefix
            bias = neighbourhood_bias(grid, grid, prefix=prefix, device=self._device)
            last = last_block(output.before, vision.block, bias)
        level = F.normalize(self._maps(vision.project(last)), dim=1)
        stages = tuple(self._maps(stage) for stage in output.stages)
        return Pyramid({vision.patch: level}, F.normalize(output.pooled, dim=-1), stages)

    def text(self, words: Sequence[str], templates: Sequence[str] | None = None) -> Tensor:
        """Text embeddings, float32 ``(n, D)`` on the CPU, unit length; None: ImageNet's templates.

        Raises:
            PromptError: No word, an empty one, or one that the tokenizer does not know.
            OptionError: A template without ``{}``.
        """
        return self._ensemble(words, templates)

    @torch.inference_mode()
    def ground(
        self,
        pyramid: Pyramid,
        words: Sequence[str],
        regions: npt.NDArray[np.bool_] | None = None,
        templates: Sequence[str] = (),
    ) -> Tensor:
        """Cosine of every place, or of every region, with every word.

        Returns:
            float32 ``(n_words, 2 g, 2 g)`` in [-1, 1], the maps upscaled by two bilinearly; with
            regions bool ``(R, h, w)`` on any grid ``(n_words, R)``, from the mean token of each
            (CLIP-LAD, Eq. 1), 0 for an empty region. No templates: the 80 of ImageNet.

        Raises:
            PromptError: See :meth:`text`.
            OptionError: ``regions`` has another shape, or the pyramid is of several images.
        """
        level = pyramid.levels[self._vision.patch]
        if len(level) != 1:
            raise OptionError(f"ground() takes the pyramid of one image, got {len(level)}.")
        embeddings = self.text(words, templates or None).to(level.device)
        if regions is None:
            places = F.interpolate(level, scale_factor=UPSCALE, mode="bilinear")
            return torch.einsum("nd,dhw->nhw", embeddings, F.normalize(places, dim=1)[0])
        shares = area_shares(regions, *level.shape[2:]).to(level.device)
        # A sum instead of the mean: the length goes anyway.
        means = torch.einsum("rhw,dhw->rd", shares, level[0])
        return embeddings @ F.normalize(means, dim=-1).T

    def _maps(self, tokens: Tensor) -> Tensor:
        """``(B, prefix + g * g, C)`` -> ``(B, C, g, g)``."""
        patches = tokens[:, self._vision.prefix :].transpose(1, 2)
        return patches.reshape(len(tokens), -1, self.grid, self.grid).contiguous()


def _load_towers(source: str, device: str) -> Towers:
    from fmlad.backbones.clip import clip_hf, clip_open

    kind, colon, place = source.partition(":")
    folder = Path(place if colon and kind == "local-dir" else source).expanduser()
    if colon and kind == "hf-hub":
        folder = locate(place)
    if kind in ("local-dir", "hf-hub") or (folder / clip_open.CONFIG).is_file():
        opened = clip_open.open_folder(folder, source)
    elif "@" in source and not folder.exists():
        model_name, _, weights = source.partition("@")
        opened = clip_open.open_name(model_name, weights, source)
    else:
        return clip_hf.from_folder(locate(source), source, device)
    return clip_open.towers(opened, source, device)
