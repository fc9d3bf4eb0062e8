"""FeatUp's stack of learned joint bilateral upsamplers (Fu et al., ICLR 2024) in plain torch.

Each stage doubles the resolution. Its weights for the 49 places around one come from the image:
a softmax over the similarity of projected colours, times a Gaussian of the distance, brought to the
sum 1, plus a small learned correction that is not normalised again. FeatUp publishes checkpoints
for several networks; only the projection behind the last stage depends on which.

FeatUp's own package runs the stages where it is installed (:mod:`.featup_package`).
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from fmlad.backbones import featup_package
from fmlad.backbones.common import STRICT, normalised, only_checkpoint, parse
from fmlad.backbones.hub import folder_hash, loading, locate, read_tensors
from fmlad.backbones.upsampling import CHUNK, SIDE, check, gathered, shifts, spatial
from fmlad.errors import OptionError

COLOURS = 32  # channels of the projected colours
STAGES = featup_package.STAGES
CORRECTION = 0.1  # share of the learned correction, in the kernel and behind the last stage
PREFIX = "upsampler."
NORM = "model.1.norm."  # LayerNorm over the channels, in front of the stages

Implementation = Literal["auto", "own", "package"]


class Stage(nn.Module):
    """One doubling; parameters are named as in FeatUp's checkpoints."""

    def __init__(self) -> None:
        super().__init__()
        places = SIDE * SIDE
        self.range_temp = nn.Parameter(torch.tensor(0.0))
        self.sigma_spatial = nn.Parameter(torch.tensor(1.0))
        # Index 2 is a dropout in FeatUp's training; nothing is dropped here.
        self.range_proj = nn.Sequential(
            nn.Conv2d(3, COLOURS, 1), nn.GELU(), nn.Identity(), nn.Conv2d(COLOURS, COLOURS, 1)
        )
        self.fixup_proj = nn.Sequential(
            nn.Conv2d(places + 3, places, 1), nn.GELU(), nn.Identity(), nn.Conv2d(places, places, 1)
        )

    def kernel(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised RGB on the finer grid -> weights that sum to 1, and the correction to add.

        ``(B, 3, H, W)`` -> twice ``(B, 49, H, W)``.
        """
        colours = self.range_proj(image)
        similarity = torch.stack([(other * colours).sum(1) for other in shifts(colours)], 1)
        similarity = (self.range_temp.exp().clamp(1e-4, 1e4) * similarity).softmax(1)
        weights = similarity * spatial(self.sigma_spatial)[:, None, None]
        weights = weights / weights.sum(1, keepdim=True).clamp_min(1e-7)
        return weights, CORRECTION * self.fixup_proj(torch.cat([weights, image], 1))

    def forward(self, maps: Tensor, image: Tensor) -> Tensor:
        """``(B, C, h, w)`` and normalised RGB ``(B, 3, H, W)`` -> ``(B, C, 2 h, 2 w)``."""
        height, width = maps.shape[-2:]
        pooled = F.adaptive_avg_pool2d(image, (2 * height, 2 * width))
        weights, correction = self.kernel(pooled)
        return gathered(maps, weights + correction)


class FeatUp:
    """:class:`~fmlad.backbones.roles.Upsampler`: up to four stages, then a linear correction.

    Checkpoints for x16; a smaller factor runs the first stages of them and the same correction,
    which is how SAM-LAD's x8 is read here (its paper says no more). The image is averaged to each
    stage's grid from its own size.
    """

    expensive = True

    def __init__(
        self,
        name: str,
        state: dict[str, Tensor],
        weights_hash: str,
        device: str = "cpu",
        *,
        fixup: bool = True,
        implementation: Implementation = "own",
    ) -> None:
        """Builds the stack from a checkpoint's tensors.

        Args:
            name: Of the backbone.
            state: The checkpoint's tensors, others among them.
            weights_hash: Of the checkpoint.
            device: Where it runs.
            fixup: With the last linear correction.
            implementation: Whose stages run: ``"own"``, ``"package"`` or ``"auto"``, the package's
                where it can be imported and its maps are ours.

        Attributes:
            implementation: What runs: ``"own"`` or ``"featup package"``.

        Raises:
            KeyError: A tensor is missing.
            ValueError: A tensor has another shape.
            MissingDependencyError: The package is asked for and cannot be used.
        """
        self.name = name
        self._device = device
        self._stages = [_stage(state, f"{PREFIX}up{n}.").to(device) for n in range(1, STAGES + 1)]
        weight, bias = (state[f"{PREFIX}fixup_proj.1.{part}"] for part in ("weight", "bias"))
        self.channels = len(bias)
        if weight.shape != (self.channels, self.channels, 1, 1):
            raise ValueError(f"the last projection has the shape {tuple(weight.shape)}")
        self._fixup = (weight.float().to(device), bias.float().to(device))
        self._corrects = fixup
        norm = [state[NORM + part] for part in ("weight", "bias") if NORM + part in state]
        self._norm = tuple(part.float().to(device) for part in norm)
        self._package, agrees = None, True
        if implementation != "own":
            parts = {k.removeprefix(PREFIX): v for k, v in state.items() if k.startswith(PREFIX)}
            insists = implementation == "package"
            with torch.inference_mode():
                self._package, agrees = featup_package.choose(
                    name, parts, self.channels, device, self._own, insists=insists
                )
        self.implementation = "own" if self._package is None else "featup package"
        # Where the two agree scores are the same, and a detector may move between machines.
        other = "" if agrees else " implementation=package"
        self.fingerprint = f"featup fixup={int(fixup)} imagenet sha256={weights_hash}{other}"

    @property
    def note(self) -> str:
        """Whose code sharpens, as a sentence for the detector's record."""
        whose = "fmlad's own code" if self.implementation == "own" else "the package featup"
        return f"features are sharpened by FeatUp's stack, run by {whose}"

    @torch.inference_mode()
    def __call__(self, features: Tensor, guidance: Tensor, factor: int) -> Tensor:
        """float ``(B, C, h, w)``, uint8 ``(B, 3, H, W)`` -> float32 ``(B, C, factor h, factor w)``.

        The features are of the network that the checkpoint was trained for, or with ``fixup=off``
        of any. Factor 1 changes nothing.

        Raises:
            OptionError: Another factor than 1, 2, 4, 8 and 16, shapes that do not fit, or features
                of another network.
        """
        doublings = check(features, guidance, factor)
        maps = features.to(self._device).float()
        if not doublings:
            return maps
        if (self._corrects or self._norm) and maps.shape[1] != self.channels:
            raise OptionError(
                f"The upsampler {self.name!r} was trained on features of {self.channels} channels, "
                f"and these have {maps.shape[1]}. Use the checkpoint of the same network, "
                f"fixup=off with one that has no norm of its own, or 'builtin:bilateral@1'."
            )
        if self._norm:
            maps = _over_channels(maps, *self._norm)
        image = normalised(guidance, self._device)
        for number in range(1, doublings + 1):
            # The package mirrors 3 places at the border, and has none to mirror in a single row.
            single = min(maps.shape[-2:]) == 1
            stages = self._own if single or self._package is None else self._package
            maps = stages(maps, image, number)
        return self._corrected(maps) if self._corrects else maps

    def _own(self, maps: Tensor, image: Tensor, number: int) -> Tensor:
        """Our own stage of a number, 1 to 4."""
        doubled: Tensor = self._stages[number - 1](maps, image)
        return doubled

    def _corrected(self, maps: Tensor) -> Tensor:
        """Adds the linear correction in place, some rows at a time."""
        rows = max(1, CHUNK // (maps.shape[0] * maps.shape[1] * maps.shape[3]))
        for start in range(0, maps.shape[2], rows):
            part = maps[:, :, start : start + rows]
            part += CORRECTION * F.conv2d(part, *self._fixup)
        return maps


@dataclass(frozen=True, config=STRICT)
class _Options:
    fixup: Literal["on", "off"] = "on"
    implementation: Implementation = "auto"


def load(name: str, device: str = "cpu") -> FeatUp:
    """Builds the backbone from ``"featup:SOURCE"`` or ``"featup:SOURCE#fixup=off"``.

    SOURCE is a checkpoint of FeatUp's (``*_jbu_stack_cocostuff.ckpt``, read as tensors alone), a
    folder with exactly one, or an identifier of the catalogue. ``implementation`` is ``own``,
    ``package`` (FeatUp's own) or ``auto``: the package's where it can be imported and agrees.

    Raises:
        WeightsUnavailableError: The checkpoint cannot be had, or is no stack of FeatUp's.
        OptionError: An option that does not exist.
        MissingDependencyError: FeatUp's package is asked for and cannot be used.
    """
    source, options = parse(name, _Options)
    place = locate(source, family="featup")
    file = only_checkpoint(place, source, "FeatUp")
    state = read_tensors(file, source, "featup")
    with loading(source, f"{file} is no JBU stack of FeatUp's: it", "featup"):
        return FeatUp(
            name, state, folder_hash(file), device,
            fixup=options.fixup == "on", implementation=options.implementation,
        )  # fmt: skip


def _stage(state: dict[str, Tensor], prefix: str) -> Stage:
    stage = Stage()
    stage.load_state_dict({key: state[prefix + key] for key in stage.state_dict()})
    return stage.eval().requires_grad_(False)


def _over_channels(maps: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """LayerNorm over the channels of ``(B, C, h, w)``."""
    last = maps.movedim(1, -1)
    return F.layer_norm(last, weight.shape, weight, bias).movedim(-1, 1).contiguous()
