"""A network as a pyramid: maps of chosen strides, whose cells span the whole image."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fmlad.backbones.cnn.sources import Network
from fmlad.errors import OptionError

MULTIPLE = 16  # px: the input's sides are multiples of it, or of a larger stride that is wanted
LEAST = 32  # px of the input's sides
BORDER = 16  # px mirrored around the input of a network that pads nothing
PROBE = (256, 384)  # rows and columns; unequal, so that maps and their channels are told apart
SLACK = 2  # cells that a map without padding may have less than the input's side over the stride


class Stages(nn.Module):
    """Maps of a pretrained network at some strides.

    ``network`` itself is not copied. Attributes: ``strides``, and ``channels`` of the map at each.
    """

    channels: tuple[int, ...]

    def __init__(self, network: Network, strides: Sequence[int]) -> None:
        """Finds the stages, the last of each stride.

        Raises:
            OptionError: The network has none of a stride.
        """
        super().__init__()
        self.strides = tuple(strides)
        self._multiple = multiple_of(self.strides)
        self._normalise, self._size = network.normalise, network.size
        self._origins = network.origins
        self._scales = tuple(network.scales.get(stride, 1.0) for stride in self.strides)
        kind = _TimmStages if hasattr(network.module, "forward_intermediates") else _TracedStages
        self.body = kind(network, self.strides)
        self.channels = self.body.channels

    def input_size(self, height: int, width: int) -> tuple[int, int]:
        """What an image of this size is brought to, so that all strides divide its sides."""
        return self._size or (near(height, self._multiple), near(width, self._multiple))

    def forward(self, images: Tensor) -> list[Tensor]:
        """RGB in 0..255, uint8 or float ``(B, 3, H, W)`` -> ``(B, C, h, w)`` for each stride.

        The image is resized to :meth:`input_size` first; ``h`` and ``w`` are that over the stride.
        """
        size = self.input_size(*images.shape[-2:])
        pixels = resized(images.float(), size)
        border = BORDER if self._origins else 0
        if border:
            pixels = F.pad(pixels, (border,) * 4, mode="reflect")
        maps = self.body(self._normalise(pixels))
        return [
            self._on_grid(level, stride, (size[0] // stride, size[1] // stride)) / scale
            for stride, level, scale in zip(self.strides, maps, self._scales, strict=True)
        ]

    def _on_grid(self, level: Tensor, stride: int, grid: tuple[int, int]) -> Tensor:
        """A map whose cells span the image without its border."""
        if self._origins:
            return _shifted(level, (BORDER + stride / 2 - self._origins[stride]) / stride, grid)
        if tuple(level.shape[-2:]) == grid:
            return level
        return F.interpolate(level, grid, mode="bilinear")


class _TimmStages(nn.Module):
    """Of a network of timm's, which knows its stages and brings all maps to ``(B, C, h, w)``."""

    def __init__(self, network: Network, strides: Sequence[int]) -> None:
        super().__init__()
        self.model = cast(Any, network.module)
        known = {int(one["reduction"]): n for n, one in enumerate(self.model.feature_info)}
        chosen = _choose(network, strides, known)
        self._indices = sorted(chosen)
        self._order = [self._indices.index(index) for index in chosen]
        self.channels = tuple(int(self.model.feature_info[n]["num_chs"]) for n in chosen)

    def forward(self, pixels: Tensor) -> list[Tensor]:
        maps = self.model.forward_intermediates(
            pixels, indices=self._indices, intermediates_only=True, stop_early=True
        )
        return [maps[place] for place in self._order]


