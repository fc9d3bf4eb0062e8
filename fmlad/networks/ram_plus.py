"""RAM++ for inference (Huang et al., "Open-Set Image Tagging with Multi-Grained Text Supervision").

An image becomes tokens (a Swin transformer and a projection), each tag becomes a query (its
descriptions, weighted by how well they suit the image), and a decoder lets the queries look at the
tokens. What the paper needs for training alone (losses, text alignment) is not here.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

DESCRIPTIONS = 51  # texts a tag: the tag itself in a sentence and 50 of a language model
HEADS = 4  # of the decoder's attention; stands in the repository's configuration alone
EPSILON = 1e-12  # of the decoder's layer norms (BERT's)


@dataclass(frozen=True)
class RamSizes:
    """Sizes of the network; the published one has those in brackets.

    Attributes:
        patch: Pixels along a side of a patch [4].
        width: Channels of the first stage, doubled by every further one [192].
        depths: Blocks of each stage [2, 2, 18, 2].
        heads: Attention heads of each stage [6, 12, 24, 48].
        window: Tokens along a side of an attention window [12].
        space: Channels of the projected tokens and of the descriptions [512].
        tags: Number of tags [4585].
        hidden: Channels of the decoder [768], a multiple of 4.
        inner: Channels inside its feed-forward layers [3072].
        layers: Its layers [2].
    """

    patch: int
    width: int
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    window: int
    space: int
    tags: int
    hidden: int
    inner: int
    layers: int

    @property
    def side(self) -> int:
        """Pixels along a side of the input, at which the last stage is one window [384]."""
        return int(self.patch * 2 ** (len(self.depths) - 1) * self.window)


class DecoderLayer(nn.Module):
    """Attention of the queries to the image, then a feed-forward layer; BERT's norms behind each.

    Queries do not look at each other (as in Query2Label, which RAM follows).
    """

    def __init__(self, space: int, hidden: int, inner: int) -> None:
        super().__init__()
        self.query = nn.Linear(hidden, hidden)
        self.key = nn.Linear(space, hidden)
        self.value = nn.Linear(space, hidden)
        self.joined = nn.Linear(hidden, hidden)
        self.joined_norm = nn.LayerNorm(hidden, eps=EPSILON)
        self.wide = nn.Linear(hidden, inner)
        self.narrow = nn.Linear(inner, hidden)
        self.narrow_norm = nn.LayerNorm(hidden, eps=EPSILON)

    def forward(self, queries: Tensor, tokens: Tensor) -> Tensor:
        """``(B, K, hidden)`` and ``(B, L, space)`` -> ``(B, K, hidden)``."""
        heads = [
            layer(rows).reshape(*rows.shape[:2], HEADS, -1).transpose(1, 2)
            for layer, rows in ((self.query, queries), (self.key, tokens), (self.value, tokens))
        ]
        seen = F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)
        queries = self.joined_norm(queries + self.joined(seen))
        rows: Tensor = self.narrow_norm(queries + self.narrow(F.gelu(self.wide(queries))))
        return rows


class RamPlus(nn.Module):
    """RAM++; 210 million weights and 120 million numbers of descriptions in the published sizes."""

    def __init__(self, sizes: RamSizes) -> None:
        from timm.models.swin_transformer import SwinTransformer

        super().__init__()
        self.sizes = sizes
        self.encoder = SwinTransformer(
            img_size=sizes.side,
            patch_size=sizes.patch,
            embed_dim=sizes.width,
            depths=sizes.depths,
            num_heads=sizes.heads,
            window_size=sizes.window,
            num_classes=0,
            global_pool="",
        )
        deepest = sizes.width * 2 ** (len(sizes.depths) - 1)
        self.image_proj = nn.Linear(deepest, sizes.space)
        self.label_embed = nn.Parameter(torch.empty(sizes.tags * DESCRIPTIONS, sizes.space))
        self.reweight_scale = nn.Parameter(torch.empty(()))  # logarithm of a factor
        self.wordvec_proj = nn.Linear(sizes.space, sizes.hidden)
        self.decoder = nn.ModuleList(
            DecoderLayer(sizes.space, sizes.hidden, sizes.inner) for _ in range(sizes.layers)
        )
        self.fc = nn.Linear(sizes.hidden, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        """Normalised RGB ``(B, 3, S, S)`` of the sizes' side -> one logit a tag, ``(B, tags)``."""
        tokens = self.tokens(pixels)
        queries = F.relu(self.wordvec_proj(self.queries(tokens[:, 0])))
        for layer in self.decoder:
            queries = layer(queries, tokens)
        logits: Tensor = self.fc(queries)[..., 0]
        return logits

    def tokens(self, pixels: Tensor) -> Tensor:
        """``(B, 3, S, S)`` -> ``(B, 1 + L, space)``: the mean of the last L tokens, and they."""
        cells = self.encoder.forward_features(pixels).flatten(1, 2)
        projected: Tensor = self.image_proj(torch.cat([cells.mean(1, keepdim=True), cells], 1))
        return projected

    def queries(self, overall: Tensor) -> Tensor:
        """Descriptions of each tag, averaged by their softmax over it for each image.

        ``(B, space)``, the images' overall tokens -> ``(B, tags, space)``. The images' side of the
        product has unit length, that of the descriptions the length they were saved with.
        """
        tags, space = self.sizes.tags, self.sizes.space
        texts = self.label_embed.reshape(tags, DESCRIPTIONS, space)
        products = self.reweight_scale.exp() * F.normalize(overall, dim=-1) @ self.label_embed.T
        shares = products.reshape(-1, tags, DESCRIPTIONS).softmax(2)
        return torch.einsum("bkd,kdc->bkc", shares, texts)
