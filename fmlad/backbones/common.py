"""What several backbones share: options in a name, a network's pixels, a folder's checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import torch.nn.functional as F
from pydantic import ConfigDict, ValidationError
from torch import Tensor

from fmlad.backbones.hub import CHECKPOINTS
from fmlad.errors import OptionError, WeightsUnavailableError

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # mean and std of RGB in [0, 1]
STRICT = ConfigDict(extra="forbid")  # of a dataclass of options: no other keys

Options = TypeVar("Options")


def parse(name: str, kind: Callable[..., Options], **defaults: Any) -> tuple[str, Options]:
    """Source and options of ``"FAMILY:SOURCE#key=value,key=value"``.

    ``kind`` is a pydantic dataclass of the options, with :data:`STRICT`; defaults replace its own.

    Raises:
        OptionError: An option that does not exist, or a value that does not fit.
    """
    source, _, text = name.partition(":")[2].partition("#")
    given = dict(item.partition("=")[::2] for item in text.split(",") if item)
    try:
        return source, kind(**{**defaults, **given})
    except ValidationError as error:
        first = error.errors()[0]
        option = f"{first['loc'][0]}={given[str(first['loc'][0])]}"
        known = ", ".join(field.name for field in fields(kind) if field.init)  # type: ignore[arg-type]
        raise OptionError(
            f"The backbone {name!r} has an option {option!r} that does not fit ({first['msg']}); "
            f"its options are {known}."
        ) from None


def normalised(
    images: Tensor,
    device: str,
    size: tuple[int, int] | None = None,
    colours: tuple[tuple[float, ...], tuple[float, ...]] = IMAGENET,
) -> Tensor:
    """``uint8 (B, 3, H, W)`` RGB as float32 on a device, normalised by mean and std of [0, 1].

    ``size``: height and width to resize to first (bicubic, antialiased); None: as they are.
    """
    pixels = images.to(device).float() / 255
    if size is not None:
        pixels = F.interpolate(pixels, size, mode="bicubic", antialias=True).clamp(0, 1)
    mean, std = (pixels.new_tensor(values)[:, None, None] for values in colours)
    return (pixels - mean) / std


def only_checkpoint(place: Path, source: str, whose: str) -> Path:
    """A file itself, or the one pickled checkpoint of a folder.

    ``whose`` checkpoint it is, as the message shall say.

    Raises:
        WeightsUnavailableError: The folder holds none, or several.
    """
    if place.is_file():
        return place
    found = sorted(path for path in place.iterdir() if path.suffix in CHECKPOINTS)
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise WeightsUnavailableError(
            f"{source} must hold exactly one checkpoint of {whose}'s, and it holds: {names}. Name "
            f"the file itself."
        )
    return found[0]