class _TracedStages(nn.Module):
    """Of any other network, cut out of it with torch.fx; what is not needed falls away."""

    def __init__(self, network: Network, strides: Sequence[int]) -> None:
        super().__init__()
        from torchvision.models.feature_extraction import create_feature_extractor

        found = {stride: (name, last, c) for name, stride, last, c in _probed(network.module)}
        chosen = _choose(network, strides, found)
        nodes = {name: str(place) for place, (name, _, _) in enumerate(chosen)}
        self.model = create_feature_extractor(network.module, nodes)
        self._channels_last = [last for _, last, _ in chosen]
        self.channels = tuple(channels for _, _, channels in chosen)

    def forward(self, pixels: Tensor) -> list[Tensor]:
        maps = self.model(pixels)
        ordered = [maps[str(place)] for place in range(len(maps))]
        return [
            level.permute(0, 3, 1, 2).contiguous() if last else level
            for level, last in zip(ordered, self._channels_last, strict=True)
        ]


def trainable(network: Network, strides: Sequence[int]) -> Stages:
    """A copy with trainable parameters, in training mode, and without layers behind the last."""
    stages = Stages(network, strides)
    stages.body = body = copy.deepcopy(stages.body)
    if isinstance(body, _TimmStages) and hasattr(body.model, "prune_intermediate_layers"):
        body.model.prune_intermediate_layers(body._indices, prune_head=True)
    return stages.train().requires_grad_(True)


def multiple_of(strides: Sequence[int]) -> int:
    """What the input's sides are multiples of, in pixels."""
    return max(MULTIPLE, *strides)


def near(side: float, multiple: int) -> int:
    """The multiple next to a side, at least 32 px."""
    return max(LEAST, round(side / multiple) * multiple)


def resized(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """float ``(B, 3, H, W)`` at another size, bilinear and antialiased."""
    if tuple(pixels.shape[-2:]) == size:
        return pixels
    return F.interpolate(pixels, size, mode="bilinear", antialias=True)


def _choose(network: Network, strides: Sequence[int], known: dict[int, Any]) -> list[Any]:
    """What is known of each stride."""
    for stride in strides:
        if stride not in known:
            has = ", ".join(map(str, sorted(known))) or "none"
            raise OptionError(
                f"The network {network.kind} has no stage of stride {stride}, which is wanted; its "
                f"strides are {has}."
            )
    return [known[stride] for stride in strides]


def _probed(module: nn.Module) -> Iterator[tuple[str, int, bool, int]]:
    """Name, stride, whether channels come last, and their number, of modules in order of running.

    Looked at: the network's parts, and those of its part ``features``. Nothing is computed: the
    shapes are found on the meta device.
    """
    shapes: dict[str, torch.Size] = {}
    probe = copy.deepcopy(module).to("meta").eval()
    for prefix, parent in (("", probe), ("features.", getattr(probe, "features", None))):
        for name, part in parent.named_children() if isinstance(parent, nn.Module) else ():

            def keep(_: nn.Module, __: Any, out: Any, name: str = prefix + name) -> None:
                if isinstance(out, Tensor) and out.ndim == 4:
                    shapes[name] = out.shape

            part.register_forward_hook(keep)
    with torch.inference_mode():
        probe(torch.empty(1, 3, *PROBE, device="meta"))
    for name, (_, first, second, third) in shapes.items():
        for last, rows, columns, channels in (
            (False, second, third, first),
            (True, first, second, third),
        ):
            if stride := _stride(rows, columns):
                yield name, stride, last, channels


def _stride(rows: int, columns: int) -> int | None:
    """Of a map of this size of the probe; None: it is no map, or of no power of two."""
    stride = 2 ** round(math.log2(max(1, PROBE[0] / rows)))
    fits = all(
        0 <= side // stride - cells <= SLACK
        for side, cells in zip(PROBE, (rows, columns), strict=True)
    )
    return stride if fits and stride in (2, 4, 8, 16, 32) else None


def _shifted(level: Tensor, first: float, grid: tuple[int, int]) -> Tensor:
    """Cells of a grid read between those of a map; the first lies ``first`` cells into it."""
    start = math.floor(first)
    share = first - start
    for axis, cells in ((-2, grid[0]), (-1, grid[1])):
        near = level.narrow(axis, start, cells)
        level = torch.lerp(near, level.narrow(axis, start + 1, cells), share)
    return level
