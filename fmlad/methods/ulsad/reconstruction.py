"""Training of ULSAD's networks (Algorithm 1), and the maps of what they learned (section 3.5).

The encoder is frozen. The last weights are kept: no labels choose others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fmlad.errors import CorruptDetectorError
from fmlad.io.tensors import TensorReader, modules_tensors
from fmlad.methods.shared_encoder import Levels, SharedEncoder
from fmlad.methods.ulsad.images import Images, given
from fmlad.methods.ulsad.losses import consistency, difference
from fmlad.methods.ulsad.training_config import TrainingConfig
from fmlad.networks.feature_maps import LevelAutoencoder
from fmlad.networks.reconstruction import (
    Aggregator,
    GlobalAutoencoder,
    ReconstructionNetwork,
    halves,
)
from fmlad.progress import Progress, silent
from fmlad.scoring.map_quantiles import MapQuantiles
from fmlad.training.loop import SAVE_SECONDS, Shuffled, constant, late_drop, seeded, train

LOCAL, GLOBAL = "local", "global"
AGGREGATOR, NETWORK, AUTOENCODER = "aggregator", "frn", "autoencoder"
REACH = 4.0  # standard deviations that the Gaussian reaches to either side (code)

FloatMap = npt.NDArray[np.float32]


class FittedReconstruction:
    """The networks, trained, with the quantiles of their maps over normal images.

    Attributes:
        config: They were trained with.
        branches: ``"local"``, ``"global"`` or both.
        quantiles: Of each branch's map.
    """

    def __init__(
        self, config: TrainingConfig, branches: Sequence[str], networks: Mapping[str, nn.Module],
        quantiles: Mapping[str, MapQuantiles], side: int,
    ) -> None:  # fmt: skip
        """With networks as :func:`build` makes them, trained on inputs of ``side`` px."""
        self.config, self.branches, self.quantiles = config, tuple(branches), dict(quantiles)
        self._side = side
        self._networks = {n: m.eval().requires_grad_(False) for n, m in networks.items()}

    @torch.inference_mode()
    def raw_maps(self, squares: Tensor, levels: Levels) -> dict[str, Tensor]:
        """Map of each branch, not normalised (Eq. 7 and 8), float32 ``(B, h, w)`` each.

        Args:
            squares: uint8 ``(B, 3, side, side)``.
            levels: Of the encoder, ``(B, C, h, w)`` each, finest first.

        Returns:
            On ``side / 8`` cells, or where they are blurred on ``side`` pixels.
        """
        target = self._networks[AGGREGATOR](levels[1:])
        asked = given(squares, levels, self.config)
        local, imitated, said = reconstructed(self._networks, target, asked)
        found: dict[str, Tensor] = {}
        if LOCAL in self.branches and local is not None:
            found[LOCAL] = difference(target, local, self.config.lambda_l)
        if said is not None:
            other = target if imitated is None else imitated
            found[GLOBAL] = difference(said, other, self.config.lambda_g)
        return {branch: self._smoothed(one) for branch, one in found.items()}

    def maps(self, squares: Tensor, levels: Levels) -> dict[str, Tensor]:
        """The same by their quantiles: 0 and 0.1 are those of normal images."""
        found = self.raw_maps(squares, levels)
        return {branch: self.quantiles[branch](one) for branch, one in found.items()}

    def tensors(self) -> dict[str, Tensor]:
        """Named tensors, on the CPU."""
        return modules_tensors(self._networks)

    def meta(self) -> dict[str, Any]:
        """JSON-ready facts that are not tensors."""
        return {
            "config": asdict(self.config),
            "quantiles": {branch: one.to_list() for branch, one in self.quantiles.items()},
        }

    @classmethod
    def restore(
        cls,
        tensors: Mapping[str, Tensor],
        meta: Mapping[str, Any],
        device: str,
        encoder: SharedEncoder,
    ) -> FittedReconstruction:
        """Inverse of :meth:`tensors` and :meth:`meta`.

        Raises:
            CorruptDetectorError: Something is missing, too much, or of another shape or dtype.
        """
        reader = TensorReader(tensors, device)
        with reader.description("reconstruction"):
            config = TrainingConfig(**meta["config"])
            quantiles = {
                str(branch): MapQuantiles(*map(float, pair))
                for branch, pair in dict(meta["quantiles"]).items()
            }
            if not quantiles or not quantiles.keys() <= {LOCAL, GLOBAL}:
                raise CorruptDetectorError(
                    f"The saved reconstruction has the branches {sorted(quantiles)}; expected "
                    f"'local', 'global' or both."
                )
            networks = build(config, tuple(quantiles), encoder)
            for name, network in networks.items():
                reader.module(name, network)
        return cls(config, tuple(quantiles), networks, quantiles, encoder.side)

    def _smoothed(self, maps: Tensor) -> Tensor:
        """``(B, h, w)`` enlarged and blurred, where that is wanted.

        The code brings maps to their quantiles first; both are linear, so that the order is free.
        """
        if not self.config.blur:
            return maps
        size = (self._side, self._side)
        return blurred(F.interpolate(maps[:, None], size, mode="bilinear"), self.config.blur)[:, 0]


def blurred(maps: Tensor, sigma: float) -> Tensor:
    """Maps ``(B, 1, h, w)`` by a Gaussian of ``sigma`` pixels, mirrored at the border."""
    radius = min(round(REACH * sigma), *(side - 1 for side in maps.shape[-2:]))
    places = torch.arange(-radius, radius + 1, device=maps.device, dtype=maps.dtype)
    weights = torch.exp(-0.5 * (places / sigma).square())
    weights = (weights / weights.sum())[None, None]
    rows = F.conv2d(F.pad(maps, (radius, radius, 0, 0), "reflect"), weights[:, :, None])
    return F.conv2d(F.pad(rows, (0, 0, radius, radius), "reflect"), weights[..., None])


def build(
    config: TrainingConfig, branches: Sequence[str], encoder: SharedEncoder
) -> dict[str, nn.Module]:
    """Those networks that some branches need, with fresh weights, by name."""
    grid = encoder.side // 8
    aggregator = Aggregator(encoder.channels[1:], grid, config.channels)  # strides 8 and 16
    count = aggregator.channels
    networks: dict[str, nn.Module] = {AGGREGATOR: aggregator}
    if LOCAL in branches or config.local_global:
        networks[NETWORK] = ReconstructionNetwork(count, config.width, config.kernel, config.final)
    if GLOBAL in branches:
        if config.source == "pixels":
            own: nn.Module = GlobalAutoencoder(encoder.side, count, config.bottleneck)
        else:
            cells = encoder.side // encoder.strides[-1]
            deepest = encoder.channels[-1]
            own = LevelAutoencoder(deepest, cells, config.bottleneck, count, grid)
        networks[AUTOENCODER] = own
    return networks


def reconstructed(
    networks: Mapping[str, nn.Module], target: Tensor, asked: Tensor
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Local reconstruction, imitation of the autoencoder, and its own outcome; see :func:`build`.

    What there is no network for is None.
    """
    local = imitated = said = None
    if NETWORK in networks:
        local, imitated = halves(networks[NETWORK](target))
    if AUTOENCODER in networks:
        said = networks[AUTOENCODER](asked)
    return local, imitated, said


