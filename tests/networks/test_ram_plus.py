"""RAM++'s network against its formulas, written down plainly in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from fmlad.backbones.ram_checkpoint import network_of
from fmlad.networks.ram_plus import RamPlus
from tests.backbones.tiny_ram import PUBLISHED, Config, unused, used

TINY = Config()


class Oracle:
    """The published forward pass, from the paper, on a checkpoint's own names."""

    def __init__(self, state: dict[str, Tensor], config: Config) -> None:
        self.p = {name: value.double() for name, value in state.items()}
        self.config = config

    def linear(self, name: str, x: Tensor) -> Tensor:
        x = x @ self.p[f"{name}.weight"].T
        return x + self.p[f"{name}.bias"] if f"{name}.bias" in self.p else x

    def norm(self, name: str, x: Tensor, epsilon: float) -> Tensor:
        x = x - x.mean(-1, keepdim=True)
        x = x / (x.square().mean(-1, keepdim=True) + epsilon).sqrt()
        return x * self.p[f"{name}.weight"] + self.p[f"{name}.bias"]

    @staticmethod
    def gelu(x: Tensor) -> Tensor:
        return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))

    def attend(self, q: Tensor, k: Tensor, v: Tensor, heads: int, bias: Tensor | None) -> Tensor:
        """One image: ``(n, C)``, ``(m, C)``, ``(m, C)``, bias ``(heads, n, m)``."""
        out = []
        for head in range(heads):
            part = slice(head * q.shape[1] // heads, (head + 1) * q.shape[1] // heads)
            logits = q[:, part] @ k[:, part].T / math.sqrt(q.shape[1] / heads)
            logits = logits if bias is None else logits + bias[head]
            out.append(logits.softmax(-1) @ v[:, part])
        return torch.cat(out, 1)

    def bias(self, table: Tensor, side: int, shift: int) -> Tensor:
        """Attention between any two tokens of a grid: a relative place's bias, or minus infinity.

        Two tokens see each other if the grid, rolled by the shift, has them in one window, and if
        rolling has wrapped both or neither of them, in rows and in columns.
        """
        window, heads = self.config.window, table.shape[1]
        place = torch.cartesian_prod(torch.arange(side), torch.arange(side))
        rolled = (place - shift) % side
        wrapped = place < shift
        together = (
            (rolled[:, None] // window == rolled[None] // window)
            & (wrapped[:, None] == wrapped[None])
        ).all(-1)
        away = rolled[:, None] - rolled[None] + window - 1
        row = (away[..., 0] * (2 * window - 1) + away[..., 1]).clamp(0, len(table) - 1)
        found = table[row.flatten()].reshape(side**2, side**2, heads).movedim(-1, 0)
        return found.masked_fill(~together, -math.inf)

    def block(self, name: str, x: Tensor, heads: int, shift: int) -> Tensor:
        side = math.isqrt(len(x))
        table = self.p[f"{name}.attn.relative_position_bias_table"]
        q, k, v = self.linear(f"{name}.attn.qkv", self.norm(f"{name}.norm1", x, 1e-5)).chunk(3, 1)
        seen = self.attend(q, k, v, heads, self.bias(table, side, shift))
        x = x + self.linear(f"{name}.attn.proj", seen)
        inner = self.linear(f"{name}.mlp.fc1", self.norm(f"{name}.norm2", x, 1e-5))
        return x + self.linear(f"{name}.mlp.fc2", self.gelu(inner))

    def swin(self, pixels: Tensor) -> Tensor:
        """One image ``(3, S, S)`` -> tokens ``(L, C)``."""
        swin = "visual_encoder"
        weight = self.p[f"{swin}.patch_embed.proj.weight"]
        side = pixels.shape[1] // 4
        patches = pixels.reshape(3, side, 4, side, 4).permute(1, 3, 0, 2, 4).reshape(side**2, -1)
        x = patches @ weight.reshape(len(weight), -1).T + self.p[f"{swin}.patch_embed.proj.bias"]
        x = self.norm(f"{swin}.patch_embed.norm", x, 1e-5)
        for stage, depth in enumerate(self.config.depths):
            for number in range(depth):
                shift = self.config.window // 2 if number % 2 and side > self.config.window else 0
                name = f"{swin}.layers.{stage}.blocks.{number}"
                x = self.block(name, x, self.config.heads[stage], shift)
            if stage < len(self.config.depths) - 1:
                grid = x.reshape(side, side, -1)
                quarters = [grid[down::2, right::2] for right in (0, 1) for down in (0, 1)]
                side //= 2
                merged = torch.cat(quarters, -1).reshape(side**2, -1)
                name = f"{swin}.layers.{stage}.downsample"
                x = self.linear(f"{name}.reduction", self.norm(f"{name}.norm", merged, 1e-5))
        return self.norm(f"{swin}.norm", x, 1e-5)

    def logits(self, pixels: Tensor) -> Tensor:
        cells = self.swin(pixels.double())
        tokens = self.linear("image_proj", torch.cat([cells.mean(0, keepdim=True), cells]))
        scale = self.p["reweight_scale"].exp() if "reweight_scale" in self.p else 1 / 0.07
        overall = tokens[0] / tokens[0].square().sum().sqrt()
        queries = []
        for texts in self.p["label_embed"].chunk(self.config.tags):
            share = torch.exp(scale * (texts @ overall))
            queries.append((share / share.sum()) @ texts)
        x = self.linear("wordvec_proj", torch.stack(queries)).clamp(min=0)
        for number in range(self.config.layers):
            layer = f"tagging_head.encoder.layer.{number}"
            attention = f"{layer}.crossattention"
            q = self.linear(f"{attention}.self.query", x)
            k, v = (self.linear(f"{attention}.self.{part}", tokens) for part in ("key", "value"))
            seen = self.linear(f"{attention}.output.dense", self.attend(q, k, v, 4, None))
            x = self.norm(f"{attention}.output.LayerNorm", seen + x, 1e-12)
            inner = self.gelu(self.linear(f"{layer}.intermediate.dense", x))
            inner = self.linear(f"{layer}.output.dense", inner)
            x = self.norm(f"{layer}.output.LayerNorm", inner + x, 1e-12)
        return self.linear("fc", x)[:, 0]


def images(config: Config = TINY, count: int = 2) -> Tensor:
    rng = torch.Generator().manual_seed(7)
    return torch.randn(count, 3, config.side, config.side, generator=rng)


@pytest.mark.parametrize(
    "config",
    [
        TINY,
        Config(window=4, depths=(2, 1, 3, 2), tags=3, layers=1),
        Config(window=3, width=4, heads=(1, 1, 2, 4), space=7, hidden=8, layers=3),
    ],
)
def test_its_logits_are_the_papers_formulas(config: Config) -> None:
    state = used(config)
    pixels = images(config)
    with torch.inference_mode():
        found = network_of({**state, **unused(config)}, config.tags)(pixels)
    oracle = Oracle(state, config)
    wanted = torch.stack([oracle.logits(one) for one in pixels])
    assert wanted.std() > 0.01  # or all would be alike
    assert (wanted[0] - wanted[1]).abs().max() > 1e-3
    torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-5)


def test_the_swin_transformer_is_that_of_its_paper_and_shifts_matter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    state = used()
    oracle = Oracle(state, TINY)
    pixels = images(count=1)
    with torch.inference_mode():
        found = network_of(state, TINY.tags).encoder.forward_features(pixels)[0].flatten(0, 1)
    torch.testing.assert_close(found.double(), oracle.swin(pixels[0].double()), atol=1e-5, rtol=0)
    straight = oracle.bias
    monkeypatch.setattr(oracle, "bias", lambda table, side, shift: straight(table, side, 0))
    assert (found - oracle.swin(pixels[0].double())).abs().max() > 0.05


def test_timms_own_conversion_of_such_checkpoints_agrees() -> None:
    from timm.models.swin_transformer import checkpoint_filter_fn

    network = network_of({**used(), **unused()}, TINY.tags)
    prefix = "visual_encoder."
    originals = {
        name.removeprefix(prefix): value
        for name, value in {**used(), **unused()}.items()
        if name.startswith(prefix)
    }
    converted = checkpoint_filter_fn(originals, network.encoder)
    state = network.encoder.state_dict()
    assert converted.keys() == state.keys()
    for name, value in converted.items():
        assert torch.equal(state[name], value), name


def test_the_overall_token_is_the_mean_and_comes_first() -> None:
    network = network_of(used(), TINY.tags)
    with torch.inference_mode():
        tokens = network.tokens(images())
    assert tokens.shape == (2, 1 + TINY.window**2, TINY.space)
    torch.testing.assert_close(tokens[:, 0], tokens[:, 1:].mean(1))


def test_queries_are_means_of_their_own_tags_descriptions() -> None:
    state = used()
    overall = torch.randn(3, TINY.space, generator=torch.Generator().manual_seed(1))

    def queries(scale: float) -> Tensor:
        scaled = {**state, "reweight_scale": torch.tensor(scale)}
        with torch.inference_mode():
            return network_of(scaled, TINY.tags).queries(overall)

    texts = state["label_embed"].reshape(TINY.tags, 51, TINY.space)
    # A scale of next to nothing weighs all alike, a huge one takes the nearest alone.
    torch.testing.assert_close(queries(-30.0), texts.mean(1).expand(3, -1, -1))
    nearest = torch.einsum("bc,kdc->bkd", overall, texts).argmax(-1)
    wanted = torch.stack([texts[range(TINY.tags), row] for row in nearest])
    torch.testing.assert_close(queries(12.0), wanted)
    torch.testing.assert_close(queries(math.log(1 / 0.07)), unscaled(state, overall))


def unscaled(state: dict[str, Tensor], overall: Tensor) -> Tensor:
    """Queries of a checkpoint without a scale of its own."""
    with torch.inference_mode():
        return network_of(state, TINY.tags).queries(overall)


@pytest.mark.slow
def test_the_published_sizes_load_strictly_and_run() -> None:
    state = used(PUBLISHED, spread=0.05)
    assert state["label_embed"].shape == (233835, 512)
    network = network_of(state, 4585)
    assert isinstance(network, RamPlus)
    assert network.sizes.side == 384
    # Swin-L has 196.7 million weights with a classifier of 1,000 classes (Liu et al., ICCV 2021).
    weights = sum(parameter.numel() for parameter in network.encoder.parameters())
    assert weights + 1000 * 1537 == pytest.approx(196.7e6, rel=1e-3)
    # The checkpoint's tensors themselves, not copies: there is no memory for two.
    assert network.label_embed.data_ptr() == state["label_embed"].data_ptr()
    with torch.inference_mode():
        logits = network(torch.randn(1, 3, 384, 384, generator=torch.Generator().manual_seed(0)))
    assert logits.shape == (1, 4585)
    assert torch.isfinite(logits).all()
    assert logits.std() > 1e-3
