"""The upsampler of FeatUp's own package (github.com/mhamilton723/FeatUp), where it is installed.

It is on no package index: it is built from its repository, with a compiled extension for the sum
over each place's neighbourhood. ``featup.upsamplers.get_upsampler("jbu_stack", channels)`` gives
the stack, whose parameters bear the names of the checkpoints' behind ``upsampler.``.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fmlad.errors import MissingDependencyError

MODULE = "featup.upsamplers"
STACK, STAGES = "jbu_stack", 4
TOLERANCE = 1e-4  # of the largest value; fmlad's own stack is within 3e-5 of published checkpoints

# Maps (B, C, h, w), normalised RGB (B, 3, H, W) and the stage's number, 1 to 4 -> (B, C, 2 h, 2 w).
Stages = Callable[[Tensor, Tensor, int], Tensor]

_log = logging.getLogger(__name__)


class PackageStack:
    """The package's stack with a checkpoint's tensors, stage by stage."""

    def __init__(self, module: Any, state: dict[str, Tensor], channels: int, device: str) -> None:
        """Builds it; RuntimeError where names or shapes of the tensors are not the package's."""
        stack = module.get_upsampler(STACK, channels)
        stack.load_state_dict(state, strict=True)
        self._stack = stack.float().eval().requires_grad_(False).to(device)

    def __call__(self, maps: Tensor, image: Tensor, number: int) -> Tensor:
        """One stage, see :data:`Stages`; the image may have any size."""
        doubled: Tensor = self._stack.upsample(maps, image, getattr(self._stack, f"up{number}"))
        return doubled


def find_package() -> tuple[Any, str]:
    """The package's module, or None and why it cannot be used (``""``: it is not installed)."""
    try:
        return importlib.import_module(MODULE), ""
    except ModuleNotFoundError as error:
        return None, "" if error.name in ("featup", MODULE) else str(error)
    except Exception as error:  # whatever an extension that was built for something else provokes
        return None, _said(error)


def choose(
    name: str,
    state: dict[str, Tensor],
    channels: int,
    device: str,
    own: Stages,
    *,
    insists: bool,
) -> tuple[PackageStack | None, bool]:
    """The package's stages if they are to run, and whether their maps are those of ``own``.

    None where the package is not installed, cannot be used, or gives other maps; the last two are
    logged. Who ``insists`` gets it all the same, or an error.

    Args:
        name: Of the backbone.
        state: A checkpoint's tensors under the stack's own names.
        channels: Of the features.
        device: Where it runs.
        own: The four stages of fmlad's.
        insists: Whether the name says ``implementation=package``.

    Raises:
        MissingDependencyError: The package is insisted on and cannot be used.
    """
    seen = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    devices = list(range(torch.cuda.device_count())) if seen else []
    # Importing the package seeds torch's random numbers, building it draws some: not the caller's.
    with torch.random.fork_rng(devices=devices):
        module, why = find_package()
        if module is not None:
            try:
                package = PackageStack(module, state, channels, device)
                differ = _difference(package, own, channels, device)
            except Exception as error:  # its code, on a device that it may not be built for
                module, why = None, _said(error)
    if module is None:
        if insists:
            raise _missing(name, why)
        if why:
            _log.warning("FeatUp's package cannot be used (%s): fmlad's own stack runs.", why)
        return None, True
    agrees = differ <= TOLERANCE
    if not agrees and not insists:
        said = "FeatUp's package gives other maps than fmlad's own stack, which runs (by %.1g)."
        _log.warning(said, differ)
        return None, True
    return package, agrees


def _missing(name: str, why: str) -> MissingDependencyError:
    said = f"cannot be used here ({why})" if why else "is not installed"
    return MissingDependencyError(
        f"The backbone {name!r} asks for FeatUp's own package, which {said}. Build it from "
        f"https://github.com/mhamilton723/FeatUp (it is on no package index), or leave "
        f"implementation=package out: fmlad's own stack gives the same maps."
    )


def _difference(one: Stages, other: Stages, channels: int, device: str) -> float:
    """Largest difference behind the last stage on made-up maps, as a share of the largest value."""
    rng = torch.Generator().manual_seed(0)
    maps = torch.randn(1, channels, 4, 5, generator=rng).to(device)
    image = torch.randn(1, 3, 64, 80, generator=rng).to(device)
    found = expected = maps
    for number in range(1, STAGES + 1):
        found, expected = one(found, image, number), other(expected, image, number)
    return float((found - expected).abs().amax() / expected.abs().amax())


def _said(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