def loss_of(
    config: TrainingConfig, branches: Sequence[str], networks: Mapping[str, nn.Module],
    target: Tensor, asked: Tensor,
) -> Tensor:  # fmt: skip
    """L_pl + L_pg + L_lg (Algorithm 1), a scalar, of what the branches take.

    Args:
        config: Which terms, and the weights of directions.
        branches: ``"local"`` takes L_pl, ``"global"`` the others.
        networks: As of :func:`build`; gradients reach all of them.
        target: Normalised maps of the encoder, ``(B, c*, h, w)``.
        asked: What the global autoencoder is given of the same images.
    """
    local, imitated, said = reconstructed(networks, target, asked)
    value = target.new_zeros(())
    if LOCAL in branches and local is not None:
        value = value + difference(target, local, config.lambda_l).mean()
    if said is not None:
        if config.consistency == "attention":
            value = value + consistency(said, target, config.lambda_g, config.attended)
        else:
            value = value + difference(said, target, config.lambda_g).mean()
        if config.local_global and imitated is not None:
            value = value + difference(said, imitated, config.lambda_g).mean()
    return value


def fit_reconstruction(
    squares: Sequence[Tensor],
    held_out: Sequence[Tensor],
    encoder: SharedEncoder,
    config: TrainingConfig,
    branches: Sequence[str],
    *,
    seed: int = 0,
    progress: Progress = silent,
    checkpoint: Path | None = None,
    resume: bool = False,
    settings: Mapping[str, Any] | None = None,
) -> FittedReconstruction:
    """Trains all networks together; the same arguments give the same weights on a CPU.

    Args:
        squares: Training images, uint8 ``(3, side, side)`` each (:meth:`SharedEncoder.square`).
        held_out: Further normal images, for the quantiles of the maps; none: the training images
            take their place.
        encoder: Frozen.
        config: All numbers.
        branches: ``"local"``, ``"global"`` or both.
        seed: Of the first weights and all draws, at least 0.
        progress: As :func:`fmlad.training.loop.train` calls it.
        checkpoint: File for checkpoints, or None.
        resume: Goes on from that file where it exists.
        settings: JSON-ready, of what must be the same on resumption; config and encoder are added.

    Raises:
        TrainingError: The weights are no longer finite, or a checkpoint does not fit.
    """
    with seeded(seed, encoder.device):
        networks = build(config, branches, encoder)
    networks = {name: one.to(encoder.device) for name, one in networks.items()}
    images = _learned_from(squares, encoder, config, networks, progress)
    order = Shuffled(len(squares), config.batch, seed)
    learning = {name: one for name, one in networks.items() if name != AGGREGATOR}
    weights = [weight for one in learning.values() for weight in one.parameters()]

    def loss(step: int, rng: np.random.Generator) -> Tensor:
        return loss_of(config, branches, networks, *images.batch(order(step)))

    train(
        loss, learning,
        [torch.optim.Adam(weights, config.rate, weight_decay=config.weight_decay)],
        steps=config.steps or order.steps(config.epochs), seed=seed,
        schedule=late_drop if config.late_drop else constant, checkpoint=checkpoint, resume=resume,
        save_seconds=SAVE_SECONDS, progress=progress, what="reconstruction",
        settings={
            **(settings or {}), "reconstruction": asdict(config), "branches": list(branches),
            "encoder": encoder.fingerprint, "side": encoder.side, "images": len(squares),
        },
    )  # fmt: skip
    found = FittedReconstruction(config, branches, networks, {}, encoder.side)
    maps: dict[str, list[FloatMap]] = {branch: [] for branch in branches}
    for square in held_out or squares:
        own = found.raw_maps(square[None], encoder.encode(square[None]))
        for branch, one in own.items():
            maps[branch].append(one[0].cpu().numpy())
    found.quantiles = {
        branch: MapQuantiles.fit(own, config.low, config.high) for branch, own in maps.items()
    }
    return found


@torch.no_grad()
def _learned_from(
    squares: Sequence[Tensor], encoder: SharedEncoder, config: TrainingConfig,
    networks: Mapping[str, nn.Module], progress: Progress,
) -> Images:  # fmt: skip
    """The training images, by whose maps the moments of the networks are set."""
    aggregator: Any = networks[AGGREGATOR]
    images = Images(squares, encoder, aggregator, config, progress)
    aggregator.standard.learn(maps for maps, _ in images.each())
    if config.source == "levels" and AUTOENCODER in networks:
        across: Any = networks[AUTOENCODER]
        across[0].learn(deepest for _, deepest in images.each())
    return images
